package cuda

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
	"gorgonia.org/cu"
)

// All tests here run the launcher and the PTX on a test double of the driver, except those of a
// machine without a driver.
func TestMain(m *testing.M) {
	if os.Getenv("GORSQRT_TEST_WITHOUT_DRIVER") == "" {
		if err := double.Load(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

var (
	computedDTypes = []rsqrt.DType{rsqrt.F16, rsqrt.BF16, rsqrt.F32, rsqrt.F64, rsqrt.C64, rsqrt.C128}
	dtypes         = append(slices.Clone(computedDTypes), rsqrt.Bool, rsqrt.I8, rsqrt.U8, rsqrt.I16, rsqrt.U16, rsqrt.I32, rsqrt.U32, rsqrt.I64, rsqrt.U64)
)

// A layout is where an array lies in a block of memory.
type layout struct {
	dtype          rsqrt.DType
	offset         int
	shape, strides []int
}

func flatLayout(dtype rsqrt.DType, offset, n int) layout {
	return layout{dtype, offset, []int{n}, []int{dtype.Size()}}
}

func (l layout) on(device int, address uintptr) rsqrt.Array {
	address += uintptr(l.offset)
	return rsqrt.Array{
		Data: pointer(address), DType: l.dtype, Shape: l.shape, Strides: l.strides,
		Device: rsqrt.CUDA, Index: device,
	}
}

func (l layout) in(block []byte) rsqrt.Array {
	return rsqrt.Array{Data: unsafe.Pointer(&block[l.offset]), DType: l.dtype, Shape: l.shape, Strides: l.strides}
}

// pointer makes a device's address the pointer that an Array holds; it is never followed.
func pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// check computes on the device and on the CPU in copies of one block and compares every byte, those
// around the arrays too.
func check(t *testing.T, block []byte, dst, src layout) {
	t.Helper()
	memory := double.Alloc(0, block)
	defer memory.Free()
	want := slices.Clone(block)
	refused := rsqrt.Apply(dst.in(want), src.in(want))
	err := Apply(dst.on(0, memory.Address), src.on(0, memory.Address), LegacyStream)
	if (err == nil) != (refused == nil) || err != nil && err.Error() != refused.Error() {
		t.Fatalf("%+v → %+v: %v on the device, %v on the CPU", src, dst, err, refused)
	}
	if got := memory.Read(len(block)); !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		t.Fatalf("%+v → %+v: byte %d is %#x, want %#x (before: %#x)\n%s", src, dst, at, got[at], want[at], block[at], double.Why())
	}
}

// Any bits, so that every kind of number and nan comes up, and now and then the edges of the
// format.
func randomBlock(random *rand.Rand, length int) []byte {
	block := make([]byte, length)
	for i := range block {
		block[i] = byte(random.Uint32())
	}
	return block
}

// specials are bit patterns at the edges of a part's format: ±0, subnormals, 1, the largest,
// infinity, nans.
func specials(size int) []uint64 {
	positive := map[int][]uint64{
		2: {0, 1, 2, 0x3ff, 0x400, 0x3c00, 0x3f80, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7f7f, 0x7f80, 0x7f81, 0x7fc0, 0x7fff, 0x007f, 0x0080},
		4: {0, 1, 2, 0x7fffff, 0x800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc12346, 0x7fffffff},
		8: {
			0, 1, 2, 0xfffffffffffff, 0x10000000000000, 0x3ff0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
			0x7ff0000000000001, 0x7ff8000000000000, 0x7ff8000012345678, 0x7fffffffffffffff,
		},
	}[size]
	var all []uint64
	for _, p := range positive {
		all = append(all, p, p|1<<(8*size-1))
	}
	return all
}

// tie is an x of a real dtype whose 1/√x is, or is next to, the middle of two numbers of a narrower
// dtype, or an end of float16.
func tie(random *rand.Rand, dtype rsqrt.DType) uint64 {
	var y float64
	switch r := random.Uint32(); random.IntN(5) {
	case 0:
		y = float64(math.Float32frombits(r&0x3fff0000 | 0x20008000)) // bfloat16's
	case 1:
		y = float64(math.Float32frombits(r&0x07ffe000 + 0x38001000)) // float16's, subnormal ones too
	case 2:
		y = math.Float64frombits(uint64(r&0x07ffffff)<<29 + 0x3f00000010000000) // float32's
	case 3:
		y = 65520 - float64(random.IntN(2))*0x1p-8
	default:
		y = 0x1p-14
	}
	x, step := 1/(y*y), random.IntN(5)-2
	if dtype == rsqrt.F64 {
		return math.Float64bits(x) + uint64(step)
	}
	return uint64(math.Float32bits(float32(x)) + uint32(step))
}

// edge is a complex number, of parts of this size, of whose 1/√z one part is about the least normal
// number.
func edge(random *rand.Rand, size int) (re, im uint64) {
	digits, bias := 23, 127
	if size == 8 {
		digits, bias = 52, 1023
	}
	part := func(exponent int) uint64 { // as that of 1 is 0
		most := uint64(1)<<digits - 1
		return random.Uint64()&1<<(8*size-1) | uint64(exponent+bias)<<digits | []uint64{0, most, random.Uint64() & most}[random.IntN(3)]
	}
	scale := random.IntN(bias)
	return part(scale), part(scale*3/2 - bias + 2 + random.IntN(4))
}

// sprinkle puts specials in place of every third part, and ties in place of some others. Of the
// complex numbers every fourth has two parts that differ in sign at most, and every eighth is an
// edge.
func sprinkle(random *rand.Rand, block []byte, dtype rsqrt.DType) {
	n, part := parts(dtype)
	if n == 1 && kind(dtype) != float {
		return
	}
	size := part.Size()
	edges := specials(size)
	for at := 0; at+size <= len(block); at += size {
		if random.IntN(3) == 0 {
			put(block[at:], edges[random.IntN(len(edges))], size)
		} else if (dtype == rsqrt.F32 || dtype == rsqrt.F64) && random.IntN(3) == 0 {
			put(block[at:], tie(random, dtype), size)
		}
		if item := at / (2 * size) * 2 * size; n == 2 && item < at {
			switch random.IntN(8) {
			case 0, 1:
				copy(block[at:at+size], block[item:])
				block[at+size-1] ^= byte(random.IntN(2) << 7)
			case 2:
				re, im := edge(random, size)
				put(block[item:], re, size)
				put(block[at:], im, size)
			}
		}
	}
}

func put(to []byte, value uint64, size int) {
	for i := range size {
		to[i] = byte(value >> (8 * i))
	}
}

// Nans of arithmetic, and what registers hold before they are written: anything, numbers near 1,
// nothing.
var nanBits = []struct {
	nan32            uint32
	nan64, unwritten uint64
}{
	{0x7fffffff, 0x7fffffffffffffff, 0xdeadbeefdeadbeef},
	{0xff812346, 0xfff0000000abcdef, 0x3ff000003f800000},
	{0x7fc00000, 0x7ff8000000000000, 0},
}

// under runs a test with nans and unwritten registers of three kinds: no bit of a result may come
// from either.
func under(t *testing.T, name string, test func(*testing.T)) {
	for i, bits := range nanBits {
		double.Bits(bits.nan32, bits.nan64, bits.unwritten)
		t.Run(fmt.Sprintf("%s/nans %d", name, i), test)
	}
}

// Every length around a vector, a warp, a block and a grid of several, into other memory and in
// place, aligned to a vector and to an item only.
func TestLengths(t *testing.T) {
	for _, dtype := range computedDTypes {
		under(t, dtype.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(dtype)))
			size := dtype.Size()
			block := threads * flight * vector / size
			var lengths []int
			for n := range 70 {
				lengths = append(lengths, n)
			}
			for _, edge := range []int{32 * vector / size, threads, threads * vector / size, threads * flight, block, block + threads*vector/size, 2 * block, 3 * block} {
				for n := edge - 2; n <= edge+2; n++ {
					lengths = append(lengths, n)
				}
			}
			for _, n := range lengths {
				for _, shift := range []int{0, size} {
					half := (n*size + 2*vector + 64) / 16 * 16
					bytes := randomBlock(random, 2*half)
					sprinkle(random, bytes, dtype)
					from, to := flatLayout(dtype, 16+shift, n), flatLayout(dtype, half+16+shift, n)
					check(t, bytes, to, from)
					check(t, bytes, from, from)
				}
			}
		})
	}
}

