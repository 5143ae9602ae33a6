package arrows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "cambium/src/"

// pure packages are functions from values to values: no I/O, no clock, no goroutines, no device.
var pure = []string{"arch", "flops", "grid", "layout", "pipeline", "rendezvous", "rng", "schedule"}

// forbidden in pure packages: the parts of the standard library that reach outside or run things at the same time.
var forbidden = []string{
	"bufio", "context", "crypto/rand", "io", "io/fs", "io/ioutil", "log", "log/slog", "math/rand", "math/rand/v2", "net", "net/http",
	"os", "os/exec", "os/signal", "runtime", "sync", "sync/atomic", "syscall", "time", "unsafe", "C",
}

// arrows says what a package may import of Cambium itself. A package that is not listed may import nothing.
var arrows = map[string][]string{
	"arch":       {},
	"rng":        {},
	"spin":       {},
	"grid":       {},
	"pipeline":   {},
	"schedule":   {},
	"rendezvous": {},
	"layout":     {"arch", "grid"},
	"flops":      {"arch", "grid"},

	"config": {"arch", "flops", "grid", "pipeline", "schedule"},

	"tensor":              {},
	"backend":             {"rng", "tensor"},
	"backend/conformance": {"backend", "rng", "tensor"},
	"backend/cpu":         {"backend", "spin", "tensor"},
	"backend/cuda":        {"backend", "tensor"},
	"comm":                {"backend", "tensor"},
	"comm/conformance":    {"backend", "comm", "tensor"},
	"comm/parts":          {"comm", "tensor"},
	"comm/local":          {"backend", "comm", "comm/parts", "tensor"},
	"comm/staged":         {"backend", "comm", "tensor"},
	"comm/nccl":           {"backend", "backend/cuda", "comm", "comm/staged", "tensor"},
	"comm/mpi":            {"backend", "comm", "comm/parts", "mpi", "spin", "tensor"},
	"mpi":                 {},

	"launch": {"comm", "comm/local", "comm/mpi", "mpi", "rendezvous"},

	"safetensors": {"tensor"},
	"tokenizer":   {},
	"data":        {"rng", "tokenizer"},
	"checkpoint":  {"arch", "layout", "tensor"},

	"model":  {"arch", "backend", "comm", "flops", "grid", "layout", "rng", "tensor"},
	"optim":  {"arch", "backend", "comm", "grid", "layout", "model", "tensor"},
	"growth": {"arch", "backend", "comm", "grid", "layout", "model", "optim", "rng", "tensor"},
	"hf":     {"arch", "safetensors", "tensor"},
	"eval":   {"backend", "model", "rng", "tensor"},

	"execute": {"backend", "comm", "model", "pipeline", "tensor"},

	"telemetry": {},
	"report":    {"telemetry"},

	"plan": {"arch", "config", "execute", "flops", "grid", "growth", "layout", "model", "optim", "pipeline", "tensor"},

	"train": {
		"arch", "backend", "backend/cpu", "backend/cuda", "checkpoint", "comm", "comm/local", "comm/nccl", "comm/staged", "config", "data", "eval", "execute", "flops", "grid",
		"growth", "layout", "model", "optim", "pipeline", "report", "schedule", "telemetry", "tensor", "tokenizer",
	},
	"bench": {"backend", "backend/cpu", "backend/cuda", "comm", "config", "flops", "grid", "pipeline", "report", "telemetry", "tensor", "train"},
}

// imports lists, for every package below src, the packages that its files import; test files count apart.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..", "src")
	all := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		for _, i := range file.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			all[name] = append(all[name], p)
		}
		if all[name] == nil {
			all[name] = []string{}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found below %s", len(all), root)
	}
	return all
}

func TestArrowsGoDownward(t *testing.T) {
	for pkg, list := range imports(t) {
		if strings.HasPrefix(pkg, "cmd/") {
			continue // commands may call everything
		}
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("package %s is not in the table of arrows", pkg)
		}
		for _, i := range list {
			if to, own := strings.CutPrefix(i, module); own && !slices.Contains(allowed, to) {
				t.Errorf("package %s may not import %s", pkg, to)
			}
		}
	}
}

