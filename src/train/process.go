package train

import (
	"encoding/json"
	"errors"
	"fmt"

	"cambium/src/checkpoint"
)

// opening is what the leading process tells the others before anything is allocated: why the run cannot begin, or the
// checkpoint to go on from.
type opening struct {
	Error      string `json:"error,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
}

// alone tells whether all ranks are in this process.
func (j *job) alone() bool { return len(j.world.Local()) == j.world.Size() }

// meet is the first call of all ranks: those of other processes learn from the leading process how the run begins. One
// process decides, because a file system may show another's newest checkpoint late.
func (r *rank) meet() error {
	if r.alone() {
		return nil
	}
	var mine opening
	if r.unable != nil {
		mine.Error = r.unable.Error()
	} else if r.leads() && r.resume != nil {
		mine.Checkpoint = r.resume.Folder()
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := r.world.Gather("start of the run", text)
	if err != nil {
		return err
	}
	if r.unable != nil {
		return r.unable
	}
	var lead opening
	for rank := len(all) - 1; rank >= 0; rank-- {
		lead = opening{}
		if err := json.Unmarshal(all[rank], &lead); err != nil {
			return fmt.Errorf("rank %d sent something else than how it begins: %w", rank, err)
		}
		if lead.Error != "" {
			return errors.New(lead.Error)
		}
	}
	return r.follow(lead.Checkpoint)
}

// follow opens the checkpoint that the leading process goes on from, once a process.
func (j *job) follow(folder string) error {
	j.following.Do(func() {
		if folder != "" && j.resume == nil {
			j.resume, j.unable = checkpoint.Open(folder)
		}
	})
	return j.unable
}

// memory is what each rank has allocated, by label: that of the rank with the most, on every rank.
func (r *rank) memory() (memoryUse, error) {
	u := r.backend.Usage()
	text, err := json.Marshal(memoryUse{Rank: r.world.Rank(), Bytes: u.ByLabel, Peak: u.Peak})
	if err != nil {
		return memoryUse{}, err
	}
	all, err := r.world.Gather("memory", text)
	if err != nil {
		return memoryUse{}, err
	}
	var most memoryUse
	for _, text := range all {
		var m memoryUse
		if err := json.Unmarshal(text, &m); err != nil {
			return memoryUse{}, fmt.Errorf("memory of the ranks: %w", err)
		}
		if most.Bytes == nil || m.total() > most.total() {
			most = m
		}
	}
	return most, nil
}

// memoryUse is the memory of one rank.
type memoryUse struct {
	Rank  int            `json:"rank"`
	Bytes map[string]int `json:"bytes"` // by label
	Peak  int            `json:"peak"`
}

func (m memoryUse) total() int {
	n := 0
	for _, b := range m.Bytes {
		n += b
	}
	return n
}
