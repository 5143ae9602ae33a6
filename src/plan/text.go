package plan

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"cambium/src/arch"
)

// Print writes the plan for people.
func (p *Plan) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s, weights in %s: nothing was run\n", count(len(p.Stages), "growth stage"), p.machine(), p.DType)
	for i := range p.Stages {
		if i > 0 {
			p.Growths[i-1].print(&b)
		}
		p.Stages[i].print(&b, p)
	}
	fmt.Fprintf(&b, "\nin all      %s tokens, %sFLOPs (%s)%s\n", short(float64(p.Tokens)), work(p.FLOPs), p.Formula, p.days(p.Days))
	fmt.Fprintf(&b, "            the rank that needs most needs %s%s\n", gib(p.PeakBytes), p.device())
	for _, warning := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) machine() string {
	if p.World <= p.RanksPerNode {
		return count(p.World, "rank")
	}
	return fmt.Sprintf("%s, %s of %d", count(p.World, "rank"), count(p.Nodes, "node"), p.RanksPerNode)
}

func (p *Plan) device() string {
	if p.options.DeviceMemory == 0 {
		return ""
	}
	return " of its device's " + gib(p.options.DeviceMemory)
}

func (p *Plan) days(days float64) string {
	if days == 0 {
		return ""
	}
	return fmt.Sprintf(": %.2f days at %.1f %% of %g TFLOP/s a rank", days, 100*p.options.MFU, p.options.DeviceFLOPS/1e12)
}

func (s *Stage) print(b *strings.Builder, p *Plan) {
	m, t := s.Model, s.Batch
	fmt.Fprintf(b, "\nstage %q: %s parameters on %s\n", s.Name, short(float64(s.Parameters)), s.Grid.grid)
	fmt.Fprintf(b, "  model     %s, hidden size %d, %s of %d%s, FFN %d, vocabulary %d in %d rows\n", count(m.NumLayers, "layer"), m.HiddenSize,
		count(m.NumAttentionHeads, "head"), m.KVChannels, groupsNote(m), m.FFNHiddenSize, m.VocabSize, s.PaddedVocab)
	fmt.Fprintf(b, "            %s\n", options(m))
	fmt.Fprintf(b, "  batch     %d samples of %d tokens (%s): %s of %d for each of %s\n", t.Global, t.SeqLength, short(float64(t.StepTokens)),
		count(t.MicroBatches, "micro-batch"), t.Micro, count(s.Grid.DP, "replica"))
	fmt.Fprintf(b, "  length    %d steps, %s tokens; learning rate %g, warm-up of %g steps, %s to %g\n", t.Steps, short(float64(t.Tokens)), t.LR, t.Warmup, t.DecayStyle, t.MinLR)
	fmt.Fprintf(b, "  work      %sFLOPs%s\n", work(s.Work.FLOPs), p.days(s.Work.Days))
	for i, g := range s.Groups {
		fmt.Fprintf(b, "  %-9s %s\n", title(i, "groups"), g)
	}
	s.printSchedule(b)
	s.printMemory(b)
}

// options names what a model is besides its sizes.
func options(m arch.Model) string {
	words := []string{m.Position, m.Normalization, "GELU", "no biases", "tied"}
	if m.SwiGLU {
		words[2] = "SwiGLU"
	}
	if m.LinearBias {
		words[3] = "biases"
	}
	if m.UntieOutput {
		words[4] = "untied"
	}
	if m.MupBaseWidth > 0 {
		words = append(words, fmt.Sprintf("muP from width %d", m.MupBaseWidth))
	}
	return strings.Join(words, ", ")
}

func groupsNote(m arch.Model) string {
	if m.NumQueryGroups == m.NumAttentionHeads {
		return ""
	}
	return fmt.Sprintf(" in %s", count(m.NumQueryGroups, "group"))
}

// String is "dp: 2 groups of 96 ranks, each over 24 nodes".
func (g Groups) String() string {
	where := fmt.Sprintf("each over %s", count(g.MaxNodes, "node"))
	switch {
	case g.MaxNodes == 1:
		where = "each inside a node"
	case g.MinNodes < g.MaxNodes:
		where = fmt.Sprintf("each over %d to %d nodes", g.MinNodes, g.MaxNodes)
	}
	if g.Size == 1 {
		return fmt.Sprintf("%-10s %s of one rank", g.Kind, count(g.Count, "group"))
	}
	return fmt.Sprintf("%-10s %s of %d ranks, %s", g.Kind, count(g.Count, "group"), g.Size, where)
}

