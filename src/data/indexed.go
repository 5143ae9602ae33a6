package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
)

// Megatron's .idx file, little endian throughout:
//
//	magic      "MMIDIDX\0\0"
//	version    uint64 = 1
//	dtype      uint8 (the numbers below)
//	sequences  uint64 = n
//	documents  uint64 = d + 1
//	lengths    [n]int32, tokens of each sequence
//	pointers   [n]int64, where each begins in the .bin file, in bytes
//	boundaries [d+1]int64, the first sequence of each document, and n behind the last
//
// The .bin file is the tokens of all sequences back to back. Prep writes one sequence a document.
const (
	idxMagic   = "MMIDIDX\x00\x00"
	idxVersion = 1
	idxHeader  = len(idxMagic) + 8 + 1 + 8 + 8
)

// dtype is Megatron's number of an element type.
type dtype uint8

const (
	dtypeU8 dtype = iota + 1
	dtypeI8
	dtypeI16
	dtypeI32
	dtypeI64
	dtypeF64
	dtypeF32
	dtypeU16
)

// size is the bytes of an element of the types that hold token ids; 0 for others.
func (d dtype) size() int {
	switch d {
	case dtypeU16:
		return 2
	case dtypeI32:
		return 4
	}
	return 0
}

func (d dtype) String() string {
	names := [...]string{dtypeU8: "uint8", dtypeI8: "int8", dtypeI16: "int16", dtypeI32: "int32", dtypeI64: "int64", dtypeF64: "float64",
		dtypeF32: "float32", dtypeU16: "uint16"}
	if d == 0 || int(d) >= len(names) {
		return fmt.Sprintf("dtype %d", uint8(d))
	}
	return names[d]
}

// stream is the tokens of a corpus, one behind the other. Reading is safe for several goroutines.
type stream interface {
	tokens() uint64
	documents() uint64 // 0: not known
	read(dst []int32, at uint64) error
	close() error
}

// indexPaths are the .bin and .idx files of a corpus named by its prefix or by either file.
func indexPaths(path string) (bin, idx string) {
	for _, end := range []string{".bin", ".idx"} {
		if prefix, ok := strings.CutSuffix(path, end); ok {
			path = prefix
			break
		}
	}
	return path + ".bin", path + ".idx"
}

// openIndexed opens a Megatron corpus; its index is checked whole.
func openIndexed(path string) (stream, error) {
	binPath, idxPath := indexPaths(path)
	d, tokens, documents, err := checkIndex(idxPath)
	if err != nil {
		return nil, err
	}
	bin, err := openMapped(binPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is an index, but no file of tokens %s", idxPath, binPath)
	}
	if err != nil {
		return nil, err
	}
	if want := tokens * uint64(d.size()); uint64(bin.size()) != want {
		size := bin.size()
		bin.close()
		return nil, fmt.Errorf("%s: %d bytes, but its index counts %d tokens of %s, %d bytes; the file is cut or belongs to another index",
			binPath, size, tokens, d, want)
	}
	return &tokenFile{mapped: bin, path: binPath, n: tokens, docs: documents, width: d.size()}, nil
}

// checkIndex reads an .idx file from end to end and gives what it says. Faults come with the file and what is wrong.
func checkIndex(path string) (d dtype, tokens, documents uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("token index: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("token index: %w", err)
	}
	fail := func(format string, args ...any) (dtype, uint64, uint64, error) {
		return 0, 0, 0, fmt.Errorf("%s: "+format, append([]any{path}, args...)...)
	}
	var head [idxHeader]byte
	if _, err := io.ReadFull(file, head[:]); err != nil {
		return fail("%d bytes are too few for an index of tokens", info.Size())
	}
	if string(head[:9]) != idxMagic {
		return fail("begins with %q, not with MMIDIDX as Megatron's index of tokens does", head[:9])
	}
	if v := binary.LittleEndian.Uint64(head[9:]); v != idxVersion {
		return fail("version %d is not known; want %d", v, idxVersion)
	}
	if d = dtype(head[17]); d.size() == 0 {
		return fail("tokens of type %s are not supported; want uint16 or int32", d)
	}
	n, bounds := binary.LittleEndian.Uint64(head[18:]), binary.LittleEndian.Uint64(head[26:])
	size := uint64(info.Size())
	if n > size/12 || bounds > size/8 || bounds == 0 || uint64(idxHeader)+12*n+8*bounds != size {
		return fail("%d bytes do not hold the %d sequences and %d document boundaries it announces; it is cut or damaged", size, n, bounds)
	}
	tokens, err = checkSequences(file, n, d.size())
	if err == nil {
		err = checkBoundaries(file, n, bounds)
	}
	if err != nil {
		return fail("%w", err)
	}
	return d, tokens, bounds - 1, nil
}

