package cgo

import (
	"slices"
	"sync"
	"testing"
	"unsafe"
)

// TestManyCallersAtOnce checks concurrent calls: the helpers serve one at a time, and the others
// are computed without help.
func TestManyCallersAtOnce(t *testing.T) {
	defer SetThreads(Threads())
	SetThreads(4)
	const n, callers, calls = 400_000, 8, 40
	kernels := scalar().Kernels(F32)
	plan := Plan{N: n, SrcSize: 4, DstSize: 4, NDim: 1, Stages: 1, Kernels: kernels}
	plan.Shape[0], plan.SrcStrides[0], plan.DstStrides[0], plan.Stage[0] = n, 4, 4, kernels.Plain()
	x, want := make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = float32(i + 1)
		want[i] = reference(x[i])
	}
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			y := make([]float32, n)
			for call := range calls {
				clear(y)
				err := Execute(&plan, unsafe.Pointer(&y[0]), unsafe.Pointer(&x[0]))
				if err != nil || !slices.Equal(y, want) {
					t.Errorf("caller %d, call %d: %v, and other results than one thread's", caller, call, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestSetThreads(t *testing.T) {
	defer SetThreads(Threads())
	for n, want := range map[int]int{-1: 1, 0: 1, 1: 1, 7: 7, MostThreads: MostThreads, MostThreads + 1: MostThreads} {
		if SetThreads(n); Threads() != want {
			t.Errorf("SetThreads(%d) sets %d, want %d", n, Threads(), want)
		}
	}
}
