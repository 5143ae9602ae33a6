// Package checkpoint writes the state of a run to a folder and reads it back at any number of ranks.
//
// A checkpoint is a folder in Megatron's naming:
//
//	checkpoints/
//	  latest_checkpointed_iteration.txt    "100"
//	  iter_0000100/
//	    shard_00000_00.bin ...             one or more files a rank: entries back to back, nothing else
//	    manifest.json                      what lies where, the state beside the tensors, checksums
//
// An entry is a box of a global tensor (package layout), so that a reader asks for any box and gets it from whatever
// shards hold it. Entries have at most 32 MiB of raw bytes, which bounds the memory of writers and readers. Bytes are
// little-endian, as every processor that Cambium runs on keeps them.
//
// A checkpoint exists as a whole or not at all. Everything is written into iter_0000100.unfinished and synced, the manifest last;
// then the folder gets its name by one rename, and after that the tracker file moves. A program killed at any moment
// leaves the previous checkpoint loadable.
//
// Every byte is covered by a checksum (xxh3, 128 bit): the raw bytes of an entry, its stored bytes where it is compressed, and the
// manifest itself. Readers check what they read; Verify checks everything and names what is wrong.
package checkpoint
