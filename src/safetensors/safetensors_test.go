package safetensors

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cambium/src/tensor"
	oracle "github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/go.safetensors anew")

// recorded is what testdata/make.py writes.
func recorded() []Entry {
	inf := float32(math.Inf(1))
	base := []float32{0, float32(math.Copysign(0, -1)), 1, -1.5, 3.14159274, 1e-3, 65504, 65519.996, 6e-8, 2.9e-8, 1e-40, inf}
	return []Entry{
		FromF32("f32", tensor.F32, []int{3, 4}, base),
		FromF32("bf16", tensor.BF16, []int{2, 6}, base),
		FromF32("f16", tensor.F16, []int{12}, base),
		FromF32("i32", tensor.I32, []int{1, 3}, []float32{1, -2, 2147483520}),
		FromF32("scalar", tensor.F32, nil, []float32{2.5}),
		FromF32("empty", tensor.F32, []int{0, 3}, nil),
		FromF32("a name/with \"quotes\" ä", tensor.F32, []int{1}, []float32{1}),
	}
}

var recordedMetadata = map[string]string{"format": "pt", "by": "make.py"}

func TestAFileOfThePythonLibraryIsReadToTheBit(t *testing.T) {
	f, err := Open(filepath.Join("testdata", "python.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if !reflect.DeepEqual(f.Metadata(), recordedMetadata) {
		t.Errorf("metadata %v", f.Metadata())
	}
	if len(f.Names()) != len(recorded()) {
		t.Errorf("names %q", f.Names())
	}
	for _, e := range recorded() {
		info, ok := f.Info(e.Name)
		if !ok || info.DType != e.DType || fmt.Sprint(info.Shape) != fmt.Sprint(append([]int{}, e.Shape...)) {
			t.Fatalf("%s is %+v, want %v%v", e.Name, info, e.DType, e.Shape)
		}
		var want bytes.Buffer
		if err := e.Stream(&want); err != nil {
			t.Fatal(err)
		}
		data, err := f.Data(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(data); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: % x, want % x (%v)", e.Name, got, want.Bytes(), err)
		}
		back := make([]float32, info.Len())
		if err := f.ReadF32(e.Name, back); err != nil || !bytes.Equal(encode(nil, e.DType, back), want.Bytes()) {
			t.Errorf("%s as float32: %v (%v)", e.Name, back, err)
		}
	}
}

// testdata/make.py check reads this file with the Python library.
func TestTheFileThatThePythonLibraryReadIsStillWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go.safetensors")
	if err := Write(path, recordedMetadata, recorded()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "go.safetensors")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
		t.Errorf("other bytes than those in %s (%v)", golden, err)
	}
}

// The nlpodyssey module is a port of the reference implementation.
func TestAnotherImplementationReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // temporary
		var entries []Entry
		for i := range rapid.IntRange(0, 6).Draw(t, "tensors") {
			e := Entry{Name: fmt.Sprintf("%d%s", i, rapid.String().Draw(t, "name"))}
			e.DType = rapid.SampledFrom([]tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.F64, tensor.I32}).Draw(t, "dtype")
			e.Shape = rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
			e.Bytes = rapid.SliceOfN(rapid.Byte(), int(e.bytes()), int(e.bytes())).Draw(t, "data")
			entries = append(entries, e)
		}
		path := filepath.Join(dir, "x.safetensors")
		if err := Write(path, nil, entries); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := oracle.Deserialize(raw)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close() //nolint:errcheck // only read
		for _, e := range entries {
			v, ok := theirs.Tensor(e.Name)
			if !ok || !bytes.Equal(v.Data(), e.Bytes) || v.DType().String() != dtypeNames[e.DType] || len(v.Shape()) != len(e.Shape) {
				t.Fatalf("%q: they read %v %v", e.Name, v, ok)
			}
			data, err := ours.Data(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(data); err != nil || !bytes.Equal(got, e.Bytes) {
				t.Fatalf("%q: we read % x, want % x (%v)", e.Name, got, e.Bytes, err)
			}
		}
	})
}

