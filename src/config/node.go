package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// A description is read into a small tree of our own, in which every value knows where it was written. Flags and --set
// are edits of that tree, stages are laid over what is said for all of them, and only then is it decoded: one decoder
// for everything, and a fault found late still names its line.

type kind uint8

const (
	scalar kind = iota
	null
	list
	table
)

type node struct {
	kind    kind
	text    string // scalar
	quoted  bool   // scalar: written as a string
	items   []*node
	entries []entry // table, in the order of the file
	file    string
	line    int
	flag    string // instead of file and line: --lr, or --set with its argument
	path    string // key path, set by setPaths
}

type entry struct {
	key   string
	value *node
}

const (
	maxFileBytes = 1 << 20
	maxNodes     = 100_000 // aliases can make a small file huge
	maxDepth     = 50
)

func (n *node) where() string {
	switch {
	case n.flag != "":
		return n.flag
	case n.line > 0:
		return fmt.Sprintf("%s:%d", n.file, n.line)
	}
	return n.file
}

// get is the value of a key of a table, nil when there is none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// off tells whether a node says that something is not wanted: it excludes no alternative.
func (n *node) off() bool {
	return n.kind == null || n.kind == scalar && (n.text == "0" || n.text == "false")
}

// put sets a key of a table, and drops the alternatives to that key.
func (n *node) put(key string, value *node) {
	n.entries = slices.DeleteFunc(n.entries, func(e entry) bool { return e.key != key && alternatives(e.key, key) && !value.off() })
	for i := range n.entries {
		if n.entries[i].key == key {
			n.entries[i].value = value
			return
		}
	}
	n.entries = append(n.entries, entry{key, value})
}

// overlay is base with everything that over says put over it, table by table. Neither is changed.
func overlay(base, over *node) *node {
	if base == nil || over == nil || base.kind != table || over.kind != table {
		if over == nil || over.kind == null && base != nil {
			return base
		}
		return over
	}
	out := *over
	out.entries = slices.Clone(base.entries)
	for _, e := range over.entries {
		out.put(e.key, overlay(out.get(e.key), e.value))
	}
	return &out
}

// clone is a copy that shares nothing.
func (n *node) clone() *node {
	out := *n
	out.items, out.entries = slices.Clone(n.items), slices.Clone(n.entries)
	for i, c := range out.items {
		out.items[i] = c.clone()
	}
	for i, e := range out.entries {
		out.entries[i].value = e.value.clone()
	}
	return &out
}

// setPaths writes into every node the key path under which it was written.
func (n *node) setPaths(path string) {
	n.path = path
	for i, c := range n.items {
		c.setPaths(join(path, fmt.Sprint(i)))
	}
	for _, e := range n.entries {
		e.value.setPaths(join(path, e.key))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe names what a node is, for faults.
func (n *node) describe() string {
	switch n.kind {
	case list:
		return "a list"
	case table:
		return "a table of keys"
	case null:
		return "nothing"
	}
	text := n.text
	if len(text) > 60 {
		text = text[:60] + "..."
	}
	if n.quoted {
		return fmt.Sprintf("the string %q", text)
	}
	return fmt.Sprintf("%q", text)
}

// parseFile reads YAML into a tree.
func parseFile(name string, data []byte, faults *report) *node {
	root := &node{kind: table, file: name}
	if len(data) > maxFileBytes {
		faults.add(root, "", "the file has %d bytes: a configuration has less than %d", len(data), maxFileBytes)
		return root
	}
	if !utf8.Valid(data) {
		faults.add(root, "", "the file is not UTF-8 text")
		return root
	}
	if strings.TrimSpace(string(data)) == "" {
		faults.add(root, "", "the file is empty")
		return root
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		addSyntax(root, err, faults)
		return root
	}
	b := treeBuilder{file: name, faults: faults}
	got := b.build(&doc, 0)
	switch {
	case len(faults.faults) > 0:
		return root
	case got == nil || got.kind == null:
		faults.add(root, "", "the file has no keys")
		return root
	case got.kind != table:
		faults.add(got, "", "want keys with values (\"model:\", \"train:\", ...), got %s", got.describe())
		return root
	}
	return got
}

// addSyntax notes what the YAML parser has to say, with its line.
func addSyntax(root *node, err error, faults *report) {
	var all *yaml.LoadErrors
	if errors.As(err, &all) && len(all.Errors) > 0 {
		for _, e := range all.Errors {
			faults.add(&node{file: root.file, line: e.Mark.Line}, "", "%s", syntaxText(e.Message, e.Unwrap()))
		}
		return
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		faults.add(&node{file: root.file, line: one.Mark.Line}, "", "%s", syntaxText(one.Message, one.Unwrap()))
		return
	}
	faults.add(root, "", "%s", syntaxText(err.Error(), nil))
}

func syntaxText(message string, err error) string {
	if message == "" && err != nil {
		message = err.Error()
	}
	message, _, _ = strings.Cut(message, "\n")
	return "not YAML: " + strings.TrimPrefix(message, "yaml: ")
}

// treeBuilder turns the library's nodes into ours: aliases and merge keys expanded, duplicate keys found.
type treeBuilder struct {
	file   string
	flag   string
	faults *report
	count  int
	full   bool
}

func (b *treeBuilder) build(y *yaml.Node, depth int) *node {
	n := &node{kind: null, file: b.file, line: y.Line, flag: b.flag}
	if b.count++; b.count > maxNodes || depth > maxDepth {
		if !b.full {
			b.faults.add(n, "", "too deep or too large: a configuration has less than %d levels and %d values", maxDepth, maxNodes)
		}
		b.full = true
	}
	if b.full {
		return n
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return n
		}
		return b.build(y.Content[0], depth)
	case yaml.AliasNode:
		if y.Alias == nil {
			return n
		}
		return b.build(y.Alias, depth+1)
	case yaml.ScalarNode:
		n.text = y.Value
		n.quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		if n.quoted || !isNull(n.text) {
			n.kind = scalar
		}
	case yaml.SequenceNode:
		n.kind = list
		for _, c := range y.Content {
			n.items = append(n.items, b.build(c, depth+1))
		}
	case yaml.MappingNode:
		b.table(n, y, depth)
	}
	return n
}

func isNull(text string) bool { return text == "" || text == "~" || strings.EqualFold(text, "null") }

func (b *treeBuilder) table(n *node, y *yaml.Node, depth int) {
	n.kind = table
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], b.build(y.Content[i+1], depth+1)
		at := &node{file: b.file, line: key.Line, flag: b.flag}
		switch {
		case key.Kind != yaml.ScalarNode:
			b.faults.add(at, "", "a key must be a word")
			continue
		case key.Value == "<<" && key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0:
			merged = append(merged, value)
			continue
		case n.get(key.Value) != nil:
			b.faults.add(at, key.Value, "the key stands twice, first in line %d", n.get(key.Value).line)
			continue
		}
		if value.kind != scalar {
			value.line = key.Line
		}
		n.entries = append(n.entries, entry{key.Value, value})
	}
	for _, m := range merged {
		sources := []*node{m}
		if m.kind == list {
			sources = m.items
		}
		for _, s := range sources {
			if s.kind != table {
				b.faults.add(m, "<<", "want a table of keys to merge, got %s", s.describe())
				continue
			}
			*n = *overlay(s, n)
		}
	}
}