// Any layouts, alignments and casts, in one block, so that overlaps and temporaries come up too.
func TestRandomLayouts(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	under(t, "layouts", func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 4))
		for range rounds {
			block := randomBlock(random, 1<<15)
			ndim := random.IntN(6)
			shape := make([]int, ndim)
			for d := range shape {
				shape[d] = random.IntN([]int{3, 8, 90}[random.IntN(3)])
			}
			make2 := func() (layout, bool) {
				dtype := dtypes[random.IntN(len(dtypes))]
				strides := make([]int, ndim)
				step := []int{1, 4, 8, dtype.Size()}[random.IntN(4)]
				low, high := 0, dtype.Size()
				for d := range strides {
					strides[d] = (random.IntN(120) - 40) * step
				}
				if random.IntN(2) == 0 {
					gap := dtype.Size()
					for _, d := range random.Perm(ndim) {
						strides[d], gap = gap, gap*max(1, shape[d])
					}
				}
				for d := range strides {
					reach := strides[d] * max(0, shape[d]-1)
					low, high = low+min(0, reach), high+max(0, reach)
				}
				room := len(block) - (high - low)
				if room < 0 {
					return layout{}, false
				}
				offset := random.IntN(room+1) - low
				if aligned := offset / dtype.Size() * dtype.Size(); random.IntN(3) > 0 && aligned+low >= 0 {
					offset = aligned
				}
				return layout{dtype, min(offset, len(block)-1), shape, strides}, true
			}
			dst, fits := make2()
			src, alsoFits := make2()
			if !fits || !alsoFits {
				continue
			}
			sprinkle(random, block[src.offset:], src.dtype)
			check(t, block, dst, src)
			check(t, block, src, src)
		}
	})
}

