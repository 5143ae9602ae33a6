package eval_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/eval"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
)

const seqLength = 6

// rig is a random model with an evaluator over it. Models of any micro-batch and length have the same weights.
type rig struct {
	b backend.Backend
	s backend.Stream
	e *eval.Evaluator
}

func newRig(t *testing.T, batch, seq int) *rig {
	t.Helper()
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy, m.InitStd = 2, 12, 2, 29, 8, 0.5
	m = m.Complete(seqLength)
	b := cpu.New(cpu.Options{Workers: 1})
	t.Cleanup(func() { b.Close() })
	s := b.NewStream("test")
	p, err := model.NewParams(b, layout.Single(m), 0, model.ParamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(s, 11); err != nil {
		t.Fatal(err)
	}
	x, err := model.New(b, m.Function(), p, model.Parallel{}, model.Options{MicroBatch: batch, SeqLength: seq, Inference: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := eval.New(b, x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return &rig{b, s, e}
}

// windows are random tokens; bad is the index of a window that cannot be read, or -1.
type windows struct{ n, bad int }

func (w windows) Len() int { return w.n }
func (w windows) Window(i int, dst []int32) error {
	if i == w.bad {
		return errors.New("the disk is gone")
	}
	k := rng.NewKey(uint64(i), "window")
	for j := range dst {
		dst[j] = int32(k.Below(uint64(j), 29))
	}
	return nil
}

func TestLossDoesNotDependOnHowWindowsAreGrouped(t *testing.T) {
	w := windows{n: 7, bad: -1}
	one := newRig(t, 1, seqLength)
	want, err := one.e.Loss(one.s, w, 0, 7)
	if err != nil {
		t.Fatal(err)
	}
	if want.Tokens != 42 || !(want.Mean() > 1) {
		t.Fatalf("loss %v over %d tokens", want.Mean(), want.Tokens)
	}
	three := newRig(t, 3, seqLength)
	var sum eval.Sum
	for _, part := range [][2]int{{0, 5}, {5, 5}, {5, 7}} {
		s, err := three.e.Loss(three.s, w, part[0], part[1])
		if err != nil {
			t.Fatal(err)
		}
		sum = sum.Add(s)
	}
	if sum.Tokens != want.Tokens || math.Abs(sum.Nats-want.Nats) > 1e-5 {
		t.Errorf("in groups of three %v, one by one %v", sum, want)
	}
	if b := want.BitsPerByte(2); math.Abs(b*2*math.Ln2-want.Mean()) > 1e-12 {
		t.Errorf("%v bits a byte for %v nats a token of two bytes", b, want.Mean())
	}
}

func TestLossReportsWhatCannotBeRead(t *testing.T) {
	r := newRig(t, 2, seqLength)
	if _, err := r.e.Loss(r.s, windows{n: 4, bad: 3}, 0, 4); err == nil || !strings.Contains(err.Error(), "window 3: the disk is gone") {
		t.Errorf("error %v", err)
	}
	if _, err := r.e.Loss(r.s, windows{n: 4}, 0, 5); err == nil {
		t.Errorf("five windows of four were read")
	}
}

func (r *rig) generate(t *testing.T, prompt []int32, o eval.Sampling) []int32 {
	t.Helper()
	var out []int32
	if err := r.e.Generate(r.s, prompt, o, func(id int32) error { out = append(out, id); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// The longer model pads what the shorter one does not have; a context beyond the length slides.
func TestGenerationSeesItsContextOnly(t *testing.T) {
	prompt := []int32{3, 14, 15}
	long := newRig(t, 2, seqLength)
	greedy := eval.Sampling{MaxTokens: 9, Stop: -1}
	got := long.generate(t, prompt, greedy)
	if len(got) != 9 {
		t.Fatalf("%d tokens", len(got))
	}
	context := slices.Clone(prompt)
	one := eval.Sampling{MaxTokens: 1, Stop: -1}
	for i, id := range got {
		seen := context[max(0, len(context)-seqLength):]
		exact := newRig(t, 1, len(seen)) // no padding at all
		if want := exact.generate(t, seen, one)[0]; want != id {
			t.Errorf("token %d after %v is %d, want %d", i, seen, id, want)
		}
		context = append(context, id)
	}
}

func TestSamplingIsRepeatableAndTopKOneIsGreedy(t *testing.T) {
	r := newRig(t, 1, seqLength)
	prompt := []int32{1}
	hot := eval.Sampling{MaxTokens: 20, Temperature: 2, Seed: 5, Stop: -1}
	first := r.generate(t, prompt, hot)
	if !slices.Equal(r.generate(t, prompt, hot), first) {
		t.Errorf("the same seed gives another text")
	}
	hot.Seed++
	if slices.Equal(r.generate(t, prompt, hot), first) {
		t.Errorf("another seed gives the same text")
	}
	greedy := r.generate(t, prompt, eval.Sampling{MaxTokens: 20, Stop: -1})
	hot.TopK = 1
	if !slices.Equal(r.generate(t, prompt, hot), greedy) {
		t.Errorf("top-k 1 is not greedy")
	}
	hot.TopK, hot.TopP = 0, 1e-9
	if !slices.Equal(r.generate(t, prompt, hot), greedy) {
		t.Errorf("a tiny top-p is not greedy")
	}
	stop := eval.Sampling{MaxTokens: 20, Stop: greedy[2]}
	if got := r.generate(t, prompt, stop); len(got) >= 20 || slices.Contains(got, greedy[2]) {
		t.Errorf("%v does not stop at %d", got, greedy[2])
	}
}

// letters is a tokenizer of single letters: a is 1.
type letters struct{}

func (letters) EOD() int32 { return 0 }
func (letters) Encode(dst []int32, text []byte) []int32 {
	for _, c := range text {
		dst = append(dst, int32(c-'a'+1))
	}
	return dst
}
func (letters) Decode(dst []byte, ids []int32) []byte {
	for _, id := range ids {
		dst = append(dst, byte('a'+id-1))
	}
	return dst
}

func TestTextIsWhatTheTokensSpell(t *testing.T) {
	r := newRig(t, 1, seqLength)
	o := eval.Sampling{MaxTokens: 8, Stop: -1}
	for text, prompt := range map[string][]int32{"cab": {3, 1, 2}, "": {0}} {
		var got bytes.Buffer
		if err := r.e.Text(r.s, letters{}, text, o, &got); err != nil {
			t.Fatal(err)
		}
		if want := (letters{}).Decode(nil, r.generate(t, prompt, o)); !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%q goes on with %q, want %q", text, got.Bytes(), want)
		}
	}
}

func TestImpossibleSamplingIsOneSentence(t *testing.T) {
	r := newRig(t, 1, seqLength)
	emit := func(int32) error { return nil }
	for want, c := range map[string]struct {
		prompt []int32
		o      eval.Sampling
	}{
		"temperature is -1":     {[]int32{1}, eval.Sampling{Temperature: -1}},
		"top-p is 1.5":          {[]int32{1}, eval.Sampling{TopP: 1.5}},
		"top-k is -2":           {[]int32{1}, eval.Sampling{TopK: -2}},
		"the prompt has no":     {nil, eval.Sampling{}},
		"prompt holds token 29": {[]int32{29}, eval.Sampling{}},
	} {
		if err := r.e.Generate(r.s, c.prompt, c.o, emit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
