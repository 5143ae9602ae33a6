package telemetry

import (
	"os"
	"path/filepath"
	"testing"
)

// The line of checkpoint 8 is missing: the run was killed just before it. The next one resumed there, grew, and was
// killed too.
func TestAGrowthThatHappensAgainIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	kept := `{"event":"run","iteration":0}` + "\n" + `{"iteration":7}` + "\n" + `{"iteration":8}` + "\n" + `{"event":"validation","iteration":8}` + "\n"
	again := `{"event":"run","iteration":8}` + "\n" + `{"event":"growth","iteration":8}` + "\n" + `{"event":"stage","iteration":8}` + "\n"
	if err := os.WriteFile(path, []byte(kept+again), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := ResumeMetrics(path, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != kept {
		t.Errorf("resumed at 8, the file holds\n%swant\n%s", got, kept)
	}
}