// Every source dtype to every destination, contiguous and apart, for each default dtype.
func TestCasts(t *testing.T) {
	defer func() { _ = rsqrt.SetDefaultDType("float32") }()
	for _, standard := range []string{"float32", "float64", "float16", "bfloat16"} {
		if err := rsqrt.SetDefaultDType(standard); err != nil {
			t.Fatal(err)
		}
		under(t, standard, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, 6))
			for _, from := range dtypes {
				for _, to := range computedDTypes {
					const n = 700
					block := randomBlock(random, 40*n)
					sprinkle(random, block[:20*n], from)
					for i := 0; i < n/2; i++ { // small numbers of every integer dtype
						if kind(from) != float {
							put(block[i*from.Size():], uint64(random.IntN(40)-5), from.Size())
						}
					}
					check(t, block, flatLayout(to, 20*n, n), flatLayout(from, 0, n))
					check(t, block, layout{to, 20*n + 1, []int{n}, []int{to.Size() + 3}}, layout{from, 1, []int{n}, []int{from.Size() + 2}})
				}
			}
		})
	}
}

// All 65,536 values of the 16-bit dtypes in shuffled orders, by the flat kernel and by the other.
func TestEveryHalf(t *testing.T) {
	orders := 48
	if testing.Short() {
		orders = 4
	}
	for _, dtype := range []rsqrt.DType{rsqrt.F16, rsqrt.BF16} {
		under(t, dtype.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(7, uint64(dtype)))
			const half = 1<<17 + 64
			block := make([]byte, 2*half)
			for order := range orders {
				for i, bits := range random.Perm(1 << 16) {
					put(block[2+2*i:], uint64(bits), 2)
				}
				shift := 2 * (order % 2)
				check(t, block, flatLayout(dtype, half+shift, 1<<16), flatLayout(dtype, shift, 1<<16))
			}
		})
	}
}

// All pairs of special parts, and of numbers of every scale.
func TestComplex(t *testing.T) {
	for _, dtype := range []rsqrt.DType{rsqrt.C64, rsqrt.C128} {
		under(t, dtype.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(9, uint64(dtype)))
			size := dtype.Size() / 2
			var items [][2]uint64
			for _, re := range specials(size) {
				for _, im := range specials(size) {
					items = append(items, [2]uint64{re, im})
				}
			}
			for range 60000 { // exponents near each other, where all digits of both parts count
				re := random.Uint64()
				im := random.Uint64()&^(uint64(0x7f)<<(8*size-8)) | re&(uint64(0x7f)<<(8*size-8))
				items = append(items, [2]uint64{re, im})
			}
			random.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
			n := len(items)
			block := make([]byte, 2*n*dtype.Size()+64)
			for i, item := range items {
				put(block[i*2*size:], item[0], size)
				put(block[i*2*size+size:], item[1], size)
			}
			check(t, block, flatLayout(dtype, n*dtype.Size(), n), flatLayout(dtype, 0, n))
			check(t, block, flatLayout(dtype, n*dtype.Size()+size, n), flatLayout(dtype, 0, n))
		})
	}
}

