package cgo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// planned carries out a plan of one stage or none and compares every item. Dimensions are ordered
// by dst's strides, the largest first. Strides are in units of 4 bytes for float32, of 8 for
// float64. Both sides end at the end of memory. If the strides of both are the same, it also runs
// in place.
func planned[F float](t *testing.T, tier Tier, kernels Kernels, shape, dstStrides, srcStrides []int, x func(i int) F) {
	t.Helper()
	size := int(unsafe.Sizeof(F(0)))
	plan := Plan{N: 1, SrcSize: size, DstSize: size, NDim: int32(len(shape)), Mover: tier.Mover(), Kernels: kernels}
	dstReach, srcReach := size, size
	for d, length := range shape {
		plan.N *= length
		plan.Shape[d], plan.DstStrides[d], plan.SrcStrides[d] = length, size*dstStrides[d], size*srcStrides[d]
		dstReach += (length - 1) * plan.DstStrides[d]
		plan.SrcOffset -= (length - 1) * min(plan.SrcStrides[d], 0)
		srcReach += (length - 1) * max(plan.SrcStrides[d], -plan.SrcStrides[d])
	}
	if kernels != 0 {
		plan.Stages, plan.Stage[0] = 1, kernels.Plain()
	}
	src, dst := guarded(t, srcReach), guarded(t, dstReach)
	wipe(src)
	from, to := src[len(src)-srcReach:], dst[len(dst)-dstReach:]
	item := func(memory []byte, offset, i int, strides *[MaxNDim]int) *F {
		for d := len(shape) - 1; d >= 0; d-- {
			offset += i % shape[d] * strides[d]
			i /= shape[d]
		}
		return (*F)(unsafe.Pointer(&memory[offset]))
	}
	want := make([]F, plan.N)
	for i := range want {
		*item(from, plan.SrcOffset, i, &plan.SrcStrides) = x(i)
	}
	for i := range want { // a stride of 0 has put the last of some values there
		if want[i] = *item(from, plan.SrcOffset, i, &plan.SrcStrides); kernels != 0 {
			want[i] = reference(want[i])
		}
	}
	check := func(memory, out []byte) {
		t.Helper()
		if err := Execute(&plan, unsafe.Pointer(&out[0]), unsafe.Pointer(&from[0])); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			got := item(out, 0, i, &plan.DstStrides)
			if bits(*got) != bits(want[i]) {
				t.Fatalf("%v %v %v: item %d is %#x, want %#x", shape, dstStrides, srcStrides, i, bits(*got), bits(want[i]))
			}
			wipe(unsafe.Slice((*byte)(unsafe.Pointer(got)), size))
		}
		if written(memory) {
			t.Fatalf("%v %v %v: bytes outside were written", shape, dstStrides, srcStrides)
		}
	}
	wipe(dst)
	check(dst, to)
	if kernels != 0 && slices.Equal(dstStrides, srcStrides) {
		check(src, from)
	}
}

// TestPlans carries out plans that move items in every way, up to both ends of memory.
func TestPlans(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testPlans[float32](t, F32) })
	t.Run("float64", func(t *testing.T) { testPlans[float64](t, F64) })
}