func (s *Stage) printSchedule(b *strings.Builder) {
	x := s.Schedule
	if s.Grid.PP == 1 {
		fmt.Fprintf(b, "  schedule  %s on one pipeline stage: no bubble\n", x.Name)
		return
	}
	fmt.Fprintf(b, "  schedule  %s, bubble %.2f %% of the time on equal stages, %.2f %% with these layers and the output layer\n", x.Name, 100*x.Bubble, 100*x.LoadedBubble)
	if x.Timeline == "" {
		return
	}
	if x.Drawn < s.Batch.MicroBatches {
		fmt.Fprintf(b, "            the same of %d micro-batches:\n", x.Drawn)
	}
	for line := range strings.Lines(x.Timeline) {
		fmt.Fprintf(b, "    %s\n", strings.TrimRight(line, " \n"))
	}
}

// printMemory is a row a pipeline stage.
func (s *Stage) printMemory(b *strings.Builder) {
	note := ""
	if s.SequenceParallel {
		note = ", sequence parallel"
	}
	if s.Recompute != "none" {
		note += ", recomputes " + s.Recompute
	}
	most := int64(0)
	for _, x := range s.Pipeline {
		most = max(most, x.Memory.Total())
	}
	unit, name := float64(1<<30), "GiB"
	if most < 1<<30 {
		unit, name = 1<<20, "MiB"
	}
	cell := func(n int64) string {
		if n == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", float64(n)/unit)
	}
	fmt.Fprintf(b, "  memory    of a rank, in %s%s:\n", name, note)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\tranks\tnodes\tlayers\tparameters\tweights\tgradients\tmasters\tmoments\tactivations\tmessages\ttokens\ttotal\t")
	for i, x := range s.Pipeline {
		m := x.Memory
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", i, span(x.Ranks), span(x.Nodes), x.layers(), short(float64(x.Parameters)),
			cell(m.Weights), cell(m.Gradients), cell(m.Masters), cell(m.Moments), cell(m.Activations), cell(m.Messages), cell(m.Batch), cell(m.Total()))
	}
	_ = w.Flush()
	for line := range strings.Lines(table.String()) {
		fmt.Fprintf(b, "    %s\n", strings.TrimRight(line, " \n"))
	}
}

// layers is "embedding 0-19", "20-39" or "0-4 20-24", and "60-79 output".
func (x PipelineStage) layers() string {
	var words []string
	if x.Embedding {
		words = append(words, "embedding")
	}
	for _, l := range x.Layers {
		words = append(words, span([2]int{l[0], l[1] - 1}))
	}
	if x.Output {
		words = append(words, "output")
	}
	return strings.Join(words, " ")
}

func (g *Growth) print(b *strings.Builder) {
	fmt.Fprintf(b, "\ngrowth from %q to %q by %s\n", g.From, g.To, g.Operator)
	var parts []string
	for _, m := range g.Moves {
		if m.Bytes == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s of %s", gib(m.Bytes), m.Kind))
	}
	if g.BytesMoved == 0 {
		fmt.Fprintf(b, "  moves     nothing between ranks: each one has what it needs\n")
	} else {
		fmt.Fprintf(b, "  moves     %s between ranks (%s); no plan could move less than %s\n", gib(g.BytesMoved), strings.Join(parts, ", "), gib(g.LowerBound))
	}
	fmt.Fprintf(b, "  memory    %s on rank %d while old and new state are alive\n", gib(g.PeakBytes), g.PeakRank)
}

func title(i int, s string) string {
	if i == 0 {
		return s
	}
	return ""
}

// count is "1 rank" or "192 ranks".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "h") {
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func span(x [2]int) string {
	if x[0] == x[1] {
		return strconv.Itoa(x[0])
	}
	return fmt.Sprintf("%d-%d", x[0], x[1])
}

// gib is a size in binary units.
func gib(n int64) string {
	switch x := float64(n); {
	case x >= 1<<40:
		return fmt.Sprintf("%.2f TiB", x/(1<<40))
	case x >= 1<<30:
		return fmt.Sprintf("%.2f GiB", x/(1<<30))
	case x >= 1<<20:
		return fmt.Sprintf("%.2f MiB", x/(1<<20))
	case x >= 1<<10:
		return fmt.Sprintf("%.1f KiB", x/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// work is a number of operations with the prefix of its unit.
func work(x float64) string {
	for _, u := range []struct {
		size   float64
		prefix string
	}{{1e21, "Z"}, {1e18, "E"}, {1e15, "P"}, {1e12, "T"}} {
		if x >= u.size {
			return fmt.Sprintf("%.2f %s", x/u.size, u.prefix)
		}
	}
	return fmt.Sprintf("%.2f G", x/1e9)
}

// short is a number with the suffix that counts in configurations have: 245.37B.
func short(x float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if x >= u.size {
			return strconv.FormatFloat(x/u.size, 'f', 2, 64) + u.name
		}
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}
