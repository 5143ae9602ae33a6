package data

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadsWhatPythonWrote(t *testing.T) {
	for name, want := range map[string][]int32{
		"u16": {1, 2, 3, 4, 500, 65000, 0}, "i32": {1, 2, 3, 4, 70000, 65000, 0},
		"llmc_gpt2": {50247, 50248, 50249, 50250, 50251, 50252, 50253, 50254, 50255, 50256}, "llmc_llama3.bin": {128246, 128247, 128248, 128249, 128250, 128251, 128252, 128253, 128254, 128255},
		"llmc_*.bin": {50247, 50248, 50249, 50250, 50251, 50252, 50253, 50254, 50255, 50256, 128246, 128247, 128248, 128249, 128250, 128251, 128252, 128253, 128254, 128255},
	} {
		s, err := openStream(filepath.Join("testdata", name))
		if err != nil {
			t.Error(err)
			continue
		}
		for at := range want {
			for n := 1; at+n <= len(want); n++ {
				got := make([]int32, n)
				if err := s.read(got, uint64(at)); err != nil || !slices.Equal(got, want[at:at+n]) {
					t.Errorf("%s: tokens %d to %d are %v (%v)", name, at, at+n, got, err)
				}
			}
		}
		if err := s.read(make([]int32, 2), uint64(len(want)-1)); err == nil {
			t.Errorf("%s: reading beyond the end gave no error", name)
		}
		s.close()
	}
}

// TestAnyDamageToTheIndexIsRefused flips every bit of every byte of the files' fixed parts and cuts them everywhere.
func TestAnyDamageToTheIndexIsRefused(t *testing.T) {
	dir := t.TempDir()
	idx, bin := get(t, "testdata/u16.idx"), get(t, "testdata/u16.bin")
	try := func(what string, idx, bin []byte) {
		put(t, filepath.Join(dir, "x.idx"), idx)
		put(t, filepath.Join(dir, "x.bin"), bin)
		s, err := openStream(filepath.Join(dir, "x"))
		if err == nil {
			s.close()
			t.Errorf("%s was accepted", what)
		} else if !strings.Contains(err.Error(), filepath.Join(dir, "x")) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error does not name the file in a line: %v", what, err)
		}
	}
	middle := idxHeader + 3*12 + 8 // inner document boundaries may lie elsewhere without harm
	for i := range idx {
		for bit := range 8 {
			if i >= middle && i < len(idx)-8 {
				continue
			}
			bad := bytes.Clone(idx)
			bad[i] ^= 1 << bit
			try(fmt.Sprintf("index with bit %d of byte %d flipped", bit, i), bad, bin)
		}
		try(fmt.Sprintf("index cut at %d", i), idx[:i], bin)
	}
	try("index with a byte too many", append(bytes.Clone(idx), 0), bin)
	try("cut tokens", idx, bin[:len(bin)-1])
	try("no tokens", idx, nil)
	try("tokens too many", idx, append(bytes.Clone(bin), 0, 0))
	os.Remove(filepath.Join(dir, "x.bin"))
	if _, err := openStream(filepath.Join(dir, "x")); err == nil || !strings.Contains(err.Error(), "no file of tokens") {
		t.Errorf("an index alone: %v", err)
	}
}

func TestDamagedShardsAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"llmc_gpt2.bin", "llmc_llama3.bin"} {
		good := get(t, filepath.Join("testdata", name))
		path := filepath.Join(dir, name)
		for i := range 12 {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			put(t, path, bad)
			if _, err := openStream(path); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with byte %d changed: %v", name, i, err)
			}
		}
		for _, n := range []int{0, 3, 4, 100, llmcHeader, len(good) - 1} {
			put(t, path, good[:n])
			if _, err := openStream(path); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
	}
	if _, err := Open([]Corpus{{filepath.Join(dir, "nowhere"), 1}}, 4, 1); err == nil || !strings.Contains(err.Error(), "cambium prep") {
		t.Errorf("a missing corpus: %v", err)
	}
}

func TestPreadReadsWhatMmapDoes(t *testing.T) {
	path := counting(t, 100, 7)
	plain, err := openPlain(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &tokenFile{mapped: plain, path: path, offset: llmcHeader, n: 100, width: 4}
	defer f.close()
	got := make([]int32, 10)
	if err := f.read(got, 42); err != nil || got[0] != 49 || got[9] != 58 {
		t.Errorf("%v, %v", got, err)
	}
}
