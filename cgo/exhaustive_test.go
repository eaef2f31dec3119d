//go:build exhaustive

package cgo

import (
	"math"
	"sync"
	"testing"
	"unsafe"
)

// TestEveryFloat32 compares all 2^32 inputs on every tier with Go's own arithmetic. Each input is
// also computed at a place where the kernels use fma: `make exhaustive`, about a minute.
func TestEveryFloat32(t *testing.T) {
	defer SetIntel(IsIntel())
	for _, intel := range []bool{false, true} {
		SetIntel(intel)
		kernels := map[Kernel]string{}
		for name, tier := range RunningTiers {
			if !intel || name == "avx512" {
				kernels[tier.Kernels(F32).Plain()] = name
			}
		}
		if len(kernels) > 0 {
			everyFloat32(t, kernels)
		}
	}
}

func everyFloat32(t *testing.T, kernels map[Kernel]string) {
	// After this many items, none is at a place of the divider, at the start of a kernel's block:
	// of 16 items the first 8, of 64 the first 24, of 144 the first 64.
	const later = 216
	const block, workers = 1 << 16, 2
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			src, want, got := make([]float32, later+block), make([]float32, block), make([]float32, later+block)
			for i := range later {
				src[i] = 1
			}
			for first := uint64(worker * block); first < 1<<32; first += workers * block {
				for i := range want {
					src[later+i] = math.Float32frombits(uint32(first) + uint32(i))
					want[i] = reference(src[later+i])
				}
				for kernel, name := range kernels {
					for _, lead := range []int{0, later} {
						Call(kernel, unsafe.Pointer(&got[later-lead]), unsafe.Pointer(&src[later-lead]), lead+block)
						for i, x := range src[later:] {
							if y := got[later+i]; math.Float32bits(y) != math.Float32bits(want[i]) {
								t.Errorf("%s: %#08x → %#08x, want %#08x", name, math.Float32bits(x), math.Float32bits(y), math.Float32bits(want[i]))
								return
							}
						}
					}
				}
			}
		})
	}
	group.Wait()
}