func file(t *testing.T, header string, data int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(append(b, header...), make([]byte, data)...)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBrokenFilesAreRefused(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"t":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	for _, c := range []struct {
		name, header string
		data         int
		want         string
	}{
		{"sound", one("F32", "[2]", "[0,8]"), 8, ""},
		{"a hole", one("F32", "[1]", "[4,8]"), 8, "the tensor before ends at 0"},
		{"data behind", one("F32", "[2]", "[0,8]"), 9, "the file holds 9"},
		{"cut", one("F32", "[2]", "[0,8]"), 7, "the file holds 7"},
		{"overlap", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6, "b lies at bytes 2 to 6"},
		{"wrong length", one("F32", "[3]", "[0,8]"), 8, "t has 8 bytes"},
		{"overflow", one("F32", "[4611686018427387904,4]", "[0,0]"), 0, "t has 0 bytes"},
		{"a negative size", one("F32", "[-2,-1]", "[0,8]"), 8, "t has 8 bytes"},
		{"backwards", one("F32", "[]", "[0,-4]"), 0, "t lies at bytes 0 to -4"},
		{"an unknown dtype", one("F8_E4M3", "[8]", "[0,8]"), 8, "element type F8_E4M3 is not supported"},
		{"a name twice", `{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8, "t occurs twice"},
		{"no object", `[]`, 0, "is not a JSON object"},
		{"cut JSON", `{"t":{"dtype":"F32"`, 0, "header"},
		{"unclosed", `{"__metadata__":{}`, 0, "broken JSON"},
		{"behind the header", `{} {}`, 0, "has something behind its end"},
		{"metadata that is no text", `{"__metadata__":{"a":1}}`, 0, "__metadata__"},
	} {
		f, err := Open(file(t, c.header, c.data))
		if err == nil {
			_ = f.Close()
		}
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for n, b := range map[string][]byte{
		"empty": nil, "short": {1, 2}, "a header longer than the file": {255, 0, 0, 0, 0, 0, 0, 0}, "a huge header": bytes.Repeat([]byte{255}, 9),
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil {
			t.Errorf("%s: no error", n)
		}
	}
}

func TestNothingIsWrittenWhenATensorIsWrong(t *testing.T) {
	short := func(w io.Writer) error { _, err := w.Write([]byte{1}); return err }
	fails := func(io.Writer) error { return fmt.Errorf("the device is gone") }
	f32 := func(n int) Entry { return Entry{Name: "t", DType: tensor.F32, Shape: []int{1}, Bytes: make([]byte, n)} }
	for _, c := range []struct {
		entries []Entry
		want    string
	}{
		{[]Entry{f32(3)}, "t has 3 bytes"},
		{[]Entry{f32(4), f32(4)}, `"t" occurs twice`},
		{[]Entry{{Name: "__metadata__", DType: tensor.F32}}, "is taken"},
		{[]Entry{{Name: "t", DType: tensor.F32, Shape: []int{-1}}}, "no such tensor"},
		{[]Entry{{Name: "t", DType: tensor.F32, Shape: []int{1}, Stream: short}}, "1 bytes were streamed"},
		{[]Entry{{Name: "t", DType: tensor.F32, Shape: []int{1}, Stream: fails}}, "the device is gone"},
	} {
		dir := t.TempDir()
		if err := Write(filepath.Join(dir, "x"), nil, c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: %v is left (%v)", c.want, left, err)
		}
	}
}

func TestAFolderOfSeveralPartsIsOneModel(t *testing.T) {
	dir := t.TempDir()
	part := func(file, name string, v float32) {
		t.Helper()
		if err := Write(filepath.Join(dir, file), nil, []Entry{FromF32(name, tensor.F32, []int{1}, []float32{v})}); err != nil {
			t.Fatal(err)
		}
	}
	index := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	part("model.safetensors", "whole", 0)
	part("model-00001-of-00002.safetensors", "a", 1)
	part("model-00002-of-00002.safetensors", "b", 2)
	check := func(names ...string) {
		t.Helper()
		f, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only read
		if !reflect.DeepEqual(f.Names(), names) {
			t.Errorf("names %q, want %q", f.Names(), names)
		}
		for i, n := range names {
			v := make([]float32, 1)
			if err := f.ReadF32(n, v); err != nil || (len(names) > 1 && v[0] != float32(i+1)) {
				t.Errorf("%s: %v (%v)", n, v, err)
			}
		}
	}
	check("whole")
	index(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`)
	check("a", "b")
	for text, want := range map[string]string{
		`{"weight_map":{"c":"model-00001-of-00002.safetensors"}}`: "no part holds c",
		`{"weight_map":{"a":"../model.safetensors"}}`:             "want one in the same folder",
		`{"weight_map":{"a":"missing.safetensors"}}`:              "missing.safetensors",
		`{`: "index.json",
	} {
		index(text)
		if _, err := OpenFolder(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestHalfPrecisionAgreesWithTheReference(t *testing.T) {
	for h := range 1 << 16 {
		got, want := fromF16(uint16(h)), float16.Frombits(uint16(h)).Float32()
		if got != want && !(got != got && want != want) {
			t.Fatalf("fromF16(%#04x) = %v, want %v", h, got, want)
		}
		if back := toF16(want); back != uint16(h) && got == got {
			t.Fatalf("toF16(%v) = %#04x, want %#04x", want, back, h)
		}
		if b := fromBF16(uint16(h)); b == b && toBF16(b) != uint16(h) {
			t.Fatalf("bfloat16 %#04x becomes %#04x", h, toBF16(b))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		f := math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
		if f != f {
			if h := fromF16(toF16(f)); h == h {
				t.Fatal("a NaN became a number")
			}
			if b := fromBF16(toBF16(f)); b == b {
				t.Fatal("a NaN became a number")
			}
			return
		}
		if got, want := toF16(f), uint16(float16.Fromfloat32(f)); got != want {
			t.Fatalf("toF16(%v) = %#04x, want %#04x", f, got, want)
		}
		checkBF16(t, f)
	})
	for e := range 256 { // ties and their neighbours in every binade
		for _, m := range []uint32{0, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0x17fff, 0x18000, 0x18001, 0x7fffff} {
			f := math.Float32frombits(uint32(e)<<23 | m)
			if f != f {
				continue
			}
			if got, want := toF16(f), uint16(float16.Fromfloat32(f)); got != want {
				t.Errorf("toF16(%v) = %#04x, want %#04x", f, got, want)
			}
			checkBF16(t, f)
		}
	}
}

type fataler interface{ Fatalf(string, ...any) }

// checkBF16 compares toBF16 with the definition: the nearer neighbour, the even one in a tie.
func checkBF16(t fataler, f float32) {
	low := uint16(math.Float32bits(f) >> 16) // towards zero
	a, b := float64(fromBF16(low)), float64(fromBF16(low+1))
	if math.IsInf(b, 0) && !math.IsInf(a, 0) {
		b = math.Copysign(0x1p128, a) // where the next number would be
	}
	want := low
	if da, db := math.Abs(float64(f)-a), math.Abs(b-float64(f)); !math.IsInf(a, 0) && (db < da || db == da && low&1 == 1) {
		want = low + 1
	}
	if got := toBF16(f); got != want {
		t.Fatalf("toBF16(%v) = %#04x, want %#04x", f, got, want)
	}
}
