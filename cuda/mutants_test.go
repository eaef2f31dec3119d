//go:build mutants

package cuda

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
	"gorgonia.org/cu"
)

// TestMutants changes one instruction of the PTX at a time and asks whether a small set of calls notices: `make mutants`, some
// minutes. It lists the changes that nobody noticed and mutants.txt does not explain, which must be fewer than one in six.

// What an instruction is changed to, by the beginning of its name.
var swaps = [][2]string{
	{"add.s32", "sub.s32"},
	{"sub.s32", "add.s32"},
	{"add.s64", "sub.s64"},
	{"sub.s64", "add.s64"},
	{"add.rn.f32", "sub.rn.f32"},
	{"add.rn.f64", "sub.rn.f64"},
	{"sub.rn.f64", "add.rn.f64"},
	{"mul.rn.f32", "add.rn.f32"},
	{"mul.rn.f64", "add.rn.f64"},
	{"mul.lo.s32", "add.s32"},
	{"mul.lo.s64", "add.s64"},
	{"mul.hi.u32", "mul.lo.u32"},
	{"mul.wide.u32", "mul.wide.s32"},
	{"and.", "or."},
	{"or.", "xor."},
	{"xor.", "or."},
	{"not.b64", "mov.b64"},
	{"shl.b32", "shr.u32"},
	{"shl.b64", "shr.u64"},
	{"shr.u32", "shl.b32"},
	{"shr.u64", "shr.s64"},
	{"shr.s64", "shr.u64"},
	{"bfe.s64", "bfe.u64"},
	{"bfe.u64", "bfe.s64"},
	{"bfe.u32", "bfe.s32"},
	{"max.u64", "min.u64"},
	{"div.u32", "rem.u32"},
	{"div.u64", "rem.u64"},
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
	{"neg.f64", "mov.f64"},
	{"abs.f32", "mov.f32"},
	{"cvt.u64.u32", "cvt.s64.s32"},
	{"cvt.s64.s32", "cvt.u64.u32"},
	{"cvt.rn.f32.s64", "cvt.rn.f32.u64"},
	{"cvt.rn.f32.u64", "cvt.rn.f32.s64"},
	{"cvt.rn.f64.s64", "cvt.rn.f64.u64"},
	{"cvt.rn.f64.u64", "cvt.rn.f64.s64"},
	{"ld.global.u64", "ld.global.u32"},
	{"ld.global.u32", "ld.global.u16"},
	{"ld.global.u16", "ld.global.u8"},
	{"st.global.u64", "st.global.u32"},
	{"st.global.u32", "st.global.u16"},
	{"st.global.u16", "st.global.u8"},
}

var (
	instructionLine = regexp.MustCompile(`^\t(?:@!?%p\d+ +)?([a-z][a-z0-9.]*)\b.*;`)
	immediate       = regexp.MustCompile(`, (-?\d+)`)
	selected        = regexp.MustCompile(`^(\tselp\S+\s+\S+), (\S+), (\S+), (%p\d+;)`)
	registers       = regexp.MustCompile(`%(p|rs|rd|r|fd|f)\d+`)
	labels          = regexp.MustCompile(`\$L__\w+`)
)

// mutants of a line of a kernel, with what was done to it.
func mutants(line string) map[string]string {
	all := map[string]string{}
	name := instructionLine.FindStringSubmatch(line)
	if name == nil || name[1] == "ret" {
		return all
	}
	for _, swap := range swaps {
		if strings.HasPrefix(name[1], swap[0]) {
			all["is "+swap[1]] = strings.Replace(line, swap[0], swap[1], 1)
			break
		}
	}
	if s := selected.FindStringSubmatch(line); s != nil {
		all["chooses the other"] = fmt.Sprintf("%s, %s, %s, %s", s[1], s[3], s[2], s[4])
	}
	if strings.HasPrefix(line, "\t@%p") {
		all["jumps where it should not"] = strings.Replace(line, "@%p", "@!%p", 1)
	}
	if at := immediate.FindStringSubmatchIndex(line); at != nil && !strings.HasPrefix(name[1], "cvt") {
		var n int
		fmt.Sscan(line[at[2]:at[3]], &n)
		all["has one more"] = line[:at[2]] + fmt.Sprint(n+1) + line[at[3]:]
	}
	all["is gone"] = "\n"
	return all
}

// A call of a kernel, and what it must write.
type trial struct {
	block, want []byte
	plan        cgo.Plan
	dst, src    layout
}

