package data

import (
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"
)

// Split is a share of the documents that is held out under a name of its own, as {"valid", 0.02}.
type Split struct {
	Name     string
	Fraction float64
}

// TrainSplit is the name of what no Split takes.
const TrainSplit = "train"

// checkSplits refuses shares that make no sense.
func checkSplits(splits []Split) error {
	sum := 0.0
	seen := map[string]bool{TrainSplit: true}
	for _, s := range splits {
		if s.Name == "" || strings.ContainsAny(s.Name, `/\`) || seen[s.Name] {
			return fmt.Errorf("split %q: the name must be a new one, not empty, not %q and without slashes", s.Name, TrainSplit)
		}
		if !(s.Fraction > 0 && s.Fraction < 1) {
			return fmt.Errorf("split %s: fraction %g must lie between 0 and 1", s.Name, s.Fraction)
		}
		seen[s.Name] = true
		sum += s.Fraction
	}
	if sum >= 1 {
		return fmt.Errorf("the splits take %g of the documents; less than 1 must leave something for %s", sum, TrainSplit)
	}
	return nil
}

// splitOf is the number of the split that holds a document: 0 is what no Split takes, i+1 is splits[i]. A function of the
// document's name alone, so a corpus that grows keeps its held-out documents.
func splitOf(splits []Split, name string) int {
	if len(splits) == 0 {
		return 0
	}
	u := float64(xxh3.HashString(name)>>11) * 0x1p-53
	for i, s := range splits {
		if u -= s.Fraction; u < 0 {
			return i + 1
		}
	}
	return 0
}

// splitOfLine is splitOf for a document that is a line of a file.
func splitOfLine(splits []Split, name string, line int64) int {
	if len(splits) == 0 {
		return 0
	}
	return splitOf(splits, fmt.Sprintf("%s:%d", name, line))
}

// dtypeFor is Megatron's choice of element type: 16 bits for vocabularies below 65,500, otherwise 32.
func dtypeFor(vocab int) dtype {
	if vocab < 65500 {
		return dtypeU16
	}
	return dtypeI32
}
