package data

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// Info is the .json file beside a corpus: what the tokens are.
type Info struct {
	Tokens    int64  `json:"tokens"`    // with end-of-document tokens
	Documents int64  `json:"documents"` //
	Bytes     int64  `json:"bytes"`     // of text
	DType     string `json:"dtype"`
	Tokenizer string `json:"tokenizer,omitempty"`
	VocabSize int    `json:"vocab_size"`
	EOD       int32  `json:"eod"` // id of the token behind each document; -1: none
	Split     string `json:"split,omitempty"`
}

// BytesPerToken is the length of the text over the number of tokens.
func (i Info) BytesPerToken() float64 {
	if i.Tokens == 0 {
		return 0
	}
	return float64(i.Bytes) / float64(i.Tokens)
}

// partial is the ending of files that are not complete yet. A later Prep of the same name writes over them.
const partial = ".partial"

// outputs are the files of all splits.
type outputs struct {
	lock  *flock.Flock
	files []*output
}

func newOutputs(o *PrepOptions) (*outputs, error) {
	if err := os.MkdirAll(filepath.Dir(o.Output), 0o755); err != nil {
		return nil, fmt.Errorf("prep: %w", err)
	}
	out := &outputs{lock: flock.New(o.Output + ".lock")}
	if ok, err := out.lock.TryLock(); err == nil && !ok { // a file system without locks is no reason to stop
		return nil, fmt.Errorf("prep: another process is writing %s", o.Output)
	}
	names := []string{""}
	if len(o.Splits) > 0 {
		names[0] = TrainSplit
		for _, s := range o.Splits {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		prefix := o.Output
		if name != "" {
			prefix += "_" + name
		}
		f, err := newOutput(prefix, name, o)
		if err != nil {
			out.abandon()
			return nil, err
		}
		out.files = append(out.files, f)
	}
	return out, nil
}

// abandon removes what is not complete; nothing after commit.
func (o *outputs) abandon() {
	for _, f := range o.files {
		f.abandon()
	}
	_ = os.Remove(o.lock.Path())
	_ = o.lock.Unlock()
}

// commit finishes all files under partial names first, then gives them their names.
func (o *outputs) commit() ([]Output, error) {
	for _, f := range o.files {
		if err := f.finish(); err != nil {
			return nil, err
		}
	}
	var list []Output
	for _, f := range o.files {
		if err := f.rename(); err != nil {
			return nil, err
		}
		list = append(list, Output{Split: f.info.Split, Prefix: f.prefix, Info: f.info})
	}
	return list, nil
}

// output is one pair of token files being written.
type output struct {
	prefix  string
	info    Info
	dtype   dtype
	eod     int32 // -1: none
	bin     *partialFile
	lengths *partialFile // int32 of each sequence; they become the index at the end
	scratch []byte

	docTokens, docBytes int64
	dropped             bool // the current document is bad: what comes of it is left out
}

func newOutput(prefix, split string, o *PrepOptions) (*output, error) {
	d := dtypeFor(o.Tokenizer.VocabSize())
	eod := int32(-1)
	if o.AppendEOD {
		eod = o.Tokenizer.EOD()
	}
	f := &output{prefix: prefix, dtype: d, eod: eod, info: Info{
		DType: d.String(), Tokenizer: o.TokenizerName, VocabSize: o.Tokenizer.VocabSize(), EOD: eod, Split: split,
	}}
	var err error
	if f.bin, err = newPartial(prefix + ".bin"); err != nil {
		return nil, err
	}
	if f.lengths, err = newPartial(prefix + ".lengths"); err != nil {
		f.bin.remove()
		return nil, err
	}
	return f, nil
}

// open begins a document.
func (f *output) open() { f.docTokens, f.docBytes, f.dropped = 0, 0, false }

// append adds tokens to the current document, made of a number of bytes of text.
func (f *output) append(ids []int32, bytes int64) error {
	f.scratch = f.scratch[:0]
	for _, id := range ids {
		if f.dtype == dtypeU16 {
			f.scratch = binary.LittleEndian.AppendUint16(f.scratch, uint16(id))
		} else {
			f.scratch = binary.LittleEndian.AppendUint32(f.scratch, uint32(id))
		}
	}
	f.docTokens += int64(len(ids))
	f.docBytes += bytes
	return f.bin.write(f.scratch)
}

// end ends the current document and gives its tokens; an empty one leaves no trace.
func (f *output) end() (tokens int64, err error) {
	if f.docTokens == 0 {
		return 0, nil
	}
	if f.eod >= 0 {
		if err := f.append([]int32{f.eod}, 0); err != nil {
			return 0, err
		}
	}
	if f.docTokens != int64(int32(f.docTokens)) {
		return 0, fmt.Errorf("prep: a document of %d tokens is too long for Megatron's index, which holds at most 2^31-1", f.docTokens)
	}
	f.info.Tokens += f.docTokens
	f.info.Bytes += f.docBytes
	f.info.Documents++
	return f.docTokens, f.lengths.write(binary.LittleEndian.AppendUint32(nil, uint32(f.docTokens)))
}

// drop takes back what the current document has written, and leaves out the rest of it.
func (f *output) drop() error {
	f.dropped = true
	n := f.docTokens * int64(f.dtype.size())
	f.docTokens, f.docBytes = 0, 0
	return f.bin.takeBack(n)
}

// finish completes the files under their partial names.
func (f *output) finish() error {
	if err := f.lengths.flush(); err != nil {
		return err
	}
	idx, err := newPartial(f.prefix + ".idx")
	if err != nil {
		return err
	}
	if err := errors.Join(f.writeIndex(idx), f.bin.finish(), idx.finish(), f.writeInfo()); err != nil {
		idx.remove()
		return err
	}
	f.lengths.remove()
	return nil
}

// writeIndex makes the index of the lengths, which it reads three times, so that nothing grows with the documents.
func (f *output) writeIndex(idx *partialFile) error {
	n := uint64(f.info.Documents)
	head := append(make([]byte, 0, idxHeader), idxMagic...)
	head = binary.LittleEndian.AppendUint64(head, idxVersion)
	head = append(head, byte(f.dtype))
	head = binary.LittleEndian.AppendUint64(head, n)
	head = binary.LittleEndian.AppendUint64(head, n+1)
	if err := idx.write(head); err != nil {
		return err
	}
	if _, err := f.lengths.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	if _, err := io.Copy(idx.buffer, f.lengths.file); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	if _, err := f.lengths.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	lengths := bufio.NewReaderSize(f.lengths.file, 1<<16)
	pointer := uint64(0)
	var word [8]byte
	for range n {
		binary.LittleEndian.PutUint64(word[:], pointer)
		if err := idx.write(word[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(lengths, word[:4]); err != nil {
			return fmt.Errorf("prep: %w", err)
		}
		pointer += uint64(binary.LittleEndian.Uint32(word[:4])) * uint64(f.dtype.size())
	}
	for i := range n + 1 {
		binary.LittleEndian.PutUint64(word[:], i)
		if err := idx.write(word[:]); err != nil {
			return err
		}
	}
	return nil
}

func (f *output) writeInfo() error {
	data, err := json.MarshalIndent(f.info, "", "  ")
	if err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	file, err := newPartial(f.prefix + ".json")
	if err != nil {
		return err
	}
	return errors.Join(file.write(append(data, '\n')), file.finish())
}

// rename gives the files their names. An index of before goes first and the new one comes last: at no moment does an index
// stand beside tokens of another run.
func (f *output) rename() error {
	if err := os.Remove(f.prefix + ".idx"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("prep: %w", err)
	}
	for _, end := range []string{".bin", ".json", ".idx"} {
		if err := os.Rename(f.prefix+end+partial, f.prefix+end); err != nil {
			return fmt.Errorf("prep: %w", err)
		}
	}
	return nil
}

func (f *output) abandon() {
	f.bin.remove()
	f.lengths.remove()
	for _, end := range []string{".idx", ".json"} {
		_ = os.Remove(f.prefix + end + partial)
	}
}

// partialFile is a file that has its final name only when it is complete.
type partialFile struct {
	file   *os.File
	buffer *bufio.Writer
	size   int64
}

func newPartial(path string) (*partialFile, error) {
	file, err := os.Create(path + partial)
	if err != nil {
		return nil, fmt.Errorf("prep: %w", err)
	}
	return &partialFile{file: file, buffer: bufio.NewWriterSize(file, 1<<18)}, nil
}

func (p *partialFile) write(data []byte) error {
	n, err := p.buffer.Write(data)
	p.size += int64(n)
	if err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	return nil
}

func (p *partialFile) flush() error {
	if err := p.buffer.Flush(); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	return nil
}

// takeBack removes the last n bytes written.
func (p *partialFile) takeBack(n int64) error {
	if n == 0 {
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	p.size -= n
	if err := p.file.Truncate(p.size); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	if _, err := p.file.Seek(p.size, io.SeekStart); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	return nil
}

// finish brings the file to the disk; it still has its partial name.
func (p *partialFile) finish() error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("prep: %w", err)
	}
	return nil
}

// remove takes the file away if it still has its partial name.
func (p *partialFile) remove() {
	_ = p.file.Close()
	_ = os.Remove(p.file.Name())
}

// readInfo reads the .json beside a corpus; ok is false when there is none, as with Megatron's own.
func readInfo(path string) (info Info, ok bool, err error) {
	bin, _ := indexPaths(path)
	name := bin[:len(bin)-len(".bin")] + ".json"
	data, err := os.ReadFile(name)
	if err != nil {
		return info, false, nil
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return info, false, fmt.Errorf("%s: not what cambium prep writes beside tokens: %w", name, err)
	}
	return info, true, nil
}
