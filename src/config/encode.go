package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Resolved is the complete description as YAML: reading it gives the same Run. Floats have a dot, so that readers of
// YAML 1.1 (PyYAML) see numbers.
func (r *Run) Resolved() []byte {
	var b strings.Builder
	b.WriteString("# The complete configuration of a run, written by cambium.\n")
	encodeStruct(&b, reflect.ValueOf(*r), "", "")
	return []byte(b.String())
}

// encodeStruct writes "key: value" lines, the first after lead.
func encodeStruct(b *strings.Builder, v reflect.Value, indent, lead string) {
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		if name == "" || f.IsZero() && (isAlternative(name) || f.Kind() == reflect.Slice || name == "type" || name == "growth" || isLossScale(name)) {
			continue
		}
		b.WriteString(indent + lead + name + ":")
		if lead != "" {
			indent, lead = indent+strings.Repeat(" ", len(lead)), ""
		}
		switch f.Kind() {
		case reflect.Struct:
			b.WriteByte('\n')
			encodeStruct(b, f, indent+"  ", "")
		case reflect.Slice:
			b.WriteByte('\n')
			for j := range f.Len() {
				encodeStruct(b, f.Index(j), indent+"  ", "- ")
			}
		default:
			b.WriteString(" " + written(f) + "\n")
		}
	}
}

// isLossScale tells whether a key belongs to fp16 alone: a run of another type has 0 there, and may not say so.
func isLossScale(name string) bool {
	return slices.Contains(lossScaleKeys, "precision."+name)
}

func isAlternative(name string) bool {
	return slices.ContainsFunc(groups, func(g []string) bool { return slices.Contains(g, name) })
}

// plainText matches text that every YAML reader takes for text without quotes.
var plainText = regexp.MustCompile(`^[A-Za-z/._][A-Za-z0-9/._-]*$`)

func written(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Count:
		return x.String()
	case float64:
		return writtenFloat(x)
	case string:
		switch strings.ToLower(x) {
		case "y", "n", "yes", "no", "on", "off", "true", "false", "null", ".nan", ".inf", "":
			return strconv.Quote(x)
		}
		if plainText.MatchString(x) && strings.Trim(x, ".") != "" && !(x[0] == '.' && len(x) > 1 && x[1] >= '0' && x[1] <= '9') {
			return x
		}
		quoted, _ := json.Marshal(x)
		return string(quoted)
	}
	return fmt.Sprint(v.Interface())
}

// writtenFloat always has a dot before the exponent: 6e-05 is text for YAML 1.1.
func writtenFloat(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if mantissa, exponent, ok := strings.Cut(s, "e"); ok && !strings.Contains(mantissa, ".") {
		return mantissa + ".0e" + exponent
	}
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// line is one setting of a complete run.
type line struct{ key, value string }

// lines lists the settings of a run, stage by stage, in the order of the table.
func (r *Run) lines(learning bool) []line {
	var out []line
	add := func(k Key, path string, in reflect.Value) {
		if v, ok := field(in, k.Path); ok && (k.learns || !learning) {
			value := ""
			if c, is := v.Interface().(Corpora); is {
				value = c.String()
			} else {
				value = written(v)
			}
			out = append(out, line{path, value})
		}
	}
	for _, k := range keys {
		if !k.staged() {
			add(k, k.Path, reflect.ValueOf(*r))
		}
	}
	for i, s := range r.Stages {
		for _, k := range keys {
			section, _ := k.split()
			if k.staged() && (i > 0 || section != "growth") {
				add(k, fmt.Sprintf("stages.%d.%s", i, k.Path), reflect.ValueOf(s))
			}
		}
	}
	return out
}

// String is Megatron's form: "0.7 a 0.3 b".
func (c Corpora) String() string {
	var words []string
	for _, x := range c {
		words = append(words, strconv.FormatFloat(x.Weight, 'g', -1, 64), x.Path)
	}
	return strings.Join(words, " ")
}

// Hash identifies what determines the learned weights. Folders, intervals, micro-batches, ranks and threads are not in
// it: a run may go on with others.
func (r *Run) Hash() string {
	h := sha256.New()
	for _, l := range r.lines(true) {
		fmt.Fprintf(h, "%s=%s\n", l.key, l.value)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Differences lists the settings behind Hash in which other differs, as "train.lr: 0.004 there, 0.003 here".
func (r *Run) Differences(other *Run) []string {
	theirs := map[string]string{}
	for _, l := range other.lines(true) {
		theirs[l.key] = l.value
	}
	var out []string
	for _, l := range r.lines(true) {
		there, ok := theirs[l.key]
		if delete(theirs, l.key); ok && there == l.value {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s there, %s here", l.key, cond(ok, there, "absent"), l.value))
	}
	for _, l := range other.lines(true) {
		if _, left := theirs[l.key]; left {
			out = append(out, fmt.Sprintf("%s: %s there, absent here", l.key, l.value))
		}
	}
	return out
}
