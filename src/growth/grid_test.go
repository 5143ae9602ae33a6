package growth_test

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/tensor"
)

// drawShapes are some sizes of one small model, each at least as large as the one before, that tp up to 4 can split.
func drawShapes(t *rapid.T, n int) []arch.Model {
	i := func(what string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, what) }
	b := func(what string) bool { return rapid.Bool().Draw(t, what) }
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.FFNHiddenSize = i("layers", 1, 4), i("hidden", 1, 9), 4*i("ffn", 1, 3)
	m.NumQueryGroups = 4
	m.NumAttentionHeads = 4 * i("heads a group", 1, 2)
	m.KVChannels = 2 * i("half head size", 1, 2)
	m.VocabSize, m.VocabSizeDivisibleBy, m.MaxPositions = i("vocab", 1, 20), i("divisible", 1, 4), seq+i("positions", 0, 2)
	m.SwiGLU, m.LinearBias, m.UntieOutput = b("swiglu"), b("bias"), b("untie")
	m.Position = rapid.SampledFrom([]string{arch.PositionLearned, arch.PositionRope, arch.PositionXPos, arch.PositionNone}).Draw(t, "position")
	if b("rms") {
		m.Normalization = arch.RMSNorm
	}
	if b("muP") {
		m.MupBaseWidth = 4
	}
	shapes := []arch.Model{m}
	for len(shapes) < n {
		m.NumLayers += i("grow layers", 0, 2)
		m.HiddenSize += i("grow hidden", 0, 1) * i("by", 1, 5)
		m.FFNHiddenSize += 4 * i("grow ffn", 0, 2)
		r := m.NumAttentionHeads/m.NumQueryGroups + i("grow heads a group", 0, 1)
		m.NumQueryGroups += 4 * i("grow groups", 0, 1)
		m.NumAttentionHeads = m.NumQueryGroups * r
		shapes = append(shapes, m)
	}
	return shapes
}

// drawGrid is a grid of a world, interleaved at times.
func drawGrid(t *rapid.T, world, layers int) grid.Grid {
	var all []grid.Grid
	for _, tp := range []int{1, 2, 4} {
		for pp := 1; pp <= min(layers, world/tp); pp++ {
			if g, err := grid.New(world, tp, pp); err == nil {
				all = append(all, g)
			}
		}
	}
	g := rapid.SampledFrom(all).Draw(t, "grid")
	if chunks := layers / g.PP; g.PP > 1 && chunks > 1 && rapid.Bool().Draw(t, "interleaved") {
		g = g.Interleaved(chunks)
	}
	return g
}

// drawOptions is an operator that can make the growths.
func drawOptions(t *rapid.T, shapes []arch.Model) growth.Options {
	o := growth.Options{Operator: rapid.SampledFrom([]growth.Operator{growth.Zero, growth.Mask, growth.Stack}).Draw(t, "operator")}
	last := shapes[len(shapes)-1]
	last.NumLayers = shapes[0].NumLayers
	if o.Operator == growth.Stack && last != shapes[0] {
		o.Operator = growth.Zero
	}
	if o.Operator == growth.Mask && rapid.Bool().Draw(t, "MSG") {
		o.Statistics = growth.MSG
	}
	o.LayerPlacement = rapid.SampledFrom([]string{growth.Top, growth.Spread}).Draw(t, "placement")
	o.NewLayers = rapid.SampledFrom([]string{growth.Random, growth.Copy}).Draw(t, "new layers")
	return o
}

// grownOn grows from shape to shape, and from grid to grid, and gathers the last state. The losses are those before and after
// each growth, where they are asked for.
func grownOn(shapes []arch.Model, grids []grid.Grid, o growth.Options, dtype tensor.DType, staging int, losses bool) (*gathered, []float64, error) {
	all := newGathered()
	var seen []float64
	err := everywhere(grids[0].World(), func(world comm.Communicator, sent *atomic.Int64) error {
		r := newPlace(world, shapes[0], grids[0], dtype, sent)
		defer r.b.Close()
		r.staging = staging
		for i := 1; i < len(shapes); i++ {
			before, after := 0.0, 0.0
			var err error
			if losses {
				if before, err = r.loss(arch.Mask{}); err != nil {
					return err
				}
			}
			plan, err := r.grow(shapes[i], grids[i], o, i)
			if err != nil {
				return fmt.Errorf("growth %d: %w", i, err)
			}
			if !losses {
				continue
			}
			if after, err = r.loss(plan.MaskAt(0)); err != nil {
				return err
			}
			if world.Rank() == 0 {
				seen = append(seen, before, after)
			}
		}
		all.take(r)
		return nil
	})
	return all, seen, err
}

