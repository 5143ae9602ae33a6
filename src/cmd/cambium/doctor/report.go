package doctor

import (
	"fmt"
	"io"
	"text/tabwriter"

	"cambium/src/rendezvous"
)

// Report is all that was found.
type Report struct {
	Machine  Machine          `json:"machine"`
	Disk     *Disk            `json:"disk,omitempty"`
	Software []Item           `json:"software"`
	CUDA     *CUDA            `json:"cuda,omitempty"`
	Slurm    *Slurm           `json:"slurm,omitempty"` // where its commands are installed
	Ranks    rendezvous.Place `json:"ranks"`
	Mistake  string           `json:"mistake,omitempty"` // why ranks that were started like this would not train together
}

// The states of an Item.
const (
	OK      = "ok"
	Missing = "missing"
	Info    = "info" // neither needed nor used
)

// Item is one thing that a machine may have.
type Item struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Found string `json:"found,omitempty"` // version and place
	Use   string `json:"use"`             // what it is good for
	Get   string `json:"get,omitempty"`   // how to get it on Debian and Ubuntu, when it is missing
}

// Print writes the report for people.
func (r Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Machine")
	for _, row := range r.Machine.rows() {
		fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
	}
	if d := r.Disk; d != nil {
		fmt.Fprintf(w, "  disk\t%s\n", d)
	}
	w.Flush()
	fmt.Fprintln(w, "\nSoftware")
	for _, i := range r.Software {
		found := i.Found
		if found == "" {
			found = "not found: " + i.Use
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", i.Name, i.State, found)
	}
	w.Flush()
	if missing := r.missing(); len(missing) > 0 {
		fmt.Fprintln(w, "\nHow to get what is missing (all of it is optional, for Debian and Ubuntu)")
		for _, i := range missing {
			fmt.Fprintf(w, "  %s\t%s\n", i.Name, i.Get)
		}
		w.Flush()
	}
	if r.CUDA != nil {
		fmt.Fprintln(w, "\nCUDA")
		for _, row := range r.CUDA.rows() {
			fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
		}
		w.Flush()
	}
	if r.Slurm != nil {
		fmt.Fprintln(w, "\nSlurm")
		for _, row := range r.Slurm.rows() {
			fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
		}
		w.Flush()
	}
	fmt.Fprintln(w, "\nRanks (the first source that says rank and size counts)")
	for _, src := range r.Ranks.Sources {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", src.Name, cond(src.Name == r.Ranks.From, "counts", "-"), src)
	}
	if r.Mistake != "" {
		fmt.Fprintf(w, "\nMistake: %s\n", r.Mistake)
	}
	return w.Flush()
}

func (r Report) missing() []Item {
	var out []Item
	for _, i := range r.Software {
		if i.State == Missing && i.Get != "" {
			out = append(out, i)
		}
	}
	return out
}

func cond[T any](c bool, yes, no T) T {
	if c {
		return yes
	}
	return no
}
