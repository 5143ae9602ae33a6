//go:build !amd64

package parts

func addVectors[E number](_, _, _ []E) int          { return 0 }
func widenBF16Vectors(_ []float32, _ []uint16) int  { return 0 }
func narrowBF16Vectors(_ []uint16, _ []float32) int { return 0 }
func widenF16Vectors(_ []float32, _ []uint16) int   { return 0 }
func narrowF16Vectors(_ []uint16, _ []float32) int  { return 0 }
