package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"cambium/src/tokenizer"

	"github.com/klauspost/compress/zstd"
)

const (
	pieceBytes = 1 << 20   // text is handed on in pieces of about this size
	maxLine    = 256 << 20 // the longest JSON line
	maxWindow  = 128 << 20 // the largest zstd window (its --long=27)
)

// piece is text on its way to a worker: a document, a part of one, or a JSON line that holds one.
type piece struct {
	text  []byte
	file  *File
	line  int64 // of the file, where the piece begins; from 1
	json  bool
	split int
	first bool // the document begins here
	last  bool // and ends here

	size int64 // bytes of text, once encoded; the text itself is let go
}

// reader reads files in order and hands their pieces on.
type reader struct {
	splits []Split
	emit   func(piece) error // the piece's text is the receiver's
	read   func(bytes int64) // reports bytes of the files read, compressed ones as they lie on disk
}

func (r *reader) all(ctx context.Context, files []File) error {
	for i := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.file(ctx, &files[i]); err != nil {
			return err
		}
	}
	return nil
}

// countingReader reports what is read of a file.
type countingReader struct {
	io.Reader
	ctx  context.Context
	read func(int64)
}

func (c countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.Reader.Read(p)
	c.read(int64(n))
	return n, err
}

func (r *reader) file(ctx context.Context, f *File) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	defer file.Close()
	var text io.Reader = countingReader{file, ctx, r.read}
	switch _, kind := compression(f.Name); kind {
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReaderSize(text, 1<<16))
		if err != nil {
			return fmt.Errorf("%s: not a gzip file: %w", f.Path, err)
		}
		text = z
	case ".zst":
		z, err := zstd.NewReader(text, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("%s: not a zstd file: %w", f.Path, err)
		}
		defer z.Close()
		text = z
	}
	if jsonLines(f.Name) {
		err = r.lines(f, text)
	} else {
		err = r.text(f, text)
	}
	var read *readError
	if errors.As(err, &read) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: cannot be read to its end: %w", f.Path, read.error)
	}
	return err
}

// readError is a fault of the file, as opposed to one of its receiver.
type readError struct{ error }

// text reads a file that is one document.
func (r *reader) text(f *File, in io.Reader) error {
	p := piece{file: f, line: 1, split: splitOf(r.splits, f.Name), first: true}
	var rest []byte
	for !p.last {
		// One byte more than a piece tells whether the file goes on.
		buf := make([]byte, pieceBytes+1)
		n := copy(buf, rest)
		m, err := fill(in, buf[n:])
		n += m
		if err == io.EOF {
			p.last = true
		} else if err != nil {
			return &readError{err}
		}
		cut := n
		if !p.last {
			cut = cutPlace(buf[:n])
		}
		rest = buf[cut:n]
		p.text = buf[:cut]
		lines := int64(bytes.Count(p.text, []byte{'\n'}))
		if len(p.text) > 0 || !p.first {
			if err := r.emit(p); err != nil {
				return err
			}
			p.first = false
		}
		p.line += lines
	}
	return nil
}

// fill reads until buf is full. Unlike io.ReadFull it tells the end of the text, io.EOF, from that of a compressed file which
// is cut, io.ErrUnexpectedEOF.
func fill(in io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = in.Read(buf[n:])
		n += m
	}
	if n == len(buf) {
		err = nil
	}
	return n, err
}

// cutPlace is where a long text is cut: where the ids do not notice, if there is such a place, otherwise between two
// characters.
func cutPlace(text []byte) int {
	if cut := tokenizer.SafeCut(text); cut > 0 {
		return cut
	}
	for back := 1; back <= utf8.UTFMax && back < len(text); back++ {
		if utf8.RuneStart(text[len(text)-back]) {
			return len(text) - back
		}
	}
	return len(text) - 1
}

// lines reads a file with a JSON object a line.
func (r *reader) lines(f *File, in io.Reader) error {
	b := bufio.NewReaderSize(in, 1<<18)
	for number := int64(1); ; number++ {
		line, err := readLine(b)
		if errors.Is(err, errLongLine) {
			return fmt.Errorf("%s:%d: the line is longer than %d MiB", f.Path, number, maxLine>>20)
		}
		if err != nil && err != io.EOF {
			return &readError{err}
		}
		if len(bytes.TrimSpace(line)) > 0 {
			p := piece{text: line, file: f, line: number, json: true, split: splitOfLine(r.splits, f.Name, number), first: true, last: true}
			if err := r.emit(p); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

var errLongLine = errors.New("line too long")

// readLine reads a line, without its end, into memory of its own.
func readLine(b *bufio.Reader) (line []byte, err error) {
	for {
		part, err := b.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, errLongLine
		}
		if err == nil {
			return line[:len(line)-1], nil
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// badText is a document that cannot be used: where, and why.
type badText struct {
	path string
	line int64
	why  string
}

func (b *badText) Error() string { return fmt.Sprintf("%s:%d: %s", b.path, b.line, b.why) }

// content is the text of a piece: itself, or what key holds in its JSON object.
func (p *piece) content(key string) ([]byte, error) {
	if !p.json {
		if at := invalidUTF8(p.text); at >= 0 {
			line := p.line + int64(bytes.Count(p.text[:at], []byte{'\n'}))
			return nil, &badText{p.file.Path, line, fmt.Sprintf("byte 0x%02x is not UTF-8", p.text[at])}
		}
		return p.text, nil
	}
	if at := invalidUTF8(p.text); at >= 0 {
		return nil, &badText{p.file.Path, p.line, fmt.Sprintf("byte 0x%02x at %d of the line is not UTF-8", p.text[at], at)}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(p.text, &object); err != nil {
		return nil, &badText{p.file.Path, p.line, "not a JSON object: " + err.Error()}
	}
	raw, ok := object[key]
	if !ok {
		return nil, &badText{p.file.Path, p.line, fmt.Sprintf("the object has no key %q", key)}
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return nil, &badText{p.file.Path, p.line, fmt.Sprintf("the value of %q is not a text", key)}
	}
	return []byte(*text), nil
}

// invalidUTF8 is the place of the first byte that is not UTF-8, -1 when all are.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for at := 0; ; {
		r, n := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && n <= 1 {
			return at
		}
		at += n
	}
}
