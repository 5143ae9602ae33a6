package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cambium/src/bench"
	"cambium/src/grid"
	"cambium/src/launch"
)

func benchCommCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "comm", Short: "Time collectives over a grid's groups, in nccl-tests' table",
		Long: `Times all-reduce, all-gather, reduce-scatter, all-to-all and send/recv over the groups of a grid (tp, dp, pp), all groups of
a kind at once as in training, checks the results, and prints the table of nccl-tests with its bandwidths, or JSON. A call
that has no out-of-place or in-place form has N/A there.

Ranks are goroutines of this process, or what mpirun or srun started.`,
		Example: `  cambium bench comm --grid tp2dp2 --minbytes 1K --maxbytes 16M
  mpirun -n 4 cambium-mpi bench comm --calls all_reduce
  mpirun -n 8 cambium-mpi bench comm --grid tp2pp2dp2 --groups tp,dp,pp --json`,
	}
	gridText := c.Flags().String("grid", "", "the `GRID`, such as tp2pp2dp2; nothing: dp over all ranks (two, where nobody started several)")
	groups := c.Flags().StringSlice("groups", nil, "`LIST` of groups: tp, dp, pp, world; nothing: those of the grid with several ranks")
	calls := c.Flags().StringSlice("calls", bench.Collectives(), "`LIST` of collectives")
	from := c.Flags().StringP("minbytes", "b", "1K", "smallest size")
	to := c.Flags().StringP("maxbytes", "e", "16M", "largest size")
	o := bench.CommOptions{}
	c.Flags().IntVarP(&o.Factor, "stepfactor", "f", 4, "from one size to the next")
	c.Flags().IntVarP(&o.Iters, "iters", "n", 20, "calls that count")
	c.Flags().IntVarP(&o.Warmup, "warmup-iters", "w", 5, "calls before the clock starts")
	asJSON := c.Flags().Bool("json", false, "as a list of JSON objects")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.MinBytes, o.MaxBytes, err = sizes(*from, *to); err != nil {
			return usageError{err}
		}
		if o.Factor < 2 || o.Iters < 1 || o.Warmup < 0 {
			return usageError{fmt.Errorf("bench comm: --stepfactor %d, --iters %d, --warmup-iters %d: want at least 2, 1 and 0", o.Factor, o.Iters, o.Warmup)}
		}
		for _, call := range *calls {
			if !slices.Contains(bench.Collectives(), call) {
				return usageError{fmt.Errorf("bench comm: --calls: %q: want %s", call, strings.Join(bench.Collectives(), ", "))}
			}
		}
		o.Calls = *calls
		if err := commGroups(&o, *gridText, *groups); err != nil {
			return err
		}
		return benchComm(c, o, *asJSON)
	}
	return c
}

// sizes are bytes, with nccl-tests' suffixes: powers of 1024.
func sizes(from, to string) (lo, hi int, err error) {
	for _, s := range []struct {
		flag, text string
		n          *int
	}{{"minbytes", from, &lo}, {"maxbytes", to, &hi}} {
		digits := strings.TrimRight(s.text, "KMGiB")
		shift, known := map[string]uint{"": 0, "B": 0, "K": 10, "Ki": 10, "KiB": 10, "M": 20, "Mi": 20, "MiB": 20, "G": 30, "Gi": 30, "GiB": 30}[s.text[len(digits):]]
		n, err := strconv.Atoi(digits)
		if err != nil || !known || n < 1 || n > 1<<40>>shift {
			return 0, 0, fmt.Errorf("bench comm: --%s: %q: want bytes such as 8, 64K or 16M", s.flag, s.text)
		}
		*s.n = n << shift
	}
	if lo < 4 || hi < lo {
		return 0, 0, fmt.Errorf("bench comm: --minbytes %d, --maxbytes %d: want at least 4, and the second not below the first", lo, hi)
	}
	return lo, hi, nil
}

// commGroups finds the grid and its groups.
func commGroups(o *bench.CommOptions, text string, groups []string) error {
	n, err := launch.Size()
	if err != nil {
		return err
	}
	if o.Grid = (grid.Grid{TP: 1, PP: 1, Chunks: 1, DP: max(n, 2)}); text != "" {
		if o.Grid, err = grid.Parse(text); err != nil {
			return usageError{fmt.Errorf("bench comm: --grid: %w", err)}
		}
	}
	if n > 1 && o.Grid.World() != n {
		return usageError{fmt.Errorf("bench comm: --grid %v has %d ranks, and %d were started: want as many", o.Grid, o.Grid.World(), n)}
	}
	all := []struct {
		name string
		n    int
	}{{"tp", o.Grid.TP}, {"dp", o.Grid.DP}, {"pp", o.Grid.PP}, {"world", o.Grid.World()}}
	if o.Groups = groups; len(groups) == 0 {
		for _, g := range all[:3] {
			if g.n > 1 {
				o.Groups = append(o.Groups, g.name)
			}
		}
	}
	for _, name := range o.Groups {
		i := slices.IndexFunc(all, func(g struct {
			name string
			n    int
		}) bool {
			return g.name == name
		})
		if i < 0 {
			return usageError{fmt.Errorf("bench comm: --groups: %q: want tp, dp, pp or world", name)}
		}
		if all[i].n == 1 {
			return usageError{fmt.Errorf("bench comm: --groups: %s has one rank in the grid %v: there is nothing to measure", name, o.Grid)}
		}
	}
	return nil
}

func benchComm(c *cobra.Command, o bench.CommOptions, asJSON bool) error {
	world, err := launch.Open(launch.Options{WorldSize: o.Grid.World()})
	if err != nil {
		return err
	}
	var tables []bench.CommTable
	var failed error
	err = bench.Comm(world, o, func(t bench.CommTable) {
		tables = append(tables, t)
		if !asJSON && failed == nil {
			failed = t.Print(c.OutOrStdout(), build().Version)
		}
	})
	switch {
	case err != nil:
		return err
	case len(tables) == 0 || !asJSON:
		return failed
	}
	return printJSON(c, tables)
}
