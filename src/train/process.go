package train

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"cambium/src/backend"
	"cambium/src/checkpoint"
	"cambium/src/comm"
)

// opening is what a rank tells the others before anything is allocated: why the run cannot begin, from the leading one the
// checkpoint to go on from, and which processor it has.
type opening struct {
	Error      string `json:"error,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
	Processor  string `json:"processor"`
}

// alone tells whether all ranks are in this process.
func (j *job) alone() bool { return len(j.world.Local()) == j.world.Size() }

// meet is the first call of all ranks: those of other processes learn from the leading one how the run begins. One
// process decides, because a file system may show another's newest checkpoint late.
func (j *job) meet(world comm.Communicator) error {
	if j.alone() {
		return nil
	}
	mine := opening{Processor: ownProcessor()}
	if j.unable != nil {
		mine.Error = j.unable.Error()
	} else if world.Rank() == 0 && j.resume != nil {
		mine.Checkpoint = j.resume.Folder()
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := world.Gather("start of the run", text)
	if err != nil {
		return err
	}
	ranks := make([]opening, len(all))
	same := 0
	for r, text := range all {
		if err := json.Unmarshal(text, &ranks[r]); err != nil {
			return fmt.Errorf("rank %d sent something else than how it begins: %w", r, err)
		}
		switch fault := ranks[r].Error; { // of several, the lowest rank speaks: mostly all have the same to say
		case fault != "" && r == world.Rank():
			return j.unable
		case fault != "":
			return &comm.Elsewhere{Text: fault}
		}
		if ranks[r].Processor == mine.Processor {
			same++
		}
	}
	return j.follow(ranks[0].Checkpoint, same)
}

// ownProcessor names the host and the cores that this process may use: ranks with the same ones share them.
func ownProcessor() string {
	host, _ := os.Hostname() // without a name ranks on other hosts seem to be here: fewer threads, no harm
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if cores, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return host + " " + strings.TrimSpace(cores)
		}
	}
	return host
}

// follow takes what the ranks told each other, once a process.
func (j *job) follow(folder string, sharing int) error {
	j.following.Do(func() {
		j.sharing = sharing
		if folder != "" && j.resume == nil {
			j.resume, j.unable = checkpoint.Open(folder)
		}
	})
	return j.unable
}

// memory is what each rank has allocated, by label: that of the rank with the most, on every rank.
func (r *rank) memory() (memoryUse, error) {
	u := r.backend.Usage()
	mine := memoryUse{Rank: r.world.Rank(), Bytes: u.ByLabel, Peak: u.Peak}
	if c, ok := r.backend.(backend.Capacity); ok {
		mine.Free, mine.Device = c.Capacity()
	}
	text, err := json.Marshal(mine)
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

	Device int `json:"device"` // bytes of its device's memory, 0 where that does not tell
	Free   int `json:"free"`   // of them
}

func (m memoryUse) total() int {
	n := 0
	for _, b := range m.Bytes {
		n += b
	}
	return n
}
