//go:build mutants

package cuda

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
	"gorgonia.org/cu"
)

// TestMutants changes one instruction of the PTX at a time, in every way that is listed here, and
// runs a set of calls: `make mutants`, some minutes. A change must show in a result, or mutants.txt
// must say why it can't. Each of its reasons must be needed.

// What an instruction is changed to, by the beginning of its name.
var swaps = [][2]string{
	{"add.", "sub."},
	{"sub.", "add."},
	{"mul.rn.", "add.rn."},
	{"mul.lo.", "add."},
	{"mul.hi.u32", "mul.lo.u32"},
	{"mul.wide.u", "mul.wide.s"},
	{"div.", "rem."},
	{"max.u", "min.u"},
	{"and.", "or."},
	{"or.pred", "and.pred"},
	{"or.", "xor."},
	{"xor.", "or."},
	{"not.b64", "mov.b64"},
	{"shl.b32", "shr.u32"},
	{"shl.b64", "shr.u64"},
	{"shr.u32", "shl.b32"},
	{"shr.u64", "shr.s64"},
	{"shr.s64", "shr.u64"},
	{"bfe.s", "bfe.u"},
	{"bfe.u", "bfe.s"},
	{"setp.eq.", "setp.ne."},
	{"setp.ne.", "setp.eq."},
	{"setp.lt.", "setp.le."},
	{"setp.le.", "setp.lt."},
	{"setp.gt.", "setp.ge."},
	{"setp.ge.", "setp.gt."},
	{"setp.ltu.", "setp.leu."},
	{"setp.nan.", "setp.num."},
	{"sqrt.rn.", "rcp.rn."},
	{"rcp.rn.", "sqrt.rn."},
	{"neg.", "mov."},
	{"abs.", "mov."},
	{"cvt.u64.u32", "cvt.s64.s32"},
	{"cvt.s64.s32", "cvt.u64.u32"},
	{"cvt.u32.u16", "cvt.s32.s16"},
	{"cvt.s32.s16", "cvt.u32.u16"},
	{"cvt.rn.f32.s64", "cvt.rn.f32.u64"},
	{"cvt.rn.f32.u64", "cvt.rn.f32.s64"},
	{"cvt.rn.f64.s64", "cvt.rn.f64.u64"},
	{"cvt.rn.f64.u64", "cvt.rn.f64.s64"},
	{"ld.global.u64", "ld.global.u32"},
	{"ld.global.u32", "ld.global.u16"},
	{"ld.global.u16", "ld.global.u8"},
	{"ld.global.u8", "ld.global.u16"},
	{"st.global.u64", "st.global.u32"},
	{"st.global.u32", "st.global.u16"},
	{"st.global.u16", "st.global.u8"},
	{"st.global.u8", "st.global.u16"},
}

// What else is done to an instruction: where it is of this form, it becomes that.
var operands = []struct {
	what string
	form *regexp.Regexp
	into string
}{
	{"chooses the other", regexp.MustCompile(`^(\tselp\S+\s+\S+), (\S+), (\S+), `), "$1, $3, $2, "},
	{"jumps where it should not", regexp.MustCompile(`^\t@%p`), "\t@!%p"},
	{"adds nothing", regexp.MustCompile(`^(\tfma\.\S+\s+\S+, \S+, \S+), %fd\d+`), "$1, 0d0000000000000000"},
	{"adds nothing", regexp.MustCompile(`^(\tmad\.\S+\s+\S+, \S+, \S+), %r\d+`), "$1, 0"},
	{"exchanges two", regexp.MustCompile(`\{(%?\w+), (%?\w+)`), "{$2, $1"},
}

var (
	instruction = regexp.MustCompile(`^\t(?:\{ \.reg \.b32 tmp; )?(@!?%p\d+ )?\s*([a-z][a-z0-9.]*)\s*(.*);`)
	number      = regexp.MustCompile(`(?:, |\+)(-?\d+|0[fd][0-9A-F]+)\b`)
	registers   = regexp.MustCompile(`%(?:p|rs|rd|r|fd|f)\d+`)
	labels      = regexp.MustCompile(`\$L__\w+`)
	parameters  = regexp.MustCompile(`rsqrt_\w+_param`)
)

