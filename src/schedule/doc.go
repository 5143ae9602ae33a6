// Package schedule says what every training step uses: the learning rate, the batch size, the loss scale, the growth
// stage and the strength of the growth mask. It is pure: a resumed run gets the same values because they are functions of
// what was consumed, and the one thing with a memory, the loss scaler, is a small value that a checkpoint stores.
//
// Names and rules are Megatron-LM's where it has them (megatron/core: optimizer_param_scheduler.py,
// num_microbatches_calculator.py, optimizer/grad_scaler.py); what growth adds is ours.
package schedule
