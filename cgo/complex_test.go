package cgo

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// forComplexKernels runs a test for c64 and c128, with every tier's kernel.
func forComplexKernels(t *testing.T, c64 func(*testing.T, Kernel), c128 func(*testing.T, Kernel)) {
	for name, tier := range RunningTiers {
		t.Run(name+"/c64", func(t *testing.T) { c64(t, tier.Kernels(C64).Plain()) })
		t.Run(name+"/c128", func(t *testing.T) { c128(t, tier.Kernels(C128).Plain()) })
	}
}

func scalarComplex[F float]() Kernel {
	if unsafe.Sizeof(F(0)) == 4 {
		return scalar().Kernels(C64).Plain()
	}
	return scalar().Kernels(C128).Plain()
}

// computed returns a kernel's result for items of two parts each.
func computed[F float](kernel Kernel, z []F) []F {
	y := make([]F, len(z))
	if len(z) > 0 {
		Call(kernel, unsafe.Pointer(&y[0]), unsafe.Pointer(&z[0]), len(z)/2)
	}
	return y
}

// format returns the parameters of float32 or float64: its digits, and the exponents of its least
// and greatest normal numbers.
func format[F float]() (precision, least, greatest int) {
	if unsafe.Sizeof(F(0)) == 4 {
		return 24, -126, 127
	}
	return 53, -1022, 1023
}

// complexKinds returns functions that draw complex numbers, each from a region with its own risk.
func complexKinds[F float](random *rand.Rand) map[string]func() (re, im F) {
	precision, least, greatest := format[F]()
	bottom := least - precision + 1
	// A number of either sign with this exponent.
	of := func(exponent int) F {
		return F(math.Ldexp(float64(1-2*random.IntN(2))*(1+random.Float64()), min(exponent, greatest-1)))
	}
	between := func(low, high int) int { return low + random.IntN(high-low+1) }
	return map[string]func() (re, im F){
		"any bits": func() (F, F) { return fromBits[F](random.Uint64()), fromBits[F](random.Uint64()) },
		"one scale": func() (F, F) {
			e := between(bottom, greatest)
			return of(e - between(0, 3)), of(e - between(0, 3))
		},
		"near the real axis": func() (F, F) {
			e := between(least, greatest)
			return of(e), of(e - between(0, 2*precision))
		},
		"near the imaginary axis": func() (F, F) {
			e := between(least, greatest)
			return of(e - between(0, 2*precision)), of(e)
		},
		"on an axis": func() (F, F) {
			x, zero := of(between(bottom, greatest)), F(math.Copysign(0, random.Float64()-0.5))
			if random.IntN(2) == 0 {
				return x, zero
			}
			return zero, x
		},
		"diagonal": func() (F, F) {
			x := of(between(least, greatest))
			y := fromBits[F](bits(x) + random.Uint64N(9) - 4)
			return x, F(math.Copysign(float64(y), random.Float64()-0.5))
		},
		"huge": func() (F, F) {
			x, y := fromBits[F](bits(F(math.Inf(1)))-1-random.Uint64N(1<<(precision+1))), of(greatest-between(1, 5))
			if random.IntN(2) == 0 {
				return y, -x
			}
			return -x, y
		},
		"tiny":      func() (F, F) { return of(least + between(-3, 3)), of(least + between(-3, 3)) },
		"subnormal": func() (F, F) { return of(between(bottom, least-1)), of(between(bottom, least-1)) },
		"powers of two": func() (F, F) {
			e := between(bottom, greatest)
			power := func() F { return F(math.Copysign(math.Ldexp(1, max(e-between(0, 30), bottom)), random.Float64()-0.5)) }
			return power(), power()
		},
		"small integers": func() (F, F) { return F(between(-200, 200)), F(between(-200, 200)) },
		// The result's small part, im·|re|^-1.5 / 2, is subnormal, or half of the least subnormal
		// number.
		"vanishing": func() (F, F) {
			e := between(-20, 2*greatest/3)
			return of(e), of(max(e*3/2+bottom+between(-2, precision+2), bottom))
		},
	}
}

// draw fills items from one of the kinds.
func draw[F float](kind func() (re, im F), n int) []F {
	z := make([]F, 2*n)
	for i := 0; i < len(z); i += 2 {
		z[i], z[i+1] = kind()
	}
	return z
}

