package config

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"cambium/src/arch"
	"cambium/src/pipeline"
	"cambium/src/schedule"
)

// checker completes a run and finds what cannot be. It draws no conclusion from keys that were already found wrong.
type checker struct {
	run      *Run
	root     *node
	stages   []*node // merged
	implicit bool    // the file has no list of stages
	r        *report
}

// ref is a key of one stage, or of the run when stage is -1.
type ref struct {
	stage int
	key   string
}

// find gives the node that says the value of a key, or the nearest table around it, and the path to tell.
func (c *checker) find(k ref) (*node, string) {
	n, path := c.root, k.key
	if k.stage >= 0 {
		n = c.stages[k.stage]
		if !c.implicit {
			path = fmt.Sprintf("stages.%d.%s", k.stage, k.key)
		}
	}
	for word := range strings.SplitSeq(k.key, ".") {
		next := n.get(word)
		if next == nil {
			return n, path
		}
		n = next
	}
	return n, n.path
}

// require notes a fault at the first key unless holds; the others took part in the judgement. A key known to be wrong
// is not judged.
func (c *checker) require(holds bool, keys []ref, format string, args ...any) {
	if holds || c.taintedAny(keys) {
		return
	}
	n, path := c.find(keys[0])
	c.r.add(n, path, format, args...)
}

func (c *checker) taintedAny(keys []ref) bool {
	for _, k := range keys {
		_, path := c.find(k)
		if c.r.taintedAbove(path) || c.r.taintedAbove(k.key) {
			return true
		}
	}
	return false
}

func of(stage int, keys ...string) []ref {
	var out []ref
	for _, k := range keys {
		out = append(out, ref{stage, k})
	}
	return out
}

// complete fills in what follows from other keys.
func (c *checker) complete() {
	run := c.run
	if t := &run.Tokenizer; t.Type == "" {
		switch {
		case t.Path != "":
			t.Type = TokenizerBPE
		case run.Data.Mock:
			t.Type = TokenizerNone
		}
	}
	c.completePrecision()
	for i := range run.Stages {
		s := &run.Stages[i]
		if s.Parallel.PipelineSchedule == "" {
			s.Parallel.PipelineSchedule = cond(s.Parallel.VirtualLayers > 0, pipeline.NameInterleaved, pipeline.Name1F1B)
		}
		if s.Name == "" {
			s.Name = cond(c.implicit, "main", fmt.Sprintf("stage%d", i))
		}
		if s.Model.VocabSize == 0 {
			s.Model.VocabSize = run.Tokenizer.VocabSize
		}
		if s.Train.GlobalBatchSize == 0 && s.Parallel.TensorSize > 0 && s.Parallel.PipelineSize > 0 {
			s.Train.GlobalBatchSize = s.Train.MicroBatchSize * s.DataParallelSize(run.World())
		}
		c.limits(i, s) // before sizes are multiplied
		if !c.taintedAny(of(i, "model.hidden_size", "model.num_attention_heads", "model.kv_channels")) {
			m := s.Model
			c.require(m.KVChannels > 0 || m.HiddenSize%m.NumAttentionHeads == 0, of(i, "model.hidden_size", "model.num_attention_heads"),
				"%d is not a multiple of num_attention_heads (%d): change one, or give kv_channels, the size of a head", m.HiddenSize, m.NumAttentionHeads)
			s.Model = m.Complete(s.Train.SeqLength)
		}
	}
}

// limits checks every key by its row in the table: missing, out of range, or not one of its words.
func (c *checker) limits(i int, s *Stage) {
	for _, k := range keys {
		if k.staged() {
			c.limit(ref{i, k.Path}, k, reflect.ValueOf(s).Elem())
		}
	}
}

