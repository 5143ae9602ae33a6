// Package prepare makes a corpus ready for training in one go: it lists the files, trains a tokenizer where one is
// wanted, encodes the text, and leaves out what is up to date. The work is package data's.
package prepare
