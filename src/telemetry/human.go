package telemetry

import (
	"fmt"
	"math"
	"strings"
)

// count is 950, 41.2k, 1.24M, 101B: three digits.
func count(n int64) string {
	x, units := float64(n), []string{"", "k", "M", "B", "T"}
	for x >= 999.5 && len(units) > 1 {
		x, units = x/1000, units[1:]
	}
	if units[0] == "" {
		return fmt.Sprint(n)
	}
	digits := 0
	if x < 99.95 {
		digits = 1
	}
	if x < 9.995 {
		digits = 2
	}
	text := fmt.Sprintf("%.*f", digits, x)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + units[0]
}

// clock is 0:07, 12:34 or 3:05:09; an unknown time is -:--.
func clock(seconds float64) string {
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) || seconds < 0 {
		return "-:--"
	}
	s := int64(seconds + 0.5)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