func testPlans[F float](t *testing.T, dtype int) {
	random := rand.New(rand.NewPCG(5, 6))
	edges := specials[F]()
	kinds := map[string]func(int) F{
		"ordinary": func(int) F { return ordinary[F](random) },
		"any": func(i int) F {
			if i%97 == 0 {
				return edges[random.IntN(len(edges))]
			}
			return ordinary[F](random)
		},
	}
	done := map[string]bool{}
	for name, tier := range runningWays {
		way := fmt.Sprint(tier.Mover(), tier.Kernels(dtype), name[strings.LastIndex(name, ","):])
		if done[way] { // VBMI's is AVX512's, but for the 16-bit dtypes
			continue
		}
		done[way] = true
		for _, kernels := range []Kernels{tier.Kernels(dtype), 0} {
			for kind, x := range kinds {
				t.Run(fmt.Sprintf("%s/%s/%t", name, kind, kernels != 0), func(t *testing.T) {
					for _, n := range []int{1, 7, 255, 256, 257, 288, 352, 353, 401, 511, 2049} {
						for _, step := range []int{1, 2, 3, 5, 16, 17, -1, -2, -3, -16, 0} {
							planned(t, tier, kernels, []int{n}, []int{1}, []int{step}, x)
							planned(t, tier, kernels, []int{n}, []int{2}, []int{step}, x)
							planned(t, tier, kernels, []int{n}, []int{3}, []int{step}, x)
							planned(t, tier, kernels, []int{3, n}, []int{n, 1}, []int{n*max(step, -step) + 1, step}, x)
						}
					}
					for n := range 70 { // as short, to places in rows
						planned(t, tier, kernels, []int{3, n + 1}, []int{3*n + 5, 3}, []int{n + 2, 1}, x)
						planned(t, tier, kernels, []int{3, n + 1}, []int{3*n + 5, 3}, []int{3*n + 5, 3}, x)
					}
					for rows := range 70 { // short rows, apart from each other on one side or both
						for _, gap := range []int{0, 1, 25, 1023 - rows} {
							planned(t, tier, kernels, []int{9, rows + 1}, []int{rows + 1 + gap, 1}, []int{rows + 17, 1}, x)
							planned(t, tier, kernels, []int{9, rows + 1}, []int{rows + 1 + gap, 1}, []int{rows + 1 + gap, 1}, x)
						}
					}
					for _, shape := range [][]int{{4, 64}, {5, 700}, {17, 33}, {31, 353}, {63, 289}, {64, 288}, {65, 577}, {64, 128}, {66, 129}, {64, 16}, {100, 100}, {700, 5}} {
						rows, columns := shape[0], shape[1]
						for _, gap := range []int{0, 1, 15} {
							planned(t, tier, kernels, shape, []int{columns + gap, 1}, []int{1, rows + gap}, x)
							planned(t, tier, kernels, shape, []int{2*columns + gap, 2}, []int{1, rows + gap}, x)
							planned(t, tier, kernels, shape, []int{columns + gap, 1}, []int{2, 2*rows + gap}, x)
							planned(t, tier, kernels, shape, []int{columns + gap, 1}, []int{-1, rows + gap}, x)
							planned(t, tier, kernels, []int{2, rows, columns}, []int{rows * columns, columns, 1}, []int{rows * columns, 1, rows}, x)
						}
					}
					planned(t, tier, kernels, []int{40, 300}, []int{300, 1}, []int{1, 0}, x)
					planned(t, tier, kernels, []int{300, 40}, []int{40, 1}, []int{0, 1}, x)
					planned(t, tier, kernels, []int{7, 30, 40}, []int{1200, 40, 1}, []int{40, 0, 1}, x)
					planned(t, tier, kernels, []int{5000}, []int{1}, []int{0}, x)
				})
			}
		}
	}
}

// TestDistances computes in both directions, with ordinary and streaming stores: a kernel's
// direction depends on the distance from the input to the result, modulo 4 KiB.
func TestDistances(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testDistances[float32](t, F32) })
	t.Run("float64", func(t *testing.T) { testDistances[float64](t, F64) })
}

func testDistances[F float](t *testing.T, dtype int) {
	defer SetStreaming(math.MaxInt)
	random := rand.New(rand.NewPCG(9, 10))
	const page = 4096
	size := int(unsafe.Sizeof(F(0)))
	memory := guarded(t, 16*page)
	for name, tier := range runningWays {
		kernels := tier.Kernels(dtype)
		for _, from := range []int{1, math.MaxInt} {
			SetStreaming(from)
			for _, distance := range []int{0, size, 64, 512, 1024 - size, 1024, 2048, page - size} {
				for fill, x := range fills[F](random, 1500) {
					n := len(x)
					src := unsafe.Slice((*F)(unsafe.Pointer(&memory[size])), n)
					copy(src, x)
					dst := memory[8*page-page+size+distance:]
					wipe(dst)
					plan := Plan{N: n, SrcSize: size, DstSize: size, NDim: 1, Mover: tier.Mover(), Kernels: kernels, Stages: 1}
					plan.Shape[0], plan.DstStrides[0], plan.SrcStrides[0], plan.Stage[0] = n, size, size, kernels.Plain()
					if err := Execute(&plan, unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0])); err != nil {
						t.Fatal(err)
					}
					for i, got := range unsafe.Slice((*F)(unsafe.Pointer(&dst[0])), n) {
						if want := reference(x[i]); bits(got) != bits(want) {
							t.Fatalf("%s, %s, %d bytes after: item %d is %#x, want %#x", name, fill, distance, i, bits(got), bits(want))
						}
					}
					if written(dst[n*size:]) {
						t.Fatalf("%s, %s, %d bytes after: bytes outside were written", name, fill, distance)
					}
				}
			}
		}
	}
}