// Offsets beyond 31 bits take the kernels of 64.
func TestWide(t *testing.T) {
	const far = 1<<31 - 1<<20
	for _, c := range []struct{ from, to rsqrt.DType }{
		{rsqrt.F16, rsqrt.F32},
		{rsqrt.BF16, rsqrt.BF16},
		{rsqrt.F32, rsqrt.F32},
		{rsqrt.F64, rsqrt.C128},
		{rsqrt.C64, rsqrt.C64},
		{rsqrt.C128, rsqrt.C64},
		{rsqrt.I64, rsqrt.F32},
		{rsqrt.U8, rsqrt.F16},
	} {
		const n = 1500
		random := rand.New(rand.NewPCG(11, uint64(c.from)))
		memory := double.AllocHuge(0, 2*far)
		src := layout{c.from, 0, []int{2, n}, []int{far, c.from.Size()}}
		dst := layout{c.to, 1 << 19, []int{2, n}, []int{far, c.to.Size()}}
		var rows [2][]byte
		for i := range rows {
			rows[i] = randomBlock(random, n*c.from.Size())
			sprinkle(random, rows[i], c.from)
			memory.At(i * far).Write(rows[i])
		}
		double.Log()
		if err := Apply(dst.on(0, memory.Address), src.on(0, memory.Address), LegacyStream); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			want := make([]byte, n*c.to.Size())
			if err := rsqrt.Apply(flatLayout(c.to, 0, n).in(want), flatLayout(c.from, 0, n).in(rows[i])); err != nil {
				t.Fatal(err)
			}
			if got := memory.At(1<<19 + i*far).Read(len(want)); !bytes.Equal(got, want) {
				t.Errorf("%v → %v: row %d differs %s", c.from, c.to, i, double.Why())
			}
		}
		memory.Free()
	}
}

// behind puts 2^32 more items before those of a plan of one dimension, in the same places: as if it
// were the second half of a dimension of 2^32 in one of 2 whose strides are zero.
func behind(p *items) {
	p.n += beyond
	p.dims[0].length = beyond
	p.dims[1] = dim{length: 2}
	p.ndim = 2
}

const beyond = 1 << 32

// Indices beyond 32 bits: 2^32 items, of which the double leaves out all but the last few, which
// lie behind them.
func TestFar(t *testing.T) {
	if err := open(); err != nil {
		t.Fatal(err)
	}
	double.First(beyond / threads)
	defer double.First(0)
	random := rand.New(rand.NewPCG(17, 18))
	for _, dtype := range computedDTypes {
		const n = 700
		size := dtype.Size()
		block := randomBlock(random, 2*n*size)
		memory := double.Alloc(0, block)
		double.On(0, func() {
			gpu, err := deviceAt(0)
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := gpu.of(dtype)
			if err != nil {
				t.Fatal(err)
			}
			var plan cgo.Plan
			dst, src := flatLayout(dtype, n*size, n), flatLayout(dtype, 0, n)
			if _, err := rsqrt.DecideInto(&plan, dst.in(block), src.in(block), dtype); err != nil {
				t.Fatal(err)
			}
			p := described(&plan, dtype, dtype, memory.Address+uintptr(dst.offset), memory.Address)
			behind(p)
			if err := start(loaded.wide, int(p.n), 1, p.words(), cu.NoStream); err != nil {
				t.Fatal(err)
			}
			if err := rsqrt.Apply(dst.in(block), src.in(block)); err != nil {
				t.Fatal(err)
			}
		})
		if got := memory.Read(len(block)); !bytes.Equal(got, block) {
			t.Errorf("%v differs: %s", dtype, double.Why())
		}
		memory.Free()
	}
}

// The division of an index by a length, as the kernel does it.
func TestDivisor(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	for range 1 << 20 {
		length := 1 + random.IntN(1<<(1+random.IntN(31)))
		length = min(length, 1<<31-1)
		by := divisor(length)
		for _, i := range []uint64{0, uint64(length) - 1, uint64(length), uint64(random.IntN(1 << 31)), 1<<31 - 1} {
			if got := uint64(uint32(i*by.magic>>32)+uint32(i)) >> by.shift; by.magic>>32 != 0 || got != i/uint64(length) {
				t.Fatalf("%d / %d = %d", i, length, got)
			}
		}
	}
}

// Goroutines on their own streams, both devices, one address space: nothing is mixed up, and each
// device has its own module.
func TestGoroutines(t *testing.T) {
	forget()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(15, uint64(worker)))
			device := worker % 2
			stream := double.NewStream(device, 1)
			for range 20 {
				const n = 3000
				block := randomBlock(random, 4*n)
				memory := double.Alloc(device, block)
				l := flatLayout(rsqrt.F32, 0, n)
				if err := Apply(l.on(device, memory.Address), l.on(device, memory.Address), stream); err != nil {
					t.Error(err)
				}
				double.Synchronize(device, stream)
				_ = rsqrt.Apply(l.in(block), l.in(block))
				if !bytes.Equal(memory.Read(4*n), block) {
					t.Errorf("worker %d: wrong bytes", worker)
				}
				memory.Free()
			}
		})
	}
	group.Wait()
}

// forget drops what is loaded, as in a process that has not used CUDA yet.
func forget() { devices.Clear() }
