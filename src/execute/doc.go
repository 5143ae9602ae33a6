// Package execute runs one rank's part of a pipeline schedule: it turns the schedule's list of instructions into passes of
// the model, messages between pipeline stages and copies of tokens and losses, all of them enqueued in one stream.
//
// Everything is planned once, from the list: which slot each pass uses, which memory each message comes from and goes to,
// and which messages are posted together. A run of the plan allocates nothing. One stage is a pipeline as well: its list
// has no message.
package execute
