package cuda

import (
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/gorsqrt/gorsqrt/rsqrt"
)

// hardFloat64 lists the bits of float64s that random tests would miss and a wrong root or division
// fails on: tests/hard_cases.py describes them.
func hardFloat64(t *testing.T) (bits []uint64) {
	const one = 0x3ff << 52
	near := func(exponent uint64, mantissa *big.Int) { // the float64s around a mantissa of 53 bits
		for step := range uint64(7) {
			bits = append(bits, one+exponent<<52+mantissa.Uint64()-1<<52+step-3)
		}
	}
	text, err := os.ReadFile("../tests/f64_hard_divisions.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, digits := range strings.Fields(string(text)) {
		s, ok := new(big.Int).SetString(digits, 10)
		if !ok {
			t.Fatalf("%q is no number", digits)
		}
		square := new(big.Int).Mul(s, s)
		exponent := uint64(square.BitLen() - 105)
		near(exponent, square.Rsh(square, uint(52+exponent)))
	}
	// s² + s + j divisible by 2^m, by Newton's iteration modulo 2^m, in which 2s + 1 has an
	// inverse.
	for exponent, m := range []uint{52, 53} {
		modulus := new(big.Int).Lsh(big.NewInt(1), m)
		for j := int64(-4096); j <= 4096; j += 2 {
			for root := range int64(2) {
				value := func(s *big.Int) *big.Int {
					v := new(big.Int).Mul(s, s)
					return v.Add(v, s).Add(v, big.NewInt(j))
				}
				s := big.NewInt(root)
				for range 6 {
					slope := new(big.Int).Lsh(s, 1)
					slope.Add(slope, big.NewInt(1)).ModInverse(slope, modulus)
					s.Sub(s, slope.Mul(slope, value(s))).Mod(s, modulus)
				}
				s.SetBit(s, 52, 1)
				x, rest := new(big.Int).DivMod(value(s), modulus, new(big.Int))
				if rest.Sign() == 0 && x.BitLen() == 53 {
					near(uint64(exponent), x)
				}
			}
		}
	}
	for exponent := uint64(1); exponent < 2047; exponent++ {
		near(exponent-0x3ff, new(big.Int).Lsh(big.NewInt(1), 52))
	}
	if len(bits) < 20000 {
		t.Fatalf("only %d numbers", len(bits))
	}
	return bits
}

func TestHardFloat64(t *testing.T) {
	bits := hardFloat64(t)
	under(t, "float64", func(t *testing.T) {
		block := make([]byte, 16*len(bits))
		for i, x := range bits {
			put(block[8*i:], x, 8)
		}
		half, n := 8*len(bits), len(bits)
		check(t, block, flatLayout(rsqrt.F64, half, n), flatLayout(rsqrt.F64, 0, n))
		check(t, block, layout{rsqrt.F64, half, []int{n}, []int{8}}, layout{rsqrt.F64, half - 8, []int{n}, []int{-8}})
	})
}

// TestHardComplex computes every pair of float32's exponents, and float64's as far as both parts
// count and some beyond, with mantissas of nothing, everything and any bits, in all quadrants; and
// the hard float64s on both axes.
func TestHardComplex(t *testing.T) {
	hard := hardFloat64(t)
	for _, dtype := range []rsqrt.DType{rsqrt.C64, rsqrt.C128} {
		under(t, dtype.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(19, uint64(dtype)))
			size, digits, near := 4, 23, 1<<8
			if dtype == rsqrt.C128 {
				size, digits, near = 8, 52, 120
			}
			if testing.Short() {
				near /= 10
			}
			exponents := 1 << (8*size - 1 - digits)
			var block []byte
			add := func(parts ...uint64) {
				for _, bits := range parts {
					block = append(block, make([]byte, size)...)
					put(block[len(block)-size:], bits, size)
				}
			}
			part := func(exponent int) uint64 {
				sign, most := random.Uint64()&1<<(8*size-1), uint64(1)<<digits-1
				return sign | uint64(exponent)<<digits | []uint64{0, most, random.Uint64() & most}[random.IntN(3)]
			}
			for re := range exponents {
				for im := max(0, re-near); im < min(exponents, re+near); im++ {
					add(part(re), part(im))
				}
				for range 20 {
					add(part(re), part(random.IntN(exponents)))
				}
			}
			if dtype == rsqrt.C128 {
				for _, x := range hard {
					add(x, 0, 1<<63, x)
				}
			}
			n := len(block) / (2 * size)
			random.Shuffle(n, func(i, j int) {
				for k := range 2 * size {
					block[i*2*size+k], block[j*2*size+k] = block[j*2*size+k], block[i*2*size+k]
				}
			})
			half := len(block)
			block = append(block, make([]byte, half)...)
			check(t, block, flatLayout(dtype, half, n), flatLayout(dtype, 0, n))
			check(t, block, layout{dtype, half, []int{n}, []int{2 * size}}, layout{dtype, half - 2*size, []int{n}, []int{-2 * size}})
		})
	}
}
