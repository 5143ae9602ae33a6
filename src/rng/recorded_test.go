package rng

// What TestValuesNeverChange holds.
var recordedNormals = [6]uint32{0xbf9ff937, 0x3d50fdee, 0xbf888ae0, 0xbf171902, 0x3e4df6db, 0xbf19462c}

const (
	recordedUint64  = 0xaec6b1d3e54d4530
	recordedPermute = 695765
)
