package rsqrt

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// A block whose addresses the arrays of these tests lie in; its bytes are never touched.
var block [1 << 16]byte

func randomArray(random *rand.Rand) Array {
	a := Array{Data: unsafe.Pointer(&block[len(block)/2+random.IntN(64)]), DType: DType(random.IntN(len(names)))}
	for range random.IntN(5) {
		a.Shape = append(a.Shape, random.IntN(5))
		stride := random.IntN(41) - 20
		if random.IntN(2) == 0 {
			stride *= 4
		}
		a.Strides = append(a.Strides, stride)
	}
	return a
}

// addresses counts how many elements cover each byte.
func addresses(a Array) map[uintptr]int {
	covered := map[uintptr]int{}
	var walk func(d int, at uintptr)
	walk = func(d int, at uintptr) {
		if d == len(a.Shape) {
			for b := range a.DType.Size() {
				covered[at+uintptr(b)]++
			}
			return
		}
		for i := range a.Shape[d] {
			walk(d+1, at+uintptr(i*a.Strides[d]))
		}
	}
	walk(0, uintptr(a.Data))
	return covered
}

// pairs is how many random layouts are tried; fewer under a sanitizer, by -short.
func pairs() int {
	if testing.Short() {
		return 5_000
	}
	return 100_000
}

func TestOverlapIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	seen := map[answer]int{}
	for range pairs() {
		a, b := randomArray(random), randomArray(random)
		want := no
		inB := addresses(b)
		for address := range addresses(a) {
			if inB[address] > 0 {
				want = yes
			}
		}
		if got := overlap(a, b); got != want {
			t.Fatalf("overlap(%+v, %+v) = %v, want %v", a, b, got, want)
		}
		seen[want]++
	}
	if seen[no] < pairs()/10 || seen[yes] < pairs()/10 {
		t.Fatalf("the pairs are one-sided: %v", seen)
	}
}

func TestOverlapsItselfIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	seen := map[answer]int{}
	for range pairs() {
		a := randomArray(random)
		want := no
		for _, elements := range addresses(a) {
			if elements > 1 {
				want = yes
			}
		}
		if got := overlapsItself(a); got != want {
			t.Fatalf("overlapsItself(%+v) = %v, want %v", a, got, want)
		}
		seen[want]++
	}
	if seen[no] < pairs()/10 || seen[yes] < pairs()/10 {
		t.Fatalf("the arrays are one-sided: %v", seen)
	}
}

// Sizes that no search by elements could decide.
func TestOverlapOfLargeArrays(t *testing.T) {
	at := func(offset int, shape, strides []int) Array {
		return Array{Data: unsafe.Pointer(&block[offset]), DType: F32, Shape: shape, Strides: strides}
	}
	for _, c := range []struct {
		name string
		a, b Array
		want answer
	}{
		{"interleaved", at(0, []int{1 << 40}, []int{8}), at(4, []int{1 << 40}, []int{8}), no},
		{"interleaved, one byte short", at(0, []int{1 << 40}, []int{8}), at(3, []int{1 << 40}, []int{8}), yes},
		{"reversed", at(0, []int{1 << 40}, []int{8}), at(8, []int{1 << 40}, []int{-8}), yes},
		{"columns", at(0, []int{1 << 20, 8}, []int{64, 4}), at(32, []int{1 << 20, 8}, []int{64, 4}), no},
		{"strides 12 and 20 that meet late", at(0, []int{1 << 30}, []int{12}), at(8, []int{1 << 30}, []int{20}), yes},
		{"strides 12 and 24 that never meet", at(0, []int{1 << 30}, []int{12}), at(4, []int{1 << 30}, []int{24}), no},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := overlap(c.b, c.a); got != c.want {
			t.Errorf("%s, the other way: %v, want %v", c.name, got, c.want)
		}
	}
}
