// Package safetensors writes and reads the files in which Hugging Face keeps models.
//
// A file is the length of the header (8 bytes, little-endian), the header, and the data:
//
//	{"__metadata__": {"format": "pt"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//
// Offsets count from the end of the header; tensors are row-major and little-endian and lie back to back. The format is
// https://huggingface.co/docs/safetensors; what its reference implementation refuses (holes, overlaps, wrong lengths), this
// package refuses too, and names that occur twice as well.
//
// Both directions stream: neither a whole tensor nor a whole file has to be in memory.
package safetensors
