package conformance

import "math"

// References in fp64, written for being read. Matrices are row-major without gaps.

// gemm is alpha op(A) op(B), m x n, over k.
func gemm(a, b []float64, transA, transB bool, m, n, k int, alpha float64) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for p := range k {
			x := 0.0
			if transA {
				x = a[p*m+i]
			} else {
				x = a[i*k+p]
			}
			for j := range n {
				if transB {
					c[i*n+j] += alpha * x * b[j*k+p]
				} else {
					c[i*n+j] += alpha * x * b[p*n+j]
				}
			}
		}
	}
	return c
}

const geluFactor = 0.7978845608028654 // sqrt(2/pi)

func gelu(z float64) float64 { return 0.5 * z * (1 + math.Tanh(geluFactor*(z+0.044715*z*z*z))) }

func geluGrad(z float64) float64 {
	t := math.Tanh(geluFactor * (z + 0.044715*z*z*z))
	return 0.5*(1+t) + 0.5*z*(1-t*t)*geluFactor*(1+3*0.044715*z*z)
}

func sigmoid(z float64) float64  { return 1 / (1 + math.Exp(-z)) }
func silu(z float64) float64     { return z * sigmoid(z) }
func siluGrad(z float64) float64 { s := sigmoid(z); return s * (1 + z*(1-s)) }

// normCase is one row's norm: mask, divisor and kind.
type normCase struct {
	old     int
	v       float64
	divisor float64
	eps     float64
	rms     bool
}

func (c normCase) mask(j int) float64 {
	if j < c.old {
		return 1
	}
	return c.v
}

// norm is y, mean and 1/sqrt of one row; bias may be nil.
func norm(c normCase, x, gain, bias []float64) (y []float64, mu, r float64) {
	s := 0.0
	for j, v := range x {
		s += c.mask(j)
		mu += c.mask(j) * v
	}
	if mu /= s; c.rms {
		mu = 0
	}
	q := 0.0
	for j, v := range x {
		q += c.mask(j) * (v - mu) * (v - mu)
	}
	r = 1 / math.Sqrt(q/c.divisor+c.eps)
	y = make([]float64, len(x))
	for j, v := range x {
		y[j] = gain[j] * (v - mu) * r
		if bias != nil {
			y[j] += bias[j]
		}
		y[j] *= c.mask(j)
	}
	return y, mu, r
}

// normGrad is the gradient of one row with respect to x, gain and bias.
func normGrad(c normCase, x, dy, gain []float64) (dx, dgain, dbias []float64) {
	_, mu, r := norm(c, x, gain, nil)
	s, a, b := 0.0, 0.0, 0.0
	for j := range x {
		m, xh := c.mask(j), (x[j]-mu)*r
		s += m
		a += m * gain[j] * dy[j]
		b += m * gain[j] * dy[j] * xh
	}
	if a /= s; c.rms {
		a = 0
	}
	b /= c.divisor
	n := len(x)
	dx, dgain, dbias = make([]float64, n), make([]float64, n), make([]float64, n)
	for j := range x {
		m, xh := c.mask(j), (x[j]-mu)*r
		dx[j] = m * r * (gain[j]*dy[j] - a - xh*b)
		dgain[j] = m * dy[j] * xh
		dbias[j] = m * dy[j]
	}
	return dx, dgain, dbias
}

// rotate turns one head of one token; sign -1 is the transposed map.
func rotate(x, cos, sin []float64, sign float64) []float64 {
	n := len(cos)
	y := make([]float64, 2*n)
	for i := range n {
		y[i] = x[i]*cos[i] - sign*x[n+i]*sin[i]
		y[n+i] = x[n+i]*cos[i] + sign*x[i]*sin[i]
	}
	return y
}

// attentionCase is the geometry of an attention.
type attentionCase struct {
	batch, seq, heads, groups, dim int
	scale                          float64
	headScale                      []float64 // nil: 1
}

func (c attentionCase) factor(h int) float64 {
	if c.headScale == nil {
		return 1
	}
	return c.headScale[h]
}

