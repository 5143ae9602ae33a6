package telemetry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"time"
)

// Metrics is the sink of metrics.jsonl: one object an iteration, one an event, which has the key "event". Each
// object is written at once.
type Metrics struct {
	f *os.File
}

// CreateMetrics begins the file anew.
func CreateMetrics(path string) (*Metrics, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return &Metrics{f}, nil
}

// ResumeMetrics goes on with the file of a run that resumes from a checkpoint of the given iteration. What the
// run will do again is cut off: everything behind the last line that tells of that checkpoint, or, if there is none,
// every line from the first of a later iteration on. A file that does not exist is begun.
func ResumeMetrics(path string, iteration int) (*Metrics, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	keep, err := keepUntil(f, iteration)
	if err == nil {
		err = f.Truncate(keep)
	}
	if err == nil {
		_, err = f.Seek(keep, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: %s: %w", path, err), f.Close())
	}
	return &Metrics{f}, nil
}

// keepUntil is the number of bytes of f that a run resumed from iteration keeps.
func keepUntil(r io.Reader, iteration int) (int64, error) {
	var at, keep, checkpoint int64
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF { // a last line without an end is one that a crash cut
			if checkpoint > 0 {
				return checkpoint, nil
			}
			return keep, nil
		}
		if err != nil {
			return 0, err
		}
		var head struct {
			Iteration int    `json:"iteration"`
			Event     string `json:"event"`
		}
		// A run may be killed between a checkpoint and the line that tells of it, and killed again after the growth that
		// follows: that growth, too, is at the checkpoint's iteration and happens again.
		if json.Unmarshal(line, &head) != nil || head.Iteration > iteration ||
			head.Iteration == iteration && (head.Event == "growth" || head.Event == "run") {
			if checkpoint > 0 {
				return checkpoint, nil
			}
			return keep, nil
		}
		at += int64(len(line))
		keep = at
		if head.Event == "checkpoint" && head.Iteration == iteration {
			checkpoint = at
		}
	}
}

// Write appends one line. Behind a checkpoint everything so far goes to the disk: what a run resumes from is told for good.
func (m *Metrics) Write(r Record) error {
	line, err := Marshal(r)
	if err != nil {
		return err
	}
	if _, err := m.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	if _, saved := r.(*Checkpoint); saved {
		if err := m.f.Sync(); err != nil {
			return fmt.Errorf("telemetry: %w", err)
		}
	}
	return nil
}

// Close brings the file to the disk.
func (m *Metrics) Close() error {
	if err := errors.Join(m.f.Sync(), m.f.Close()); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return nil
}

// Marshal is the line of a record in metrics.jsonl. JSON has no NaN and no infinity: they become null.
func Marshal(r Record) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if e := r.event(); e != "" {
		fmt.Fprintf(&b, `"event":%q,`, e)
	}
	if err := fields(&b, reflect.ValueOf(r).Elem()); err != nil {
		return nil, err
	}
	b.Truncate(b.Len() - 1) // the last comma
	b.WriteByte('}')
	return b.Bytes(), nil
}

func fields(b *bytes.Buffer, v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if err := fields(b, v.Field(i)); err != nil {
				return err
			}
			continue
		}
		var text []byte
		var err error
		switch x := v.Field(i).Interface().(type) {
		case float64:
			if text = []byte("null"); !math.IsNaN(x) && !math.IsInf(x, 0) {
				text, err = json.Marshal(x)
			}
		case time.Time:
			text, err = json.Marshal(x.UTC().Format("2006-01-02T15:04:05.000Z"))
		default:
			text, err = json.Marshal(x)
		}
		if err != nil {
			return fmt.Errorf("telemetry: %s: %w", f.Name, err)
		}
		fmt.Fprintf(b, "%q:%s,", f.Tag.Get("json"), text)
	}
	return nil
}

// nanFields sets every float64 to NaN, so that a null or an absent key does not read as 0.
func nanFields(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Float64:
			f.SetFloat(math.NaN())
		case reflect.Struct:
			if v.Type().Field(i).Anonymous {
				nanFields(f)
			}
		}
	}
}

// Unmarshal reads a line of metrics.jsonl. Of an event that this version does not know it returns nil.
func Unmarshal(line []byte) (Record, error) {
	var head struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	all := []Record{&Iteration{}, &Run{}, &Stage{}, &Growth{}, &Validation{}, &Checkpoint{}, &End{}}
	for _, r := range all {
		if r.event() != head.Event {
			continue
		}
		nanFields(reflect.ValueOf(r).Elem())
		if err := json.Unmarshal(line, r); err != nil {
			return nil, fmt.Errorf("telemetry: %s: %w", strings.TrimSpace("event "+head.Event), err)
		}
		return r, nil
	}
	return nil, nil
}
