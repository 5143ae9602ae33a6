package layouts

import "testing"

// rounding bounds how far fp32 sums in another order lead: a loss is a sum of some thousand products, each rounded by
// 2^-24 = 6e-8, and Adam divides a gradient by its own size, so that what rounding does to small ones counts as much as to
// large ones. Over 5 steps 6e-8 (the mean over 64 tokens forgives) and 4e-6 were seen; another order of samples, a gradient
// counted twice or a bias left out make more than 1e-3.
var rounding = bounds{loss: 1e-6, norm: 2e-5}

// cuts are all grids of up to 8 ranks whose parts are equal, with all that can be said of them.
func cuts() (out []cut) {
	for _, tp := range []int{1, 2, 4, 8} {
		for pp := 1; tp*pp <= 8; pp++ {
			for _, dp := range []int{1, 2, 4, 8} {
				if tp*pp*dp > 8 {
					break
				}
				for _, schedule := range schedules(pp, dp) {
					for _, sequence := range []bool{false, true} {
						if sequence && tp == 1 {
							continue
						}
						for _, recompute := range []string{"none", "selective", "full"} {
							if schedule.schedule == "zero-bubble" && recompute != "none" {
								continue // its two halves of a backward pass share the activations
							}
							schedule.tp, schedule.pp, schedule.dp = tp, pp, dp
							schedule.sequence, schedule.recompute = sequence, recompute
							out = append(out, schedule)
						}
					}
				}
			}
		}
	}
	return out
}

// schedules are those that a pipeline of 8 layers and 8/dp micro-batches can follow.
func schedules(pp, dp int) []cut {
	if pp == 1 {
		return []cut{{}}
	}
	out := []cut{{schedule: "gpipe"}, {schedule: "1f1b"}, {schedule: "zero-bubble"}}
	for virtual := 1; virtual < 8/pp; virtual *= 2 {
		if 8%(pp*virtual) == 0 && 8/dp%pp == 0 {
			out = append(out, cut{schedule: "interleaved", virtual: virtual})
		}
	}
	return out
}

// unevenCuts have pipeline stages of different sizes, one layer at least, with every schedule.
var unevenCuts = []cut{
	{tp: 1, pp: 2, dp: 1, last: 2, schedule: "1f1b", recompute: "none"},
	{tp: 2, pp: 2, dp: 2, first: 7, schedule: "gpipe", sequence: true, recompute: "full"},
	{tp: 1, pp: 4, dp: 2, first: 3, last: 1, schedule: "1f1b", recompute: "selective"},
	{tp: 2, pp: 4, dp: 1, first: 1, last: 1, schedule: "zero-bubble", recompute: "none"},
	{tp: 1, pp: 3, dp: 1, first: 2, last: 3, schedule: "zero-bubble", recompute: "none"},
	{tp: 2, pp: 2, dp: 1, virtual: 2, first: 5, last: 3, schedule: "interleaved", recompute: "none"},
	{tp: 1, pp: 2, dp: 2, virtual: 2, last: 5, schedule: "interleaved", recompute: "full"},
}

func TestEveryLayoutTrainsLikeOneRank(t *testing.T) {
	for name := range models {
		want := run(t, configure(t, t.TempDir(), name, "fp32", one))
		var far apart
		t.Run(name, func(t *testing.T) {
			for i, c := range append(cuts(), unevenCuts...) {
				if testing.Short() && i%11 != 3 {
					continue
				}
				t.Run(c.String(), func(t *testing.T) {
					t.Parallel()
					far.add(compare(t, run(t, configure(t, t.TempDir(), name, "fp32", c)), want, rounding))
				})
			}
		})
		t.Logf("%s: %v", name, &far)
	}
}
