package telemetry

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMetricsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "metrics.jsonl")
	m, err := CreateMetrics(file)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, m, shortRun())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "metrics.jsonl", text)
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// The keys that other programs read.
func TestMetricsKeys(t *testing.T) {
	for _, c := range []struct {
		r    Record
		want string
	}{
		{&Iteration{}, "iteration consumed_tokens consumed_samples growth_stage lm_loss learning_rate grad_norm loss_scale tokens_per_sec model_tflops flops_formula model_flops elapsed_ms skipped"},
		{&Growth{}, "event iteration from_stage to_stage loss_before loss_after relative_difference seconds bytes_moved operator"},
		{&Validation{}, "event iteration lm_loss bits_per_byte"},
		{&Checkpoint{}, "event iteration path seconds bytes"},
		{&Stage{}, "event iteration growth_stage name parameters"},
	} {
		line, err := Marshal(c.r)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]any
		if err := json.Unmarshal(line, &keys); err != nil {
			t.Fatal(err)
		}
		for key := range strings.FieldsSeq(c.want) {
			if _, ok := keys[key]; !ok {
				t.Errorf("%T has no key %q", c.r, key)
			}
		}
	}
}

func TestEveryRecordReadsBackAsWritten(t *testing.T) {
	for _, r := range shortRun() {
		line, err := Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Unmarshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if it, ok := r.(*Iteration); ok && math.IsInf(it.GradNorm, 0) {
			it.GradNorm = math.NaN() // JSON has no infinity
		}
		if d := cmp.Diff(r, back, cmpopts.EquateNaNs()); d != "" {
			t.Errorf("%T: %s", r, d)
		}
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		line, err := Marshal(&Validation{LMLoss: x})
		if err != nil || !strings.Contains(string(line), `"lm_loss":null`) {
			t.Errorf("%v is written as %s, %v", x, line, err)
		}
	}
}

func TestUnmarshalOfForeignLines(t *testing.T) {
	if r, err := Unmarshal([]byte(`{"event":"of a later version","x":1}`)); r != nil || err != nil {
		t.Errorf("unknown event: %v, %v", r, err)
	}
	r, err := Unmarshal([]byte(`{"iteration":3}`))
	if err != nil {
		t.Fatal(err)
	}
	if it := r.(*Iteration); it.Iteration != 3 || !math.IsNaN(it.LMLoss) {
		t.Errorf("absent keys: %+v", it)
	}
	for _, bad := range []string{"", "{", `{"iteration":"x"}`} {
		if _, err := Unmarshal([]byte(bad)); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

// A run that is killed, and resumed from a checkpoint, leaves the file that one uninterrupted run leaves, but for the record
// that says so: nothing twice, nothing lost, wherever it was killed.
func TestResumedFileEqualsTheStraightOne(t *testing.T) {
	all := shortRun()
	resumeAt := slices.IndexFunc(all, func(r Record) bool { _, ok := r.(*Checkpoint); return ok })
	for kill := resumeAt; kill < len(all); kill++ {
		for _, cut := range []int{0, 1, 20} { // bytes of the last line that never reached the disk
			if cut > 0 && kill == resumeAt {
				continue // then there is no such checkpoint line
			}
			file := filepath.Join(t.TempDir(), "metrics.jsonl")
			m, err := CreateMetrics(file)
			if err != nil {
				t.Fatal(err)
			}
			writeAll(t, m, all[:kill+1])
			truncate(t, file, cut)
			m, err = ResumeMetrics(file, 6)
			if err != nil {
				t.Fatal(err)
			}
			writeAll(t, m, all[resumeAt+1:])
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "metrics.jsonl", got)
		}
	}
}

func truncate(t *testing.T, file string, cut int) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()-int64(cut)); err != nil {
		t.Fatal(err)
	}
}

// The checkpoint was complete, but its line never came: what is not later than it stays.
func TestResumeWithoutACheckpointLine(t *testing.T) {
	for resume := range 9 {
		file := filepath.Join(t.TempDir(), "metrics.jsonl")
		m, err := CreateMetrics(file)
		if err != nil {
			t.Fatal(err)
		}
		var records []Record
		for n := 1; n <= 8; n++ {
			records = append(records, iteration(n))
		}
		writeAll(t, m, records)
		truncate(t, file, 30) // the last line is cut
		m, err = ResumeMetrics(file, resume)
		if err != nil {
			t.Fatal(err)
		}
		writeAll(t, m, records[min(resume, 7):]) // of iteration 8 nothing whole was left
		h, err := ReadHistory(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Iterations) != 8 {
			t.Errorf("resumed at %d: %d iterations", resume, len(h.Iterations))
		}
		for i, it := range h.Iterations {
			if _, n := it.at(); n != i+1 {
				t.Errorf("resumed at %d: place %d holds iteration %d", resume, i, n)
			}
		}
	}
}

func TestResumeBeginsAMissingFile(t *testing.T) {
	m, err := ResumeMetrics(filepath.Join(t.TempDir(), "metrics.jsonl"), 6)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, m, shortRun())
}

// Whoever reads the file while the run goes on sees every record written so far.
func TestRecordsAreOutAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "metrics.jsonl")
	m, err := CreateMetrics(file)
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range shortRun() {
		if err := m.Write(r); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines != n+1 {
			t.Fatalf("%d lines after %d records", lines, n+1)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryOfAnUnfinishedRun(t *testing.T) {
	text, err := os.ReadFile("testdata/metrics.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := ParseHistory(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(len(whole.Runs), len(whole.Stages), len(whole.Iterations), len(whole.Growths), len(whole.Validations), len(whole.Checkpoints), whole.End != nil)
	if got != "1 2 12 1 1 1 true" {
		t.Errorf("history holds %s", got)
	}
	cut, err := ParseHistory(strings.NewReader(string(text[:len(text)-300])))
	if err != nil || cut.End != nil || len(cut.Iterations) >= 12 {
		t.Errorf("a cut file: %+v, %v", cut, err)
	}
	if _, err := ParseHistory(strings.NewReader("{}\nnonsense\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error is %v", err)
	}
	if h, err := ParseHistory(strings.NewReader("\n")); err != nil || !reflect.DeepEqual(h, &History{}) {
		t.Errorf("an empty file: %+v, %v", h, err)
	}
}