// TestComplexSpecials compares every tier with the whole table of special values. The lines of the
// conjugates follow from the table's lines.
func TestComplexSpecials(t *testing.T) {
	forComplexKernels(t, testComplexSpecials[float32], testComplexSpecials[float64])
}

// Each line: re, im | the result in c64 | in c128, correctly rounded from exact arithmetic.
// torch.rsqrt gives (nan, nan) for infinite im and for (±inf, nan), and has other last digits in
// many finite lines.
const complexSpecials = `
0    0   | inf            nan             | inf                     nan
0    1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
0    max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
0    min | 0x1.6a09e6p62  -0x1.6a09e6p62  | 0x1.6a09e667f3bcdp510   -0x1.6a09e667f3bcdp510
0    sub | 0x1p74         -0x1p74         | 0x1.6a09e667f3bcdp536   -0x1.6a09e667f3bcdp536
0    inf | 0              -0              | 0                       -0
0    nan | nan            nan             | nan                     nan
-0   0   | inf            nan             | inf                     nan
-0   1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
-0   max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
-0   min | 0x1.6a09e6p62  -0x1.6a09e6p62  | 0x1.6a09e667f3bcdp510   -0x1.6a09e667f3bcdp510
-0   sub | 0x1p74         -0x1p74         | 0x1.6a09e667f3bcdp536   -0x1.6a09e667f3bcdp536
-0   inf | 0              -0              | 0                       -0
-0   nan | nan            nan             | nan                     nan
1    0   | 1              -0              | 1                       -0
1    1   | 0x1.8dc422p-1  -0x1.49853p-2   | 0x1.8dc42193d5c03p-1    -0x1.49852f983efddp-2
1    max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
1    min | 1              -0x1p-127       | 1                       -0x1p-1023
1    sub | 1              -0              | 1                       -0
1    inf | 0              -0              | 0                       -0
1    nan | nan            nan             | nan                     nan
-1   0   | 0              -1              | 0                       -1
-1   1   | 0x1.49853p-2   -0x1.8dc422p-1  | 0x1.49852f983efddp-2    -0x1.8dc42193d5c03p-1
-1   max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
-1   min | 0x1p-127       -1              | 0x1p-1023               -1
-1   sub | 0              -1              | 0                       -1
-1   inf | 0              -0              | 0                       -0
-1   nan | nan            nan             | nan                     nan
max  0   | 0x1p-64        -0              | 0x1p-512                -0
max  1   | 0x1p-64        -0              | 0x1p-512                -0
max  max | 0x1.8dc422p-65 -0x1.49853p-66  | 0x1.8dc42193d5c03p-513  -0x1.49852f983efdep-514
max  min | 0x1p-64        -0              | 0x1p-512                -0
max  sub | 0x1p-64        -0              | 0x1p-512                -0
max  inf | 0              -0              | 0                       -0
max  nan | nan            nan             | nan                     nan
-max 0   | 0              -0x1p-64        | 0                       -0x1p-512
-max 1   | 0              -0x1p-64        | 0                       -0x1p-512
-max max | 0x1.49853p-66  -0x1.8dc422p-65 | 0x1.49852f983efdep-514  -0x1.8dc42193d5c03p-513
-max min | 0              -0x1p-64        | 0                       -0x1p-512
-max sub | 0              -0x1p-64        | 0                       -0x1p-512
-max inf | 0              -0              | 0                       -0
-max nan | nan            nan             | nan                     nan
min  0   | 0x1p63         -0              | 0x1p511                 -0
min  1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
min  max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
min  min | 0x1.8dc422p62  -0x1.49853p61   | 0x1.8dc42193d5c03p510   -0x1.49852f983efddp509
min  sub | 0x1p63         -0x1p39         | 0x1p511                 -0x1p458
min  inf | 0              -0              | 0                       -0
min  nan | nan            nan             | nan                     nan
-min 0   | 0              -0x1p63         | 0                       -0x1p511
-min 1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
-min max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
-min min | 0x1.49853p61   -0x1.8dc422p62  | 0x1.49852f983efddp509   -0x1.8dc42193d5c03p510
-min sub | 0x1p39         -0x1p63         | 0x1p458                 -0x1p511
-min inf | 0              -0              | 0                       -0
-min nan | nan            nan             | nan                     nan
sub  0   | 0x1.6a09e6p74  -0              | 0x1p537                 -0
sub  1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
sub  max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
sub  min | 0x1.6a09e8p62  -0x1.6a09e4p62  | 0x1.6a09e667f3bcdp510   -0x1.6a09e667f3bccp510
sub  sub | 0x1.19435cp74  -0x1.d20314p72  | 0x1.8dc42193d5c03p536   -0x1.49852f983efddp535
sub  inf | 0              -0              | 0                       -0
sub  nan | nan            nan             | nan                     nan
-sub 0   | 0              -0x1.6a09e6p74  | 0                       -0x1p537
-sub 1   | 0x1.6a09e6p-1  -0x1.6a09e6p-1  | 0x1.6a09e667f3bcdp-1    -0x1.6a09e667f3bcdp-1
-sub max | 0x1.6a09e8p-65 -0x1.6a09e8p-65 | 0x1.6a09e667f3bcdp-513  -0x1.6a09e667f3bcdp-513
-sub min | 0x1.6a09e4p62  -0x1.6a09e8p62  | 0x1.6a09e667f3bccp510   -0x1.6a09e667f3bcdp510
-sub sub | 0x1.d20314p72  -0x1.19435cp74  | 0x1.49852f983efddp535   -0x1.8dc42193d5c03p536
-sub inf | 0              -0              | 0                       -0
-sub nan | nan            nan             | nan                     nan
inf  0   | 0              -0              | 0                       -0
inf  1   | 0              -0              | 0                       -0
inf  max | 0              -0              | 0                       -0
inf  min | 0              -0              | 0                       -0
inf  sub | 0              -0              | 0                       -0
inf  inf | 0              -0              | 0                       -0
inf  nan | 0              -0              | 0                       -0
-inf 0   | 0              -0              | 0                       -0
-inf 1   | 0              -0              | 0                       -0
-inf max | 0              -0              | 0                       -0
-inf min | 0              -0              | 0                       -0
-inf sub | 0              -0              | 0                       -0
-inf inf | 0              -0              | 0                       -0
-inf nan | 0              -0              | 0                       -0
nan  0   | nan            nan             | nan                     nan
nan  1   | nan            nan             | nan                     nan
nan  max | nan            nan             | nan                     nan
nan  min | nan            nan             | nan                     nan
nan  sub | nan            nan             | nan                     nan
nan  inf | 0              -0              | 0                       -0
nan  nan | nan            nan             | nan                     nan
`

