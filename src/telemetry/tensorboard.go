package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// TensorBoard is the sink of TensorBoard event files, with Megatron's tags. Numbers that are not finite are left out: TensorBoard
// would lose the scale of the whole chart.
type TensorBoard struct {
	f     *os.File
	table *crc32.Table
	world int
	buf   []byte
}

// NewTensorBoard makes a new event file in dir, named as TensorBoard finds it.
func NewTensorBoard(dir string, now time.Time) (*TensorBoard, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("telemetry: tensorboard: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	var f *os.File
	for n := 0; f == nil; n++ { // a run that was resumed within a second must not write into the file before
		name := fmt.Sprintf("events.out.tfevents.%d.%s.%d.%d", now.Unix(), host, os.Getpid(), n)
		f, err = os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("telemetry: tensorboard: %w", err)
		}
	}
	t := &TensorBoard{f: f, table: crc32.MakeTable(crc32.Castagnoli)}
	t.event(now, 0, appendBytes(nil, 3, "brain.Event:2"))
	return t, t.flush()
}

// scalar is one point of a chart.
type scalar struct {
	tag   string
	value float64
}

// Write appends the points of a record.
func (t *TensorBoard) Write(r Record) error {
	now, iteration := r.at()
	switch r := r.(type) {
	case *Run:
		if r.World > 0 {
			t.world = r.World
		}
		if r.Resumed { // SessionLog START: TensorBoard forgets points from this step on
			session := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
			t.event(now, int64(iteration)+1, appendBytes(nil, 7, string(session)))
		}
	case *Iteration:
		t.iteration(r)
	case *Validation:
		t.scalars(now, int64(iteration), []scalar{
			{"lm loss validation", r.LMLoss}, {"lm loss validation ppl", perplexity(r.LMLoss)}, {"bits per byte validation", positive(r.BitsPerByte)},
		})
		t.scalars(now, r.ConsumedSamples, []scalar{{"lm loss validation vs samples", r.LMLoss}})
	case *Growth:
		t.text(now, int64(iteration), "growth", GrowthLine(r))
		t.scalars(now, int64(iteration), []scalar{{"growth relative difference", r.Relative}})
	case *Stage:
		t.text(now, int64(iteration), "growth stage", eventText(r))
		t.scalars(now, int64(iteration), []scalar{{"parameters", float64(r.Parameters)}})
	}
	return t.flush()
}

func (t *TensorBoard) iteration(r *Iteration) {
	loss := r.LMLoss
	if r.Skipped {
		loss = math.NaN()
	}
	points := []scalar{
		{"lm loss", loss}, {"learning-rate", r.LearningRate}, {"batch-size", float64(r.GlobalBatchSize)}, {"loss-scale", r.LossScale},
		{"grad-norm", r.GradNorm},
	}
	rates := []scalar{
		{"iteration-time", r.ElapsedMS / 1000}, {"throughput", r.ModelTFLOPs}, {"tokens-per-second", r.TokensPerSec},
		{"growth-stage", float64(r.GrowthStage)},
	}
	if t.world > 0 {
		rates = append(rates, scalar{"world-size", float64(t.world)})
	}
	t.scalars(r.Time, int64(r.Iteration), append(rates, points...))
	for i := range points {
		points[i].tag += " vs samples"
	}
	t.scalars(r.Time, r.ConsumedSamples, points)
}

// positive is NaN in place of 0, which stands for "unknown".
func positive(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

// Close brings the file to the disk.
func (t *TensorBoard) Close() error {
	if err := errors.Join(t.f.Sync(), t.f.Close()); err != nil {
		return fmt.Errorf("telemetry: tensorboard: %w", err)
	}
	return nil
}

// scalars adds an event with a summary: Summary{1 Value{1 tag, 2 simple_value}}.
func (t *TensorBoard) scalars(now time.Time, step int64, points []scalar) {
	var summary []byte
	for _, p := range points {
		if math.IsNaN(p.value) || math.IsInf(p.value, 0) {
			continue
		}
		value := appendBytes(nil, 1, p.tag)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(p.value)))
		summary = appendBytes(summary, 1, string(value))
	}
	if len(summary) > 0 {
		t.event(now, step, appendBytes(nil, 5, string(summary)))
	}
}

// text adds an event for TensorBoard's text page: Value{1 tag, 8 tensor, 9 metadata{1 plugin{1 name}}} with
// tensor{1 dtype string, 2 shape{2 dim{1 size}}, 8 string_val}.
func (t *TensorBoard) text(now time.Time, step int64, tag, text string) {
	const dtString = 7
	tensor := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), dtString)
	size := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	tensor = appendBytes(tensor, 2, string(appendBytes(nil, 2, string(size))))
	tensor = appendBytes(tensor, 8, text)
	value := appendBytes(nil, 1, tag+"/text_summary")
	value = appendBytes(value, 8, string(tensor))
	value = appendBytes(value, 9, string(appendBytes(nil, 1, string(appendBytes(nil, 1, "text")))))
	t.event(now, step, appendBytes(nil, 5, string(appendBytes(nil, 1, string(value)))))
}

func appendBytes(b []byte, field protowire.Number, x string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), x)
}

// event adds Event{1 wall_time, 2 step, what} as a TFRecord: length, its checksum, payload, its checksum.
func (t *TensorBoard) event(now time.Time, step int64, what []byte) {
	e := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	e = protowire.AppendFixed64(e, math.Float64bits(float64(now.UnixNano())/1e9))
	e = protowire.AppendTag(e, 2, protowire.VarintType)
	e = protowire.AppendVarint(e, uint64(step))
	e = append(e, what...)
	at := len(t.buf)
	t.buf = binary.LittleEndian.AppendUint64(t.buf, uint64(len(e)))
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.checksum(t.buf[at:]))
	t.buf = append(t.buf, e...)
	t.buf = binary.LittleEndian.AppendUint32(t.buf, t.checksum(e))
}

// checksum is TFRecord's masked CRC32C.
func (t *TensorBoard) checksum(b []byte) uint32 {
	c := crc32.Checksum(b, t.table)
	return (c>>15 | c<<17) + 0xa282ead8
}

func (t *TensorBoard) flush() error {
	_, err := t.f.Write(t.buf)
	t.buf = t.buf[:0]
	if err != nil {
		return fmt.Errorf("telemetry: tensorboard: %w", err)
	}
	return nil
}
