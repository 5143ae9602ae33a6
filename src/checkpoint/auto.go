package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// autoLeast is how much a rank must have to write before "auto" measures anything, autoSample what it measures with.
const (
	autoLeast  = 64 << 20
	autoSample = 8 << 20
)

// choose is the codec of this rank's entries.
func (w *writer) choose(jobs []job) (string, error) {
	switch w.opt.Compression {
	case "none":
		return CodecRaw, nil
	case "zstd":
		return CodecZstd, nil
	case "auto":
	default:
		return "", fmt.Errorf("checkpoint: compression %q is unknown: want auto, none or zstd", w.opt.Compression)
	}
	total := 0
	for _, j := range jobs {
		total += j.part.Volume() * j.piece.DType.Size()
	}
	if total < autoLeast {
		return CodecRaw, nil
	}
	sample, err := sampleOf(jobs)
	if err != nil {
		return "", err
	}
	return w.measure(sample.data, sample.size)
}

type sample struct {
	data []byte
	size int // of an element
}

// sampleOf is the beginning of the largest entry.
func sampleOf(jobs []job) (sample, error) {
	largest := jobs[0]
	for _, j := range jobs {
		if j.part.Volume() > largest.part.Volume() {
			largest = j
		}
	}
	p, part := largest.piece, largest.part
	row := part.Volume() / (part.Hi[0] - part.Lo[0]) * p.DType.Size()
	rows := min(max(autoSample/row, 1), part.Hi[0]-part.Lo[0])
	part = part.Narrow(0, part.Lo[0], part.Lo[0]+rows)
	data, err := p.bytes(part, make([]byte, rows*row))
	if err != nil {
		return sample{}, fmt.Errorf("checkpoint: %s %s: %w", p.Tensor, p.Kind, err)
	}
	return sample{data: data, size: p.DType.Size()}, nil
}

// measure compresses the sample, and writes and syncs it raw. With c and d the times of the two and r the share of the bytes that
// the codec leaves, compression wins when c + r d < d. All ranks measure at once, as they will write at once.
func (w *writer) measure(data []byte, size int) (string, error) {
	enc, err := newEncoder()
	if err != nil {
		return "", err
	}
	start := time.Now()
	packed := enc.encode(data, size)
	c := time.Since(start).Seconds()

	path := filepath.Join(w.folder, fmt.Sprintf("probe_%05d", w.group.Rank()))
	start = time.Now()
	if err := w.writeSynced(path, data); err != nil {
		return "", err
	}
	d := time.Since(start).Seconds()
	if err := os.Remove(path); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	if r := float64(len(packed)) / float64(len(data)); c+r*d < d {
		return CodecZstd, nil
	}
	return CodecRaw, nil
}
