//go:build exhaustive

package cgo

import (
	"math"
	"sync"
	"testing"
	"unsafe"
)

// TestEveryFloat32 compares all 2^32 inputs on every tier with Go's own arithmetic: `make exhaustive`, about a minute.
func TestEveryFloat32(t *testing.T) {
	const block, workers = 1 << 16, 2
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			src, want, got := make([]float32, block), make([]float32, block), make([]float32, block)
			for first := uint64(worker * block); first < 1<<32; first += workers * block {
				for i := range src {
					src[i] = math.Float32frombits(uint32(first) + uint32(i))
					want[i] = reference(src[i])
				}
				for name, tier := range testedTiers {
					if !tier.runs {
						continue
					}
					Call(Kernels(tier.id)[F32], unsafe.Pointer(&got[0]), unsafe.Pointer(&src[0]), block)
					for i := range got {
						if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
							t.Errorf("%s: %#08x → %#08x, want %#08x", name, math.Float32bits(src[i]), math.Float32bits(got[i]), math.Float32bits(want[i]))
							return
						}
					}
				}
			}
		})
	}
	group.Wait()
}
