package flops

import (
	"math"
	"strings"
	"testing"

	"cambium/src/arch"
)

func gpt(layers, hidden, heads, vocab, seq int) arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy = layers, hidden, heads, vocab, 1
	return m.Complete(seq)
}

// gpt2 is nanoGPT's GPT-2 124M without biases of linear layers; nanoGPT drops the norms' too: RMSNorm has none.
func gpt2() arch.Model {
	m := gpt(12, 768, 12, 50257, 1024)
	m.LinearBias, m.Normalization = false, arch.RMSNorm
	return m
}

func within(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if math.Abs(got-want) > relative*math.Abs(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// The table of costs of FLM-101B (arXiv 2309.03852), in zettaFLOPs, which gives a token count for each model.
func TestFLMFormulaGivesThePapersCosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		m      arch.Model
		seq    int
		tokens float64
		k      float64
		want   float64
	}{
		{"GPT-3 175B", gpt(96, 12288, 96, 50257, 2048), 2048, 300e9, 84, 376.41},
		{"LLaMA 7B", gpt(32, 4096, 32, 32000, 2048), 2048, 1e12, 84, 49.54},
		{"LLaMA 13B", gpt(40, 5120, 40, 32000, 2048), 2048, 1e12, 84, 94.81},
		{"Llama-2 7B", gpt(32, 4096, 32, 32000, 4096), 4096, 2e12, 84, 106.60},
		{"Llama-2 13B", gpt(40, 5120, 40, 32000, 4096), 4096, 2e12, 84, 201.37},
		{"GLM-130B", gpt(70, 12288, 96, 150000, 2048), 2048, 400e9, 96, 421.57},
		{"FLM-101B, last stage", gpt(80, 10240, 80, 100256, 2048), 2048, 26.54e9, 72, 16.687},
	} {
		within(t, c.name, FLM(c.k).PerToken(c.m, c.seq)*c.tokens/1e21, c.want, 0.00015)
	}
	gpt3 := gpt(96, 12288, 96, 50257, 2048)
	within(t, "the spread of GPT-3", (FLM(96).PerToken(gpt3, 2048)-FLM(72).PerToken(gpt3, 2048))/2*300e9/1e21, 53.77, 1e-4)
}

// nanoGPT's transformer_sizing notebook prints both counts for one sequence of GPT-2 124M.
func TestPaLMFormulaGivesNanoGPTsCount(t *testing.T) {
	if got := PaLM().PerToken(gpt2(), 1024) * 1024; got != 875062886400 {
		t.Errorf("6N + 12LHQT is %.0f, want 875062886400", got)
	}
	if got := MegatronFull().PerToken(gpt2(), 1024) * 1024; got != 874944921600 {
		t.Errorf("the sum over all GEMMs is %.0f, want 874944921600", got)
	}
}

// Narayanan et al. (arXiv 2104.04473): a layer-wise count with full recomputation is 96 B s l h^2 (1 + s/6h + V/16lh); without, three
// quarters of the layers' part.
func TestLayerwiseIsNarayananWithoutRecomputation(t *testing.T) {
	m := gpt(96, 12288, 96, 51200, 2048)
	l, h := 96.0, 12288.0
	within(t, "per token", MegatronFull().PerToken(m, 2048), 72*l*h*h*(1+2048/(6*h)+51200/(12*l*h)), 1e-12)
	half := MegatronFull().PerToken(m, 2048) - Megatron().PerToken(m, 2048)
	within(t, "half of attention", half, 6*l*h*2048, 1e-9)
}

// Llama-2 70B has grouped queries, swiglu and an untied output: 6 N without the embedding is the GEMMs' part.
func TestFormulasCountGroupedQueriesAndSwiGLU(t *testing.T) {
	m := gpt(80, 8192, 64, 32000, 4096)
	m.NumQueryGroups, m.SwiGLU, m.FFNHiddenSize, m.UntieOutput = 8, true, 28672, true
	m.LinearBias, m.Normalization, m.Position = false, arch.RMSNorm, arch.PositionRope
	n := float64(m.ParameterCount())
	within(t, "parameters of Llama-2 70B", n, 68.977e9, 1e-4)
	norms, table := float64((2*80+1)*8192), 32000.0*8192
	within(t, "layer by layer", MegatronFull().PerToken(m, 4096), 6*(n-norms-table)+12*80*8192*4096, 1e-12)
	within(t, "palm", PaLM().PerToken(m, 4096), 6*n+12*80*8192*4096, 1e-12)
	within(t, "llm.c", LLMC().PerToken(m, 4096), 6*n+6*80*8192*4096, 1e-12)
}

func TestPaddingCountsWhereTheTableIsMultiplied(t *testing.T) {
	m := gpt2()
	m.VocabSizeDivisibleBy = 128
	for _, f := range Formulas() {
		more := f.PerToken(m, 1024) - f.PerToken(gpt2(), 1024)
		want := 6.0 * (50304 - 50257) * 768
		if strings.HasPrefix(f.Name, "flm") {
			want = 0
		}
		within(t, f.Name, more, want, 1e-6)
	}
}

func TestFormulasAreFoundByName(t *testing.T) {
	for _, f := range Formulas() {
		got, err := ByName(f.Name)
		if err != nil || got.PerToken(gpt2(), 64) != f.PerToken(gpt2(), 64) || f.Source == "" || f.Expression == "" {
			t.Errorf("%s: %+v, %v", f.Name, got, err)
		}
	}
	if _, err := ByName("mfu"); err == nil || !strings.Contains(err.Error(), `"mfu": want one of palm, llm.c, megatron`) {
		t.Error(err)
	}
}
