package telemetry

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Terminal is the sink for a person: a live bar on the terminal of this process, Megatron's lines, one every interval iterations,
// in a file, in a pipe or under mpirun. The variable NO_COLOR takes the colours away.
func Terminal(f *os.File, interval int) Sink {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) || !ownTerminal(fd) || os.Getenv("TERM") == "dumb" {
		return NewLog(f, interval)
	}
	return NewLive(f, os.Getenv("NO_COLOR") == "", func() int {
		w, _, err := term.GetSize(fd)
		if err != nil {
			return 80
		}
		return w
	})
}

// redraw is the shortest time between two drawings of the bar; memory is how far back the rate behind ETA looks.
const (
	redraw = 80 * time.Millisecond
	memory = 20 * time.Second
)

// Live draws one line that it rewrites in place: stage, bar, iteration, loss, tokens/s, ETA. Events scroll above it.
type Live struct {
	w     io.Writer
	color bool
	width func() int

	run      Run
	stage    Stage
	last     Iteration
	loss     float64 // smoothed a little, as a bare loss jumps
	drawn    time.Time
	shown    bool // the bar is on the screen
	progress float64
	when     time.Time
	gained   float64 // progress made lately, in spent seconds
	spent    float64
}

// NewLive draws on w, which is as wide as width says.
func NewLive(w io.Writer, color bool, width func() int) *Live {
	return &Live{w: w, color: color, width: width, loss: math.NaN()}
}

// Write shows a record.
func (l *Live) Write(r Record) error {
	switch r := r.(type) {
	case *Run:
		l.run, l.when = *r, r.Time
		l.last.Iteration, l.last.ConsumedTokens = r.Iteration, r.ConsumedTokens
		l.progress = l.fraction()
	case *Stage:
		l.stage = *r
	case *Iteration:
		return l.iteration(r)
	}
	text := l.eventText(r)
	if text == "" {
		return nil
	}
	shown := l.shown
	err := l.put(l.erase() + text + "\n")
	if _, end := r.(*End); err != nil || end || !shown {
		return err
	}
	return l.draw()
}

func (l *Live) iteration(r *Iteration) error {
	l.last = *r
	switch {
	case r.Skipped || math.IsNaN(r.LMLoss):
	case math.IsNaN(l.loss):
		l.loss = r.LMLoss
	default:
		l.loss += 0.1 * (r.LMLoss - l.loss)
	}
	now := l.fraction()
	if dt := r.Time.Sub(l.when).Seconds(); dt > 0 && now >= l.progress {
		keep := math.Exp(-dt / memory.Seconds())
		l.gained = l.gained*keep + now - l.progress
		l.spent = l.spent*keep + dt
	}
	l.progress, l.when = now, r.Time
	if l.shown && r.Time.Sub(l.drawn) < redraw && now < 1 {
		return nil
	}
	l.drawn = r.Time
	return l.draw()
}

// fraction is the part of the run that is done: of its operations where they are known, else of tokens or iterations.
func (l *Live) fraction() float64 {
	switch {
	case l.run.FLOPs > 0 && l.last.ModelFLOPs > 0:
		return math.Min(l.last.ModelFLOPs/l.run.FLOPs, 1)
	case l.run.FLOPs > 0 && l.last.ConsumedTokens == 0:
		return 0
	case l.run.Tokens > 0:
		return math.Min(float64(l.last.ConsumedTokens)/float64(l.run.Tokens), 1)
	case l.run.TrainIters > 0:
		return math.Min(float64(l.last.Iteration)/float64(l.run.TrainIters), 1)
	}
	return 0
}

// Close ends the line.
func (l *Live) Close() error {
	if !l.shown {
		return nil
	}
	l.shown = false
	return l.put("\n")
}

func (l *Live) put(text string) error {
	if _, err := io.WriteString(l.w, text); err != nil {
		return fmt.Errorf("telemetry: terminal: %w", err)
	}
	return nil
}

// erase takes the bar off the screen.
func (l *Live) erase() string {
	if !l.shown {
		return ""
	}
	l.shown = false
	return "\r\x1b[K"
}

