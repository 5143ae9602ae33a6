package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode writes what n says into v, which holds the defaults; what n does not mention stays. Every fault is noted, and
// decoding goes on.
func decode(n *node, v reflect.Value, faults *report) {
	if n == nil {
		return
	}
	switch v.Interface().(type) {
	case Corpora:
		v.Set(reflect.ValueOf(decodeCorpora(n, faults)))
		return
	case Count:
		decodeInt(n, v, faults)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		decodeStruct(n, v, faults)
	case reflect.String:
		decodeString(n, v, faults)
	case reflect.Bool:
		decodeBool(n, v, faults)
	case reflect.Float64:
		decodeFloat(n, v, faults)
	default:
		decodeInt(n, v, faults)
	}
}

func decodeStruct(n *node, v reflect.Value, faults *report) {
	switch n.kind {
	case null:
		return
	case table:
	default:
		faults.add(n, n.path, "want keys with values, got %s", n.describe())
		return
	}
	fields := fieldsOf(v.Type())
	for _, e := range n.entries {
		i, known := fields.index[e.key]
		if !known {
			faults.unknown(n, e, fields.names)
			continue
		}
		decode(e.value, v.Field(i), faults)
	}
}

// fields are the keys of a struct type in order, and the field of each.
type fields struct {
	names []string
	index map[string]int
}

func fieldsOf(t reflect.Type) fields {
	f := fields{index: map[string]int{}}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			f.names = append(f.names, name)
			f.index[name] = i
		}
	}
	return f
}

func wrong(n *node, want string, faults *report) {
	if n.kind == null {
		faults.add(n, n.path, "no value: want %s, or leave the key out", want)
		return
	}
	faults.add(n, n.path, "want %s, got %s", want, n.describe())
}

func decodeString(n *node, v reflect.Value, faults *report) {
	if n.kind != scalar {
		wrong(n, "a text", faults)
		return
	}
	if !utf8.ValidString(n.text) || strings.ContainsFunc(n.text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		wrong(n, "a text of printable UTF-8 characters", faults)
		return
	}
	v.SetString(n.text)
}

func decodeBool(n *node, v reflect.Value, faults *report) {
	switch {
	case n.kind == scalar && !n.quoted && (n.text == "true" || n.text == "True" || n.text == "TRUE"):
		v.SetBool(true)
	case n.kind == scalar && !n.quoted && (n.text == "false" || n.text == "False" || n.text == "FALSE"):
		v.SetBool(false)
	default:
		wrong(n, "true or false", faults)
	}
}

func decodeFloat(n *node, v reflect.Value, faults *report) {
	x, err := strconv.ParseFloat(n.text, 64)
	if n.kind != scalar || n.quoted || err != nil || math.IsInf(x, 0) || math.IsNaN(x) || strings.ContainsAny(n.text, "xX_pP") {
		wrong(n, "a number", faults)
		return
	}
	v.SetFloat(x)
}

// decodeInt reads whole numbers of every type, as counts. A leading zero is refused: YAML 1.1 reads 010 as 8, 1.2 as 10.
func decodeInt(n *node, v reflect.Value, faults *report) {
	if n.kind != scalar || n.quoted {
		wrong(n, "a whole number", faults)
		return
	}
	if len(n.text) > 1 && n.text[0] == '0' && n.text[1] >= '0' && n.text[1] <= '9' {
		faults.add(n, n.path, "%q begins with 0, which some read as octal: want a whole number without it", n.text)
		return
	}
	c, err := ParseCount(n.text)
	if err != nil {
		faults.add(n, n.path, "%v", err)
		return
	}
	switch {
	case v.CanUint() && c >= 0:
		v.SetUint(uint64(c))
	case v.CanUint():
		faults.add(n, n.path, "%s is negative: want 0 or more", n.text)
	default:
		v.SetInt(int64(c))
	}
}

// decodeCorpora reads a path, "WEIGHT PATH WEIGHT PATH ..." as Megatron's --data-path has it, or a list of paths and of
// {path: P, weight: W}.
func decodeCorpora(n *node, faults *report) Corpora {
	var out Corpora
	switch n.kind {
	case scalar:
		return scalarCorpora(n, faults)
	case list:
		for _, item := range n.items {
			if item.kind == scalar {
				out = append(out, scalarCorpora(item, faults)...)
				continue
			}
			c := Corpus{Weight: 1}
			before := len(faults.faults)
			decode(item, reflect.ValueOf(&c).Elem(), faults)
			if c.Path == "" && len(faults.faults) == before {
				faults.add(item, join(item.path, "path"), "missing: want the path of a corpus")
				faults.tainted[n.path] = true
			}
			out = append(out, c)
		}
	default:
		wrong(n, "a path or a list of {path: P, weight: W}", faults)
	}
	return out
}

func scalarCorpora(n *node, faults *report) Corpora {
	words := strings.Fields(n.text)
	if len(words) < 2 || n.quoted && len(words)%2 != 0 {
		var path string
		decodeString(n, reflect.ValueOf(&path).Elem(), faults)
		return Corpora{{Path: path, Weight: 1}}
	}
	if _, err := strconv.ParseFloat(words[0], 64); err != nil {
		return Corpora{{Path: n.text, Weight: 1}}
	}
	var out Corpora
	for i := 0; i < len(words); i += 2 {
		w, err := strconv.ParseFloat(words[i], 64)
		if err != nil || i+1 == len(words) {
			wrong(n, `a path, or weights and paths in turn ("0.7 a 0.3 b")`, faults)
			return nil
		}
		out = append(out, Corpus{Path: words[i+1], Weight: w})
	}
	return out
}

// ParseCorpora reads a path, or weights and paths in turn, as the keys of the file do.
func ParseCorpora(text string) (Corpora, error) {
	r := newReport()
	c := scalarCorpora(&node{kind: scalar, text: text}, r)
	if len(r.faults) > 0 {
		return nil, fmt.Errorf("%s", r.faults[0].Text)
	}
	return c, nil
}
