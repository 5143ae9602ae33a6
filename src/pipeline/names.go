package pipeline

// The names of the schedules, as configurations have them.
const (
	NameGPipe       = "gpipe"
	Name1F1B        = "1f1b"
	NameInterleaved = "interleaved"
	NameZeroBubble  = "zero-bubble"
)

// Names are all of them.
func Names() []string { return []string{NameGPipe, Name1F1B, NameInterleaved, NameZeroBubble} }
