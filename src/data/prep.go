package data

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"cambium/src/tokenizer"
)

// PrepOptions says what text becomes which token files.
type PrepOptions struct {
	Files  []File // what to read, in this order: from List or GoFiles
	Output string // path without ending: of <Output>.bin, or with Splits of <Output>_train.bin and <Output>_<name>.bin

	Tokenizer     tokenizer.Tokenizer
	TokenizerName string // kept in the .json beside the tokens
	AppendEOD     bool   // an end-of-document token behind each document; packed training wants it

	TextKey string  // of the text in a JSON line; default "text"
	Splits  []Split // held-out shares; none: all in <Output>
	SkipBad bool    // leave out documents that are no UTF-8 or no JSON, and count them, instead of stopping

	Workers  int             // encoding goroutines; default GOMAXPROCS. The files do not depend on it
	Progress func(PrepState) // when set, called from one goroutine at a time, after each piece of about 1 MiB
}

// PrepState is how far Prep is.
type PrepState struct {
	Done, Total int64 // bytes of the input files, as they lie on disk
	Tokens      int64
	Documents   int64
	Skipped     int64 // bad documents left out
}

// PrepResult is what Prep wrote.
type PrepResult struct {
	Outputs []Output
	Skipped int64 // bad documents left out
	Bad     []string
}

// Output is one pair of token files, by its prefix.
type Output struct {
	Split  string // empty without splits
	Prefix string
	Info   Info
}

// Prep encodes documents and writes them as Megatron's .bin and .idx, with a small .json beside (see Info). All processors
// encode; what is written depends on the files, the options and their order alone. Memory is bounded: about 20 MiB a worker,
// and what one JSON line takes. Files appear under their names when they are complete, the index last; until then they
// are called .partial.
//
// A document longer than a mebibyte is encoded in parts, cut where the tokenizer cuts too (tokenizer.SafeCut); only a
// mebibyte without any such place gives other tokens, at its end.
//
// A document that is not UTF-8, or a line that is not JSON with a text under TextKey, is an error that names file and
// line, unless SkipBad. Empty documents are left out.
func Prep(ctx context.Context, o PrepOptions) (*PrepResult, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	out, err := newOutputs(&o)
	if err != nil {
		return nil, err
	}
	defer out.abandon()
	p := &prep{o: &o, out: out}
	for _, f := range o.Files {
		p.state.Total += f.Size
	}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	result := &PrepResult{Skipped: p.state.Skipped, Bad: p.bad}
	if result.Outputs, err = out.commit(); err != nil {
		return nil, err
	}
	return result, nil
}

func (o *PrepOptions) complete() error {
	switch {
	case o.Output == "":
		return errors.New("prep: no output given; want a path without ending, as data/corpus")
	case o.Tokenizer == nil:
		return errors.New("prep: no tokenizer given")
	case len(o.Files) == 0:
		return errors.New("prep: no files to read")
	case o.AppendEOD && o.Tokenizer.EOD() < 0:
		return errors.New("prep: the tokenizer has no end-of-document token to append")
	}
	if o.TextKey == "" {
		o.TextKey = "text"
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return checkSplits(o.Splits)
}

// prep is one run. A reader makes jobs; workers encode them; the writer takes them in the order in which they were read.
type prep struct {
	o     *PrepOptions
	out   *outputs
	bytes atomic.Int64 // read so far
	state PrepState
	bad   []string // the first few bad documents
}

// job is a batch of pieces that one worker encodes.
type job struct {
	pieces []piece
	size   int
	done   chan struct{} // closed when the fields below are set
	ids    []int32
	ends   []int   // of each piece in ids
	faults []error // nil, or of each piece
}

// jobBytes is how much text makes a job.
const jobBytes = 1 << 20

func (p *prep) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work := make(chan *job, p.o.Workers)
	order := make(chan *job, 2*p.o.Workers)

	var wait sync.WaitGroup
	wait.Go(func() {
		defer close(work)
		defer close(order)
		if err := p.read(ctx, work, order); err != nil {
			stop(err)
		}
	})
	for range p.o.Workers {
		wait.Go(func() {
			for j := range work {
				p.encode(j)
			}
		})
	}
	for j := range order {
		<-j.done
		if context.Cause(ctx) != nil {
			continue // the channels drain, so that the reader and the workers end
		}
		if err := p.write(j); err != nil {
			stop(err)
		}
	}
	wait.Wait()
	return context.Cause(ctx)
}

// read batches the pieces of the files into jobs.
func (p *prep) read(ctx context.Context, work, order chan<- *job) error {
	next := &job{done: make(chan struct{})}
	send := func() error {
		for _, to := range []chan<- *job{work, order} {
			select {
			case to <- next:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		next = &job{done: make(chan struct{})}
		return nil
	}
	r := reader{
		splits: p.o.Splits,
		read:   func(n int64) { p.bytes.Add(n) },
		emit: func(q piece) error {
			next.pieces = append(next.pieces, q)
			if next.size += len(q.text); next.size >= jobBytes {
				return send()
			}
			return nil
		},
	}
	if err := r.all(ctx, p.o.Files); err != nil {
		return err
	}
	if len(next.pieces) == 0 {
		return nil
	}
	return send()
}

// encode fills in a job's ids.
func (p *prep) encode(j *job) {
	defer close(j.done)
	j.faults = make([]error, len(j.pieces))
	j.ids = make([]int32, 0, j.size/3)
	for i := range j.pieces {
		q := &j.pieces[i]
		text, err := q.content(p.o.TextKey)
		if err != nil {
			j.faults[i] = err
		} else {
			j.ids = p.o.Tokenizer.Encode(j.ids, text)
			q.size = int64(len(text))
		}
		q.text = nil
		j.ends = append(j.ends, len(j.ids))
	}
}

// write puts a job's documents into their files.
func (p *prep) write(j *job) error {
	begin := 0
	for i := range j.pieces {
		q, ids := &j.pieces[i], j.ids[begin:j.ends[i]]
		begin = j.ends[i]
		to := p.out.files[q.split]
		if q.first {
			to.open()
		}
		if to.dropped {
			continue // a later part of a document that is bad
		}
		if err := j.faults[i]; err != nil {
			if !p.o.SkipBad {
				return err
			}
			p.skip(err)
			if err := to.drop(); err != nil {
				return err
			}
			continue
		}
		if err := to.append(ids, q.size); err != nil {
			return err
		}
		if q.last {
			n, err := to.end()
			if err != nil {
				return err
			}
			if n > 0 {
				p.state.Documents++
				p.state.Tokens += n
			}
		}
	}
	p.state.Done = p.bytes.Load()
	if p.o.Progress != nil {
		p.o.Progress(p.state)
	}
	return nil
}

// maxBad is how many of the bad documents are named.
const maxBad = 10

func (p *prep) skip(err error) {
	p.state.Skipped++
	if len(p.bad) < maxBad {
		p.bad = append(p.bad, fmt.Sprint(err))
	}
}