// drawUneven is a grid of a world whose first and last pipeline stages have their own numbers of layers.
func drawUneven(t *rapid.T, world, layers int) grid.Grid {
	g := drawGrid(t, world, layers)
	for range 4 {
		u := g.Uneven(rapid.IntRange(0, layers).Draw(t, "first"), rapid.IntRange(0, layers).Draw(t, "last"))
		if g.PP > 1 && u.Deals(layers) {
			return u
		}
	}
	return g
}

// Random shapes, grids, operators and types, two growths in a row: weights, masters, moments and births are what one rank
// makes of them, bit for bit. Every growth is checked for the bytes it moves and the memory it needs (place.grow).
func TestGrowthOverAnyGridsIsThatOfOneRank(t *testing.T) { growsLikeOneRank(t, drawGrid) }

func TestGrowthOverUnevenStagesIsThatOfOneRank(t *testing.T) { growsLikeOneRank(t, drawUneven) }

func growsLikeOneRank(t *testing.T, drawGrid func(t *rapid.T, world, layers int) grid.Grid) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		shapes := drawShapes(t, 3)
		world := rapid.SampledFrom([]int{2, 3, 4, 6, 8}).Draw(t, "world")
		var grids, single []grid.Grid
		for _, m := range shapes {
			grids, single = append(grids, drawGrid(t, world, m.NumLayers)), append(single, grid.Grid{TP: 1, PP: 1, DP: 1, Chunks: 1})
		}
		o := drawOptions(t, shapes)
		dtype := rapid.SampledFrom([]tensor.DType{tensor.F32, tensor.BF16, tensor.F16}).Draw(t, "type")
		staging := rapid.SampledFrom([]int{0, 4, 150, 1000}).Draw(t, "staging")
		want, _, err := grownOn(shapes, single, o, dtype, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := grownOn(shapes, grids, o, dtype, staging, false)
		if err == nil {
			err = got.compare(want)
		}
		if err != nil {
			t.Fatalf("%v, %v, %+v: %v", grids, dtype, o, err)
		}
		if dtype == tensor.F32 || o.Operator == growth.Zero && !shapes[0].RMS() {
			return // means are those of the rounded weights
		}
		// Masters are what fp32 weights would be.
		wide, _, err := grownOn(shapes, single, o, tensor.F32, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		for name := range want.all {
			if strings.HasPrefix(name, "model ") {
				wide.all[name] = want.all[name]
			}
		}
		if err := want.compare(wide); err != nil {
			t.Fatalf("%v, %+v: masters are not the weights of a run in fp32: %v", dtype, o, err)
		}
	})
}

// FLM-101B's way in small, (tp 2, pp 1) to (tp 4, pp 2) to (tp 4, pp 4 on fewer dp), and others: the loss stays where the
// operator keeps it, through the real model on both grids.
func TestGrowthToAnotherGridKeepsTheLoss(t *testing.T) {
	shape := func(layers, hidden, heads, ffn int) arch.Model {
		m := llama(layers, hidden, heads, ffn)
		m.VocabSizeDivisibleBy = 2
		return m
	}
	shapes := []arch.Model{shape(2, 24, 4, 40), shape(4, 40, 8, 60), shape(6, 56, 8, 80)}
	grids := func(world int, list ...[3]int) (out []grid.Grid) {
		for _, x := range list {
			g, err := grid.New(world, x[0], x[1])
			must(err)
			if x[2] > 1 {
				g = g.Interleaved(x[2])
			}
			out = append(out, g)
		}
		return out
	}
	for _, gs := range [][]grid.Grid{
		grids(8, [3]int{2, 1, 1}, [3]int{4, 2, 1}, [3]int{4, 2, 3}),
		grids(4, [3]int{1, 2, 1}, [3]int{2, 1, 1}, [3]int{1, 4, 1}),
		grids(2, [3]int{2, 1, 1}, [3]int{1, 2, 2}, [3]int{1, 1, 1}),
	} {
		for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
			for _, o := range []growth.Options{{Operator: growth.Zero}, {Operator: growth.Mask, LayerPlacement: growth.Spread}, {Operator: growth.Zero, NewLayers: growth.Copy}} {
				if testing.Short() && (dtype == tensor.F16 || o.NewLayers == growth.Copy) {
					continue
				}
				for _, norm := range []string{arch.LayerNorm, arch.RMSNorm} {
					for i := range shapes {
						shapes[i].Normalization = norm
					}
					for i := 1; i < len(shapes); i++ { // one growth at a time: a mask would have to rise in between
						_, losses, err := grownOn(shapes[i-1:i+1], gs[i-1:i+1], o, dtype, 0, true)
						if err != nil {
							t.Fatalf("%v %v %+v: %v", gs, dtype, o, err)
						}
						if change := math.Abs(losses[1]/losses[0] - 1); !(change <= growth.Tolerance(dtype)) {
							t.Errorf("%v to %v, %v, %+v %s: the loss goes from %.7g to %.7g", gs[i-1], gs[i], dtype, o, norm, losses[0], losses[1])
						}
					}
				}
			}
		}
	}
}

