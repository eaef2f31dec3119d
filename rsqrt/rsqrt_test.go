package rsqrt

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
)

func ExampleFloat32() {
	x := []float32{4, 16, 25}
	Float32(x, x)
	fmt.Println(x)
	// Output: [0.5 0.25 0.2]
}

func ExampleFloat64() {
	y := make([]float64, 3)
	Float64(y, []float64{0, 64, math.Inf(1)})
	fmt.Println(y)
	// Output: [+Inf 0.125 0]
}

// The bits of four 16-bit floats: 4, 16, 64 and infinity, in float16 and in bfloat16.
func ExampleFloat16() {
	x := []uint16{0x4400, 0x4c00, 0x5400, 0x7c00}
	Float16(x, x)
	fmt.Printf("%#04x\n", x)
	// Output: [0x3800 0x3400 0x3000 0x0000]
}

func ExampleBFloat16() {
	x := []uint16{0x4080, 0x4180, 0x4280, 0x7f80}
	BFloat16(x, x)
	fmt.Printf("%#04x\n", x)
	// Output: [0x3f00 0x3e80 0x3e00 0x0000]
}

func ExampleComplex64() {
	y := make([]complex64, 2)
	Complex64(y, []complex64{-4, 2i})
	fmt.Println(y)
	// Output: [(0-0.5i) (0.5-0.5i)]
}

func ExampleComplex128() {
	y := make([]complex128, 2)
	Complex128(y, []complex128{3 + 4i, complex(-1, math.Copysign(0, -1))})
	fmt.Printf("%.3g\n", y)
	// Output: [(0.4-0.2i) (0+1i)]
}

// Integers are computed in the default dtype, float32, and the result is cast to what dst has.
func ExampleApply_integers() {
	x := []int16{4, 16, -1}
	y := make([]complex128, 3)
	err := Apply(
		Array{Data: unsafe.Pointer(&y[0]), DType: C128, Shape: []int{3}, Strides: []int{16}},
		Array{Data: unsafe.Pointer(&x[0]), DType: I16, Shape: []int{3}, Strides: []int{2}},
	)
	fmt.Println(y, err)
	// Output: [(0.5+0i) (0.25+0i) (NaN+0i)] <nil>
}

// The columns of a matrix of float64 into a matrix of float32.
func ExampleApply() {
	x := []float64{1, 4, 16, 25, 64, 100}
	y := make([]float32, 6)
	err := Apply(
		Array{Data: unsafe.Pointer(&y[0]), DType: F32, Shape: []int{3, 2}, Strides: []int{8, 4}},
		Array{Data: unsafe.Pointer(&x[0]), DType: F64, Shape: []int{3, 2}, Strides: []int{8, 24}},
	)
	fmt.Println(y, err)
	// Output: [1 0.2 0.5 0.125 0.25 0.1] <nil>
}

func ExampleApply_overlap() {
	x := []float32{1, 4, 16}
	err := Apply(
		Array{Data: unsafe.Pointer(&x[0]), DType: F32, Shape: []int{2}, Strides: []int{4}},
		Array{Data: unsafe.Pointer(&x[1]), DType: F32, Shape: []int{2}, Strides: []int{4}},
	)
	fmt.Println(x, strings.Contains(err.Error(), "refer to a single memory location"))
	// Output: [1 4 16] true
}

// reference computes one element by the scalar tier's stages, one at a time: what Apply must do to
// every element in its loops and tiles.
func reference(dst, src []byte, to, from DType) {
	item, next := make([]byte, 16), make([]byte, 16)
	copy(item, src[:from.Size()])
	tier, computed := tiers[len(tiers)-1], from.Computed(DefaultDType())
	steps, _ := casts(nil, tier.Tier, from, computed)
	steps, _ = casts(append(steps, tier.kernels[computed].Plain()), tier.Tier, computed, to)
	for _, step := range steps {
		cgo.Call(step, unsafe.Pointer(&next[0]), unsafe.Pointer(&item[0]), 1)
		item, next = next, item
	}
	copy(dst[:to.Size()], item)
}

