package cpu

import "math"

func axpyGeneric(y, x []float32, a float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += a * x[i]
	}
}

func scaleGeneric(x []float32, a float32) {
	for i := range x {
		x[i] *= a
	}
}

func mulGeneric(x, v []float32) {
	v = v[:len(x)]
	for i := range x {
		x[i] *= v[i]
	}
}

func addScaledGeneric(y, x, d []float32, a float32) {
	x, d = x[:len(y)], d[:len(y)]
	for i := range y {
		y[i] = x[i] + a*d[i]
	}
}

func sumGeneric(x []float32) float32 {
	s := 0.0
	for _, v := range x {
		s += float64(v)
	}
	return float32(s)
}

func sumSquaredDeviationsGeneric(x []float32, mu float32) float32 {
	s := 0.0
	for _, v := range x {
		d := float64(v - mu)
		s += d * d
	}
	return float32(s)
}

func sumSquaresGeneric(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

func normApplyGeneric(y, x, g, b []float32, mu, a, m float32) {
	x, g = x[:len(y)], g[:len(y)]
	if len(b) == 0 {
		for i := range y {
			y[i] = a * (x[i] - mu) * g[i]
		}
		return
	}
	b = b[:len(y)]
	for i := range y {
		y[i] = a*(x[i]-mu)*g[i] + m*b[i]
	}
}

func normSumsGeneric(x, dy, g []float32, mu float32) (h, hx float32) {
	dy, g = dy[:len(x)], g[:len(x)]
	var sh, shx float64
	for i, v := range x {
		t := g[i] * dy[i]
		sh += float64(t)
		shx += float64(t) * float64(v-mu)
	}
	return float32(sh), float32(shx)
}

func normGradGeneric(dx, res, x, dy, g, dg, db []float32, c normConstants) {
	n := len(dx)
	x, dy, g, dg, db = x[:n], dy[:n], g[:n], dg[:n], db[:n]
	mr := c.m * c.r
	for i := range dx {
		xh := (x[i] - c.mu) * c.r
		d := dy[i]
		t := c.m * d
		dg[i] += t * xh
		db[i] += t
		v := mr * (g[i]*d - c.a - xh*c.b)
		if len(res) > 0 {
			v += res[i]
		}
		dx[i] = v
	}
}

func rotaryGeneric(x, cos, sin []float32, heads int, sign float32) {
	n := len(cos)
	sin = sin[:n]
	for h := range heads {
		x1, x2 := x[h*2*n:][:n], x[h*2*n+n:][:n]
		for i := range x1 {
			a, b, s := x1[i], x2[i], sign*sin[i]
			x1[i] = a*cos[i] - b*s
			x2[i] = b*cos[i] + a*s
		}
	}
}

func swigluGeneric(y, g, u []float32) {
	g, u = g[:len(y)], u[:len(y)]
	for i := range y {
		y[i] = g[i] / (1 + exp32(-g[i])) * u[i]
	}
}

func swigluGradGeneric(dg, du, dy, g, u []float32) {
	n := len(dg)
	du, dy, g, u = du[:n], dy[:n], g[:n], u[:n]
	for i := range dg {
		z, v, d := g[i], u[i], dy[i]
		s := 1 / (1 + exp32(-z))
		du[i] = d * z * s
		dg[i] = d * v * s * (1 + z*(1-s))
	}
}

func maxGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func sumExpGeneric(x []float32, shift float32) float32 {
	s := 0.0
	for _, v := range x {
		s += float64(exp32(v - shift))
	}
	return float32(s)
}

func expSumGeneric(x []float32, shift float32) float32 {
	s := 0.0
	for i, v := range x {
		e := exp32(v - shift)
		x[i] = e
		s += float64(e)
	}
	return float32(s)
}

// adamwGeneric is one AdamW step (backend.AdamW) with the constants taken out of the loop:
//
//	g = gradScale G;  M += (1-b1) (g-M);  V += (1-b2) (g^2-V)
//	W = decay W - step M / (sqrt(V) rootCorrection + eps)
func adamwGeneric(w, g, m, v []float32, c adamConstants) {
	n := len(w)
	g, m, v = g[:n], m[:n], v[:n]
	for i := range w {
		gi := c.gradScale * g[i]
		mi := c.beta1*m[i] + c.oneMinusBeta1*gi
		vi := c.beta2*v[i] + c.oneMinusBeta2*gi*gi
		m[i], v[i] = mi, vi
		root := float32(math.Sqrt(float64(vi)))
		w[i] = c.decay*w[i] - c.step*mi/(root*c.rootCorrection+c.eps)
	}
}

func addRowsGeneric(out, x []float32, ld, rows int) {
	r := 0
	for ; r+4 <= rows; r += 4 {
		a, b, c, d := x[r*ld:][:len(out)], x[(r+1)*ld:][:len(out)], x[(r+2)*ld:][:len(out)], x[(r+3)*ld:][:len(out)]
		for j := range out {
			out[j] += (a[j] + b[j]) + (c[j] + d[j])
		}
	}
	for ; r < rows; r++ {
		axpyGeneric(out, x[r*ld:], 1)
	}
}
