package cpu

import "testing"

// Vectors are faster than none; not each level than the one before: some processors (Zen 4) take 512 bits in two halves.
func TestVectorsHaveThePeak(t *testing.T) {
	if testing.Short() {
		t.Skip("timing")
	}
	portable := 0.0
	for _, level := range []string{"portable", "avx2", "avx512"} {
		if (Options{Level: level}).Check() != nil {
			continue
		}
		t.Setenv(LevelVariable, level)
		peak, err := MeasurePeak(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f GFLOP/s", level, peak/1e9)
		if peak < portable || peak < 1e8 || peak > 1e13 {
			t.Errorf("%s: %.3g FLOP/s, portable %.3g", level, peak, portable)
		}
		if level == "portable" {
			portable = peak
		}
	}
	if _, err := MeasurePeak(0); err == nil {
		t.Error("0 workers have a peak")
	}
}
