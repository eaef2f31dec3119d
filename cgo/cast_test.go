package cgo

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// TestCastsAgree compares every cast of every tier with the scalar tier's, over random bits and
// lengths. Casts of integers are also compared with Go's own conversions.
func TestCastsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	src, want, got := make([]uint64, 1<<12), make([]uint64, 1<<12), make([]uint64, 1<<12)
	for from := range DTypes {
		for to := range Computed {
			reference := scalar().Cast(from, to)
			if reference == 0 {
				continue
			}
			for _, n := range []int{1, 7, 8, 9, 63, 64, 65, 2048} {
				for i := range src {
					src[i] = random.Uint64() >> random.IntN(60)
					if from == Bool {
						src[i] &= 0x0101010101010101
					}
				}
				clear(want)
				Call(reference, unsafe.Pointer(&want[0]), unsafe.Pointer(&src[0]), n)
				for name, tier := range RunningTiers {
					clear(got)
					Call(tier.Cast(from, to), unsafe.Pointer(&got[0]), unsafe.Pointer(&src[0]), n)
					if !slices.Equal(got, want) {
						t.Errorf("%s: dtype %d to %d, n=%d: differs from the scalar cast", name, from, to, n)
					}
				}
			}
		}
	}
	for _, x := range []int64{0, 1, -1, 1<<24 + 1, 1<<53 + 1, math.MaxInt64, math.MinInt64, -(1<<24 + 1)} {
		for name, tier := range RunningTiers {
			var f32 [8]float32
			eight := [8]int64{x, x, x, x, x, x, x, x}
			Call(tier.Cast(I64, F32), unsafe.Pointer(&f32), unsafe.Pointer(&eight), len(eight))
			if f32[0] != float32(x) || f32[7] != float32(x) {
				t.Errorf("%s: %d → %v, want %v", name, x, f32, float32(x))
			}
		}
	}
}
