package rsqrt

import (
	"math/bits"
	"slices"
)

// Whether memory is shared comes down to one question about whole numbers: is there an index x with
//
//	lo ≤ Σ stride[d]·x[d] ≤ hi,   0 ≤ x[d] ≤ last[d]
//
// where the strides are those of both arrays and lo … hi spans the bytes of one element.
//
// The answer is exact. The search tries the indices of the largest strides one by one: few are
// possible in layouts that occur in practice. The last two strides are solved by extended Euclid.
// Artificial layouts of many dimensions can outgrow the effort that a call may spend: unknown.

type answer int

const (
	no answer = iota
	yes
	unknown
)

// How many strides may be looked at for one call: some 5 ms.
const overlapEffort = 1 << 19

// overlap says whether two arrays share any byte, with what is left of an effort.
func overlap(a, b Array, effort *int) answer {
	if empty(a.Shape) || empty(b.Shape) {
		return no
	}
	aLow, aHigh := extent(a)
	bLow, bHigh := extent(b)
	if aHigh <= bLow || bHigh <= aLow {
		return no
	}
	// Σ a's strides·x - Σ b's strides·y = b's start - a's start + (a byte of b's element - a byte
	// of a's). With every y counted from its other end all terms are positive.
	s := sum{make([]term, 0, len(a.Shape)+len(b.Shape)), effort}
	for d, length := range a.Shape {
		s.add(abs(a.Strides[d]), length-1)
	}
	for d, length := range b.Shape {
		s.add(abs(b.Strides[d]), length-1)
	}
	distance := bHigh - b.DType.Size() - aLow
	return s.reaches(distance-a.DType.Size()+1, distance+b.DType.Size()-1)
}

// overlapsItself says whether two elements of an array share any byte, with what is left of an
// effort.
func overlapsItself(a Array, effort *int) answer {
	if empty(a.Shape) || a.dense() {
		return no
	}
	// Two elements differ in some dimension first: by at least 1 there, by anything in the
	// dimensions after it. A difference of -last … last is counted from -last.
	size, result := a.DType.Size(), no
	for first, length := range a.Shape {
		if length == 1 {
			continue
		}
		s := sum{make([]term, 0, len(a.Shape)), effort}
		s.add(abs(a.Strides[first]), length-2)
		shift := -abs(a.Strides[first])
		for d := first + 1; d < len(a.Shape); d++ {
			s.add(abs(a.Strides[d]), 2*(a.Shape[d]-1))
			shift += abs(a.Strides[d]) * (a.Shape[d] - 1)
		}
		switch s.reaches(shift-size+1, shift+size-1) {
		case yes:
			return yes
		case unknown:
			result = unknown
		}
	}
	return result
}

// extent is the range of addresses that an array with elements reaches, from its first byte to the
// one after its last.
func extent(a Array) (low, high int) {
	low, high = Reach(a.Shape, a.Strides, a.DType.Size())
	start := int(uintptr(a.Data))
	return start + low, start + high
}

// A sum of strides times indices, each index from 0 to last.
type sum struct {
	terms  []term
	effort *int
}

type term struct{ stride, last int }

func (s *sum) add(stride, last int) {
	if stride == 0 || last == 0 {
		return
	}
	for i := range s.terms {
		if s.terms[i].stride == stride {
			s.terms[i].last += last
			return
		}
	}
	s.terms = append(s.terms, term{stride, last})
}

// reaches says whether the sum takes a value of lo … hi.
func (s *sum) reaches(lo, hi int) answer {
	slices.SortFunc(s.terms, func(a, b term) int { return b.stride - a.stride })
	return s.search(s.terms, lo, hi)
}

func (s *sum) search(terms []term, lo, hi int) answer {
	if *s.effort -= len(terms); *s.effort < 0 {
		return unknown
	}
	most, divisor := 0, 0
	for _, t := range terms {
		most += t.stride * t.last
		divisor = gcd(divisor, t.stride)
	}
	lo, hi = max(lo, 0), min(hi, most)
	if lo > hi || divisor > 0 && hi/divisor*divisor < lo {
		return no
	}
	if lo == 0 || hi == most {
		return yes
	}
	switch len(terms) {
	case 1:
		return yes // a multiple of the one stride lies in lo … hi, and so within reach
	case 2:
		for value := (lo + divisor - 1) / divisor * divisor; value <= hi; value += divisor {
			if two(terms[0], terms[1], divisor, value) {
				return yes
			}
		}
		return no
	}
	large, rest := terms[0], most-terms[0].stride*terms[0].last
	from := max(0, (lo-rest+large.stride-1)/large.stride)
	if lo < rest {
		from = 0
	}
	to := min(large.last, hi/large.stride)
	for x := from; x <= to; x++ {
		if found := s.search(terms[1:], lo-x*large.stride, hi-x*large.stride); found != no {
			return found
		}
	}
	return no
}

// two says whether a·x + b·y = value within the bounds; value is a multiple of the divisor of both
// strides.
func two(a, b term, divisor, value int) bool {
	m, n, v := a.stride/divisor, b.stride/divisor, value/divisor
	// x ≡ v/m (mod n) is the smallest x ≥ 0 with an integer y; further ones are n apart, and y
	// falls as x grows.
	x := mulmod(v%n, inverse(m%n, n), n)
	if x > a.last {
		return false
	}
	// The largest x that keeps y ≥ 0.
	limit := min(a.last, v/m)
	if x > limit {
		return false
	}
	x += (limit - x) / n * n
	return (v-m*x)/n <= b.last
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// inverse is the number i of 0 … n-1 with a·i ≡ 1 (mod n), for a without a common divisor with n.
func inverse(a, n int) int {
	if n == 1 {
		return 0
	}
	before, now, r, next := 0, 1, n, a
	for next > 1 {
		q := r / next
		before, now = now, before-q*now
		r, next = next, r-q*next
	}
	return ((now % n) + n) % n
}

// mulmod is a·b mod n for 0 ≤ a, b < n, through 128 bits.
func mulmod(a, b, n int) int {
	high, low := bits.Mul64(uint64(a), uint64(b))
	_, remainder := bits.Div64(high, low, uint64(n))
	return int(remainder)
}
