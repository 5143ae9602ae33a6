package checkpoint

import (
	"encoding/json"
	"fmt"
)

// MarshalJSON writes each vector as runs [[step, count], ...]: an axis is born in a few pieces.
func (b Births) MarshalJSON() ([]byte, error) {
	out := map[string][][2]int64{}
	for axis, births := range b {
		runs := [][2]int64{}
		for _, v := range births {
			if n := len(runs); n > 0 && runs[n-1][0] == int64(v) {
				runs[n-1][1]++
			} else {
				runs = append(runs, [2]int64{int64(v), 1})
			}
		}
		out[axis] = runs
	}
	return json.Marshal(out)
}

// maxBirths bounds what a manifest can make a reader allocate for one axis.
const maxBirths = 1 << 28

// UnmarshalJSON is the inverse of MarshalJSON.
func (b *Births) UnmarshalJSON(text []byte) error {
	var in map[string][][2]int64
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*b = Births{}
	for axis, runs := range in {
		births := []int32{}
		for _, r := range runs {
			if r[1] < 0 || int64(len(births))+r[1] > maxBirths || int64(int32(r[0])) != r[0] {
				return fmt.Errorf("births of axis %s: run %v is impossible", axis, r)
			}
			for range r[1] {
				births = append(births, int32(r[0]))
			}
		}
		(*b)[axis] = births
	}
	return nil
}
