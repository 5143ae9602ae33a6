package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Setting is a key given on the command line by a flag.
type Setting struct {
	Flag  string // --lr
	Key   string // train.lr
	Value string
}

// applySets edits the tree by KEY=VALUE arguments. A key goes by dots; an element of a list is its index, a stage its
// index, its name, or * for all.
func applySets(root *node, sets []string, faults *report) {
	for _, s := range sets {
		path, text, ok := strings.Cut(s, "=")
		at := &node{flag: "--set " + shorten(s)}
		if path = strings.TrimSpace(path); !ok || path == "" {
			faults.add(at, "", "want KEY=VALUE, such as train.lr=3e-4")
			continue
		}
		if value := parseValue(text, at, faults); value != nil {
			setPath(root, strings.Split(strings.ReplaceAll(path, "-", "_"), "."), "", value, faults)
		}
	}
}

func shorten(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune { return cond(r < ' ', ' ', r) }, s), "?")
}

// parseValue reads the right side of a --set as YAML: a word, a number, [a, b] or {k: v}.
func parseValue(text string, at *node, faults *report) *node {
	var doc yaml.Node
	if strings.TrimSpace(text) == "" {
		return &node{kind: null, flag: at.flag}
	}
	if len(text) > maxFileBytes {
		faults.add(at, "", "the value is longer than %d bytes", maxFileBytes)
		return nil
	}
	if err := yaml.Load([]byte(text), &doc); err != nil {
		faults.add(at, "", "the value is not YAML: want a word, a number, [a, b] or {key: value}")
		return nil
	}
	before := len(faults.faults)
	b := treeBuilder{flag: at.flag, faults: faults}
	if n := b.build(&doc, 0); len(faults.faults) == before {
		return n
	}
	return nil
}

// setPath puts value at a path below n, making the tables on the way.
func setPath(n *node, path []string, done string, value *node, faults *report) {
	word, rest := path[0], path[1:]
	switch n.kind {
	case list:
		setItem(n, path, done, value, faults)
		return
	case null:
		n.kind = table
	case scalar:
		faults.add(value, strings.Join(append([]string{done}, path...), "."), "%s is %s and has no keys", done, n.describe())
		return
	}
	if len(rest) == 0 {
		n.put(word, value)
		return
	}
	next := n.get(word)
	if next == nil && done == "" && word == "stages" {
		faults.add(value, "", "the configuration has no stages: set %s", strings.Join(cond(len(rest) > 1, rest[min(1, len(rest)):], rest), "."))
		return
	}
	if next == nil {
		next = &node{kind: table, flag: value.flag}
		n.put(word, next)
	}
	setPath(next, rest, join(done, word), value, faults)
}

// setItem is setPath in a list.
func setItem(n *node, path []string, done string, value *node, faults *report) {
	word, rest := path[0], path[1:]
	found := false
	for i, item := range n.items {
		name := item.get("name")
		if word != "*" && word != strconv.Itoa(i) && (name == nil || strings.ReplaceAll(name.text, "-", "_") != word) {
			continue
		}
		found = true
		if len(rest) == 0 {
			n.items[i] = value.clone()
			continue
		}
		setPath(item, rest, join(done, word), value.clone(), faults)
	}
	if !found {
		faults.add(value, join(done, word), "there is no such element: %s has %d, counted from 0%s", done, len(n.items), n.names())
	}
}

// names lists the names of the elements of a list of stages.
func (n *node) names() string {
	var names []string
	for _, item := range n.items {
		if name := item.get("name"); name != nil && name.kind == scalar {
			names = append(names, name.text)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// checkSettings refuses flags that would have no effect because stages of the file set the same key. A file with one
// stage leaves no doubt: there the flag is applied to the stage.
func checkSettings(root *node, settings []Setting, faults *report) []Setting {
	stages := root.get("stages")
	var out []Setting
	for _, s := range settings {
		section, last, _ := strings.Cut(s.Key, ".")
		at := stageThatSets(stages, section, last)
		switch {
		case at == nil:
		case len(stages.items) == 1:
			s.Key = "stages.0." + s.Key
		default:
			faults.add(&node{flag: s.Flag}, s.Key, "stages set it themselves (%s); say which with --set 'stages.NAME.%s=%s', or stages.* for all",
				at.where(), s.Key, s.Value)
			continue
		}
		out = append(out, s)
	}
	return out
}

// stageThatSets finds where a stage gives a key or an alternative to it.
func stageThatSets(stages *node, section, last string) *node {
	if stages == nil {
		return nil
	}
	for _, stage := range stages.items {
		t := stage.get(section)
		if t == nil {
			continue
		}
		for _, e := range t.entries {
			if e.key == last || alternatives(e.key, last) {
				return e.value
			}
		}
	}
	return nil
}

// applySettings edits the tree by flags.
func applySettings(root *node, settings []Setting, faults *report) {
	for _, s := range settings {
		value := &node{kind: scalar, text: s.Value, flag: s.Flag}
		if s.Value == "" {
			value.quoted = true
		}
		setPath(root, strings.Split(s.Key, "."), "", value, faults)
	}
}

// checkAlternatives notes alternatives that are given together in one table.
func checkAlternatives(n *node, faults *report) {
	if n == nil || n.kind != table {
		return
	}
	for _, g := range groups {
		var first *entry
		for i, e := range n.entries {
			if !alternatives(e.key, g[0]) || e.value.off() {
				continue
			}
			if first != nil {
				faults.add(e.value, e.value.path, "%s is given too (%s): give one of %s", first.key, first.value.where(), orList(g))
				continue
			}
			first = &n.entries[i]
		}
	}
}

// orList is "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return fmt.Sprintf("%s or %s", strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
}
