//go:build cuda

package cuda

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A kernel that is launched early and does not wait would read what is not there yet.
func TestEveryKernelThatMayBeLaunchedEarlyWaits(t *testing.T) {
	for _, folder := range earlyFolders {
		files, err := filepath.Glob("../../../cuda/" + folder + "/*.cu")
		if err != nil || len(files) == 0 {
			t.Fatalf("cuda/%s: %d files, %v", folder, len(files), err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, kernel := range strings.Split(string(text), "__global__")[1:] {
				_, body, _ := strings.Cut(kernel, "{")
				if !strings.HasPrefix(strings.TrimLeft(body, " \\\n"), "afterPrevious();") {
					head, _, _ := strings.Cut(kernel, "{")
					t.Errorf("%s: the kernel%s does not begin with afterPrevious", name, head)
				}
			}
		}
	}
}
