package cpu

import (
	"strings"
	"testing"
	"unsafe"
)

func TestMemoryIsZeroedAlignedAndCounted(t *testing.T) {
	b := New(Options{Workers: 1})
	defer b.Close()
	small, err := b.Alloc("weights", 1000)
	if err != nil {
		t.Fatal(err)
	}
	large, err := b.Alloc("activations", 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{small.Host, large.Host} {
		if uintptr(unsafe.Pointer(&m[0]))%cacheLine != 0 {
			t.Error("memory does not begin at a cache line")
		}
		for i, v := range m {
			if v != 0 {
				t.Fatalf("byte %d is %d", i, v)
			}
		}
	}
	if len(small.Host) != 1000 || small.Bytes != 1000 || small.Label != "weights" {
		t.Errorf("got %d bytes labelled %q", small.Bytes, small.Label)
	}
	if u := b.Usage(); u.Current != 1000+3<<20 || u.ByLabel["weights"] != 1000 || u.ByLabel["activations"] != 3<<20 {
		t.Errorf("usage %+v", u)
	}
	b.Free(large)
	if u := b.Usage(); u.Current != 1000 || u.Peak != 1000+3<<20 || len(u.ByLabel) != 1 {
		t.Errorf("usage after Free %+v", u)
	}
	if _, err := b.Alloc("nothing", 0); err != nil {
		t.Errorf("0 bytes: %v", err)
	}
}

func TestImpossibleAllocationIsAnError(t *testing.T) {
	b := New(Options{Workers: 1})
	defer b.Close()
	if _, err := b.Alloc("logits", 1<<55); err == nil || !strings.Contains(err.Error(), "logits") {
		t.Errorf("Alloc of 32 PiB: %v", err)
	}
	if _, err := b.Alloc("logits", -1); err == nil {
		t.Error("Alloc of -1 bytes succeeded")
	}
	if u := b.Usage(); u.Current != 0 {
		t.Errorf("failed allocations count %d bytes", u.Current)
	}
}

func TestImpossibleOptionsAreOneClearError(t *testing.T) {
	for _, o := range []Options{{Workers: -1}, {Workers: 1 << 20}, {Level: "sse9"}} {
		if err := o.Check(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	t.Setenv(LevelVariable, "fast")
	if err := (Options{}).Check(); err == nil || !strings.Contains(err.Error(), LevelVariable) || !strings.Contains(err.Error(), "fast") {
		t.Errorf("%s=fast: %v", LevelVariable, err)
	}
	if err := (Options{Level: "portable"}).Check(); err != nil {
		t.Errorf("an explicit level must win over the environment: %v", err)
	}
	t.Setenv(LevelVariable, "portable")
	if b := New(Options{Workers: 2}); b.Name() != "cpu portable, 2 workers" {
		t.Errorf("name %q", b.Name())
	}
	for l, name := range levelNames {
		if err := (Options{Level: name}).Check(); (err == nil) != hasLevel(level(l)) {
			t.Errorf("level %s: %v", name, err)
		}
	}
}
