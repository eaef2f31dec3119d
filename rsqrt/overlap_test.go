package rsqrt

import (
	"math/rand/v2"
	"slices"
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

func effort() *int {
	effort := overlapEffort
	return &effort
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
		if got := overlap(a, b, effort()); got != want {
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
		if got := overlapsItself(a, effort()); got != want {
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
		if got := overlap(c.a, c.b, effort()); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := overlap(c.b, c.a, effort()); got != c.want {
			t.Errorf("%s, the other way: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestUndecidedOverlap has layouts of 16 dimensions that outgrow the effort: a call on them goes
// through a temporary, so that elements that do share memory are read before any is written.
func TestUndecidedOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	memory := make([]float32, 1<<24)
	undecided, tries := 0, 0
	for undecided < 2 {
		if tries++; tries > 200 {
			t.Fatal("every layout was decided, so this shows nothing")
		}
		x := Array{Data: unsafe.Pointer(&memory[0]), DType: F32, Shape: slices.Repeat([]int{2}, 16)}
		for range x.Shape {
			x.Strides = append(x.Strides, 4*(len(memory)/32+random.IntN(len(memory)/32)))
		}
		if overlapsItself(x, effort()) != unknown {
			continue
		}
		undecided++
		for i := range memory {
			memory[i] = 4
		}
		if err := Apply(x, x); err != nil {
			t.Fatal(err)
		}
		for i, y := range memory {
			if y != 4 && y != 0.5 {
				t.Fatalf("[%d] is %v: it was computed twice", i, y)
			}
		}
	}
}
