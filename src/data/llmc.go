package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// llm.c's shards begin with 256 int32: magic, version, number of tokens, zeros. GPT-2's tokens are uint16 (magic 20240520,
// version 1), Llama 3's uint32 (magic 20240801, version 7).
const (
	llmcHeader = 256 * 4
	llmcGPT2   = 20240520
	llmcLlama3 = 20240801
)

// isLLMC says whether a file begins with one of llm.c's magic numbers.
func isLLMC(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("tokens: %w", err)
	}
	defer file.Close()
	var head [4]byte
	if _, err := io.ReadFull(file, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, fmt.Errorf("tokens: %w", err)
	}
	magic := binary.LittleEndian.Uint32(head[:])
	return magic == llmcGPT2 || magic == llmcLlama3, nil
}

// openLLMC opens a shard of llm.c.
func openLLMC(path string) (stream, error) {
	file, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) (stream, error) {
		file.close()
		return nil, fmt.Errorf("%s: "+format, append([]any{path}, args...)...)
	}
	if file.size() < llmcHeader {
		return fail("%d bytes are too few for a shard of llm.c, whose header has %d", file.size(), llmcHeader)
	}
	head, err := file.bytes(0, llmcHeader)
	if err != nil {
		return fail("%w", err)
	}
	magic, version := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	tokens := int32(binary.LittleEndian.Uint32(head[8:]))
	width, want := 2, uint32(1)
	switch magic {
	case llmcGPT2:
	case llmcLlama3:
		width, want = 4, 7
	default:
		return fail("magic number %d is not llm.c's; want %d or %d", magic, llmcGPT2, llmcLlama3)
	}
	if version != want {
		return fail("version %d of a shard of llm.c with magic number %d is not known; want %d", version, magic, want)
	}
	if tokens < 0 || file.size() != llmcHeader+int64(tokens)*int64(width) {
		return fail("%d bytes do not hold the %d tokens of %d bytes it announces; it is cut or damaged", file.size(), tokens, width)
	}
	return &tokenFile{mapped: file, path: path, offset: llmcHeader, n: uint64(tokens), width: width}, nil
}

// joined is several streams behind one another, as the shards of llm.c's corpora.
type joined struct {
	parts []stream
	ends  []uint64 // tokens up to the end of each part
}

func openShards(paths []string) (stream, error) {
	j := &joined{}
	total := uint64(0)
	for _, path := range paths {
		part, err := openLLMC(path)
		if err != nil {
			j.close()
			return nil, err
		}
		total += part.tokens()
		j.parts, j.ends = append(j.parts, part), append(j.ends, total)
	}
	return j, nil
}

func (j *joined) tokens() uint64    { return j.ends[len(j.ends)-1] }
func (j *joined) documents() uint64 { return 0 }

func (j *joined) read(dst []int32, at uint64) error {
	part, found := slices.BinarySearch(j.ends, at)
	if found { // ends are exclusive
		part++
	}
	for ; len(dst) > 0; part++ {
		if part >= len(j.parts) {
			return fmt.Errorf("tokens beyond the last of %d shards", len(j.parts))
		}
		begin := j.ends[part] - j.parts[part].tokens()
		n := min(uint64(len(dst)), j.ends[part]-at)
		if err := j.parts[part].read(dst[:n], at-begin); err != nil {
			return err
		}
		dst, at = dst[n:], at+n
	}
	return nil
}

func (j *joined) close() error {
	var errs []error
	for _, part := range j.parts {
		errs = append(errs, part.close())
	}
	return errors.Join(errs...)
}

// openStream opens a corpus by its path: a Megatron prefix (or its .bin or .idx), a shard of llm.c, or a pattern such as
// fineweb_train_*.bin that names shards, which are read in the order of their names.
func openStream(path string) (stream, error) {
	bin, idx := indexPaths(path)
	if _, err := os.Stat(idx); err == nil {
		return openIndexed(path)
	}
	shards, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("data %s: the pattern is malformed: %w", path, err)
	}
	if len(shards) == 0 {
		shards, _ = filepath.Glob(bin)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("data %s: there is neither %s nor a shard of llm.c; make one with cambium prep", path, idx)
	}
	for _, shard := range shards {
		ok, err := isLLMC(shard)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("data %s: neither tokens of Megatron (there is no %s) nor a shard of llm.c (its first number is another)", shard, idx)
		}
	}
	return openShards(shards)
}