func TestPurePackagesTouchNothingOutside(t *testing.T) {
	all := imports(t)
	for _, pkg := range pure {
		if _, exists := all[pkg]; !exists {
			t.Errorf("pure package %s does not exist", pkg)
		}
		for _, i := range all[pkg] {
			if slices.Contains(forbidden, i) {
				t.Errorf("pure package %s imports %s", pkg, i)
			}
			if to, own := strings.CutPrefix(i, module); own && !slices.Contains(pure, to) {
				t.Errorf("pure package %s imports %s, which is not pure", pkg, to)
			}
		}
	}
}

// What an import does not show: a goroutine that is started, and a print.
func TestPurePackagesStartAndPrintNothing(t *testing.T) {
	for _, pkg := range pure {
		files, err := filepath.Glob(filepath.Join("..", "..", "src", pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("pure package %s: %v, %v", pkg, files, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if what := outward(n); what != "" {
					t.Errorf("%s: pure package %s has %s", set.Position(n.Pos()), pkg, what)
				}
				return true
			})
		}
	}
}

// outward names what a node does outside of values, or is empty.
func outward(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
		return "a channel"
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.Ident:
			if f.Name == "print" || f.Name == "println" {
				return f.Name
			}
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && x.Name == "fmt" && (strings.HasPrefix(f.Sel.Name, "Print") || strings.HasPrefix(f.Sel.Name, "Scan")) {
				return "fmt." + f.Sel.Name
			}
		}
	}
	return ""
}

func TestTableHasNoCycleAndNoGhost(t *testing.T) {
	all := imports(t)
	state := map[string]int{} // 1: on the path, 2: done
	var visit func(string)
	visit = func(p string) {
		switch state[p] {
		case 1:
			t.Fatalf("the table of arrows has a cycle through %s", p)
		case 2:
			return
		}
		state[p] = 1
		for _, to := range arrows[p] {
			visit(to)
		}
		state[p] = 2
	}
	for p := range arrows {
		visit(p)
		if _, exists := all[p]; !exists {
			t.Errorf("the table of arrows names %s, which does not exist", p)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	folders := map[string]bool{}
	for _, top := range []string{"src", "cuda", "tests", "bench"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.Contains(path, "testdata") {
				folders[filepath.Dir(path)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "doc.go"))
		if err != nil {
			t.Errorf("package %s has no doc.go", folder)
		} else if !strings.HasPrefix(string(text), "// ") {
			t.Errorf("%s/doc.go does not begin with the package comment", folder)
		}
	}
}

// NOTICE names every module of go.mod and tools.mod, and the version of those that it lists with one.
func TestNoticeNamesEveryModule(t *testing.T) {
	notice, err := os.ReadFile(filepath.Join("..", "..", "NOTICE"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(notice), func(r rune) bool { return strings.ContainsRune(" \n,;()", r) })
	for _, name := range []string{"go.mod", "tools.mod"} {
		for module, version := range requirements(t, filepath.Join("..", "..", name)) {
			if rest, ok := strings.CutPrefix(module, "golang.org/"); ok && slices.Contains(words, rest) {
				continue // listed in one line, without versions
			}
			at := slices.Index(words, module)
			if at < 0 {
				t.Errorf("NOTICE lacks %s of %s", module, name)
			} else if said := words[min(at+1, len(words)-1)]; said[0] == 'v' && said[1] >= '0' && said[1] <= '9' && said != version {
				t.Errorf("NOTICE says %s %s, %s %s", module, said, name, version)
			}
		}
	}
}

// requirements are the modules that a go.mod requires, with their versions.
func requirements(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "\t") && len(f) >= 2 && strings.HasPrefix(f[1], "v") {
			found[f[0]] = f[1]
		}
	}
	if len(found) < 5 {
		t.Fatalf("%s requires only %v", path, found)
	}
	return found
}
