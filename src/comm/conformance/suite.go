package conformance

import (
	"fmt"
	"sync"
	"testing"

	"cambium/src/backend"
	"cambium/src/comm"
)

// Rank is one rank that lives in this process.
type Rank struct {
	Comm    comm.Communicator
	Backend backend.Backend
}

// Suite is what an implementation gives to be tested.
type Suite struct {
	// Open makes a world of n ranks and returns those of this process; none means that this size cannot be had here. It
	// registers their end with t.Cleanup. It is called once a test, on every process alike.
	Open func(t *testing.T, n int) []Rank
	// Unordered implementations do not sum in rank order; they need only be right, not repeatable to the bit.
	Unordered bool
}

// sizes are the worlds that Run tries.
var sizes = [...]int{1, 2, 3, 4, 8}

// Run is the whole suite.
func Run(t *testing.T, s Suite) {
	tests := []struct {
		name string
		run  func(r *rank)
	}{
		{"AllReduceSumsEveryType", allReduceTypes},
		{"AllReduceLeavesGapsBetweenRowsAlone", allReduceStrided},
		{"AllReduceMaxKeepsNaN", allReduceMax},
		{"ReduceScatterGivesEachRankItsSum", reduceScatter},
		{"ReduceScatterMayWriteOverItsInput", reduceScatterAliased},
		{"AllGatherCollectsUnevenLists", allGather},
		{"AllGatherMayReadItsOutput", allGatherAliased},
		{"AllToAllMovesPiecesOfAnySize", allToAll},
		{"BroadcastFromEveryRoot", broadcast},
		{"MessagesArriveInOrder", messages},
		{"NeighboursExchangeInBothDirections", exchangeRing},
		{"ExchangeMatchesSendAndRecvInOrder", exchangeMixed},
		{"ExchangeLeavesGapsBetweenRowsAlone", exchangeStrided},
		{"ExchangeWaitsForNoOtherPeer", exchangeChain},
		{"CallsRunInStreamOrder", streamOrder},
		{"TwoStreamsShareACommunicator", twoStreams},
		{"ReduceInPlaceOnTheHost", reduceHost},
		{"GatherBytesOfAnyLength", gatherHost},
		{"BarrierWaitsForAll", barrier},
		{"SplitOrdersByKeyThenRank", splitOrder},
		{"GroupsWorkSideBySide", splitWork},
	}
	if !s.Unordered {
		tests = append(tests, struct {
			name string
			run  func(r *rank)
		}{"SumsAreInRankOrder", rankOrder})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { s.each(t, test.run) })
	}
	t.Run("AbortReleasesEveryRank", func(t *testing.T) { abort(t, s) })
}

// each runs f as every rank of worlds of every size. A rank that fails aborts the world, so that the others end.
func (s Suite) each(t *testing.T, f func(r *rank)) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			ranks := s.Open(t, n)
			if len(ranks) == 0 {
				t.Skipf("%d ranks cannot be had here", n)
			}
			inRanks(t, ranks, f)
		})
	}
}

func inRanks(t *testing.T, ranks []Rank, f func(r *rank)) {
	var wg sync.WaitGroup
	for _, x := range ranks {
		r := &rank{t: t, Rank: x, me: x.Comm.Rank(), n: x.Comm.Size(), stream: x.Backend.NewStream("test")}
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("rank %d: %v", r.me, p)
					r.Comm.Abort(fmt.Errorf("%v", p))
				}
			}()
			f(r)
			r.sync()
		})
	}
	wg.Wait()
}

// rank is a Rank in a test. Its methods panic on errors; inRanks reports them.
type rank struct {
	Rank
	t      *testing.T
	me, n  int
	stream backend.Stream
}

func (r *rank) sync() { r.must(r.stream.Sync()) }

func (r *rank) must(err error) {
	if err != nil {
		panic(err)
	}
}

func (r *rank) errorf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
