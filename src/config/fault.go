package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Fault is one thing wrong with a description: where it was written, which key, and a sentence.
type Fault struct {
	Where string // run.yaml:12, --lr, --set train.lr=x
	Key   string // stages.1.model.hidden_size
	Text  string
}

// String is "run.yaml:12: stages.1.model.hidden_size: 100 is not a multiple of ...".
func (f Fault) String() string {
	s := f.Text
	if f.Key != "" {
		s = f.Key + ": " + s
	}
	if f.Where != "" {
		s = f.Where + ": " + s
	}
	return s
}

// Faults is the error that Load returns: everything that is wrong, one line each.
type Faults []Fault

// Error has one line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// report collects faults while a description is read, and the keys that have one: no conclusion is drawn from those.
type report struct {
	faults  Faults
	tainted map[string]bool
}

func newReport() *report { return &report{tainted: map[string]bool{}} }

// add notes a fault once: what the file says for all stages would be found wrong in each.
func (r *report) add(n *node, key, format string, args ...any) {
	x := Fault{Key: key, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		x.Where = n.where()
	}
	r.tainted[key] = true
	if !slices.Contains(r.faults, x) {
		r.faults = append(r.faults, x)
	}
}

// taintedAbove tells whether a key, or a table that it lies in, has a fault.
func (r *report) taintedAbove(path string) bool {
	for {
		if r.tainted[path] {
			return true
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

// unknown notes a key that its table does not have, and tells which of the table's keys was probably meant, or where
// the key belongs.
func (r *report) unknown(n *node, e entry, siblings []string) {
	for _, k := range keys {
		if section, last := k.split(); last == e.key {
			r.add(e.value, e.value.path, "unknown key here; it belongs %s", cond(section == "", "at the top of the file", "under "+section))
			r.tainted[join(n.path, e.key)] = true
			r.tainted[k.Path] = true
			return
		}
	}
	meant := nearest(e.key, siblings)
	if meant == "" {
		r.add(e.value, e.value.path, "unknown key")
		return
	}
	r.add(e.value, e.value.path, "unknown key, did you mean %s?", meant)
	r.tainted[join(n.path, meant)] = true
}

func cond[T any](c bool, yes, no T) T {
	if c {
		return yes
	}
	return no
}

// err is f as an error: nil when nothing is wrong.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Suggest finds the candidate that word was probably meant to be, as ", did you mean X?", or "".
func Suggest(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return fmt.Sprintf(", did you mean %s?", best)
	}
	return ""
}

// nearest is the candidate with the fewest edits to word, "" when all are far.
func nearest(word string, candidates []string) string {
	best, distance := "", max(2, len(word)/3)+1
	if len(word) > 100 {
		return ""
	}
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(c)); d < distance && d < len(c) {
			best, distance = c, d
		}
	}
	return best
}
