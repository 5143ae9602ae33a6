package grid

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawUneven(t)
		g.Chunks = max(g.Chunks, 1)
		for _, text := range []string{g.String(), strings.ReplaceAll(g.String(), " ", "")} {
			if back, err := Parse(text); err != nil || back != g {
				t.Fatalf("%q is %v, %v", text, back, err)
			}
		}
	})
	for text, want := range map[string]Grid{
		"dp4": {TP: 1, PP: 1, DP: 4, Chunks: 1}, "tp2dp3": {TP: 2, PP: 1, DP: 3, Chunks: 1}, "pp2x3": {TP: 1, PP: 2, DP: 1, Chunks: 3},
		"pp4 first9last6": {TP: 1, PP: 4, DP: 1, Chunks: 1, First: 9, Last: 6}, "pp4 last6": {TP: 1, PP: 4, DP: 1, Chunks: 1, Last: 6},
	} {
		if g, err := Parse(text); err != nil || g != want {
			t.Errorf("%q is %v, %v", text, g, err)
		}
	}
	for _, text := range []string{"", " ", "4", "dp", "tp0", "dp2tp2", "tp-1", "dp99999999", "pp2x0", "tp2 pp2 dp2 cp2", "pp2 last0", "pp2 last1 first1"} {
		if g, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, g)
		}
	}
}