// draw writes the bar, as wide as there is room. Where there is little, the parts on the right go first.
func (l *Live) draw() error {
	room := l.width() - 1
	stage := l.stage.Name
	if l.stage.Count > 1 {
		stage = fmt.Sprintf("%s %d/%d", stage, l.stage.Index+1, l.stage.Count)
	}
	eta := math.NaN()
	if l.gained > 0 {
		eta = (1 - l.progress) * l.spent / l.gained
	}
	parts := []string{fmt.Sprintf("%3.0f%%", math.Floor(100*l.progress)), "ETA " + clock(eta), "loss " + float("%.3f", l.loss),
		count(int64(l.last.TokensPerSec)) + " tok/s", fmt.Sprintf("%d/%d", l.last.Iteration, l.run.TrainIters)}
	const least, most = 10, 40
	for len(parts) > 1 && room-length(stage)-length(strings.Join(parts, " · "))-3 < least {
		parts = parts[:len(parts)-1]
	}
	tail := strings.Join(parts, " · ")
	size := min(room-length(stage)-length(tail)-3, most)
	line := l.paint("1", stage) + " " + l.bar(size) + " " + tail
	if size < least {
		line = clip(stage+" "+tail, room)
	}
	l.shown = true
	return l.put("\r" + line + "\x1b[K")
}

func (l *Live) bar(size int) string {
	if size < 1 {
		return ""
	}
	halves := int(l.progress * float64(2*size))
	done := strings.Repeat("━", halves/2)
	if halves%2 == 1 {
		done += "╸"
	}
	return l.paint("32", done) + l.paint("2", strings.Repeat("─", size-(halves+1)/2))
}

func (l *Live) paint(code, text string) string {
	if !l.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func length(s string) int { return utf8.RuneCountInString(s) }

func clip(s string, n int) string {
	if r := []rune(s); len(r) > max(n, 0) {
		return string(r[:max(n, 0)])
	}
	return s
}

// eventText is what scrolls by above the bar.
func (l *Live) eventText(r Record) string {
	switch r := r.(type) {
	case *Run:
		if r.Resumed {
			return fmt.Sprintf("%s resumed from iteration %d on %d x %s", r.Name, r.Iteration, r.World, r.Backend)
		}
		return fmt.Sprintf("%s on %d x %s", r.Name, r.World, r.Backend)
	case *Stage:
		return fmt.Sprintf("%s %d/%d %s: %s, %s parameters on %s, %s tokens", l.paint("36", "stage"), r.Index+1, r.Count, l.paint("1", r.Name), r.Model,
			count(r.Parameters), r.Grid, count(r.Tokens))
	case *Growth:
		grid := ""
		if r.FromGrid != r.ToGrid {
			grid = r.FromGrid + " -> " + r.ToGrid + ", "
		}
		return fmt.Sprintf("%s by %s in %.2f s: %s -> %s parameters, %s%s moved; loss %s -> %s (relative difference %s)",
			l.paint("1;32", "growth"), r.Operator, r.Seconds, count(r.FromParameters), count(r.ToParameters), grid, bytes10(r.BytesMoved),
			float("%.6f", r.LossBefore), float("%.6f", r.LossAfter), float("%.1e", r.Relative))
	case *Validation:
		text := fmt.Sprintf("%s at iteration %d: loss %s", l.paint("36", "validation"), r.Iteration, float("%.4f", r.LMLoss))
		if r.BitsPerByte > 0 {
			text += fmt.Sprintf(", %s bits per byte", float("%.4f", r.BitsPerByte))
		}
		return text
	case *Checkpoint:
		return fmt.Sprintf("%s %s: %s in %.2f s", l.paint("36", "checkpoint"), filepath.Base(r.Path), bytes10(r.Bytes), r.Seconds)
	case *End:
		return fmt.Sprintf("%s at iteration %d after %s", r.Reason, r.Iteration, clock(r.Seconds))
	}
	return ""
}

// bytes10 is 12.3 MB, in powers of ten.
func bytes10(n int64) string {
	text := count(n)
	at := len(text) - 1
	if unit := text[at]; unit > '9' {
		return text[:at] + " " + map[byte]string{'k': "kB", 'M': "MB", 'B': "GB", 'T': "TB"}[unit]
	}
	return text + " B"
}
