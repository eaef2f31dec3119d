package cgo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

func TestKernels(t *testing.T) {
	for name, tier := range runningWays {
		kernels := tier.Kernels
		t.Run(name+"/f32", func(t *testing.T) { testKernel[float32](t, kernels(F32).Plain()) })
		t.Run(name+"/f64", func(t *testing.T) { testKernel[float64](t, kernels(F64).Plain()) })
	}
}

// ordinary returns a positive number of medium size. Kernels compute whole blocks of such numbers
// in their fastest way.
func ordinary[F float](random *rand.Rand) F {
	return F(math.Ldexp(1+random.Float64(), random.IntN(120)-60))
}

// fills returns inputs for one call: ordinary numbers, one special value among ordinary numbers, or
// random bits and special values.
func fills[F float](random *rand.Rand, n int) map[string][]F {
	edges := specials[F]()
	most, one, any := make([]F, n), make([]F, n), make([]F, n)
	for i := range n {
		most[i], one[i], any[i] = ordinary[F](random), ordinary[F](random), fromBits[F](random.Uint64())
		if random.IntN(3) == 0 {
			any[i] = edges[random.IntN(len(edges))]
		}
	}
	if n > 0 {
		one[random.IntN(n)] = edges[random.IntN(len(edges))]
	}
	return map[string][]F{"ordinary": most, "one special": one, "any": any}
}

// testKernel computes every length around the widths of vectors and blocks, at both ends of guarded
// memory, aligned and not, in place and not. It checks every byte around the result.
func testKernel[F float](t *testing.T, kernel Kernel) {
	random := rand.New(rand.NewPCG(1, 2))
	size := int(unsafe.Sizeof(F(0)))
	src, dst := guarded(t, 2<<12), guarded(t, 2<<12)
	for n := range 601 {
		if n > 200 && n%8 > 1 && n%8 < 7 {
			continue
		}
		shift := []int{0, 1, size}[n%3]
		for _, start := range []int{shift, len(src) - shift - n*size} {
			for fill, x := range fills[F](random, n) {
				wipe(src)
				wipe(dst)
				want := make([]F, n)
				for i := range want {
					*(*F)(unsafe.Pointer(&src[start+i*size])) = x[i]
					want[i] = reference(x[i])
				}
				if n > 0 {
					Call(kernel, unsafe.Pointer(&dst[start]), unsafe.Pointer(&src[start]), n)
					Call(kernel, unsafe.Pointer(&src[start]), unsafe.Pointer(&src[start]), n)
				}
				for side, memory := range map[string][]byte{"out": dst, "in place": src} {
					where := fmt.Sprintf("n=%d start=%d %s %s", n, start, fill, side)
					for i := range want {
						if got := *(*F)(unsafe.Pointer(&memory[start+i*size])); bits(got) != bits(want[i]) {
							t.Fatalf("%s [%d]: %#x, want %#x", where, i, bits(got), bits(want[i]))
						}
					}
					if written(memory[:start]) || written(memory[start+n*size:]) {
						t.Fatalf("%s: bytes outside were written", where)
					}
				}
			}
		}
	}
}

// TestHardDivisions computes the float64 whose root has a reciprocal next to the midpoint of two
// numbers (tests/hard_cases.py explains them), each at every place of a block.
func TestHardDivisions(t *testing.T) {
	text, err := os.ReadFile("../tests/f64_hard_divisions.txt")
	if err != nil {
		t.Fatal(err)
	}
	var src, want []float64
	for _, root := range strings.Fields(string(text)) {
		s, err := strconv.ParseFloat(root, 64)
		if err != nil || s < 1<<52 || s >= 1<<53 {
			t.Fatalf("no root of 53 bits: %s", root)
		}
		for step := range uint64(7) {
			x := math.Float64frombits(math.Float64bits(s*s) + step - 3)
			src, want = append(src, x), append(want, reference(x))
		}
	}
	got := make([]float64, len(src))
	for name, tier := range runningWays {
		for start := range 64 {
			Call(tier.Kernels(F64).Plain(), unsafe.Pointer(&got[start]), unsafe.Pointer(&src[start]), len(src)-start)
			for i := start; i < len(src); i++ {
				if bits(got[i]) != bits(want[i]) {
					t.Fatalf("%s from %d: %v → %#x, want %#x", name, start, src[i], bits(got[i]), bits(want[i]))
				}
			}
		}
	}
}

// TestTiersAgree compares all tiers over many random bit patterns in long arrays.
func TestTiersAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const n = 1 << 20
	src := make([]uint64, n)
	for i := range src {
		src[i] = random.Uint64()
		if i > n/2 { // positive, finite and not small, as float64 and as both float32s
			src[i] = src[i]&^(3<<62|3<<30) | 1<<61 | 1<<29
		}
	}
	for dtype, items := range map[int]int{F32: 2 * n, F64: n} {
		want, got := make([]uint64, n), make([]uint64, n)
		Call(scalar().Kernels(dtype).Plain(), unsafe.Pointer(&want[0]), unsafe.Pointer(&src[0]), items)
		for name, tier := range runningWays {
			Call(tier.Kernels(dtype).Plain(), unsafe.Pointer(&got[0]), unsafe.Pointer(&src[0]), items)
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s: dtype %d, 8 bytes at %d: %#x, scalar %#x", name, dtype, i, got[i], want[i])
				}
			}
		}
	}
}

// TestCastingKernels compares the kernels that cast as they load with a cast followed by a kernel.
// It uses every length around a block's, at both ends of guarded memory, and integers of all sizes,
// zeros and negatives.
func TestCastingKernels(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	src, dst := guarded(t, 1<<12), guarded(t, 1<<12)
	for name, tier := range runningWays {
		for from := range DTypes {
			for to := range Computed {
				if tier.Kernels(to).Casting(from) == 0 {
					continue
				}
				fromSize, toSize := Size(from), Size(to)
				cast, want := make([]byte, len(src)), make([]byte, len(dst))
				for n := 1; n <= 400; n++ {
					in := src[:n*fromSize]
					if n%2 == 1 {
						in = src[len(src)-n*fromSize:]
					}
					for i := range in {
						in[i] = byte(random.Uint32())
					}
					for i := range n {
						if n%3 > 0 { // positive, and in two of three lengths nothing else
							in[(i+1)*fromSize-1] &= 0x3f
							in[i*fromSize] |= 1
						}
					}
					if n%3 == 2 {
						clear(in[random.IntN(n)*fromSize:][:fromSize])
					}
					Call(tier.Cast(from, to), unsafe.Pointer(&cast[0]), unsafe.Pointer(&in[0]), n)
					Call(scalar().Kernels(to).Plain(), unsafe.Pointer(&want[0]), unsafe.Pointer(&cast[0]), n)
					out := dst[len(dst)-n*toSize:]
					dst[len(dst)-n*toSize-1] = 0xa5
					Call(tier.Kernels(to).Casting(from), unsafe.Pointer(&out[0]), unsafe.Pointer(&in[0]), n)
					if !slices.Equal(out, want[:n*toSize]) || dst[len(dst)-n*toSize-1] != 0xa5 {
						t.Fatalf("%s: dtype %d to %d, n=%d: differs from cast and kernel", name, from, to, n)
					}
				}
			}
		}
	}
}
