package cgo

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// A 16-bit float: the number of bits in its mantissa, and its smallest exponent.
type half struct{ mantissa, smallest int }

var halves = map[int]half{F16: {10, -14}, BF16: {7, -126}}

func (h half) infinity() uint16 { return 0x7fff >> h.mantissa << h.mantissa }

// value returns the number that the bits stand for.
func (h half) value(bits uint16) float64 {
	exponent, mantissa := int(bits&0x7fff)>>h.mantissa, int(bits)&(1<<h.mantissa-1)
	sign := math.Copysign(1, -float64(bits>>15))
	if bits>>15 == 0 {
		sign = 1
	}
	switch {
	case bits&0x7fff > h.infinity():
		return math.NaN()
	case bits&0x7fff == h.infinity():
		return sign * math.Inf(1)
	case exponent == 0:
		return sign * math.Ldexp(float64(mantissa), h.smallest-h.mantissa)
	}
	return sign * math.Ldexp(float64(mantissa+1<<h.mantissa), exponent-1+h.smallest-h.mantissa)
}

// nearest returns the 16-bit float nearest to x, the even one in a tie. The caller handles nans.
func (h half) nearest(x float64) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign, x = 0x8000, -x
	}
	_, exponent := math.Frexp(x)
	unit := max(exponent-1, h.smallest) - h.mantissa
	rounded := math.RoundToEven(math.Ldexp(x, -unit))
	if math.IsInf(x, 1) || math.Ldexp(rounded, unit) > h.value(h.infinity()-1) {
		return sign | h.infinity()
	}
	if rounded < math.Ldexp(1, h.mantissa) {
		return sign | uint16(rounded)
	}
	return sign + uint16((unit+h.mantissa-h.smallest)<<h.mantissa) + uint16(rounded)
}

// TestHalfKernels computes all 65,536 values on every tier, in shuffled orders and pieces. Once all
// values are mixed, so kernels with another way for special values use that way; once the ordinary
// values come before the others.
func TestHalfKernels(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	for dtype, h := range halves {
		var want [1 << 16]uint16
		for bits := range want {
			x := h.value(uint16(bits))
			switch {
			case math.IsNaN(x):
				want[bits] = uint16(bits) | 1<<(h.mantissa-1)
			case x < 0:
				want[bits] = 0x8000 | h.infinity() | 1<<(h.mantissa-1)
			default:
				want[bits] = h.nearest(1 / math.Sqrt(x)) // float64's rounding is far finer, and no result is near a tie
			}
		}
		for name, tier := range RunningTiers {
			kernel := tier.Kernels(dtype).Plain()
			for round := range 8 {
				order := random.Perm(1 << 16)
				if round%2 == 1 {
					special := func(bits int) bool { return bits <= 1<<h.mantissa || bits >= int(h.infinity()) }
					slices.SortStableFunc(order, func(a, b int) int { return btoi(special(a)) - btoi(special(b)) })
				}
				src, dst := make([]uint16, len(order)), make([]uint16, len(order))
				for i, bits := range order {
					src[i] = uint16(bits)
				}
				for from := 0; from < len(order); {
					n := min(random.IntN(70+round*100), len(order)-from)
					if n > 0 {
						Call(kernel, unsafe.Pointer(&dst[from]), unsafe.Pointer(&src[from]), n)
					}
					from += n
				}
				for i, bits := range order {
					if dst[i] != want[bits] {
						t.Fatalf("%s, dtype %d: %#04x → %#04x, want %#04x", name, dtype, bits, dst[i], want[bits])
					}
				}
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestHalfKernelsStayWithin checks the bytes around the result of every length.
func TestHalfKernelsStayWithin(t *testing.T) {
	src, dst := guarded(t, 1<<12), guarded(t, 1<<12)
	for dtype := range halves {
		for name, tier := range RunningTiers {
			for n := 1; n < 200; n++ {
				for _, start := range []int{0, 1, 2, len(src) - 2*n - 1, len(src) - 2*n} {
					wipe(dst)
					Call(tier.Kernels(dtype).Plain(), unsafe.Pointer(&dst[start]), unsafe.Pointer(&src[start]), n)
					if written(dst[:start]) || written(dst[start+2*n:]) {
						t.Fatalf("%s, dtype %d, n=%d start=%d: bytes outside were written", name, dtype, n, start)
					}
				}
			}
		}
	}
}

// TestHalfCasts compares the 16-bit casts with exact arithmetic: from 16 bits all values, to 16
// bits all neighbourhoods of ties.
func TestHalfCasts(t *testing.T) {
	for dtype, h := range halves {
		for bits := range 1 << 16 {
			from := uint16(bits)
			var x float32
			Call(scalar().Cast(dtype, F32), unsafe.Pointer(&x), unsafe.Pointer(&from), 1)
			value := h.value(from)
			if float64(x) != value && !(math.IsNaN(value) && x != x) || math.Signbit(float64(x)) != (bits>>15 == 1) {
				t.Fatalf("dtype %d, %#04x → %v, want %v", dtype, bits, x, value)
			}
			if math.IsNaN(value) {
				var back uint16
				Call(scalar().Cast(F32, dtype), unsafe.Pointer(&back), unsafe.Pointer(&x), 1)
				if back != from|1<<(h.mantissa-1) {
					t.Fatalf("dtype %d: the nan %#04x came back as %#04x", dtype, from, back)
				}
				continue
			}
			for _, scale := range []float32{1, 1 + 1.0/(1<<12), 1 - 1.0/(1<<12), 1 + 1.0/(1<<9), 1.5, 0.75, 1 + 1.0/(1<<8), 1 + 1.0/(1<<11)} {
				for _, y := range []float32{x * scale, math.Nextafter32(x*scale, 0), math.Nextafter32(x*scale, float32(math.Inf(1)))} {
					if y != y {
						continue // inf times 0.75 is inf; only nextafter of it is not
					}
					var down uint16
					Call(scalar().Cast(F32, dtype), unsafe.Pointer(&down), unsafe.Pointer(&y), 1)
					if want := h.nearest(float64(y)); down != want {
						t.Fatalf("dtype %d: %v (%#08x) → %#04x, want %#04x", dtype, y, math.Float32bits(y), down, want)
					}
				}
			}
		}
	}
}