func testComplexSpecials[F float](t *testing.T, kernel Kernel) {
	precision, least, greatest := format[F]()
	parsed := func(word string) F {
		sign := 1.0
		if word[0] == '-' {
			sign, word = -1, word[1:]
		}
		switch word {
		case "max":
			return F(math.Ldexp(sign*(2-math.Ldexp(1, 1-precision)), greatest))
		case "min":
			return F(math.Ldexp(sign, least))
		case "sub":
			return F(math.Ldexp(sign, least-precision+1))
		case "nan":
			return quietNaN[F]()
		}
		x, err := strconv.ParseFloat(word, 64)
		if err != nil {
			t.Fatal(err)
		}
		return F(math.Copysign(x, sign))
	}
	lines := strings.Split(strings.TrimSpace(complexSpecials), "\n")
	if len(lines) != 13*7 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		columns := strings.Split(line, "|")
		from, to := strings.Fields(columns[0]), strings.Fields(columns[2])
		if precision == 24 {
			to = strings.Fields(columns[1])
		}
		re, im := parsed(from[0]), parsed(from[1])
		wantRe, wantIm := parsed(to[0]), parsed(to[1])
		reals := []F{re}
		if re != re {
			reals = nans[F]()
		}
		for _, re := range reals {
			imaginaries := []F{im, -im}
			if im != im {
				imaginaries = nans[F]()
			}
			for _, im := range imaginaries {
				want := wantIm
				if want == want && negative(im) {
					want = -want
				}
				// Among ordinary items, whose own results must not suffer.
				z := []F{4, 0, re, im, 0, 2, re, im, -1, 0, re, im, 3, 4, re, im, 1, 1, re, im}
				y := computed(kernel, z)
				for i := 0; i < len(z); i += 2 {
					alone := computed(kernel, z[i:i+2])
					if bits(y[i]) != bits(alone[0]) || bits(y[i+1]) != bits(alone[1]) {
						t.Errorf("(%v, %v): (%v, %v) in a vector, (%v, %v) alone", z[i], z[i+1], y[i], y[i+1], alone[0], alone[1])
					}
				}
				if bits(y[2]) != bits(wantRe) || bits(y[3]) != bits(want) {
					t.Errorf("(%s, %s) = (%x, %x): (%x, %x), want (%x, %x)", from[0], from[1], re, im, y[2], y[3], wantRe, want)
				}
			}
		}
	}
}

