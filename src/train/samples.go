package train

import (
	"cambium/src/config"
	"cambium/src/data"
)

// samples feeds a replica's micro-batches to the ranks that read them.
type samples struct {
	rank   *rank
	stage  *config.Stage
	loader *data.Loader // opened at the first micro-batch: ranks between the first and the last pipeline stage read none
	batch  []int32      // a micro-batch, sequence + 1 each
	next   func(microBatch int, tokens, targets []int32) error
}

func (r *rank) newSamples(s *config.Stage) *samples {
	b := &samples{rank: r, stage: s, batch: make([]int32, s.Train.MicroBatchSize*(s.Train.SeqLength+1))}
	b.next = b.fill
	return b
}

// fill reads the next micro-batch.
func (b *samples) fill(_ int, tokens, targets []int32) error {
	if b.loader == nil {
		b.loader = b.rank.newLoader(b.stage)
	}
	if err := b.loader.Next(b.batch); err != nil {
		return err
	}
	b.rank.progress.Add(1)
	seq := b.stage.Train.SeqLength
	for i := range b.stage.Train.MicroBatchSize {
		row := b.batch[i*(seq+1) : (i+1)*(seq+1)]
		copy(tokens[i*seq:], row[:seq])
		copy(targets[i*seq:], row[1:])
	}
	return nil
}

func (b *samples) stop() {
	if b.loader != nil {
		b.loader.Close()
		b.loader = nil
	}
}
