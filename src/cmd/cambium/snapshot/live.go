package snapshot

import (
	"encoding/binary"
	"math"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/eval"
	"cambium/src/layout"
	"cambium/src/model"
)

// Live is a snapshot on a backend, ready to be evaluated.
type Live struct {
	*eval.Evaluator
	Stream  backend.Stream
	backend backend.Backend
}

// Load puts the model on the CPU with that many threads (0: all), for micro-batches of the given size.
func (s *Snapshot) Load(threads, microBatch, seqLength int) (l *Live, err error) {
	o := cpu.Options{Workers: threads}
	if err := o.Check(); err != nil {
		return nil, err
	}
	b := cpu.New(o)
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	stream := b.NewStream("compute")
	params, err := model.NewParams(b, layout.Single(s.Model), 0, model.ParamOptions{})
	if err != nil {
		return nil, err
	}
	for _, t := range params.Shards() {
		values, err := s.Get(t.Name)
		if err != nil {
			return nil, err
		}
		raw := make([]byte, 0, 4*len(values))
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		stream.Upload(params.Weight(t.Name), raw)
		if err := stream.Sync(); err != nil {
			return nil, err
		}
	}
	m, err := model.New(b, s.Function, params, model.Parallel{}, model.Options{MicroBatch: microBatch, SeqLength: seqLength, Inference: true})
	if err != nil {
		return nil, err
	}
	m.SetMask(s.Mask)
	e, err := eval.New(b, m)
	if err != nil {
		return nil, err
	}
	return &Live{Evaluator: e, Stream: stream, backend: b}, nil
}

// Close waits for the device and frees everything.
func (l *Live) Close() error {
	l.Evaluator.Close()
	return l.backend.Close()
}
