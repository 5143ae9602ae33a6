package train

import (
	"io"
	"os"
	"path/filepath"

	"cambium/src/telemetry"
)

// MetricsName is the file of a run's folder with one JSON object an iteration, and TensorBoardName the folder of event files.
const (
	MetricsName     = "metrics.jsonl"
	TensorBoardName = "tensorboard"
)

// openSinks opens everything that records go to: the log or the live bar, metrics.jsonl, TensorBoard.
func (o *observer) openSinks(resumed bool, iteration int) (sinks telemetry.Multi, err error) {
	defer func() {
		if err != nil {
			sinks.Close()
		}
	}()
	path := filepath.Join(o.cfg.RunDir, MetricsName)
	open := func() (*telemetry.Metrics, error) { return telemetry.CreateMetrics(path) }
	if resumed {
		open = func() (*telemetry.Metrics, error) { return telemetry.ResumeMetrics(path, iteration) }
	}
	metrics, err := open()
	if err != nil {
		return nil, err
	}
	sinks = append(sinks, metrics)
	board, err := telemetry.NewTensorBoard(filepath.Join(o.cfg.RunDir, TensorBoardName), o.begun)
	if err != nil {
		return sinks, err
	}
	sinks = append(sinks, board)
	return append(sinks, terminal(o.options.Output, o.cfg.Stages[0].Train.LogInterval)), nil
}

// terminal is the live bar where somebody watches, and Megatron's log everywhere else.
func terminal(w io.Writer, interval int) telemetry.Sink {
	if f, ok := w.(*os.File); ok {
		return telemetry.Terminal(f, interval)
	}
	if w == nil {
		w = io.Discard
	}
	return telemetry.NewLog(w, interval)
}