// trials exercise one kernel of a dtype: every length's edge, every cast, every alignment, specials at changing places.
func trials(t *testing.T, dtype rsqrt.DType, name string) (all []trial) {
	random := rand.New(rand.NewPCG(1, uint64(dtype)))
	add := func(dst, src layout, length int) {
		c := trial{block: randomBlock(random, length), dst: dst, src: src}
		sprinkle(random, c.block[src.offset:], src.dtype)
		c.want = slices.Clone(c.block)
		if err := rsqrt.Apply(dst.in(c.want), src.in(c.want)); err != nil {
			t.Fatal(err)
		}
		if _, err := rsqrt.DecideInto(&c.plan, dst.on(0, 512), src.on(0, 512), rsqrt.DefaultDType()); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	size := dtype.Size()
	const half = 1 << 16
	if name == "" {
		items := threads * flight * vector / size
		for _, n := range []int{1, vector/size + 1, 300, items - 1, items, items + threads*vector/size/2 + 1, 2*items + 1} {
			add(flatLayout(dtype, half, n), flatLayout(dtype, 0, n), 2*half)
			add(flatLayout(dtype, 0, n), flatLayout(dtype, 0, n), half)
		}
		return all
	}
	sources := []rsqrt.DType{dtype}
	if dtype <= rsqrt.F64 {
		if err := rsqrt.SetDefaultDType(dtype.String()); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, dtypes[cgo.Computed:]...)
	}
	for _, to := range computedDTypes {
		if dtype > rsqrt.F64 && to <= rsqrt.F64 {
			continue
		}
		for _, from := range sources {
			f, g := from.Size(), to.Size()
			n := threads*flight + 1 + random.IntN(200) // so that every load of the four is in use
			add(flatLayout(to, half, n), flatLayout(from, f, n), 2*half)
			add(layout{to, half, []int{3, 5, 67}, []int{67 * 5 * g, 67 * g, g}}, layout{from, 24576, []int{3, 5, 67}, []int{f, 3 * f, -17 * f}}, 2*half)
			add(layout{to, half + 1, []int{7, 151}, []int{151 * (g + 1), g + 1}}, layout{from, 3, []int{7, 151}, []int{f, 7*f + 3}}, 2*half)
		}
	}
	return all
}

// noticed says whether any trial of a kernel goes otherwise than it must.
func noticed(text, symbol, name string, dtype rsqrt.DType, all []trial, memory double.Memory) (seen bool) {
	defer double.Reset()
	module, code := double.LoadModule(0, text)
	if code != 0 {
		return true
	}
	defer double.Call("cuModuleUnload", module)
	double.On(0, func() {
		function := double.Function(module, symbol)
		kernel := *(*cu.Function)(unsafe.Pointer(&function))
		for i := range all {
			c := &all[i]
			memory.Write(c.block)
			to, from := memory.Address+uintptr(c.dst.offset+c.plan.DstOffset), memory.Address+uintptr(c.src.offset+c.plan.SrcOffset)
			k := &kernels{flat: kernel, items: kernel, wide: kernel}
			var err error
			if name == "" {
				err = k.launch(&c.plan, dtype, c.dst.dtype, c.src.dtype, to, from, cu.NoStream)
			} else {
				p := described(&c.plan, c.dst.dtype, c.src.dtype, to, from)
				each := map[string]int{"_items": flight, "_wide": 1}[name]
				err = start(kernel, c.plan.N, each, p.words(), cu.NoStream)
			}
			got, code := memory.TryRead(len(c.block))
			if err != nil || code != 0 || !bytes.Equal(got, c.want) {
				seen = true
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
	var reasons []*regexp.Regexp
	for _, line := range strings.Split(string(explained), "\n") {
		if pattern, _, found := strings.Cut(line, " # "); found {
			reasons = append(reasons, regexp.MustCompile("^"+strings.TrimSpace(pattern)+"$"))
		}
	}
	memory := double.AllocHuge(0, 1<<17)
	defer memory.Free()
	made, alive := 0, map[string]int{}
	turn := map[string]int{}
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
			if noticed(head+kernel, symbol, name, rsqrt.DType(dtype), all, memory) {
				t.Fatalf("%s fails as it is: %s", symbol, double.Why())
			}
			lines := strings.SplitAfter(kernel, "\n")
			for i, line := range lines {
				changes := mutants(line)
				if len(changes) == 0 {
					continue
				}
				// Of the many copies of an instruction each is changed in one way, in turn.
				form := registers.ReplaceAllString(labels.ReplaceAllString(strings.Join(strings.Fields(line), " "), "L"), "%$1")
				ways := slices.Sorted(maps.Keys(changes))
				way := ways[turn[form]%len(ways)]
				turn[form]++
				mutant := slices.Concat(lines[:i], []string{changes[way]}, lines[i+1:])
				made++
				if !noticed(head+strings.Join(mutant, ""), symbol, name, rsqrt.DType(dtype), all, memory) {
					alive[fmt.Sprintf("%s %s", form, way)]++
					if testing.Verbose() {
						fmt.Printf("alive: %s:%d %s: %s\n", symbol, i, way, strings.TrimSpace(line))
					}
				}
			}
			fmt.Printf("%s: %d mutants so far\n", symbol, made)
		}
	}
	survivors, left := 0, 0
	for _, form := range slices.Sorted(maps.Keys(alive)) {
		survivors += alive[form]
		if !slices.ContainsFunc(reasons, func(r *regexp.Regexp) bool { return r.MatchString(form) }) {
			left += alive[form]
			fmt.Printf("neither noticed nor explained: %s (%d)\n", form, alive[form])
		}
	}
	fmt.Printf("%d mutants: %d noticed, %d explained, %d neither\n", made, made-survivors, survivors-left, left)
	if 6*left > made {
		t.Error("too many changes go unnoticed")
	}
}
