package cgo

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// The tiers that this machine must run, told apart from rsqrt's dispatch on purpose.
var testedTiers = map[string]struct {
	id   int
	runs bool
}{
	"scalar": {Scalar, true},
	"avx2":   {AVX2, cpu.X86.HasAVX2 && cpu.X86.HasFMA},
	"avx512": {AVX512, cpu.X86.HasAVX512F},
	"vbmi":   {AVX512VBMI, cpu.X86.HasAVX512VBMI && cpu.X86.HasAVX512VBMI2},
	"neon":   {NEON, runtime.GOARCH == "arm64"},
}

// runningTiers are the names and numbers of those that this machine runs.
func runningTiers(yield func(string, int) bool) {
	for name, tier := range testedTiers {
		if tier.runs && !yield(name, tier.id) {
			return
		}
	}
}

// runningWays are the same, first as on AMD's processors and AVX-512 once more as on Intel's, for tests of what depends on that.
func runningWays(yield func(string, int) bool) {
	defer SetIntel(IsIntel())
	for _, intel := range []bool{false, true} {
		SetIntel(intel)
		for name, tier := range runningTiers {
			if intel && tier != AVX512 {
				continue
			}
			if !yield(fmt.Sprintf("%s, Intel %t", name, intel), tier) {
				return
			}
		}
	}
}

type float interface{ float32 | float64 }

// reference is the contract by Go's own arithmetic, which rounds every operation to its type.
func reference[F float](x F) F {
	switch {
	case x != x:
		return quieted(x)
	case x < 0:
		return bitsNaN[F]()
	}
	return 1 / F(math.Sqrt(float64(x))) // the square root of a float32 is not changed by rounding twice
}

func quieted[F float](x F) F {
	switch x := any(x).(type) {
	case float32:
		return F(math.Float32frombits(math.Float32bits(x) | 1<<22))
	case float64:
		return any(math.Float64frombits(math.Float64bits(x) | 1<<51)).(F)
	}
	panic("no float")
}

func bitsNaN[F float]() F {
	if unsafe.Sizeof(F(0)) == 4 {
		return any(math.Float32frombits(0xffc00000)).(F)
	}
	return any(math.Float64frombits(0xfff8000000000000)).(F)
}

func bits[F float](x F) uint64 {
	if y, ok := any(x).(float32); ok {
		return uint64(math.Float32bits(y))
	}
	return math.Float64bits(float64(x))
}

// specials are the values at the edges of the format, and nans with payloads.
func specials[F float]() []F {
	patterns := []uint64{
		0, 1, 2, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
		0x7ff0000000000001, 0x7ff8000000000000, 0x7ff8000012345678, 0x7fffffffffffffff,
	}
	if unsafe.Sizeof(F(0)) == 4 {
		patterns = []uint64{
			0, 1, 2, 0x007fffff, 0x00800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc12345, 0x7fffffff,
		}
	}
	var values []F
	for _, p := range patterns {
		values = append(values, fromBits[F](p), fromBits[F](p|1<<(8*unsafe.Sizeof(F(0))-1)))
	}
	return values
}

func fromBits[F float](p uint64) F {
	if unsafe.Sizeof(F(0)) == 4 {
		x := uint32(p)
		return *(*F)(unsafe.Pointer(&x))
	}
	return *(*F)(unsafe.Pointer(&p))
}

