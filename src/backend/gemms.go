package backend

// GemmChooser is what a backend with several ways to multiply has beside the rest.
type GemmChooser interface {
	// GemmModes are the names of the modes, the one that it begins with by itself first.
	GemmModes() []string
	// SetGemmMode changes who does the GEMMs that are enqueued from now on. No operation may be in flight.
	SetGemmMode(mode string) error
	// Gemms says who does them, in one sentence.
	Gemms() string
	// GemmChoices are the choices made by time so far, a line each: shape, times, and what was taken.
	GemmChoices() []string
}