// q is the first element of query head h of token t of sequence b in [N, heads dim]; kv the same of its key/value head.
func (c attentionCase) q(b, t, h int) int { return ((b*c.seq+t)*c.heads + h) * c.dim }
func (c attentionCase) kv(b, t, h int) int {
	return ((b*c.seq+t)*c.groups + h/(c.heads/c.groups)) * c.dim
}

// weights are the softmax over the keys 0..t of one query, and log sum exp.
func (c attentionCase) weights(q, k []float64, b, t, h int) (p []float64, lse float64) {
	p = make([]float64, t+1)
	top := math.Inf(-1)
	for s := range p {
		p[s] = c.scale * dot(q[c.q(b, t, h):][:c.dim], k[c.kv(b, s, h):][:c.dim])
		top = math.Max(top, p[s])
	}
	sum := 0.0
	for s := range p {
		p[s] = math.Exp(p[s] - top)
		sum += p[s]
	}
	for s := range p {
		p[s] /= sum
	}
	return p, top + math.Log(sum)
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// addTo is y += a x over the length of y.
func addTo(y, x []float64, a float64) {
	for i := range y {
		y[i] += a * x[i]
	}
}

func attention(c attentionCase, q, k, v []float64) (o, lse []float64) {
	o, lse = make([]float64, len(q)), make([]float64, c.batch*c.heads*c.seq)
	for b := range c.batch {
		for h := range c.heads {
			for t := range c.seq {
				p, l := c.weights(q, k, b, t, h)
				lse[(b*c.heads+h)*c.seq+t] = l
				for s, w := range p {
					addTo(o[c.q(b, t, h):][:c.dim], v[c.kv(b, s, h):], c.factor(h)*w)
				}
			}
		}
	}
	return o, lse
}

// attentionGrad takes the forward's output as it was stored: its rounding goes into D = sum(dO o O).
func attentionGrad(c attentionCase, q, k, v, do, o []float64) (dq, dk, dv []float64) {
	dq, dk, dv = make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
	for b := range c.batch {
		for h := range c.heads {
			for t := range c.seq {
				p, _ := c.weights(q, k, b, t, h)
				g := do[c.q(b, t, h):][:c.dim]
				dp, delta := make([]float64, len(p)), dot(g, o[c.q(b, t, h):][:c.dim])
				for s := range p {
					dp[s] = c.factor(h) * dot(g, v[c.kv(b, s, h):][:c.dim])
				}
				for s := range p {
					ds := c.scale * p[s] * (dp[s] - delta)
					query, key := c.q(b, t, h), c.kv(b, s, h)
					addTo(dq[query:][:c.dim], k[key:], ds)
					addTo(dk[key:][:c.dim], q[query:], ds)
					addTo(dv[key:][:c.dim], g, c.factor(h)*p[s])
				}
			}
		}
	}
	return dq, dk, dv
}

// crossEntropy is the loss of one row and its gradient.
func crossEntropy(z []float64, target int) (loss float64, grad []float64) {
	top := math.Inf(-1)
	for _, v := range z {
		top = math.Max(top, v)
	}
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(v - top)
	}
	grad = make([]float64, len(z))
	for j, v := range z {
		grad[j] = math.Exp(v-top) / sum
	}
	grad[target]--
	return top + math.Log(sum) - z[target], grad
}

// adamCase is one AdamW step of one element.
type adamCase struct{ lr, b1, b2, eps, wd, gradScale float64 }

func (c adamCase) step(w, g, m, v float64, t int) (w2, m2, v2 float64) {
	g *= c.gradScale
	m2 = c.b1*m + (1-c.b1)*g
	v2 = c.b2*v + (1-c.b2)*g*g
	mh, vh := m2/(1-math.Pow(c.b1, float64(t))), v2/(1-math.Pow(c.b2, float64(t)))
	return w*(1-c.lr*c.wd) - c.lr*mh/(math.Sqrt(vh)+c.eps), m2, v2
}