// guarded maps memory between two pages that may not be touched.
func guarded(t *testing.T, pages int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, (pages+2)*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(memory) })
	for _, guard := range [][]byte{memory[:page], memory[len(memory)-page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return memory[page : len(memory)-page]
}

// wipe fills memory so that written tells what is written since. Both pass over it as a whole: where every access of Go's is
// checked, by a sanitizer, or emulated, loops over bytes would cost more than all that is tested.
func wipe(memory []byte) {
	for n := copy(memory, []byte{0xa5}); n < len(memory); n *= 2 {
		copy(memory[n:], memory[:n])
	}
}

func written(memory []byte) bool { return bytes.Count(memory, []byte{0xa5}) < len(memory) }

func TestKernels(t *testing.T) {
	for _, name := range strings.Fields(os.Getenv("GORSQRT_REQUIRE_TIERS")) {
		if !testedTiers[name].runs {
			t.Errorf("%s is required, but this machine does not run it", name)
		}
	}
	for name, tier := range runningWays {
		kernels := Kernels(tier)
		t.Run(name+"/f32", func(t *testing.T) { testKernel[float32](t, kernels[F32]) })
		t.Run(name+"/f64", func(t *testing.T) { testKernel[float64](t, kernels[F64]) })
	}
}

// ordinary is a positive number of middling size, of which kernels compute whole blocks in their fastest way.
func ordinary[F float](random *rand.Rand) F {
	return F(math.Ldexp(1+random.Float64(), random.IntN(120)-60))
}

// The data of one call: ordinary numbers, one special value among them, or anything.
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

// testKernel computes every length around the vectors' and the blocks' widths at both ends of guarded memory, aligned and not, in
// place and not, and looks at every byte around the result.
func testKernel[F float](t *testing.T, kernel Kernel) {
	random := rand.New(rand.NewPCG(1, 2))
	size := int(unsafe.Sizeof(F(0)))
	src, dst := guarded(t, 2), guarded(t, 2)
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

// TestHardDivisions computes those float64 whose root's inverse is next to the middle of two, which tests/hard_cases.py explains,
// each in every place of a block.
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
			Call(Kernels(tier)[F64], unsafe.Pointer(&got[start]), unsafe.Pointer(&src[start]), len(src)-start)
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
		Call(Kernels(Scalar)[dtype], unsafe.Pointer(&want[0]), unsafe.Pointer(&src[0]), items)
		for name, tier := range runningWays {
			Call(Kernels(tier)[dtype], unsafe.Pointer(&got[0]), unsafe.Pointer(&src[0]), items)
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s: dtype %d, 8 bytes at %d: %#x, scalar %#x", name, dtype, i, got[i], want[i])
				}
			}
		}
	}
}

// TestCastingKernels compares the kernels that cast as they load with the cast and the kernel one after the other, over every
// length around a block's, with integers of all sizes, zeros and negatives, at both ends of guarded memory.
func TestCastingKernels(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	src, dst := guarded(t, 1), guarded(t, 1)
	for name, tier := range runningWays {
		for from := range DTypes {
			for to := range Computed {
				if CastingKernel(tier, from, to) == 0 {
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
					Call(Cast(tier, from, to), unsafe.Pointer(&cast[0]), unsafe.Pointer(&in[0]), n)
					Call(Kernels(Scalar)[to], unsafe.Pointer(&want[0]), unsafe.Pointer(&cast[0]), n)
					out := dst[len(dst)-n*toSize:]
					dst[len(dst)-n*toSize-1] = 0xa5
					Call(CastingKernel(tier, from, to), unsafe.Pointer(&out[0]), unsafe.Pointer(&in[0]), n)
					if !slices.Equal(out, want[:n*toSize]) || dst[len(dst)-n*toSize-1] != 0xa5 {
						t.Fatalf("%s: dtype %d to %d, n=%d: differs from cast and kernel", name, from, to, n)
					}
				}
			}
		}
	}
}

// TestCastsAgree compares every cast of every tier with the scalar one, over random bits and lengths; Go's own conversions
// vouch for those of integers.
func TestCastsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	src, want, got := make([]uint64, 1<<12), make([]uint64, 1<<12), make([]uint64, 1<<12)
	for from := range DTypes {
		for to := range Computed {
			reference := Cast(Scalar, from, to)
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
				for name, tier := range runningTiers {
					clear(got)
					Call(Cast(tier, from, to), unsafe.Pointer(&got[0]), unsafe.Pointer(&src[0]), n)
					if !slices.Equal(got, want) {
						t.Errorf("%s: dtype %d to %d, n=%d: differs from the scalar cast", name, from, to, n)
					}
				}
			}
		}
	}
	for _, x := range []int64{0, 1, -1, 1<<24 + 1, 1<<53 + 1, math.MaxInt64, math.MinInt64, -(1<<24 + 1)} {
		for name, tier := range runningTiers {
			var f32 [8]float32
			eight := [8]int64{x, x, x, x, x, x, x, x}
			Call(Cast(tier, I64, F32), unsafe.Pointer(&f32), unsafe.Pointer(&eight), len(eight))
			if f32[0] != float32(x) || f32[7] != float32(x) {
				t.Errorf("%s: %d → %v, want %v", name, x, f32, float32(x))
			}
		}
	}
}