// checkApply calls Apply on arrays in the memory of one block and compares every element and every
// other byte with what an element-wise loop in Go gives; where Apply refuses, nothing may have
// changed.
func checkApply(t *testing.T, memory []byte, dst, src Array) {
	t.Helper()
	before := slices.Clone(memory)
	expected := slices.Clone(memory)
	base := unsafe.Pointer(&memory[0])
	offset := func(a Array, index []int) int {
		at := int(uintptr(a.Data) - uintptr(base))
		for d, i := range index {
			at += i * a.Strides[d]
		}
		return at
	}
	err := Apply(dst, src)
	if err != nil {
		if !slices.Equal(memory, before) {
			t.Fatalf("Apply(%+v, %+v) refused with %v after writing", dst, src, err)
		}
		var refused *Error
		if !errors.As(err, &refused) {
			t.Fatalf("Apply(%+v, %+v): %T", dst, src, err)
		}
		return
	}
	index := make([]int, len(src.Shape))
	for range count(src.Shape) {
		reference(expected[offset(dst, index):], before[offset(src, index):], dst.DType, src.DType)
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < src.Shape[d] {
				break
			}
			index[d] = 0
		}
	}
	if !slices.Equal(memory, expected) {
		t.Fatalf("Apply(%+v, %+v): wrong bytes", dst, src)
	}
}

func fillRandom(memory []byte, random *rand.Rand) {
	for i := range memory {
		memory[i] = byte(random.Uint32())
	}
}

// A layout that stays within length bytes, or false.
func layout(memory []byte, dtype DType, shape, strides []int) (Array, bool) {
	low, high := 0, dtype.Size()
	for d, n := range shape {
		reach := strides[d] * max(0, n-1)
		low, high = low+min(0, reach), high+max(0, reach)
	}
	if high-low > len(memory) {
		return Array{}, false
	}
	return Array{Data: unsafe.Pointer(&memory[-low]), DType: dtype, Shape: shape, Strides: strides}, true
}

func TestApplyOnRandomLayouts(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	memory := make([]byte, 1<<15)
	defer func(name string) { must(SetTier(name)) }(Tier())
	for _, name := range Tiers() {
		must(SetTier(name))
		t.Run(name, func(t *testing.T) {
			done := 0
			for done < pairs()/25 {
				fillRandom(memory, random)
				ndim := random.IntN(5)
				shape, strides := make([]int, ndim), [2][]int{make([]int, ndim), make([]int, ndim)}
				for d := range shape {
					shape[d] = random.IntN([]int{3, 8, 90}[random.IntN(3)])
					for side := range strides {
						strides[side][d] = (random.IntN(120) - 40) * []int{1, 4, 8}[random.IntN(3)]
					}
				}
				if random.IntN(2) == 0 && ndim > 0 { // one side contiguous
					step := 16
					for _, d := range random.Perm(ndim) {
						strides[0][d], step = step, step*max(1, shape[d])
					}
				}
				dst, fits := layout(memory[:len(memory)/2], DType(random.IntN(len(names))), shape, strides[0])
				src, alsoFits := layout(memory[len(memory)/3:], DType(random.IntN(len(names))), shape, strides[1])
				if !fits || !alsoFits {
					continue
				}
				done++
				checkApply(t, memory, dst, src)
				if fits {
					checkApply(t, memory, src, src)
				}
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 2, 3, 8, 4, 16, 8, 100, 2})
	f.Add([]byte{3, 1, 200, 4, 252, 0, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() int {
			if len(data) == 0 {
				return 1
			}
			b := data[0]
			data = data[1:]
			return int(b)
		}
		memory := make([]byte, 1<<14)
		fillRandom(memory, rand.New(rand.NewPCG(1, uint64(len(data)))))
		kinds, ndim := next(), next()%6
		shape, strides := make([]int, ndim), [2][]int{make([]int, ndim), make([]int, ndim)}
		for d := range shape {
			shape[d] = next() % 70
			strides[0][d], strides[1][d] = int(int8(next()))*4, int(int8(next()))
		}
		if n := count(shape); n > 1<<12 {
			return
		}
		dst, fits := layout(memory[next():], DType(kinds%len(names)), shape, strides[0])
		src, alsoFits := layout(memory[next()*8:], DType(kinds/len(names)%len(names)), shape, strides[1])
		if fits && alsoFits {
			checkApply(t, memory, dst, src)
		}
	})
}

func TestSlicesOfTwoLengths(t *testing.T) {
	defer func() {
		if cause := recover(); cause != "rsqrt: dst has length 2, src has length 3" {
			t.Errorf("lengths: %v", cause)
		}
	}()
	Float32(make([]float32, 2), make([]float32, 3))
}