func negative[F float](x F) bool { return bits(x)>>(8*unsafe.Sizeof(x)-1) != 0 }

// quietNaN is the only nan in a complex result.
func quietNaN[F float]() F {
	if unsafe.Sizeof(F(0)) == 4 {
		return fromBits[F](0x7fc00000)
	}
	return fromBits[F](0x7ff8000000000000)
}

// nans returns quiet and signaling nans of both signs, with payloads and without.
func nans[F float]() (values []F) {
	for _, x := range specials[F]() {
		if x != x {
			values = append(values, x)
		}
	}
	return values
}

// TestComplexKernels computes every length around the vectors' widths, at both ends of guarded
// memory, aligned and not, in place and not. It checks every byte around the result.
func TestComplexKernels(t *testing.T) {
	forComplexKernels(t, testComplexKernel[float32], testComplexKernel[float64])
}

func testComplexKernel[F float](t *testing.T, kernel Kernel) {
	random := rand.New(rand.NewPCG(5, 6))
	size := 2 * int(unsafe.Sizeof(F(0)))
	src, dst := guarded(t, 1<<12), guarded(t, 1<<12)
	edges := append(specials[F](), 1, -1)
	anyBits := complexKinds[F](random)["any bits"]
	for n := range 105 { // two blocks of the widest tier and a tail
		for _, shift := range []int{0, 1, 4, size / 2, size} {
			for _, atEnd := range []bool{false, true} {
				start := shift
				if atEnd {
					start = len(src) - shift - n*size
				}
				wipe(src)
				wipe(dst)
				z := draw(anyBits, n)
				for i := range z {
					if random.IntN(3) == 0 {
						z[i] = edges[random.IntN(len(edges))]
					}
				}
				want := computed(scalarComplex[F](), z)
				if n > 0 {
					copy(src[start:], unsafe.Slice((*byte)(unsafe.Pointer(&z[0])), n*size))
					Call(kernel, unsafe.Pointer(&dst[start]), unsafe.Pointer(&src[start]), n)
					Call(kernel, unsafe.Pointer(&src[start]), unsafe.Pointer(&src[start]), n)
				} else {
					Call(kernel, unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 0)
				}
				for side, memory := range map[string][]byte{"out": dst, "in place": src} {
					where := fmt.Sprintf("n=%d shift=%d atEnd=%v %s", n, shift, atEnd, side)
					for i := range want {
						if got := *(*F)(unsafe.Pointer(&memory[start+i*size/2])); bits(got) != bits(want[i]) {
							t.Fatalf("%s: part %d: %#x, want %#x", where, i, bits(got), bits(want[i]))
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

// TestComplexTiersAgree compares all tiers over many inputs of every kind.
func TestComplexTiersAgree(t *testing.T) {
	forComplexKernels(t, testComplexAgree[float32], testComplexAgree[float64])
}

func testComplexAgree[F float](t *testing.T, kernel Kernel) {
	scalar := scalarComplex[F]()
	if kernel == scalar {
		return
	}
	const n = 1 << 16
	kinds := complexKinds[F](rand.New(rand.NewPCG(7, 8)))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		rounds := 1
		if kind == "any bits" && !testing.Short() {
			rounds = 1 << 22 / n
		}
		for range rounds {
			z := draw(kinds[kind], n)
			want, got := computed(scalar, z), computed(kernel, z)
			for i := range want {
				if bits(got[i]) != bits(want[i]) {
					t.Fatalf("%s: (%x, %x): part %d is %x, scalar %x", kind, z[i&^1], z[i|1], i&1, got[i], want[i])
				}
			}
		}
	}
}

// TestComplexAccuracy compares the scalar tier, whose bits all tiers share, with exact arithmetic,
// and checks the symmetry rsqrt(conj(z)) = conj(rsqrt(z)).
func TestComplexAccuracy(t *testing.T) {
	t.Run("c64", func(t *testing.T) { testComplexAccuracy[float32](t, 0.5+0x1p-15, 0.5+0x1p-15) })
	t.Run("c128", func(t *testing.T) { testComplexAccuracy[float64](t, 0.5+0x1p-40, 0.5+0x1p-40) })
}

func testComplexAccuracy[F float](t *testing.T, bound, boundSubnormal float64) {
	n := 20000
	if testing.Short() {
		n = 1000
	}
	_, least, _ := format[F]()
	kinds := complexKinds[F](rand.New(rand.NewPCG(9, 10)))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		z := draw(kinds[kind], n)
		y := computed(scalarComplex[F](), z)
		conjugate := append([]F(nil), z...)
		for i := 1; i < len(z); i += 2 {
			conjugate[i] = -z[i]
		}
		conjugate = computed(scalarComplex[F](), conjugate)
		worst, worstSubnormal := 0.0, 0.0
		for i := 0; i < len(z); i += 2 {
			if y[i] == y[i] && (bits(y[i]) != bits(conjugate[i]) || y[i+1] == y[i+1] && bits(y[i+1]) != bits(-conjugate[i+1])) {
				t.Fatalf("%s: (%x, ±%x): (%x, %x) and (%x, %x)", kind, z[i], z[i+1], y[i], y[i+1], conjugate[i], conjugate[i+1])
			}
			re, im := float64(z[i]), float64(z[i+1])
			if math.IsInf(re, 0) || math.IsInf(im, 0) || re != re || im != im || re == 0 && im == 0 {
				continue
			}
			if negative(y[i]) || negative(y[i+1]) == negative(z[i+1]) {
				t.Fatalf("%s: (%x, %x): wrong sign in (%x, %x)", kind, re, im, y[i], y[i+1])
			}
			wantRe, wantIm := exactComplex(re, im)
			for part, want := range []*big.Float{wantRe, wantIm} {
				off := ulps(y[i+part], want)
				limit, most := bound, &worst
				if want.Sign() == 0 || want.MantExp(nil)-1 < least {
					limit, most = boundSubnormal, &worstSubnormal
				}
				*most = max(*most, off)
				if off > limit {
					t.Fatalf("%s: (%x, %x): part %d is %x, off by %v ulp", kind, re, im, part, y[i+part], off)
				}
			}
		}
		t.Logf("%s: %.10f ulp, subnormal %.10f", kind, worst, worstSubnormal)
	}
}

// exactComplex returns the magnitudes of the parts of 1/√(re + i·im), to at least 250 bits.
func exactComplex(re, im float64) (*big.Float, *big.Float) {
	float := func() *big.Float { return new(big.Float).SetPrec(256) }
	a, b := float().SetFloat64(math.Abs(re)), float().SetFloat64(math.Abs(im))
	m := float().Add(float().Mul(a, a), float().Mul(b, b))
	m.Sqrt(m)
	half := big.NewFloat(0.5)
	u := float().Add(m, a)
	u.Mul(u, half)
	t := float().Sqrt(u)
	large := float().Quo(t, m)
	small := float().Quo(float().Mul(b, half), float().Mul(t, m))
	if re < 0 {
		return small, large
	}
	return large, small
}

// ulps returns the distance of |got| from want, in units of got's format at want.
func ulps[F float](got F, want *big.Float) float64 {
	off := new(big.Float).SetPrec(256).SetFloat64(math.Abs(float64(got)))
	off.Sub(off, want)
	if off.Sign() == 0 {
		return 0
	}
	precision, least, _ := format[F]()
	exponent := least
	if want.Sign() != 0 {
		exponent = max(exponent, want.MantExp(nil)-1)
	}
	distance, _ := off.SetMantExp(off, precision-1-exponent).Float64()
	return math.Abs(distance)
}
