package telemetry

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
)

// History is a metrics.jsonl in memory.
type History struct {
	Runs        []*Run // one each time the run was started or resumed
	Stages      []*Stage
	Iterations  []*Iteration
	Growths     []*Growth
	Validations []*Validation
	Checkpoints []*Checkpoint
	End         *End // nil while the run is not at its end
}

// ReadHistory reads a file.
func ReadHistory(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	defer func() { _ = f.Close() }()
	h, err := ParseHistory(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// ParseHistory reads what Metrics wrote. A last line that was cut by a crash, or is being written now, is left out.
func ParseHistory(r io.Reader) (*History, error) {
	h := &History{}
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		rec, err := Unmarshal(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		h.add(rec)
	}
}

func (h *History) add(r Record) {
	switch r := r.(type) {
	case *Run:
		h.Runs = append(h.Runs, r)
		h.End = nil
	case *Stage:
		h.Stages = append(h.Stages, r)
	case *Iteration:
		h.Iterations = append(h.Iterations, r)
	case *Growth:
		h.Growths = append(h.Growths, r)
	case *Validation:
		h.Validations = append(h.Validations, r)
	case *Checkpoint:
		h.Checkpoints = append(h.Checkpoints, r)
	case *End:
		h.End = r
	}
}
