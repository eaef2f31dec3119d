package cgo

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// planned carries out a plan of one stage, or of none, on float32 items with these strides in bytes, in dimensions from the largest of
// dst's strides to the smallest, and compares every item. Both sides end where memory ends.
func planned(t *testing.T, tier int, kernel Kernel, shape, dstStrides, srcStrides []int, x func(i int) float32) {
	t.Helper()
	plan := Plan{N: 1, SrcSize: 4, DstSize: 4, NDim: int32(len(shape)), Tier: tier}
	dstReach, srcReach := 4, 4
	for d, length := range shape {
		plan.N *= length
		plan.Shape[d], plan.DstStrides[d], plan.SrcStrides[d] = length, dstStrides[d], srcStrides[d]
		dstReach += (length - 1) * dstStrides[d]
		if srcStrides[d] < 0 {
			plan.SrcOffset -= (length - 1) * srcStrides[d]
		}
		srcReach += (length - 1) * max(srcStrides[d], -srcStrides[d])
	}
	if kernel != 0 {
		plan.Stages, plan.Stage[0] = 1, kernel
	}
	src, dst := guarded(t, srcReach>>12+1), guarded(t, dstReach>>12+1)
	from, to := src[len(src)-srcReach:], dst[len(dst)-dstReach:]
	wipe(dst)
	item := func(memory []byte, offset, i int, strides []int) *float32 {
		for d := len(shape) - 1; d >= 0; d-- {
			offset += i % shape[d] * strides[d]
			i /= shape[d]
		}
		return (*float32)(unsafe.Pointer(&memory[offset]))
	}
	for i := range plan.N {
		*item(from, plan.SrcOffset, i, srcStrides) = x(i)
	}
	if err := Execute(&plan, unsafe.Pointer(&to[0]), unsafe.Pointer(&from[0])); err != nil {
		t.Fatal(err)
	}
	for i := range plan.N {
		want, got := *item(from, plan.SrcOffset, i, srcStrides), item(to, 0, i, dstStrides)
		if kernel != 0 {
			want = reference(want)
		}
		if bits(*got) != bits(want) {
			t.Fatalf("%v %v %v: item %d is %#x, want %#x", shape, dstStrides, srcStrides, i, bits(*got), bits(want))
		}
		*(*uint32)(unsafe.Pointer(got)) = 0xa5a5a5a5
	}
	if written(dst) {
		t.Fatalf("%v %v %v: bytes outside were written", shape, dstStrides, srcStrides)
	}
}

// TestPlans reads and writes through every way that items are moved, up to both ends of memory.
func TestPlans(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	edges := specials[float32]()
	kinds := map[string]func(int) float32{
		"ordinary": func(int) float32 { return ordinary[float32](random) },
		"any": func(i int) float32 {
			if i%97 == 0 {
				return edges[random.IntN(len(edges))]
			}
			return ordinary[float32](random)
		},
	}
	for name, tier := range testedTiers {
		if !tier.runs {
			continue
		}
		for _, kernel := range []Kernel{Kernels(tier.id)[F32], 0} {
			for kind, x := range kinds {
				t.Run(fmt.Sprintf("%s/%s/%t", name, kind, kernel != 0), func(t *testing.T) {
					for _, n := range []int{1, 7, 255, 256, 257, 288, 352, 353, 401, 511, 2049} {
						for _, step := range []int{1, 2, 3, 5, 16, 17, -1, -2, -3, -16, 0} {
							planned(t, tier.id, kernel, []int{n}, []int{4}, []int{4 * step}, x)
							planned(t, tier.id, kernel, []int{n}, []int{8}, []int{4 * step}, x)
							planned(t, tier.id, kernel, []int{3, n}, []int{4 * n, 4}, []int{4*n*max(step, -step) + 4, 4 * step}, x)
						}
					}
					for rows := range 70 { // short rows, apart from each other on one side or both
						for _, gap := range []int{0, 4, 100} {
							planned(t, tier.id, kernel, []int{9, rows + 1}, []int{4*(rows+1) + gap, 4}, []int{4*(rows+1) + 64, 4}, x)
						}
					}
					for _, shape := range [][]int{{4, 64}, {5, 700}, {17, 33}, {31, 353}, {32, 352}, {33, 704}, {64, 16}, {100, 100}, {700, 5}} {
						rows, columns := shape[0], shape[1]
						for _, gap := range []int{0, 4, 60} {
							planned(t, tier.id, kernel, shape, []int{4*columns + gap, 4}, []int{4, 4*rows + gap}, x)
							planned(t, tier.id, kernel, shape, []int{8*columns + gap, 8}, []int{4, 4*rows + gap}, x)
							planned(t, tier.id, kernel, shape, []int{4*columns + gap, 4}, []int{8, 8*rows + gap}, x)
							planned(t, tier.id, kernel, shape, []int{4*columns + gap, 4}, []int{-4, 4*rows + gap}, x)
							planned(t, tier.id, kernel, []int{2, rows, columns}, []int{4 * rows * columns, 4 * columns, 4}, []int{4 * rows * columns, 4, 4 * rows}, x)
						}
					}
					planned(t, tier.id, kernel, []int{40, 300}, []int{1200, 4}, []int{4, 0}, x)
					planned(t, tier.id, kernel, []int{300, 40}, []int{160, 4}, []int{0, 4}, x)
					planned(t, tier.id, kernel, []int{7, 30, 40}, []int{4800, 160, 4}, []int{160, 0, 4}, x)
					planned(t, tier.id, kernel, []int{5000}, []int{4}, []int{0}, x)
				})
			}
		}
	}
}
