package conformance

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

var adamWOuts = []tensor.DType{tensor.I32, tensor.F32, tensor.BF16, tensor.F16} // I32: absent

func caseAdamW(l *lab) {
	for _, s := range some(l, shapes) {
		for _, births := range []bool{false, true} {
			for _, out := range adamWOuts {
				l.adamW(births, adamTensor{rows: s.rows, cols: s.cols, out: out})
			}
		}
	}
}

// caseAdamWLists gives one call more tensors than a launch takes: small ones among larger ones, an empty one, each with a rate and a
// decay of its own, and other types towards the end.
func caseAdamWLists(l *lab) {
	for _, births := range []bool{false, true} {
		for _, out := range adamWOuts {
			var list []adamTensor
			for i := range 131 {
				x := adamTensor{rows: 1 + i%3, cols: []int{1, 768, 64, 12, 1031}[i*2%5], out: out}
				if i > 120 {
					x.out = adamWOuts[i%4]
				}
				list = append(list, x)
			}
			list[17].rows, list[60].rows, list[61].rows = 0, 37, 41
			l.adamW(births, list...)
		}
	}
	l.run(func(st backend.Stream) { st.AdamW() })
}

// adamTensor is one tensor of a call, and how many steps its elements have been taken.
type adamTensor struct {
	rows, cols int
	out        tensor.DType

	c             adamCase
	op            backend.AdamW
	w, g, m, v, o *buf
	age           func(i, j int) int
}

// adamW takes one step of a list of tensors. The update itself is small beside the weight: it is held to a bound of its own, as far as
// fp32 weights show it.
func (l *lab) adamW(births bool, list ...adamTensor) {
	var ops []backend.AdamW
	for i := range list {
		l.adamTensor(&list[i], i, births)
		ops = append(ops, list[i].op)
	}
	l.run(func(st backend.Stream) { st.AdamW(ops...) })
	var moved, want []float64
	for i := range list {
		x := &list[i]
		w, m, v := x.after()
		l.near(x.w, w, boundAdam)
		l.near(x.m, m, boundAdam)
		l.near(x.v, v, boundAdam)
		if x.o != nil { // exactly the new weight, rounded
			l.near(x.o, mapped(x.w.got, func(_ int, w float64) float64 { return rounded(w, x.out) }), boundExact)
		}
		for k, before := range x.w.val {
			moved, want = append(moved, x.w.got[k]-before), append(want, w[k]-before)
		}
	}
	if err := compare(moved, want, 1e-4, 0); err != nil {
		l.Errorf("update: %v", err)
	}
}

// adamTensor makes the operands of number i of a list.
func (l *lab) adamTensor(x *adamTensor, i int, births bool) {
	rows, cols, n := x.rows, x.cols, x.rows*x.cols
	x.w, x.g, x.m = l.inout32("w", rows, cols, cols), l.in32("g", rows, cols, cols), l.inout32("m", rows, cols, cols)
	second := mapped(l.normal(n, 0.1), func(i int, v float64) float64 {
		if i%13 == 0 {
			return 0
		}
		return float64(float32(v * v))
	})
	x.v = l.buffer("v", both, tensor.F32, rows, cols, cols, second)
	x.op = backend.AdamW{
		W: x.w.view, G: x.g.view, M: x.m.view, V: x.v.view, Step: 17, GradScale: 0.25, LR: float32(3e-3 * float64(1+i%3)), Beta1: 0.9, Beta2: 0.95,
		Eps: 1e-8, WeightDecay: []float32{0.1, 0}[i%2],
	}
	a := x.op
	x.c = adamCase{float64(a.LR), float64(a.Beta1), float64(a.Beta2), float64(a.Eps), float64(a.WeightDecay), float64(a.GradScale)}
	x.age = func(i, j int) int { return a.Step }
	if births {
		row, col := make([]int, rows), make([]int, cols)
		for i := range row {
			row[i] = []int{0, 0, 9, 16}[l.rng.IntN(4)]
		}
		for j := range col {
			col[j] = []int{0, 5, 16}[j*3/cols]
			if j%10 == 9 {
				col[j] = 7
			}
		}
		x.op.BirthRow, x.op.BirthCol = l.ints("birth row", row).view, l.ints("birth column", col).view
		x.age = func(i, j int) int { return a.Step - max(row[i], col[j]) }
	}
	if x.out != tensor.I32 {
		x.o = l.buffer("out", write, x.out, rows, cols, cols, nil)
		x.op.Out = x.o.view
	}
}

// after is what the step makes of weights and moments, in fp64.
func (x *adamTensor) after() (w, m, v []float64) {
	for k, before := range x.w.val {
		w1, m1, v1 := x.c.step(before, x.g.val[k], x.m.val[k], x.v.val[k], x.age(k/x.cols, k%x.cols))
		w, m, v = append(w, w1), append(m, m1), append(v, v1)
	}
	return w, m, v
}
