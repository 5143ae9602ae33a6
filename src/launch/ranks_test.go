//go:build mpi

package launch

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// TestMain is a small program in place of tests: the rank of a job whose fate CAMBIUM_RANKS tells. See faults_test.go.
func TestMain(m *testing.M) {
	fate := os.Getenv("CAMBIUM_RANKS")
	if fate == "" {
		os.Exit(m.Run())
	}
	Exit(program(fate))
}

// program ends as cambium does: with the error on standard error, once a job.
func program(fate string) int {
	w, err := Open(Options{})
	if err == nil {
		err = w.Run(func(c comm.Communicator) error { return rank(fate, w, c) })
	}
	if err == nil {
		return 0
	}
	if !Heard(err) {
		fmt.Fprintln(os.Stderr, "cambium: "+strings.ReplaceAll(err.Error(), "\n", "\ncambium: "))
	}
	return 3
}

func rank(fate string, w comm.World, c comm.Communicator) error {
	last := c.Rank() == c.Size()-1
	switch {
	case fate == "fine":
		x := []float64{1}
		if err := c.Reduce("count", comm.Sum, x); err != nil || x[0] != float64(w.Size()) {
			return fmt.Errorf("%v ranks of %d: %w", x[0], w.Size(), err)
		}
		return nil
	case fate == "mismatch" && last:
		return c.Barrier("grad norm")
	case fate == "short" || fate == "error in a stream" || fate == "much shorter":
		return reduce(c, fate, last)
	case fate == "shorter" || fate == "another order" || fate == "killed before a sum":
		return reduceShort(c, fate, last)
	case fate == "pending":
		return pending(w, c, last)
	case !last && fate == "busy":
		time.Sleep(time.Hour)
	case !last:
		return c.Barrier("step")
	case fate == "error" || fate == "busy":
		return errors.New("the disk is full")
	case fate == "panic":
		panic("out of cheese")
	case fate == "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil // ended early
}

// reduce has the last rank bring a shorter vector than the others, or fail in its stream before.
func reduce(c comm.Communicator, fate string, last bool) error {
	b := cpu.New(cpu.Options{Workers: 1})
	defer func() { _ = b.Close() }()
	n := 1 << 20
	s := b.NewStream("test")
	switch {
	case !last:
	case fate == "short":
		n /= 2
	case fate == "much shorter": // goes through shared memory, where the others' goes by MPI
		n = 100
	default:
		s.Do("save", func() error { return errors.New("the disk is full") })
	}
	mem, err := b.Alloc("test", 4*n)
	if err != nil {
		return err
	}
	c.AllReduce(s, "grads", comm.Sum, tensor.New(mem, 0, tensor.F32, n))
	return s.Sync()
}

// reduceShort has all ranks make short sums, a thousand that match, and then the last one another, or none.
func reduceShort(c comm.Communicator, fate string, last bool) error {
	b := cpu.New(cpu.Options{Workers: 1})
	defer func() { _ = b.Close() }()
	s := b.NewStream("test")
	mem, err := b.Alloc("test", 1024)
	if err != nil {
		return err
	}
	x := tensor.New(mem, 0, tensor.F32, 256)
	for range 1000 {
		c.AllReduce(s, "losses", comm.Sum, x)
	}
	switch {
	case last && fate == "shorter":
		x = x.Slice(0, 128)
	case last && fate == "another order":
		c.AllGather(s, "norms", []tensor.Tensor{x.Slice(0, 1)}, ones(x, c.Size()))
	case last:
		_ = s.Sync()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	c.AllReduce(s, "norms", comm.Sum, x)
	return s.Sync()
}

// ones are the first n elements of x, one by one.
func ones(x tensor.Tensor, n int) (lists [][]tensor.Tensor) {
	for q := range n {
		lists = append(lists, []tensor.Tensor{x.Slice(q, q+1)})
	}
	return lists
}

// pending has the last rank come only when the first one has said for whom it waits, which the file CAMBIUM_SAID tells.
func pending(w comm.World, c comm.Communicator, last bool) error {
	file := os.Getenv("CAMBIUM_SAID")
	for said := !last; !said; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(file)
		said = err == nil
	}
	ended := make(chan struct{})
	if c.Rank() == 0 {
		go func() {
			defer close(ended)
			what := ""
			for ; !strings.Contains(what, fmt.Sprint("for rank ", w.Size()-1)); time.Sleep(10 * time.Millisecond) {
				what = fmt.Sprint(w.Pending()) // who is on the way is waited for too
			}
			fmt.Fprintln(os.Stderr, "cambium: pending", what)
			_ = os.WriteFile(file, nil, 0o644) // without it the job hangs
		}()
	} else {
		close(ended)
	}
	err := c.Barrier("late")
	<-ended
	if p := w.Pending(); len(p) != 0 && err == nil {
		return fmt.Errorf("still pending: %v", p)
	}
	return err
}
