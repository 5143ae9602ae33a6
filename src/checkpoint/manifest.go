package checkpoint

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/tensor"
	"github.com/zeebo/xxh3"
)

// FormatVersion is what this package writes. It reads no other.
const FormatVersion = 1

// The kinds of tensors that training keeps, under the names of PyTorch's Adam state. Any other name is a kind too.
const (
	Weight   = "weight"     // fp32 master weights
	ExpAvg   = "exp_avg"    // first moment
	ExpAvgSq = "exp_avg_sq" // second moment
)

// Meta is the state of a run beside its tensors.
type Meta struct {
	Iteration       int           `json:"iteration"`
	ConsumedSamples int64         `json:"consumed_samples"`
	ConsumedTokens  int64         `json:"consumed_tokens"`
	Stage           Stage         `json:"growth_stage"`
	Model           arch.Model    `json:"model"`
	Function        arch.Function `json:"function"`
	Mask            arch.Mask     `json:"mask"`
	Births          Births        `json:"births,omitempty"`
	Seed            uint64        `json:"seed"`
	Config          string        `json:"config"` // the resolved configuration, as text
	// Extra is whatever else belongs to the state: loss scaler, data position. Keys are the caller's. Values come back as
	// the same JSON, without blanks.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
}

// Stage is how far the run is in its growth stages.
type Stage struct {
	Index      int   `json:"index"`      // from 0
	Iterations int   `json:"iterations"` // done in this stage
	Tokens     int64 `json:"tokens"`     // consumed in this stage
	RampStep   int   `json:"ramp_step"`  // steps done of the mask's ramp
}

// Births is, by axis ("hidden", "ffn", ...; "layers"), the step at which every index was born.
type Births map[string][]int32

// Entry is one box of one tensor in a file.
type Entry struct {
	Tensor    string `json:"tensor"`
	Kind      string `json:"kind"`
	DType     string `json:"dtype"`
	Shape     []int  `json:"shape"` // of the global tensor
	Lo        []int  `json:"lo"`    // the box
	Hi        []int  `json:"hi"`
	File      string `json:"file"`
	Offset    int64  `json:"offset"`
	Stored    int64  `json:"stored"`                // bytes in the file
	Codec     string `json:"codec"`                 // CodecRaw or CodecZstd
	Sum       string `json:"xxh3"`                  // of the raw bytes
	StoredSum string `json:"stored_xxh3,omitempty"` // of the stored bytes, where they differ
}

// Box is what the entry holds.
func (e Entry) Box() layout.Box { return layout.Box{Lo: e.Lo, Hi: e.Hi} }

// Raw is the number of bytes before compression.
func (e Entry) Raw() int64 { return int64(e.Box().Volume()) * int64(e.size()) }

// size is the number of bytes of an element.
func (e Entry) size() int {
	d, err := tensor.ParseDType(e.DType)
	if err != nil {
		return 0 // check refuses it
	}
	return d.Size()
}

// String names an entry in messages: "layers.3.mlp.fc1.weight exp_avg [0:64, 0:256]".
func (e Entry) String() string { return fmt.Sprintf("%s %s %v", e.Tensor, e.Kind, e.Box()) }

// Manifest is everything that a checkpoint says of itself.
type Manifest struct {
	Format  int     `json:"format"`
	Ranks   int     `json:"ranks"` // that wrote it
	Meta    Meta    `json:"meta"`
	Entries []Entry `json:"entries"`
}

const manifestName = "manifest.json"

// The file is {"xxh3": "<checksum of the body>",\n"manifest": <body>}\n to the byte, so that no byte of it can change
// unnoticed and every JSON reader understands it.
const (
	manifestHead = "{\"xxh3\": \""
	manifestMid  = "\",\n\"manifest\": "
	manifestTail = "}\n"
)

