package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bars shows progress on a terminal, one bar a task; anywhere else it says in one line that a task begins.
type bars struct {
	w    io.Writer
	live bool
	what string
	bar  *progressbar.ProgressBar
}

func newBars(w io.Writer) *bars {
	f, ok := w.(*os.File)
	return &bars{w: w, live: ok && term.IsTerminal(int(f.Fd()))}
}

func (b *bars) show(what string, done, total int64) {
	if b.what != what {
		b.close()
		b.what = what
		if !b.live {
			fmt.Fprintf(b.w, "%s: %s\n", what, humanize.IBytes(uint64(total)))
			return
		}
		b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	if !b.live {
		return
	}
	_ = b.bar.Set64(done) // a bar that cannot be drawn stops nothing
}

func (b *bars) close() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}
