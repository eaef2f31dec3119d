package cuda

import (
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/gorsqrt/gorsqrt/rsqrt"
)

// TestHardFloat64 computes the float64s on which a wrong root or division fails that random ones let pass: tests/hard_cases.py
// describes them.
func TestHardFloat64(t *testing.T) {
	const one = 0x3ff << 52
	var bits []uint64
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
	// s² + s + j divisible by 2^m, by Newton's iteration modulo 2^m, in which 2s + 1 has an inverse.
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
	block := make([]byte, 16*len(bits))
	for i, x := range bits {
		put(block[8*i:], x, 8)
	}
	check(t, block, flatLayout(rsqrt.F64, 8*len(bits), len(bits)), flatLayout(rsqrt.F64, 0, len(bits)))
}