// Memory ends on one rank of four, at every allocation in turn, on the way from one grid to another: growth fails on all, nothing
// leaks, the old state is untouched, and steps go on as if nothing had been tried. Then it works.
func TestAFailureOnOneRankOfAGridLeavesTheOldStateOnAll(t *testing.T) {
	from, to := llama(2, 24, 4, 40), llama(4, 40, 8, 52)
	a, err := grid.New(4, 2, 1)
	must(err)
	b, err := grid.New(4, 1, 2)
	must(err)
	for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16} {
		tried, untried := newGathered(), newGathered()
		err := everywhere(4, func(world comm.Communicator, sent *atomic.Int64) error {
			r, other := newPlace(world, from, a, dtype, sent), newPlace(world, from, a, dtype, sent)
			defer r.b.Close()
			defer other.b.Close()
			plan, err := growth.NewPlan(from, r.f, to, growth.Options{})
			if err != nil {
				return err
			}
			next, _ := groupsOf(world, to, b, sent)
			used, worked := r.b.Usage().Current, -1
			for left := 0; worked < 0 && left < 12; left++ {
				bk := backend.Backend(r.b)
				if world.Rank() == 2 {
					bk = &poor{r.b, left}
				}
				g, err := growth.Grow(growth.Job{Plan: plan, Backend: bk, Stream: r.s, Old: r.state, Parallel: next, Seed: 1})
				if err == nil {
					worked = left
					g.Abort()
				} else if want := map[bool]string{true: "out of memory", false: "another rank failed"}[world.Rank() == 2]; !strings.Contains(err.Error(), want) {
					return fmt.Errorf("%d blocks left: %v, want %q", left, err, want)
				}
				if now := r.b.Usage().Current; now != used {
					return fmt.Errorf("%d blocks left: %d bytes in use, %d before", left, now, used)
				}
			}
			if worked < 4 { // weights, gradients, optimizer, staging, births
				return fmt.Errorf("growth worked with %d blocks", worked)
			}
			for _, p := range []*place{r, other} {
				if err := p.step(); err != nil {
					return err
				}
			}
			tried.take(r)
			untried.take(other)
			return nil
		})
		if err == nil {
			err = tried.compare(untried)
		}
		if err != nil {
			t.Fatalf("%v: %v", dtype, err)
		}
	}
}

// A re-layout changes nothing: weights, state and births are those that left, on any grid and back.
func TestAnotherGridForTheSameShapeChangesNothing(t *testing.T) {
	m := llama(4, 24, 4, 40)
	var grids []grid.Grid
	for _, x := range [][2]int{{2, 1}, {4, 2}, {1, 4}, {1, 1}, {2, 4}} {
		g, err := grid.New(8, x[0], x[1])
		must(err)
		grids = append(grids, g)
	}
	for _, dtype := range []tensor.DType{tensor.F32, tensor.F16} {
		shapes := []arch.Model{m, m, m, m, m}
		want, _, err := grownOn(shapes[:1], grids[:1], growth.Options{}, dtype, 0, false)
		must(err)
		got, _, err := grownOn(shapes, grids, growth.Options{Operator: growth.Mask}, dtype, 0, false)
		must(err)
		if err := got.compare(want); err != nil {
			t.Errorf("%v: %v", dtype, err)
		}
	}
}
