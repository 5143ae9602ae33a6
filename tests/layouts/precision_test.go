package layouts

import "testing"

// some are layouts that between them have every schedule, sequence parallelism and kind of recomputation.
var some = []cut{
	{tp: 2, pp: 1, dp: 1},
	{tp: 1, pp: 2, dp: 1, schedule: "gpipe", recompute: "selective"},
	{tp: 1, pp: 1, dp: 4, recompute: "full"},
	{tp: 2, pp: 2, dp: 2, schedule: "1f1b", sequence: true},
	{tp: 1, pp: 4, dp: 2, schedule: "zero-bubble"},
	{tp: 4, pp: 1, dp: 2, sequence: true, recompute: "full"},
	{tp: 2, pp: 4, dp: 1, schedule: "interleaved", virtual: 1, sequence: true, recompute: "selective"},
	{tp: 8, pp: 1, dp: 1},
}

// Weights and activations of 8 (bf16) or 11 (fp16) significant bits round by 2^-9 and 2^-12 where parts are added up or
// gathered, and layouts add up other parts; masters, gradients of weights and sums over ranks are fp32. A loss is a mean over
// 64 tokens, a norm one over some ten thousand numbers, so that most of that cancels: 5e-4 and 4e-3 were seen in bf16, 5e-5 and
// 5e-4 in fp16.
func TestLayoutsOf16BitsTrainLikeOneRank(t *testing.T) {
	for dtype, b := range map[string]bounds{"bf16": {loss: 1e-3, norm: 1e-2}, "fp16": {loss: 1.5e-4, norm: 1.5e-3}} {
		for name := range models {
			sets := []string{"train.lr=1e-3", "train.min_lr=1e-4"} // small steps: what rounding does is not amplified
			if dtype == "fp16" {
				sets = append(sets, "precision.initial_loss_scale=1024")
			}
			want := run(t, configure(t, t.TempDir(), name, dtype, one, sets...))
			var far apart
			t.Run(dtype+" "+name, func(t *testing.T) {
				for _, c := range some {
					t.Run(c.String(), func(t *testing.T) {
						t.Parallel()
						far.add(compare(t, run(t, configure(t, t.TempDir(), name, dtype, c, sets...)), want, b))
					})
				}
			})
			t.Logf("%s %s: %v", dtype, name, &far)
		}
	}
}