func (c *checker) limit(at ref, k Key, in reflect.Value) {
	v, ok := field(in, k.Path)
	if !ok {
		return
	}
	if len(k.Values) > 0 {
		word := v.String()
		for _, allowed := range k.Values {
			if word == allowed {
				return
			}
		}
		if word == "" {
			c.require(false, []ref{at}, "missing: want %s", orList(k.Values))
			return
		}
		c.require(false, []ref{at}, "%q is none of %s%s", word, orList(k.Values), Suggest(word, k.Values))
		return
	}
	if k.rule.ok == nil {
		return
	}
	x := 0.0
	switch {
	case v.CanInt():
		x = float64(v.Int())
	case v.CanUint():
		x = float64(v.Uint())
	default:
		x = v.Float()
	}
	if k.rule.ok(x) {
		return
	}
	if n, _ := c.find(at); x == 0 && n.kind != scalar {
		c.missing(at, k)
		return
	}
	c.require(false, []ref{at}, "%s is impossible: want %s", written(v), k.rule.want)
}

// missing notes a key that is needed: in its stage, or once for all when no stage has it.
func (c *checker) missing(at ref, k Key) {
	for i := range c.stages {
		if n, _ := c.find(ref{i, at.key}); at.stage < 0 || n.kind == scalar {
			c.require(false, []ref{at}, "missing: %s", k.Help)
			return
		}
	}
	if c.taintedAny([]ref{at}) {
		return
	}
	n, _ := c.find(ref{-1, at.key})
	c.r.add(n, k.Path, "missing: %s", k.Help)
}

// check judges the completed run.
func (c *checker) check() {
	for _, k := range keys {
		if !k.staged() {
			c.limit(ref{-1, k.Path}, k, reflect.ValueOf(c.run).Elem())
		}
	}
	c.checkFiles()
	c.checkPrecision()
	names := map[string]int{}
	for i := range c.run.Stages {
		s := &c.run.Stages[i]
		c.checkName(i, s, names)
		c.checkModel(i, s.Model, s.Train.SeqLength)
		c.checkGrid(i, s)
		c.checkTrain(i, s)
		if i > 0 {
			c.checkGrowth(i, &c.run.Stages[i-1], s)
		}
	}
	if c.checkLength(); len(c.r.faults) == 0 {
		c.checkCurves()
	}
}

func (c *checker) checkFiles() {
	run := c.run
	run1 := func(keys ...string) []ref { return of(-1, keys...) }
	c.require(run.RunDir != "", run1("run_dir"), "missing: want a folder such as runs/my-run")
	t := run.Tokenizer
	c.require(t.Type != TokenizerBPE || t.Path != "", run1("tokenizer.path", "tokenizer.type"), "missing: a bpe tokenizer is read from a tokenizer.json, or a folder with vocab.json and merges.txt")
	c.require(run.Data.Mock || len(run.Data.Train) > 0, run1("data.train", "data.mock"), "missing: want a corpus made by cambium prep, or data.mock: true for synthetic tokens")
	for i := range run.Stages {
		s := run.Stages[i]
		c.require(t.Type != TokenizerNone || s.Model.VocabSize > 0, of(i, "model.vocab_size"), "missing: without a tokenizer the number of entries must be given")
		c.require(s.Model.VocabSize == 0 || s.Model.VocabSize >= t.VocabSize, of(i, "model.vocab_size"), "%d is smaller than the tokenizer's %d entries", s.Model.VocabSize, t.VocabSize)
	}
	for _, part := range []struct {
		key   string
		parts Corpora
	}{{"data.train", run.Data.Train}, {"data.validation", run.Data.Validation}} {
		for _, corpus := range part.parts {
			c.require(corpus.Path != "", run1(part.key), "a corpus has no path")
			c.require(corpus.Weight > 0 && corpus.Weight <= math.MaxFloat32, run1(part.key), "the weight of %s is %v: want more than 0", corpus.Path, corpus.Weight)
		}
	}
}

func (c *checker) checkName(i int, s *Stage, names map[string]int) {
	for _, r := range s.Name {
		ok := r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		c.require(ok, of(i, "name"), "%q: want letters, digits, - and _", s.Name)
		if !ok {
			return
		}
	}
	first, taken := names[s.Name]
	c.require(!taken, of(i, "name"), "%q is the name of stage %d too", s.Name, first)
	c.require(utf8.RuneCountInString(s.Name) <= 64 && !strings.ContainsAny(s.Name[:1], "0123456789"), of(i, "name"), "%q: want at most 64 characters, the first no digit", s.Name)
	names[s.Name] = i
}

