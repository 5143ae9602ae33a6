package grid

import (
	"fmt"
	"regexp"
	"strconv"
)

var words = regexp.MustCompile(`^\s*(?:tp(\d+))?\s*(?:pp(\d+)(?:x(\d+))?)?\s*(?:dp(\d+))?\s*(?:first(\d+))?\s*(?:last(\d+))?\s*$`)

// Parse reads what String writes, spaces or not. A dimension that is left out has size 1.
func Parse(text string) (Grid, error) {
	m := words.FindStringSubmatch(text)
	if m == nil || m[1]+m[2]+m[4] == "" {
		return Grid{}, fmt.Errorf("grid: %q: want sizes such as tp2pp4dp12, pp4x3 for three runs of layers a pipeline stage", text)
	}
	n := [6]int{1, 1, 1, 1} // first and last: 0
	for i, word := range m[1:] {
		if word == "" {
			continue
		}
		var err error
		if n[i], err = strconv.Atoi(word); err != nil || n[i] < 1 || n[i] > 1<<20 {
			return Grid{}, fmt.Errorf("grid: %q: %s is impossible: want 1 to %d", text, word, 1<<20)
		}
	}
	return Grid{TP: n[0], PP: n[1], Chunks: n[2], DP: n[3], First: n[4], Last: n[5]}, nil
}
