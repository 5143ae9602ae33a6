package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// flagValue keeps the text of a flag until the description is read: then it is judged like a line of the file.
type flagValue struct {
	key  Key
	text string
	as   func(text string) (key, value string) // what the flag says, where it is not the key's own
}

func (f *flagValue) String() string { return f.text }
func (f *flagValue) Type() string   { return cond(f.key.Type == "text", "string", f.key.Type) }
func (f *flagValue) Set(text string) error {
	f.text = text
	return nil
}

// spelled are flags of Megatron's that say something of a key by another name.
var spelled = []struct {
	flag, key, help string
	to              map[string]string // from the flag's value to the key's; nil: the same
}{
	{"data-path", "data.train", "the same as --train-data-path", nil},
	{"disable-bias-linear", "model.add_bias_linear", "no biases in linear layers", map[string]string{"true": "false", "false": "true"}},
	{"fp16", "precision.params_dtype", "the same as --params-dtype=fp16", map[string]string{"true": "fp16", "false": "fp32"}},
	{"bf16", "precision.params_dtype", "the same as --params-dtype=bf16", map[string]string{"true": "bf16", "false": "fp32"}},
}

// AddFlags gives a command one flag for every key that has one, in the order of the table.
func AddFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	run, stage := reflect.ValueOf(*defaults()), reflect.ValueOf(stageDefaults())
	for _, k := range keys {
		if k.Flag == "" {
			continue
		}
		help := k.Help
		if len(k.Values) > 0 {
			help += ": " + orList(k.Values)
		}
		f := fs.VarPF(&flagValue{key: k}, k.Flag, "", help)
		mark(f, k)
		if v, ok := field(cond(k.staged(), stage, run), k.Path); ok && !v.IsZero() {
			f.DefValue = written(v)
		}
		if k.Type == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	for _, s := range spelled {
		k := find(s.key)
		v := &flagValue{key: k}
		if s.to != nil {
			v.key.Type = "bool"
			v.as = func(text string) (string, string) {
				if value, ok := s.to[strings.ToLower(text)]; ok {
					return s.key, value
				}
				return s.key, text
			}
		}
		f := fs.VarPF(v, s.flag, "", s.help)
		mark(f, k)
		if v.key.Type == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

const sectionAnnotation = "cambium-config-section"

func mark(f *pflag.Flag, k Key) {
	section, _ := k.split()
	f.Annotations = map[string][]string{sectionAnnotation: {section}}
}

// SectionOf is the section of the file whose key a flag of AddFlags gives: "" for keys at the top.
func SectionOf(f *pflag.Flag) (section string, ok bool) {
	if s := f.Annotations[sectionAnnotation]; len(s) == 1 {
		return s[0], true
	}
	return "", false
}

// Sections lists the sections of a file, in the order of the table of keys.
func Sections() []string {
	var out []string
	for _, k := range keys {
		if s, _ := k.split(); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func find(path string) Key {
	for _, k := range keys {
		if k.Path == path {
			return k
		}
	}
	return Key{}
}

// Settings are the flags of AddFlags that were given, in the order of the command's table.
func Settings(fs *pflag.FlagSet) []Setting {
	var out []Setting
	fs.Visit(func(f *pflag.Flag) {
		v, ok := f.Value.(*flagValue)
		if !ok {
			return
		}
		s := Setting{Flag: "--" + f.Name, Key: v.key.Path, Value: v.text}
		if v.as != nil {
			s.Key, s.Value = v.as(v.text)
		}
		out = append(out, s)
	})
	return out
}
