package optim

import (
	"fmt"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/layout"
)

// Config holds what stays the same over a run. The names of the flags are --adam-beta1, --adam-beta2, --adam-eps,
// --weight-decay and --clip-grad.
type Config struct {
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64 // decoupled; muP's factor comes on top (arch.Tensor.DecayMult)
	ClipGrad     float64 // largest global gradient norm; 0: no clipping
}

// Check tells in one sentence what is impossible.
func (c Config) Check() error {
	switch {
	case !(c.Beta1 >= 0 && c.Beta1 < 1):
		return fmt.Errorf("adam_beta1 %g: want at least 0 and less than 1", c.Beta1)
	case !(c.Beta2 >= 0 && c.Beta2 < 1):
		return fmt.Errorf("adam_beta2 %g: want at least 0 and less than 1", c.Beta2)
	case !(c.Eps > 0):
		return fmt.Errorf("adam_eps %g: want a positive number", c.Eps)
	case !(c.WeightDecay >= 0):
		return fmt.Errorf("weight_decay %g: want at least 0", c.WeightDecay)
	case !(c.ClipGrad >= 0):
		return fmt.Errorf("clip_grad %g: want a positive number, or 0 for no clipping", c.ClipGrad)
	}
	return nil
}

// Parallel is the place of a rank in its grid, and how its optimizer talks to the others.
type Parallel struct {
	World         comm.Communicator // all ranks: its ranks are those of GridLayout
	DP            comm.Communicator // those that hold the same weights
	TP, Embedding comm.Communicator // the groups of grid.TP and grid.Embedding; nil or of size 1: none
	GridLayout    layout.Layout     // layout.Optimizer of the grid

	// SequenceParallel: the gradients of Params.SequencePartial are sums over a tp rank's own rows.
	SequenceParallel bool

	// BucketSize is the number of gradient elements from which on a bucket is full; buckets consist of whole groups. 0 is
	// Megatron's choice, DefaultBucketSize.
	BucketSize int
	// Stream is where buckets travel, beside the stream of the passes; nil: in the stream of the passes, and nothing
	// overlaps.
	Stream backend.Stream
	// OverlapGradReduce starts the reduce-scatter of a bucket in the backward pass (see Begin), OverlapParamGather lets
	// Step return while weights are still on their way (see Hooks and Settle).
	OverlapGradReduce, OverlapParamGather bool
}

// DefaultBucketSize is Megatron-LM's ddp_bucket_size: max(40 000 000, 1 000 000 dp) elements, so that the share of a
// rank does not become too small to use a wire well.
func DefaultBucketSize(dp int) int { return max(40_000_000, 1_000_000*dp) }

// many tells whether a group has ranks to talk to.
func many(c comm.Communicator) bool { return c != nil && c.Size() > 1 }
