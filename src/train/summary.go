package train

import (
	"fmt"
	"io"
	"time"

	"cambium/src/arch"
	"cambium/src/telemetry"
)

// Summary is what a run ends with.
type Summary struct {
	RunDir     string
	Finished   bool // all stages are done
	Iterations int64
	Stages     []StageSummary
	Growths    []telemetry.Growth
	Checkpoint string // the newest; empty when none was written
	Sample     string // generated text, empty without a tokenizer
	Report     string // path of report.html
	Took       time.Duration
}

// StageSummary is what one growth stage did in this process.
type StageSummary struct {
	Name       string
	Model      arch.Model
	Tokens     int64
	Loss       float64 // training, mean over the stage's last iterations
	Validation float64 // the last one, nats a token; 0: none
	BitsByte   float64 // of the validation; 0: unknown
	Seconds    float64 // in steps
	losses     []float64
}

// lastLosses is over how many iterations a stage's training loss is averaged.
const lastLosses = 20

func (s *Summary) stage(i int) *StageSummary {
	for len(s.Stages) <= i {
		s.Stages = append(s.Stages, StageSummary{})
	}
	return &s.Stages[i]
}

func (s *Summary) add(stage int, o outcome, tokens int64) {
	x := s.stage(stage)
	x.Tokens += tokens
	x.Seconds += o.took.Seconds()
	if o.skipped {
		return
	}
	if x.losses = append(x.losses, o.loss); len(x.losses) > lastLosses {
		x.losses = x.losses[1:]
	}
	x.Loss = 0
	for _, l := range x.losses {
		x.Loss += l / float64(len(x.losses))
	}
}

func (s *Summary) validated(stage int, v *telemetry.Validation) {
	x := s.stage(stage)
	x.Validation, x.BitsByte = v.LMLoss, v.BitsPerByte
}

// Print writes the summary for people.
func (s *Summary) Print(w io.Writer) error {
	p := printer{w: w}
	p.line("")
	if !s.Finished {
		p.line("Ended at iteration %d, before the last stage was done; the same command goes on from here.", s.Iterations)
	}
	for i, x := range s.Stages {
		if i > 0 {
			for _, g := range s.Growths {
				if g.ToStage == i {
					text := fmt.Sprintf("  growth (%s): loss %.6f before, %.6f after (relative change %.1e), %.2f s", g.Operator, g.LossBefore, g.LossAfter, g.Relative, g.Seconds)
					if g.FromGrid != g.ToGrid {
						text += fmt.Sprintf(", %s -> %s: %.1f MB moved in %.2f s, %.1f MB at least", g.FromGrid, g.ToGrid, float64(g.BytesMoved)/1e6, g.MoveSeconds, float64(g.BytesLowerBound)/1e6)
					}
					p.line("%s", text)
				}
			}
		}
		if x.Tokens == 0 {
			continue // done before this process began
		}
		text := fmt.Sprintf("  stage %d %s (%s): %d tokens at %.0f tokens/s, training loss %.4f", i+1, x.Name, describe(x.Model), x.Tokens, float64(x.Tokens)/x.Seconds, x.Loss)
		if x.Validation > 0 {
			text += fmt.Sprintf(", validation %.4f", x.Validation)
		}
		if x.BitsByte > 0 {
			text += fmt.Sprintf(" (%.3f bits a byte)", x.BitsByte)
		}
		p.line("%s", text)
	}
	if s.Sample != "" {
		p.line("\nThe model writes:\n%s", s.Sample)
	}
	if s.Checkpoint != "" {
		p.line("\ncheckpoint  %s", s.Checkpoint)
	}
	if s.Report != "" {
		p.line("report      %s", s.Report)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
