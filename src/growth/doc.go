// Package growth enlarges a model in the middle of its training without losing what it learned.
//
// NewPlan is the pure half: from two shapes and an operator it derives where every old index goes, what old values are
// multiplied by, what new entries start with, which masks a ramp needs, and how old each entry of the optimizer's state
// is. Engine (Grow) is the other half: it applies a plan to live weights, master weights and moments, and at the same time
// lays them out over another grid of the same ranks. It leaves the old state alone until the caller has seen that the loss
// stayed and says Commit. A plan that changes no size is a re-layout and nothing else.
//
// Three operators, on the hidden size, FFN, heads and layers, alone or together, to any larger size:
//
//	zero   exact at once: what writes into new places, or out of them, starts at zero (or at the mean, see below)
//	mask   exact at v = 0, the plain model at v = 1: masks rise over a ramp; new weights come from the initialiser
//	stack  depth only, copies of old layers (G_stack, arXiv 2405.15319): does not preserve the function
//
// Growing the hidden size from d0 to d folds what the larger norm and muP's output multiplier would change into weights:
//
//	gains g <- g sqrt(d0/d)    eps <- eps d0/d    under muP: final gain and bias <- times d/d0, as the logit scale falls by d0/d
//
// so that norms with divisor d see the old function when the new dims are zero (mask and RMSNorm under zero), or equal to the mean
// of the old dims (LayerNorm under zero: the mean stays, the variance scales by d0/d; the average expansion of LEMON,
// arXiv 2310.07999). Masks follow MSG (arXiv 2305.02869), mended for pre-norm blocks: one mask a path, see arch.Mask. MSG's own
// norm statistics are an option (Statistics: msg): exact at v = 0 too, but the way to v = 1 is not level.
//
// Adam's moments follow their weights: m <- m/c, v <- v/c^2 where a weight was multiplied by c; new entries have zero
// moments and are born now (optim.Births).
package growth
