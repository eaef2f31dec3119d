//go:build exhaustive

package cgo

import (
	"math"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

// The items at the start of a kernel's block that the divider computes; so many items later none of these is there.
var divided = map[string]int{"scalar": 0, "avx2": 24, "avx512": 64, "neon": 8}

// TestEveryFloat32 compares all 2^32 inputs on every tier with Go's own arithmetic, each input also in a place where it goes the
// fma way: `make exhaustive`, about a minute.
func TestEveryFloat32(t *testing.T) {
	defer SetIntel(IsIntel())
	SetIntel(false)
	everyFloat32(t, "scalar", "avx2", "avx512", "neon")
	SetIntel(true)
	everyFloat32(t, "avx512")
}

func everyFloat32(t *testing.T, names ...string) {
	const block, workers, most = 1 << 16, 2, 80
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			src, want, got := make([]float32, most+block), make([]float32, block), make([]float32, most+block)
			for i := range most {
				src[i] = 1
			}
			for first := uint64(worker * block); first < 1<<32; first += workers * block {
				for i := range want {
					src[most+i] = math.Float32frombits(uint32(first) + uint32(i))
					want[i] = reference(src[most+i])
				}
				for _, name := range names {
					if !testedTiers[name].runs {
						continue
					}
					kernel := Kernels(testedTiers[name].id)[F32]
					for _, lead := range slices.Compact([]int{0, divided[name]}) {
						Call(kernel, unsafe.Pointer(&got[most-lead]), unsafe.Pointer(&src[most-lead]), lead+block)
						for i, x := range src[most:] {
							if y := got[most+i]; math.Float32bits(y) != math.Float32bits(want[i]) {
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