func (c *checker) checkModel(i int, m arch.Model, seq int) {
	groups := []string{"model.num_attention_heads", "model.num_query_groups"}
	if m.NumQueryGroups > 0 {
		c.require(m.NumAttentionHeads%m.NumQueryGroups == 0, of(i, groups...), "%d is not a multiple of num_query_groups (%d)", m.NumAttentionHeads, m.NumQueryGroups)
	}
	rotary := m.Position == arch.PositionRope || m.Position == arch.PositionXPos
	sizes := []string{"model.hidden_size", "model.kv_channels", "model.num_attention_heads", "model.position_embedding_type"}
	if n, _ := c.find(ref{i, "model.kv_channels"}); n.kind == scalar {
		sizes[0], sizes[1] = sizes[1], sizes[0]
	}
	c.require(!rotary || m.KVChannels%2 == 0, of(i, sizes...), "heads of size %d cannot be rotated in pairs: %s needs an even one", m.KVChannels, m.Position)
	c.require(m.MaxPositions >= seq || m.MaxPositions == 0, of(i, "model.max_position_embeddings", "train.seq_length"), "%d is less than seq_length (%d)", m.MaxPositions, seq)
	c.require(m.VocabSize == 0 || m.VocabSize > 1, of(i, "model.vocab_size"), "%d is impossible: want at least 2", m.VocabSize)
	parameters := 12.0*float64(m.NumLayers)*float64(m.HiddenSize)*float64(m.HiddenSize) + float64(m.VocabSize+m.MaxPositions)*float64(m.HiddenSize) +
		3*float64(m.NumLayers)*float64(m.HiddenSize)*(float64(m.FFNHiddenSize)+float64(m.NumAttentionHeads)*float64(m.KVChannels))
	c.require(parameters < 1e15, of(i, "model.hidden_size", "model.num_layers", "model.ffn_hidden_size", "model.num_attention_heads", "model.kv_channels"),
		"about %.1e parameters are more than any machine holds", parameters)
}

func (c *checker) checkTrain(i int, s *Stage) {
	t := s.Train
	length := of(i, "train.train_iters", "train.train_samples", "train.train_tokens")
	given := t.TrainIters > 0 || t.TrainSamples > 0 || t.TrainTokens > 0
	c.require(given, length, "missing: want the length of the stage as train_iters, train_samples or train_tokens")
	c.require(t.MinLR <= t.LR, of(i, "train.min_lr", "train.lr"), "%v is more than lr (%v)", t.MinLR, t.LR)
	c.require(t.WarmupInit <= t.LR, of(i, "train.lr_warmup_init", "train.lr"), "%v is more than lr (%v)", t.WarmupInit, t.LR)
}

// checkLength refuses a total that cannot be counted.
func (c *checker) checkLength() {
	total := 0.0
	for i, s := range c.run.Stages {
		t := s.Train
		batch := float64(t.GlobalBatchSize)
		seq := float64(t.SeqLength)
		total += max(float64(t.TrainIters)*batch*seq, float64(t.TrainSamples)*seq, float64(t.TrainTokens)) + batch*seq
		if total > 1<<62 {
			key := cond(t.TrainIters > 0, "train.train_iters", cond(t.TrainSamples > 0, "train.train_samples", "train.train_tokens"))
			c.require(false, of(i, key), "the run has more than %.1e tokens up to here, more than can be counted", float64(1<<62))
			return
		}
	}
}

// checkCurves lets the learning-rate curves judge themselves, once everything else is sound.
func (c *checker) checkCurves() {
	for i, l := range c.run.LearningRates() {
		tokens := float64(c.run.Stages[i].TokensPerIteration())
		if length, left := l.Warmup/tokens, (l.End-l.Start)/tokens; l.Style != schedule.Constant && length > left {
			key := cond(i > 0, "growth.rewarm_iters", cond(c.run.Stages[0].Train.WarmupSamples > 0, "train.lr_warmup_samples", "train.lr_warmup_iters"))
			c.require(false, of(i, key), "a warm-up of %.0f steps does not fit into the %.0f steps that the learning-rate curve has left", length, left)
			return
		}
		if err := l.Check(); err != nil {
			c.require(false, of(i, "train.lr_decay_style"), "%v", err)
			return
		}
	}
}