// taken takes an instruction apart: what it writes, its name with a guard, and what it reads.
func taken(line string) (result, name, read string) {
	m := instruction.FindStringSubmatch(line)
	if m == nil {
		return "", "", ""
	}
	read = m[3]
	if !strings.HasPrefix(m[2], "st.") && !strings.HasPrefix(m[2], "bra") && m[2] != "ret" {
		end := strings.Index(read, ", ")
		if read[0] == '{' {
			end = strings.Index(read, "}, ") + 1
		}
		result, read = read[:end], read[end+2:]
	}
	return result, m[1] + m[2], read
}

// A describer knows a kernel's registers by the instructions that write them.
type describer map[string][]string

func newDescriber(lines []string) describer {
	d := describer{}
	for _, line := range lines {
		result, _, _ := taken(line)
		for _, r := range registers.FindAllString(result, -1) {
			d[r] = append(d[r], line)
		}
	}
	return d
}

// of is an instruction's name with what it reads; where one instruction alone writes that, in its
// place, to a depth.
func (d describer) of(line string, depth int) string {
	_, name, read := taken(line)
	text := labels.ReplaceAllString(parameters.ReplaceAllString(name+" "+read, "param"), "L")
	return registers.ReplaceAllStringFunc(text, func(r string) string {
		if len(d[r]) != 1 || depth == 0 {
			return strings.TrimRight(r, "0123456789")
		}
		return "(" + d.of(d[r][0], depth-1) + ")"
	})
}

// bits says which bits of an operand may be set.
func (d describer) bits(operand string, depth int) uint64 {
	if n, err := strconv.ParseInt(operand, 10, 64); err == nil {
		return uint64(n)
	}
	switch operand {
	case "%tid.x":
		return threads - 1
	case "%ctaid.x":
		return 1<<31 - 1
	}
	all, found := map[string]uint64{"p": 1, "rs": 0xffff, "r": 0xffffffff}[strings.Trim(operand, "%0123456789")]
	if !found {
		all = ^uint64(0)
	}
	made := d[operand]
	if len(made) == 0 || depth == 0 {
		return all
	}
	var bits uint64
	for _, line := range made {
		_, name, read := taken(line)
		from := strings.Split(read, ", ")
		of := func(i int) uint64 { return d.bits(from[i], depth-1) }
		shift, err := strconv.Atoi(from[len(from)-1])
		known := err == nil
		switch operation, _, _ := strings.Cut(name, "."); {
		case operation == "mov" && read[0] != '{':
			bits |= of(0)
		case operation == "and":
			bits |= of(0) & of(1)
		case operation == "or", operation == "xor", operation == "selp" && !strings.HasPrefix(name, "selp.f"):
			bits |= of(0) | of(1)
		case operation == "shl" && known:
			bits |= of(0) << shift
		case strings.HasPrefix(name, "shr.u") && known:
			bits |= of(0) >> shift
		case strings.HasPrefix(name, "bfe.u") && known:
			position, _ := strconv.Atoi(from[1])
			bits |= of(0) >> position & (1<<shift - 1)
		case strings.HasPrefix(name, "mul.wide.u") && known && shift&(shift-1) == 0:
			bits |= of(0) * uint64(shift)
		case regexp.MustCompile(`^cvt\.u\d+\.u\d+$`).MatchString(name):
			bits |= of(0)
		case strings.HasSuffix(name, ".global.u8"):
			bits |= 0xff
		case strings.HasSuffix(name, ".global.u16"):
			bits |= 0xffff
		default:
			bits |= all
		}
	}
	return bits & all
}

// same says whether a mutant is seen to be the same instruction by the bits that its operands may
// have.
func (d describer) same(line string, m mutant) bool {
	_, name, read := taken(line)
	from := strings.Split(read, ", ")
	of := func(i int) uint64 { return d.bits(from[i], 8) }
	switch {
	case m.way == "is xor.":
		return of(0)&of(1) == 0
	case m.way == "is cvt.s64.s32", m.way == "is mul.wide.s":
		return of(0)>>31 == 0
	case m.way == "is cvt.s32.s16":
		return of(0)>>15 == 0
	case m.way == "is shr.s64":
		return of(0)>>63 == 0
	case m.way == "has one more" && strings.HasPrefix(name, "and."):
		n, _ := strconv.ParseInt(from[1], 10, 64)
		return of(0)&uint64(n^(n+1)) == 0
	}
	return false
}