// encode is the manifest file: the state indented, then one line an entry.
func (m Manifest) encode() ([]byte, error) {
	meta, err := json.MarshalIndent(m.Meta, "  ", "  ")
	if err != nil {
		return nil, fmt.Errorf("checkpoint: manifest: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"format\": %d,\n  \"ranks\": %d,\n  \"meta\": %s,\n  \"entries\": [", m.Format, m.Ranks, meta)
	for i, e := range m.Entries {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("checkpoint: manifest: %w", err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		b.Write(line)
	}
	b.WriteString("\n  ]\n}")
	out := append([]byte(manifestHead+checksum(b.Bytes())+manifestMid), b.Bytes()...)
	return append(out, manifestTail...), nil
}

// readManifest reads and checks the manifest of a checkpoint folder.
func readManifest(folder string) (Manifest, error) {
	path := filepath.Join(folder, manifestName)
	b, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("checkpoint: %w", err)
	}
	damaged := func(why string) (Manifest, error) {
		return Manifest{}, &Damage{File: path, What: why}
	}
	sumAt, bodyAt := len(manifestHead), len(manifestHead)+sumLen+len(manifestMid)
	if len(b) < bodyAt+len(manifestTail) || string(b[:sumAt]) != manifestHead ||
		string(b[sumAt+sumLen:bodyAt]) != manifestMid || !bytes.HasSuffix(b, []byte(manifestTail)) {
		return damaged("is not a manifest, or was cut")
	}
	body := b[bodyAt : len(b)-len(manifestTail)]
	if sum := checksum(body); sum != string(b[sumAt:sumAt+sumLen]) {
		return damaged("does not have the checksum that it names")
	}
	var m Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return damaged("cannot be read: " + err.Error())
	}
	if m.Format != FormatVersion {
		return Manifest{}, fmt.Errorf("checkpoint: %s has format %d: this program reads format %d", path, m.Format, FormatVersion)
	}
	for k, v := range m.Meta.Extra { // encode indents them
		var b bytes.Buffer
		if err := json.Compact(&b, v); err != nil {
			return damaged("cannot be read: " + err.Error())
		}
		m.Meta.Extra[k] = b.Bytes()
	}
	for _, e := range m.Entries {
		if err := e.check(); err != nil {
			return damaged(err.Error())
		}
	}
	return m, nil
}

// maxEntry bounds the elements of an entry, and so what a manifest can make a reader allocate.
const maxEntry = 1 << 30

// check refuses entries that no writer makes, so that readers need not.
func (e Entry) check() error {
	if _, err := tensor.ParseDType(e.DType); err != nil {
		return fmt.Errorf("names element type %q of %s", e.DType, e.Tensor)
	}
	if len(e.Shape) == 0 || len(e.Lo) != len(e.Shape) || len(e.Hi) != len(e.Shape) || e.Box().Empty() ||
		!layout.Whole(e.Shape).Contains(e.Box()) {
		return fmt.Errorf("gives %s of shape %v the box %v", e.Tensor, e.Shape, e.Box())
	}
	elements := 1
	for i, lo := range e.Lo {
		if elements *= min(e.Hi[i]-lo, maxEntry+1); elements > maxEntry { // no product of the two overflows
			return fmt.Errorf("gives %s an entry of box %v: no writer makes entries that large", e.Tensor, e.Box())
		}
	}
	if e.File != filepath.Base(e.File) || e.File == "." || e.Offset < 0 || e.Stored < 0 || (e.Codec == CodecRaw && e.Stored != e.Raw()) {
		return fmt.Errorf("places %v at %q, byte %d to %d", e, e.File, e.Offset, e.Offset+e.Stored)
	}
	if e.Codec != CodecRaw && e.Codec != CodecZstd {
		return fmt.Errorf("names codec %q of %s", e.Codec, e.Tensor)
	}
	return nil
}

// Damage is an error that says which file is not as it was written, and how.
type Damage struct {
	File  string
	Entry string // what in the file, if known
	What  string
}

// Error is one sentence.
func (d *Damage) Error() string {
	if d.Entry == "" {
		return fmt.Sprintf("checkpoint: %s %s", d.File, d.What)
	}
	return fmt.Sprintf("checkpoint: %s: %s %s", d.File, d.Entry, d.What)
}

// sumLen is the length of a checksum as text.
const sumLen = 32

// checksum is xxh3-128 as 32 hexadecimal digits, high half first, as `xxhsum -H2` prints it.
func checksum(b []byte) string {
	sum := xxh3.Hash128(b).Bytes()
	return hex.EncodeToString(sum[:])
}
