package report

import (
	"strings"
	"testing"
)

func TestThePageTellsGridsAndMemory(t *testing.T) {
	dir := sample(t, 60, true)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	html := read(t, dir, PageFile)
	checkPage(t, html)
	for _, want := range []string{
		"tp1 pp1 dp2 → tp2 pp1 dp1", "tp2 pp1 dp1 → tp1 pp2 dp1", // the growths
		"Layout and memory", "1f1b, 4 micro-batches", "20.0 %", "38.3 MB", // 11 bytes a parameter and 4096
	} {
		if !strings.Contains(html, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Count(html, "4.1 kB") != 3 {
		t.Errorf("what has no column of its own is not under other")
	}
}