// A mutant of a line of a kernel: what was done to it, and the new line.
type mutant struct{ way, line string }

func mutants(line string) (all []mutant) {
	_, guarded, _ := taken(line)
	name := guarded[strings.IndexByte(guarded, ' ')+1:]
	if name == "" || name == "ret" {
		return nil
	}
	all = append(all, mutant{"is gone", "\n"})
	for _, swap := range swaps {
		if strings.HasPrefix(name, swap[0]) {
			all = append(all, mutant{"is " + swap[1], strings.Replace(line, swap[0], swap[1], 1)})
			break
		}
	}
	for _, o := range operands {
		if o.form.MatchString(line) {
			all = append(all, mutant{o.what, o.form.ReplaceAllString(line, o.into)})
		}
	}
	for _, at := range number.FindAllStringSubmatchIndex(line, -1) {
		way, next := more(name, line[at[2]:at[3]])
		all = append(all, mutant{way, line[:at[2]] + next + line[at[3]:]})
	}
	return all
}

// more is another number: twice a float, or the least that is normal for 0; the integer after one,
// or the address of such an access.
func more(name, text string) (way, next string) {
	if len(text) > 2 && (text[1] == 'f' || text[1] == 'd') {
		bits, _ := strconv.ParseUint(text[2:], 16, 64)
		return "is doubled", fmt.Sprintf("%s%0*X", text[:2], len(text)-2, bits+map[byte]uint64{'f': 1 << 23, 'd': 1 << 52}[text[1]])
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	switch {
	case strings.HasPrefix(name, "ld.param"):
		n += 8
	case strings.Contains(name, "global.v4"):
		n += vector
	default:
		n++
	}
	return "has one more", fmt.Sprint(n)
}

// first and last are the instructions at the ends of some lines.
func first(lines []string) string { return lines[slices.IndexFunc(lines, instruction.MatchString)] }

func last(lines []string) string {
	lines = slices.Clone(lines)
	slices.Reverse(lines)
	return first(lines)
}

// A trial is a call of a kernel, in memory that ends where the arrays do, and what it must write.
type trial struct {
	dst, src     layout
	before, want []byte // of dst; no src: in place
	source       []byte
	plan         cgo.Plan
	far          bool // behind 2^32 items that are not computed
}

// span is a layout from an offset on in memory that ends with it, and the memory's length.
func span(dtype rsqrt.DType, offset int, shape, strides []int) (layout, int) {
	low, high := 0, dtype.Size()
	for d, stride := range strides {
		low += min(0, stride*(shape[d]-1))
		high += max(0, stride*(shape[d]-1))
	}
	return layout{dtype, offset - low, shape, strides}, offset - low + high
}

// trials exercise one kernel of a dtype: every length's edge, every cast, every alignment, specials
// at changing places.
func trials(t *testing.T, dtype rsqrt.DType, name string) (all []*trial) {
	random := rand.New(rand.NewPCG(1, uint64(dtype)))
	fill := func(length int, dtype rsqrt.DType, offset int) []byte {
		bytes := randomBlock(random, length)
		if length > offset {
			sprinkle(random, bytes[offset%dtype.Size():], dtype)
		}
		return bytes
	}
	add := func(to, from rsqrt.DType, toOffset, fromOffset int, shape, toStrides, fromStrides []int) {
		c := &trial{}
		var toLength, fromLength int
		c.src, fromLength = span(from, fromOffset, shape, fromStrides)
		c.source = fill(fromLength, from, c.src.offset)
		if toStrides == nil {
			c.dst, c.before, c.source = c.src, c.source, nil
		} else {
			c.dst, toLength = span(to, toOffset, shape, toStrides)
			c.before = randomBlock(random, toLength)
		}
		c.want = slices.Clone(c.before)
		source := c.source
		if source == nil {
			source = c.want
		}
		dst, src := c.dst.in(c.want), c.src.in(source)
		if _, err := rsqrt.DecideInto(&c.plan, dst, src, rsqrt.DefaultDType()); err != nil {
			t.Fatal(err)
		}
		if err := rsqrt.Apply(dst, src); err != nil {
			t.Fatal(err)
		}
		c.far = name == "_wide" && c.plan.NDim == 1 && len(all)%2 == 0
		all = append(all, c)
	}
	size := dtype.Size()
	if name == "" {
		apart := func(n int) { add(dtype, dtype, 0, 0, []int{n}, []int{size}, []int{size}) }
		flat := func(n int) {
			apart(n)
			add(dtype, dtype, 0, 0, []int{n}, nil, []int{size})
		}
		items := threads * flight * vector / size
		for n := 1; n <= 2*vector/size+1; n++ {
			flat(n)
		}
		for _, n := range []int{300, items/flight - 1, items/flight + 1, items/2 - 1, items - 1, items, items + 1, items + items/flight/2 + 1, 2*items + 1} {
			flat(n)
		}
		// Specials as the items after the last vector, of which c128 has none: every pair of some
		// where one item is two parts, and other numbers.
		n, part := parts(dtype)
		edges := specials(part.Size())
		if n == 2 {
			few := []uint64{}
			for _, i := range []int{0, 4, 10, 14, 16} { // 0, a subnormal number, 1, infinity, a nan
				few = append(few, edges[i], edges[i+1])
			}
			edges = edges[:0]
			for _, re := range few {
				for _, im := range few {
					edges = append(edges, re, im)
				}
			}
			for i := 0; i < 150; {
				re, im := edge(random, part.Size())
				if (re|im)<<9&0xffffffff == 0 || i%2 == 0 { // half of them powers of 2
					edges = append(edges, re, im)
					i++
				}
			}
			for range 100 {
				edges = append(edges, random.Uint64(), random.Uint64())
			}
		}
		for rest := vector/size - 1; rest > 0 && len(edges) > 0; edges = edges[min(len(edges), rest*n):] {
			apart(rest)
			c := all[len(all)-1]
			for i := range rest * n {
				put(c.source[i*part.Size():], edges[i%len(edges)], part.Size())
			}
			if err := rsqrt.Apply(c.dst.in(c.want), c.src.in(c.source)); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	for n := 40; n < threads*(flight+1); n += threads {
		add(dtype, dtype, size, size, []int{n}, nil, []int{size})
	}
	sources := []rsqrt.DType{dtype}
	targets := computedDTypes
	if dtype <= rsqrt.F64 {
		if err := rsqrt.SetDefaultDType(dtype.String()); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, dtypes[cgo.Computed:]...)
	} else {
		sources, targets = slices.Repeat(sources, 6), []rsqrt.DType{rsqrt.C64, rsqrt.C128}
	}
	for _, from := range sources {
		for _, to := range targets {
			if from != dtype && to != dtype && random.IntN(4) > 0 {
				continue
			}
			f, g := from.Size(), to.Size()
			n := 1 + random.IntN(threads*(flight+1))
			if from == dtype {
				n += threads * flight
			}
			add(to, from, 0, 0, []int{n}, []int{g}, []int{f})
			// Lengths with common factors, so that a wrong index does not reach all items in
			// another order.
			add(to, from, 0, 0, []int{4, 6, 42}, []int{6 * 42 * g, 42 * g, g}, []int{f, 4 * f, -24 * f})
			add(to, from, 1, 3, []int{14, 77}, []int{77 * (g + 1), g + 1}, []int{f, 14*f + 3})
			if dtype > rsqrt.F64 { // aligned as a part is, not as an item
				add(to, from, g/2, f/2, []int{4 * threads * flight}, []int{g}, []int{f})
			}
		}
	}
	return all
}

// run says whether a trial goes otherwise than it must.
func (c *trial) run(kernel cu.Function, dtype rsqrt.DType, name string) (seen bool) {
	for _, bits := range nanBits {
		double.Bits(bits.nan32, bits.nan64, bits.unwritten)
		if c.runUnder(kernel, dtype, name) {
			return true
		}
	}
	return false
}

func (c *trial) runUnder(kernel cu.Function, dtype rsqrt.DType, name string) (seen bool) {
	to := double.Alloc(0, c.before)
	defer to.Free()
	from := to
	if c.source != nil {
		from = double.Alloc(0, c.source)
		defer from.Free()
	}
	dst, src := to.Address+uintptr(c.dst.offset+c.plan.DstOffset), from.Address+uintptr(c.src.offset+c.plan.SrcOffset)
	words, n, each := []uint64{uint64(dst), uint64(src), uint64(c.plan.N)}, c.plan.N*c.plan.SrcSize/vector, flight
	if name != "" {
		p := described(&c.plan, c.dst.dtype, c.src.dtype, dst, src)
		if c.far {
			behind(p)
			double.First(beyond / threads)
			defer double.First(0)
		}
		words, n = p.words(), int(p.n)
	}
	if name == "_wide" {
		each = 1
	}
	return start(kernel, n, each, words, cu.NoStream) != nil || double.Synchronize(0, LegacyStream) != 0 ||
		!bytes.Equal(to.Peek(len(c.want)), c.want) || c.source != nil && !bytes.Equal(from.Peek(len(c.source)), c.source)
}

// noticed says whether any trial of a kernel goes otherwise than it must. The one that did comes
// first from then on.
func noticed(text, symbol, name string, dtype rsqrt.DType, all []*trial) (seen bool) {
	defer double.Log()
	defer double.Reset()
	module, code := double.LoadModule(0, text)
	if code != 0 {
		return true
	}
	defer double.Call("cuModuleUnload", module)
	double.On(0, func() {
		function := double.Function(module, symbol)
		kernel := *(*cu.Function)(unsafe.Pointer(&function))
		for i, c := range all {
			if seen = c.run(kernel, dtype, name); seen {
				copy(all[1:i+1], all[:i])
				all[0] = c
				return
			}
		}
	})
	return seen
}

func TestMutants(t *testing.T) {
	defer func() { _ = rsqrt.SetDefaultDType("float32") }()
	if err := open(); err != nil {
		t.Fatal(err)
	}
	explained, err := os.ReadFile("mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[*regexp.Regexp]int{} // how many mutants each explains
	for _, line := range strings.Split(string(explained), "\n") {
		if pattern, _, found := strings.Cut(line, " # "); found {
			pattern = strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(pattern)), `\*`, `.*`)
			reasons[regexp.MustCompile("^"+pattern+"$")] = 0
		}
	}
	made, alive, same, left := 0, 0, 0, 0
	for dtype, token := range tokens {
		if only := os.Getenv("GORSQRT_MUTANTS"); only != "" && only != token {
			continue
		}
		file, err := ptx.ReadFile("ptx/" + token + ".ptx")
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(string(file), ".visible")
		for _, kernel := range strings.Split(".visible"+body, "\n\t// .globl") {
			kernel = kernel[strings.Index(kernel, ".visible"):]
			symbol := regexp.MustCompile(`rsqrt_\w+`).FindString(kernel)
			name := strings.TrimPrefix(symbol, "rsqrt_"+token+"_cuda")
			all := trials(t, rsqrt.DType(dtype), name)
			if noticed(head+kernel, symbol, name, rsqrt.DType(dtype), all) {
				t.Fatalf("%s fails as it is: %s", symbol, double.Why())
			}
			lines := strings.SplitAfter(kernel, "\n")
			d := newDescriber(lines)
			for i, line := range lines {
				for _, m := range mutants(line) {
					made++
					seen, proved := noticed(head+strings.Join(lines[:i], "")+m.line+strings.Join(lines[i+1:], ""), symbol, name, rsqrt.DType(dtype), all), d.same(line, m)
					if seen {
						if proved {
							t.Errorf("line %d of %s: noticed, though it can't matter that %s", i, symbol, m.way)
						}
						continue
					}
					alive++
					if proved {
						same++
						continue
					}
					form := d.of(line, 2)
					if strings.HasPrefix(line, "\tbra") {
						form = d.of(last(lines[:i]), 0) + "; bra; " + d.of(first(lines[i+1:]), 0)
					}
					form += "; " + m.way
					reason := false
					for r := range reasons {
						if r.MatchString(form) || r.MatchString(token+": "+form) {
							reasons[r]++
							reason = true
						}
					}
					if !reason {
						left++
						t.Errorf("neither noticed nor explained: line %d of %s: %s", i, symbol, form)
					}
				}
			}
			t.Logf("%s: %d calls; so far %d mutants, %d not noticed: %d the same, %d explained, %d neither", symbol, len(all), made, alive, same, alive-same-left, left)
		}
	}
	for r, explains := range reasons {
		if explains == 0 && os.Getenv("GORSQRT_MUTANTS") == "" {
			t.Errorf("explains nothing: %v", r)
		}
	}
}
