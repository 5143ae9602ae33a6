package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testdata/events.hex was read back with TensorBoard's own reader: see testdata/read_events.py.
func TestEventFileIsTheOneThatTensorBoardRead(t *testing.T) {
	dir := t.TempDir()
	tb, err := NewTensorBoard(dir, start)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, tb, shortRun())
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.1767225600.*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for len(raw) > 0 { // one record a line
		n := binary.LittleEndian.Uint64(raw)
		for _, part := range [][]byte{raw[:8], raw[12 : 12+n]} {
			c := crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli))
			at := len(part) + map[bool]int{true: 0, false: 12}[&part[0] == &raw[0]]
			if got := binary.LittleEndian.Uint32(raw[at:]); got != (c>>15|c<<17)+0xa282ead8 {
				t.Fatalf("checksum %#x", got)
			}
		}
		text.WriteString(hex.EncodeToString(raw[:16+n]) + "\n")
		raw = raw[16+n:]
	}
	golden(t, "events.hex", []byte(text.String()))
	if strings.Contains(text.String(), hex.EncodeToString([]byte{0x15, 0, 0, 0x80, 0x7f})) || strings.Contains(text.String(), hex.EncodeToString([]byte{0x15, 0, 0, 0xc0, 0x7f})) {
		t.Error("infinity or NaN reached the file")
	}
}

func TestResumedRunsHaveEventFilesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		tb, err := NewTensorBoard(dir, start)
		if err != nil {
			t.Fatal(err)
		}
		writeAll(t, tb, []Record{&Run{Header: Header{Time: start.Add(time.Second), Iteration: 6}, Resumed: true}, iteration(7)})
	}
	if files, err := filepath.Glob(filepath.Join(dir, "events.*")); err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
}