// checkSequences compares lengths with pointers: each sequence begins where the one before ends. It gives the tokens.
func checkSequences(file *os.File, n uint64, width int) (tokens uint64, err error) {
	const batch = 4096
	lengths, pointers := make([]byte, 4*batch), make([]byte, 8*batch)
	for i := uint64(0); i < n; i += batch {
		m := min(batch, n-i)
		if _, err := file.ReadAt(lengths[:4*m], int64(idxHeader)+int64(4*i)); err != nil {
			return 0, err
		}
		if _, err := file.ReadAt(pointers[:8*m], int64(idxHeader)+int64(4*n+8*i)); err != nil {
			return 0, err
		}
		for j := range m {
			length, pointer := int32(binary.LittleEndian.Uint32(lengths[4*j:])), binary.LittleEndian.Uint64(pointers[8*j:])
			if length < 0 {
				return 0, fmt.Errorf("sequence %d has %d tokens; the index is damaged", i+j, length)
			}
			if want := tokens * uint64(width); pointer != want {
				return 0, fmt.Errorf("sequence %d begins at byte %d, not at %d behind the one before; the index is damaged", i+j, pointer, want)
			}
			tokens += uint64(length)
		}
	}
	return tokens, nil
}

// checkBoundaries reads the documents' first sequences: rising, from 0 to n.
func checkBoundaries(file *os.File, n, bounds uint64) error {
	const batch = 4096
	buf := make([]byte, 8*batch)
	last := uint64(0)
	for i := uint64(0); i < bounds; i += batch {
		m := min(batch, bounds-i)
		if _, err := file.ReadAt(buf[:8*m], int64(idxHeader)+int64(12*n+8*i)); err != nil {
			return err
		}
		for j := range m {
			b := binary.LittleEndian.Uint64(buf[8*j:])
			if b > n || b < last || i+j == 0 && b != 0 || i+j == bounds-1 && b != n {
				return fmt.Errorf("document boundary %d is %d, after %d and with %d sequences; the index is damaged", i+j, b, last, n)
			}
			last = b
		}
	}
	return nil
}

// tokenFile is a file of tokens of one width, behind a header.
type tokenFile struct {
	mapped
	path   string
	offset int64 // of the first token, in bytes
	n      uint64
	docs   uint64
	width  int // bytes a token: 2 or 4
}

func (f *tokenFile) tokens() uint64    { return f.n }
func (f *tokenFile) documents() uint64 { return f.docs }

func (f *tokenFile) read(dst []int32, at uint64) (err error) {
	if at > f.n || uint64(len(dst)) > f.n-at {
		return fmt.Errorf("%s: tokens %d to %d are beyond its %d", f.path, at, at+uint64(len(dst)), f.n)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { err = faultOf(f.path, recover(), err) }()
	raw, err := f.bytes(f.offset+int64(at)*int64(f.width), len(dst)*f.width)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if f.width == 2 {
		for i := range dst {
			dst[i] = int32(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		return nil
	}
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// faultOf is the error of a recovered panic. Mapped memory whose file was cut since, or whose disk is gone, cannot be read:
// that is not a fault of the program.
func faultOf(path string, recovered any, err error) error {
	if recovered == nil {
		return err
	}
	if _, ok := recovered.(interface{ Addr() uintptr }); ok {
		return fmt.Errorf("%s cannot be read any more: was it cut while in use, or is its disk gone?", path)
	}
	panic(recovered)
}
