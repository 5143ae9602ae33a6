package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"cambium/src/checkpoint"
	"cambium/src/config"
	"cambium/src/schedule"
)

// ResolvedName is the file of a run's folder that holds its configuration, complete.
const ResolvedName = "config.resolved.yaml"

// When a run takes up where its folder's newest checkpoint stopped.
const (
	ResumeAuto  = "auto"  // when there is one
	ResumeNever = "never" // a folder with a checkpoint is refused
	ResumeMust  = "must"  // a folder without one is refused
)

// lockFolder makes the run's folder and keeps other processes out of it. A file system without locks is no obstacle: the
// lock is a courtesy.
func lockFolder(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	l := flock.New(filepath.Join(dir, ".lock"))
	if held, err := l.TryLock(); err == nil && !held {
		return nil, fmt.Errorf("run folder %s: another process is training there: wait for it, or give another --run-dir", dir)
	}
	return l, nil
}

// openResume opens the checkpoint to go on from, nil for a new run. A checkpoint of another configuration is refused: its
// continuation would be neither run. What is passed over because it cannot be opened goes to warn.
func openResume(cfg *config.Run, mode string, warn func(error)) (*checkpoint.Reader, error) {
	dir := filepath.Join(cfg.RunDir, "checkpoints")
	found, err := checkpoint.Latest(dir)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, err
	case found.Path == "" && mode == ResumeMust:
		return nil, fmt.Errorf("run folder %s: --resume must finds no checkpoint there", cfg.RunDir)
	case found.Path == "" && len(found.Skipped) > 0:
		return nil, fmt.Errorf("run folder %s holds checkpoints, but none can be opened (%w): mend or remove them, or give another --run-dir", cfg.RunDir, sentence(found.Skipped))
	case found.Path == "":
		return nil, nil
	case mode == ResumeNever:
		return nil, fmt.Errorf("run folder %s holds the checkpoint %s: give another --run-dir, or leave out --resume never to go on from it", cfg.RunDir, found.Path)
	}
	reader, err := checkpoint.Open(found.Path)
	if err != nil {
		return nil, err
	}
	if err := sameRun(cfg, reader); err != nil {
		reader.Close()
		return nil, err
	}
	for _, e := range found.Skipped {
		warn(e)
	}
	return reader, nil
}

// sentence is several errors in one line.
func sentence(all []error) error {
	text := all[0]
	for _, e := range all[1:] {
		text = fmt.Errorf("%w; %w", text, e)
	}
	return text
}

// sameRun refuses a checkpoint whose configuration would have learned something else.
func sameRun(cfg *config.Run, reader *checkpoint.Reader) error {
	theirs, err := config.Parse(reader.Folder(), []byte(reader.Meta().Config), nil, nil)
	if err != nil {
		return fmt.Errorf("checkpoint %s: its configuration: %w", reader.Folder(), err)
	}
	if theirs.Hash() == cfg.Hash() {
		return nil
	}
	differences := cfg.Differences(theirs)
	const shown = 5
	if more := len(differences) - shown; more > 0 {
		differences = append(differences[:shown], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("run folder %s holds a checkpoint of another configuration (%s): give another --run-dir, or the settings that it was made with",
		cfg.RunDir, strings.Join(differences, "; "))
}

// start is where the run begins: the beginning, or what the checkpoint says.
func (j *job) start() (start, error) {
	if j.resume == nil {
		p, err := j.timeline.At(0)
		return start{place: p}, err
	}
	meta := j.resume.Meta()
	p, err := j.timeline.At(meta.ConsumedTokens)
	if err != nil {
		return start{}, fmt.Errorf("checkpoint %s: %w", j.resume.Folder(), err)
	}
	s := start{place: p, stage: meta.Stage.Index}
	if s.stage >= len(j.cfg.Stages) || j.cfg.Stages[s.stage].Model != meta.Model {
		return start{}, fmt.Errorf("checkpoint %s holds a model of growth stage %d that this configuration does not have", j.resume.Folder(), s.stage)
	}
	if p.Iteration != int64(meta.Iteration) || p.Stage < s.stage || p.Stage > s.stage+1 {
		return start{}, fmt.Errorf("checkpoint %s: iteration %d of growth stage %d does not lie at %d consumed tokens of this configuration",
			j.resume.Folder(), meta.Iteration, s.stage, meta.ConsumedTokens)
	}
	return s, nil
}

// start is where a run begins.
type start struct {
	place schedule.Place
	stage int // whose model the weights are of
}

// writeResolved leaves the complete configuration in the run's folder.
func writeResolved(cfg *config.Run) error {
	path := filepath.Join(cfg.RunDir, ResolvedName)
	unfinished := path + ".unfinished" // one name, so that a killed run leaves nothing that the next does not take away
	if err := os.WriteFile(unfinished, cfg.Resolved(), 0o644); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	return nil
}
