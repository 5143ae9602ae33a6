package pipeline

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPeakActivations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, m := sizes(rt)
		v := rapid.IntRange(1, 4).Draw(rt, "chunks")
		check := func(name string, s Schedule, want func(stage int) int) {
			for stage, list := range s {
				if got := PeakActivations(list); got != want(stage) {
					rt.Fatalf("%s stage %d of %d, %d chunks, %d micro-batches: %d alive, want %d", name, stage, p, v, m, got, want(stage))
				}
			}
		}
		check("GPipe", GPipe(p, m), func(int) int { return m })
		check("1F1B", OneFOneB(p, m), func(stage int) int { return min(p-stage, m) })
		check("ZB-H1", ZBH1(p, m), func(int) int { return min(p, m) })
		m *= p
		check("interleaved", Interleaved(p, v, m), func(stage int) int { return min(2*(p-1-stage)+(v-1)*p+1, v*m) })
	})
}

// As many slots as passes of a chunk are alive together, and no slot is dealt out before it is free.
func TestSlotsAreNeverSharedAndNeverWasted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, m := sizes(rt)
		v := rapid.IntRange(1, 4).Draw(rt, "chunks")
		for name, s := range map[string]Schedule{
			"GPipe": GPipe(p, m), "1F1B": OneFOneB(p, m), "ZB-H1": ZBH1(p, m), "interleaved": Interleaved(p, v, m*p), "forward": ForwardOnly(p, v, m),
		} {
			for stage, list := range s {
				slot, perChunk := Slots(list)
				checkSlots(rt, fmt.Sprintf("%s stage %d of %d, %d micro-batches", name, stage, p, m), list, slot, perChunk)
				if total := sum(perChunk); name != "forward" && v == 1 && total != PeakActivations(list) {
					rt.Fatalf("%s stage %d of %d: %d slots for %d passes alive", name, stage, p, total, PeakActivations(list))
				}
			}
		}
	})
}

func sum(n []int) (total int) {
	for _, x := range n {
		total += x
	}
	return total
}

func checkSlots(rt *rapid.T, name string, list []Instruction, slot, perChunk []int) {
	type place struct{ chunk, slot int }
	alive := map[place]int{} // micro-batch
	most := make([]int, len(perChunk))
	for n, i := range list {
		where := place{i.Chunk, slot[n]}
		holder, held := alive[where]
		switch {
		case slot[n] == Unused:
			if i.Op != SendBackward {
				rt.Fatalf("%s: %v has no slot", name, i)
			}
			continue
		case slot[n] >= perChunk[i.Chunk]:
			rt.Fatalf("%s: %v is in slot %d of %d", name, i, slot[n], perChunk[i.Chunk])
		case held && holder != i.MicroBatch:
			rt.Fatalf("%s: %v is in slot %d, which micro-batch %d holds", name, i, slot[n], holder)
		case !held && i.Op != RecvForward && i.Op != Forward:
			rt.Fatalf("%s: %v is in slot %d, which nobody filled", name, i, slot[n])
		}
		alive[where] = i.MicroBatch
		count := 0
		for x := range alive {
			if x.chunk == i.Chunk {
				count++
			}
		}
		most[i.Chunk] = max(most[i.Chunk], count)
		later := list[n+1:]
		if !slices.ContainsFunc(later, func(j Instruction) bool { return j.pass() == i.pass() && j.Op != SendBackward }) {
			delete(alive, where)
		}
	}
	if len(alive) > 0 || !slices.Equal(most, perChunk) {
		rt.Fatalf("%s: %v slots, want %v; %v are never free", name, perChunk, most, alive)
	}
}

// What a message carries stays until its group is through, and what is received until it is used.
func TestMessagesKeepTheirMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, m := sizes(rt)
		v := rapid.IntRange(1, 4).Draw(rt, "chunks")
		for name, s := range map[string]Schedule{
			"GPipe": GPipe(p, m), "1F1B": OneFOneB(p, m), "ZB-H1": ZBH1(p, m), "interleaved": Interleaved(p, v, m*p), "forward": ForwardOnly(p, v, m),
		} {
			for stage, list := range s {
				checkMessages(rt, fmt.Sprintf("%s stage %d of %d, %d micro-batches", name, stage, p, m), list, stage == 0)
			}
		}
	})
}

func checkMessages(rt *rapid.T, name string, list []Instruction, first bool) {
	buffer, outputs, gradients := Messages(list)
	out, grad := map[int]pass{}, map[int]pass{}
	var sent []func()
	for n, i := range list {
		b := buffer[n]
		holders, most := out, outputs
		if i.Op != Forward && i.Op != SendForward {
			holders, most = grad, gradients
		}
		holder, held := holders[b]
		switch i.Op {
		case Forward, RecvBackward:
			if held || b >= most {
				rt.Fatalf("%s: %v writes buffer %d of %d, which holds %v", name, i, b, most, holder)
			}
			if b != Unused {
				holders[b] = i.pass()
			}
		case Backward, BackwardInput:
			if held && holder != i.pass() || b >= most || b == Unused {
				rt.Fatalf("%s: %v reads gradient %d of %d, which holds %v", name, i, b, most, holder)
			}
			if holders[b] = i.pass(); first && i.Chunk == 0 {
				delete(holders, b)
			}
		case SendForward, SendBackward:
			if holder != i.pass() || !held {
				rt.Fatalf("%s: %v sends buffer %d, which holds %v", name, i, b, holder)
			}
			sent = append(sent, func() { delete(holders, b) })
		}
		if n+1 == len(list) || !list[n+1].Op.Communicates() {
			for _, f := range sent {
				f()
			}
			sent = nil
		}
	}
	if len(out)+len(grad) > 0 {
		rt.Fatalf("%s: buffers %v and %v are never free", name, out, grad)
	}
}
