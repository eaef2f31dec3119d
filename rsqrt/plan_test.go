package rsqrt

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// A pair of layouts of the same shape, in elements, large enough for panels, streaming stores and
// helpers.
var largeLayouts = map[string]struct{ shape, dst, src []int }{
	"flat":                 {[]int{3_000_017}, []int{1}, []int{1}},
	"reversed":             {[]int{1_500_001}, []int{1}, []int{-1}},
	"stride 2":             {[]int{1_200_000}, []int{1}, []int{2}},
	"stride 3 to 2":        {[]int{700_001}, []int{2}, []int{3}},
	"transposed":           {[]int{1003, 1201}, []int{1201, 1}, []int{1, 1003}},
	"transposed, stepped":  {[]int{700, 801}, []int{801, 1}, []int{2, 1500}},
	"transposed, backward": {[]int{700, 801}, []int{801, 1}, []int{-1, -700}},
	"permuted":             {[]int{31, 77, 203}, []int{77 * 203, 203, 1}, []int{77, 1, 31 * 77}},
	"permuted twice":       {[]int{50, 60, 70}, []int{4200, 70, 1}, []int{1, 50 * 70, 50}},
	"short rows":           {[]int{90_000, 3}, []int{3, 1}, []int{5, 1}},
	"rows of 100":          {[]int{9000, 100}, []int{100, 1}, []int{128, 1}},
	"rows of 1000":         {[]int{1100, 1000}, []int{1030, 1}, []int{1024, 1}},
	"a column, broadcast":  {[]int{1100, 900}, []int{900, 1}, []int{1, 0}},
	"a row, broadcast":     {[]int{1100, 900}, []int{900, 1}, []int{0, 1}},
	"one, broadcast":       {[]int{1_000_003}, []int{1}, []int{0}},
}

func extentOf(shape, strides []int) (low, high int) {
	for d, n := range shape {
		low, high = low+min(0, strides[d]*(n-1)), high+max(0, strides[d]*(n-1))
	}
	return low, high + 1
}

// TestLargeLayoutsOnAnyNumberOfThreads compares each with what the kernel gives for a gathered
// copy, and looks at what lies between the elements.
func TestLargeLayoutsOnAnyNumberOfThreads(t *testing.T) {
	defer func(n int) { must(SetNumThreads(n)) }(NumThreads())
	defer func(name string) { must(SetTier(name)) }(Tier())
	random := rand.New(rand.NewPCG(21, 22))
	for name, l := range largeLayouts {
		srcLow, srcHigh := extentOf(l.shape, l.src)
		_, dstHigh := extentOf(l.shape, l.dst)
		n := count(l.shape)
		src, dst, want := make([]uint64, srcHigh-srcLow), make([]uint64, dstHigh), make([]uint64, dstHigh)
		untouched := make([]uint64, dstHigh)
		for i := range untouched {
			untouched[i] = 0xa5a5a5a5a5a5a5a5
		}
		for i := range src {
			src[i] = random.Uint64()&^(3<<62|3<<30) | 1<<61 | 1<<29
		}
		gathered, computed := make([]uint64, n), make([]uint64, n)
		places := func(strides []int) []int { // the element that each item is
			all := make([]int, n)
			for item := range all {
				place, rest := 0, item
				for d := len(l.shape) - 1; d >= 0; d-- {
					place += rest % l.shape[d] * strides[d]
					rest /= l.shape[d]
				}
				all[item] = place
			}
			return all
		}
		srcPlaces, dstPlaces := places(l.src), places(l.dst)
		conversions := [][2]DType{{F32, F32}, {I32, F32}, {F64, F64}, {F16, F16}, {C64, C64}, {F32, F64}}
		if testing.Short() {
			conversions = conversions[:2]
		}
		for _, types := range conversions {
			from, to := types[0], types[1]
			sizes := [2]int{from.Size(), to.Size()}
			at := func(memory []uint64, low, i, size int) unsafe.Pointer {
				return unsafe.Add(unsafe.Pointer(&memory[0]), (i-low)*size)
			}
			for item, place := range srcPlaces {
				copy(unsafe.Slice((*byte)(at(gathered, 0, item, sizes[0])), sizes[0]),
					unsafe.Slice((*byte)(at(src, srcLow, place, sizes[0])), sizes[0]))
			}
			array := func(memory []uint64, low int, dtype DType, strides []int) Array {
				a := Array{Data: at(memory, low, 0, dtype.Size()), DType: dtype, Shape: l.shape}
				for _, stride := range strides {
					a.Strides = append(a.Strides, stride*dtype.Size())
				}
				return a
			}
			flat := func(memory []uint64, dtype DType) Array {
				return Array{Data: unsafe.Pointer(&memory[0]), DType: dtype, Shape: []int{n}, Strides: []int{dtype.Size()}}
			}
			must(SetNumThreads(1))
			must(SetTier("scalar"))
			must(Apply(flat(computed, to), flat(gathered, from)))
			copy(want, untouched)
			for item, place := range dstPlaces {
				copy(unsafe.Slice((*byte)(at(want, 0, place, sizes[1])), sizes[1]),
					unsafe.Slice((*byte)(at(computed, 0, item, sizes[1])), sizes[1]))
			}
			for _, tier := range Tiers()[:1] {
				must(SetTier(tier))
				for _, threads := range []int{1, 2, 5} {
					must(SetNumThreads(threads))
					copy(dst, untouched)
					must(Apply(array(dst, 0, to, l.dst), array(src, srcLow, from, l.src)))
					for i := range dst {
						if dst[i] != want[i] {
							t.Fatalf("%s, %v to %v, %d threads: 8 bytes at %d are %#x, want %#x", name, from, to, threads, 8*i, dst[i], want[i])
						}
					}
				}
			}
		}
	}
}
