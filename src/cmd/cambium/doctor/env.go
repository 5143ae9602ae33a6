package doctor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Env is what doctor asks a machine; tests give answers of their own.
type Env struct {
	LookupEnv func(name string) (string, bool)
	LookPath  func(program string) (string, error)
	Run       func(ctx context.Context, program string, args ...string) (string, error) // standard output
	ReadFile  func(path string) ([]byte, error)
	Glob      func(pattern string) ([]string, error)
}

// Here is this machine. Programs get 5 seconds to answer.
func Here() Env {
	return Env{
		LookupEnv: os.LookupEnv,
		LookPath:  exec.LookPath,
		Run: func(ctx context.Context, program string, args ...string) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c := exec.CommandContext(ctx, program, args...)
			c.WaitDelay = time.Second
			out, err := c.CombinedOutput()
			return string(out), err
		},
		ReadFile: os.ReadFile,
		Glob:     filepath.Glob,
	}
}

// firstLine is the first line that a program says, with a word in it if one is given.
func (e Env) firstLine(ctx context.Context, word, program string, args ...string) string {
	out, err := e.Run(ctx, program, args...)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

func (e Env) text(path string) string {
	b, err := e.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
