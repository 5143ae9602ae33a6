package bench

import (
	"math"
	"testing"

	"cambium/src/comm/local"
	"cambium/src/grid"
)

// TestCollectivesAreMeasuredRight checks counts, sizes and bandwidths against nccl-tests' rules, and the results of every call.
func TestCollectivesAreMeasuredRight(t *testing.T) {
	g := grid.Grid{TP: 2, PP: 1, Chunks: 1, DP: 3}
	var tables []CommTable
	err := Comm(local.NewWorld(6), CommOptions{
		Grid: g, Groups: []string{"tp", "dp", "world"}, Calls: Collectives(), MinBytes: 8, MaxBytes: 200000, Factor: 50, Iters: 2, Warmup: 1,
	}, func(t CommTable) { tables = append(tables, t) })
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 3*len(Collectives()) {
		t.Fatalf("%d tables", len(tables))
	}
	for _, table := range tables {
		if want := map[string]int{"tp": 2, "dp": 3, "world": 6}[table.Group]; table.Ranks != want || table.Groups != 6/want || len(table.Devices) != 6 {
			t.Errorf("%s in %s: %d groups of %d ranks", table.Call, table.Group, table.Groups, table.Ranks)
		}
		if len(table.Rows) != 3 {
			t.Fatalf("%d rows, want 8, 400 and 20000 bytes", len(table.Rows))
		}
		for _, r := range table.Rows {
			whole := r.Count * 4
			if table.Call == "all_gather" || table.Call == "reduce_scatter" || table.Call == "alltoall" {
				whole *= table.Ranks
			}
			if whole != r.Size || r.OutOfPlace == nil && r.InPlace == nil {
				t.Errorf("%s: size %d, count %d in %d ranks", table.Call, r.Size, r.Count, table.Ranks)
			}
			for _, m := range []*CommTime{r.OutOfPlace, r.InPlace} {
				if m == nil {
					continue
				}
				if m.Wrong != 0 || !(m.Time > 0) || math.Abs(m.AlgBW*m.Time*1e3-float64(r.Size)) > 1e-6*float64(r.Size) || m.BusBW != m.AlgBW*BusFactor(table.Call, table.Ranks) {
					t.Errorf("%s of %d bytes in %s: %+v", table.Call, r.Size, table.Group, *m)
				}
			}
		}
	}
}

func TestBusFactorsAreThoseOfNCCLTests(t *testing.T) {
	for call, want := range map[string]float64{"all_reduce": 1.75, "all_gather": 0.875, "reduce_scatter": 0.875, "alltoall": 0.875, "sendrecv": 1} {
		if got := BusFactor(call, 8); got != want {
			t.Errorf("%s: %v, want %v", call, got, want)
		}
	}
}
