// Package data turns text into token files and token files into training samples.
//
// Prep reads text files and JSON lines, plain or compressed, and writes Megatron's .bin and .idx files: a document is a
// file or a JSON line, and an end-of-document token stands behind each. Open reads such files, and llm.c's shards, as a
// Dataset.
//
// A sample is seq_length + 1 consecutive tokens of a corpus, documents packed back to back; neighbouring samples share one
// token, the last target of one being the first input of the next. Which sample has which index is a function of (seed,
// index) alone: no table is kept, the number of ranks does not matter, every epoch has another order, and the state of a
// run is the number of samples consumed.
package data
