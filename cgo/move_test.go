package cgo

import (
	"slices"
	"testing"
	"unsafe"
)

// TestMoves copies items of every size by plans without a stage, to places with gaps between them,
// up to the end of memory and at every distance from the end of a line.
func TestMoves(t *testing.T) {
	src, dst := guarded(t, 2<<12), guarded(t, 2<<12)
	for i := range src {
		src[i] = byte(i*7 + i>>8)
	}
	for name, tier := range runningWays {
		for _, size := range []int{1, 2, 4, 8, 16} {
			for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100} {
				for _, step := range []int{1, 2, 3} {
					for shift := range 64 {
						for _, srcStep := range []int{1, 0, 2, -1} {
							moved(t, name, tier, src, dst, n, size, step*size, srcStep*size, shift)
						}
					}
				}
			}
		}
	}
}

// moved copies n items that end at the end of src to places that end `shift` bytes before the end
// of dst.
func moved(t *testing.T, name string, tier Tier, src, dst []byte, n, size, dstStride, srcStride, shift int) {
	t.Helper()
	plan := Plan{N: n, SrcSize: size, DstSize: size, NDim: 1, Mover: tier.Mover()}
	plan.Shape[0], plan.SrcStrides[0], plan.DstStrides[0] = n, srcStride, dstStride
	from, to := len(src)-size-(n-1)*max(srcStride, 0), len(dst)-size-(n-1)*dstStride-shift
	wipe(dst)
	if err := Execute(&plan, unsafe.Pointer(&dst[to]), unsafe.Pointer(&src[from])); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		got, want := dst[to+i*dstStride:][:size], src[from+i*srcStride:][:size]
		if !slices.Equal(got, want) {
			t.Fatalf("%s: item %d of %d, %d bytes, strides %d and %d, %d before the end: %x, want %x",
				name, i, n, size, dstStride, srcStride, shift, got, want)
		}
		wipe(got)
	}
	if written(dst) {
		t.Fatalf("%s: %d items of %d bytes, strides %d and %d: bytes outside were written", name, n, size, dstStride, srcStride)
	}
}
