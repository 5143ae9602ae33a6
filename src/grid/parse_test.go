package grid

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := draw(t)
		g.Chunks = max(g.Chunks, 1)
		for _, text := range []string{g.String(), strings.ReplaceAll(g.String(), " ", "")} {
			if back, err := Parse(text); err != nil || back != g {
				t.Fatalf("%q is %v, %v", text, back, err)
			}
		}
	})
	for text, want := range map[string]Grid{"dp4": {1, 1, 4, 1}, "tp2dp3": {2, 1, 3, 1}, "pp2x3": {1, 2, 1, 3}} {
		if g, err := Parse(text); err != nil || g != want {
			t.Errorf("%q is %v, %v", text, g, err)
		}
	}
	for _, text := range []string{"", " ", "4", "dp", "tp0", "dp2tp2", "tp-1", "dp99999999", "pp2x0", "tp2 pp2 dp2 cp2"} {
		if g, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, g)
		}
	}
}
