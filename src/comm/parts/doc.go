// Package parts is what communicators share about lists of tensors: comparing them, and combining those of several ranks in
// rank order, 16-bit types in fp32 and rounded once, so that the result depends neither on timing nor on the wire.
package parts
