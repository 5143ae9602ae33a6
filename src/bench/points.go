package bench

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"cambium/src/grid"
	"cambium/src/report"
)

// pointFormat marks the files of points among others.
const pointFormat = "cambium scaling point 1"

type pointFile struct {
	Format string `json:"format"`
	*report.ScalingPoint
}

func (o *ScalingOptions) file(g grid.Grid) string {
	return fmt.Sprintf("%s-%04d-tp%d-pp%dx%d-dp%d.json", o.Kind, g.World(), g.TP, g.PP, max(g.Chunks, 1), g.DP)
}

func writePoint(path string, p *report.ScalingPoint) error {
	text, err := json.MarshalIndent(pointFile{pointFormat, p}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(text, '\n'), 0o644)
}

// Collect reads all points in and below dir and draws a table and figures of each kind of scaling there is (weak-scaling.* and
// strong-scaling.*, report.Scaling) into dir. It returns the tables as text.
func Collect(dir string) (string, error) {
	kinds := map[string][]*report.ScalingPoint{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		p, err := readPoint(path)
		if err != nil || p == nil {
			return err
		}
		if all := kinds[p.Scaling]; len(all) > 0 {
			if q := all[0]; p.Backend != q.Backend || p.Precision != q.Precision || p.FLOPsFormula != q.FLOPsFormula {
				return fmt.Errorf("%s was measured with %s, %s, formula %s, others with %s, %s, %s: they cannot stand in one table, so want a folder for each",
					path, p.Backend, p.Precision, p.FLOPsFormula, q.Backend, q.Precision, q.FLOPsFormula)
			}
		}
		kinds[p.Scaling] = append(kinds[p.Scaling], p)
		return nil
	})
	if err != nil {
		return "", err
	}
	var tables []string
	for _, kind := range []string{report.StrongScaling, report.WeakScaling} {
		if points := kinds[kind]; len(points) > 0 {
			table, err := report.Scaling(dir, kind+"-scaling", points)
			if err != nil {
				return "", err
			}
			tables = append(tables, table)
		}
	}
	if len(tables) == 0 {
		return "", fmt.Errorf("%s: no points of a scaling bench are here: want a folder that cambium bench scaling has written to", dir)
	}
	return strings.Join(tables, "\n"), nil
}

// readPoint is nil for a file of something else.
func readPoint(path string) (*report.ScalingPoint, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := pointFile{ScalingPoint: &report.ScalingPoint{}}
	if json.Unmarshal(text, &f) != nil || f.Format != pointFormat {
		return nil, nil
	}
	p := f.ScalingPoint
	if p.Ranks < 1 || len(p.StepMS) == 0 || !(p.MedianMS > 0) || !(p.TFLOPs > 0) || p.Scaling != report.WeakScaling && p.Scaling != report.StrongScaling {
		return nil, fmt.Errorf("%s: not a whole point: want one as cambium bench scaling writes it", path)
	}
	return p, nil
}
