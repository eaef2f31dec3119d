package rsqrt

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// machine makes a folder with files as a machine would have them; it returns its path.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	mountsV1 = `22 1 0:20 / /proc rw,nosuid - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	groupsV1 = "4:memory:/pod/one\n2:cpuacct,cpu:/pod/one\n0::/other\n"
	mountsV2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
)

var machines = map[string]struct {
	files  map[string]string
	cpu    float64
	memory int
}{
	"nothing": {nil, math.Inf(1), math.MaxInt},
	"garbage": {map[string]string{"proc/self/cgroup": "x\n0:\n::\n", "proc/self/mountinfo": "a b\n - \n1 2 3 - cgroup2\n"}, math.Inf(1), math.MaxInt},
	"v2, max": {map[string]string{
		"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": mountsV2,
		"sys/fs/cgroup/a/cpu.max": "max 100000\n", "sys/fs/cgroup/a/memory.max": "max\n",
	}, math.Inf(1), math.MaxInt},
	"v2": {map[string]string{
		"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": mountsV2,
		"sys/fs/cgroup/a/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/memory.max": "67108864\n",
	}, 1.5, 64 << 20},
	"v2, high": {map[string]string{
		"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": mountsV2, "sys/fs/cgroup/a/memory.high": "1048576\n",
	}, math.Inf(1), 1 << 20},
	"v2, nested: the parent is narrower": {map[string]string{
		"proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": mountsV2,
		"sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/a/b/c/cpu.max": "200000 100000\n",
		"sys/fs/cgroup/a/memory.max": "1048576\n", "sys/fs/cgroup/a/b/c/memory.max": "2097152\n",
	}, .5, 1 << 20},
	"v2 in a namespace": {map[string]string{
		"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountsV2,
		"sys/fs/cgroup/cpu.max": "300000 100000\n", "sys/fs/cgroup/memory.max": "4096\n",
	}, 3, 4096},
	"v2, a mount of the group itself": {map[string]string{
		"proc/self/cgroup": "0::/pod/one\n", "proc/self/mountinfo": strings.Replace(mountsV2, "/ /sys", "/pod/one /sys", 1),
		"sys/fs/cgroup/cpu.max": "100000 100000\n", "sys/fs/cgroup/memory.max": "4096\n",
	}, 1, 4096},
	"v2, outside of what is mounted": {map[string]string{
		"proc/self/cgroup": "0::/pods\n", "proc/self/mountinfo": strings.Replace(mountsV2, "/ /sys", "/pod /sys", 1),
		"sys/fs/cgroup/memory.max": "4096\n", "sys/fs/cgroup/s/memory.max": "1\n",
	}, math.Inf(1), 4096},
	"v2, a path with a space": {map[string]string{
		"proc/self/cgroup": "0::/a b\n", "proc/self/mountinfo": strings.Replace(mountsV2, "/sys/fs/cgroup", `/sys/my\040groups`, 1),
		"sys/my groups/a b/memory.max": "4096\n",
	}, math.Inf(1), 4096},
	"v1": {map[string]string{
		"proc/self/cgroup": groupsV1, "proc/self/mountinfo": mountsV1,
		"sys/fs/cgroup/cpu,cpuacct/pod/one/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu,cpuacct/pod/one/cpu.cfs_period_us": "100000\n",
		"sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": "1048576\n",
		"sys/fs/cgroup/unified/other/memory.max": "1\n",
	}, 2.5, 1 << 20},
	"v1, no quota": {map[string]string{
		"proc/self/cgroup": groupsV1, "proc/self/mountinfo": mountsV1,
		"sys/fs/cgroup/cpu,cpuacct/pod/one/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/pod/one/cpu.cfs_period_us": "100000\n",
	}, math.Inf(1), math.MaxInt},
}

func TestControlGroups(t *testing.T) {
	nothing := memory(machine(t, nil))
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			root := machine(t, m.files)
			if got := quota(root); got != m.cpu {
				t.Errorf("quota is %v, want %v", got, m.cpu)
			}
			if got, want := memory(root), min(m.memory, nothing); got != want {
				t.Errorf("memory is %d, want %d", got, want)
			}
			n, limit := processors(root)
			want, by := affinity(), "affinity"
			if m.cpu <= float64(want-1) {
				want, by = max(1, int(math.Ceil(m.cpu))), "quota"
			}
			if n != want || limit != by {
				t.Errorf("%d processors by %s, want %d by %s", n, limit, want, by)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	root := machine(t, map[string]string{"long": long, "empty": ""})
	for name, want := range map[string]string{"long": long, "empty": "", "missing": "", "": ""} {
		if got := ReadFile(filepath.Join(root, name)); got != want {
			t.Errorf("%q: %d bytes, want %d", name, len(got), len(want))
		}
	}
}

func TestDefaultThreads(t *testing.T) {
	most, limit := Processors()
	for _, c := range []struct {
		own, openMP string
		n           int
		source      string
	}{
		{"", "", most, limit},
		{"3", "", 3, "GORSQRT_NUM_THREADS"},
		{"3", "5", 3, "GORSQRT_NUM_THREADS"},
		{"", "5", 5, "OMP_NUM_THREADS"},
		{"", "4,2", 4, "OMP_NUM_THREADS"},
		{"", " 6 ,x", 6, "OMP_NUM_THREADS"},
		{"", "0", most, limit},
		{"", "-3", most, limit},
		{"", "x", most, limit},
		{"", "99999999999999999999", most, limit},
		{"0", "5", 0, ""},
		{"-1", "", 0, ""},
		{"two", "", 0, ""},
		{"1.5", "", 0, ""},
	} {
		n, source, err := DefaultThreads(func(name string) string {
			return map[string]string{"GORSQRT_NUM_THREADS": c.own, "OMP_NUM_THREADS": c.openMP}[name]
		})
		var refused *Error
		if n != c.n || source != c.source || errors.As(err, &refused) != (c.n == 0) {
			t.Errorf("%q, %q: %d from %s, %v; want %d from %s", c.own, c.openMP, n, source, err, c.n, c.source)
		}
	}
}

func TestSetNumThreads(t *testing.T) {
	defer func(n int) { must(SetNumThreads(n)) }(NumThreads())
	must(SetNumThreads(3))
	if NumThreads() != 3 {
		t.Errorf("NumThreads() = %d, want 3", NumThreads())
	}
	for _, n := range []int{256, 257, 1<<32 + 7, math.MaxInt} {
		if must(SetNumThreads(n)); NumThreads() != 256 {
			t.Errorf("SetNumThreads(%d) sets %d, want 256", n, NumThreads())
		}
	}
	must(SetNumThreads(3))
	for _, n := range []int{0, -1, math.MinInt} {
		if err := SetNumThreads(n); err == nil || NumThreads() != 3 {
			t.Errorf("SetNumThreads(%d): %v, and then %d", n, err, NumThreads())
		}
	}
}

// A pair of layouts of the same shape, in elements, large enough for panels, streaming stores and
// helpers.
var largeLayouts = map[string]struct{ shape, dst, src []int }{
	"flat":                 {[]int{3_000_017}, []int{1}, []int{1}},
	"reversed":             {[]int{1_500_001}, []int{1}, []int{-1}},
	"stride 2":             {[]int{1_200_000}, []int{1}, []int{2}},
	"stride 3 to 2":        {[]int{700_001}, []int{2}, []int{3}},
	"transposed":           {[]int{1003, 1201}, []int{1201, 1}, []int{1, 1003}},
	"transposed, stepped":  {[]int{700, 801}, []int{801, 1}, []int{2, 1500}},
	"transposed, backward": {[]int{700, 801}, []int{801, 1}, []int{-1, -700}},
	"permuted":             {[]int{31, 77, 203}, []int{77 * 203, 203, 1}, []int{77, 1, 31 * 77}},
	"permuted twice":       {[]int{50, 60, 70}, []int{4200, 70, 1}, []int{1, 50 * 70, 50}},
	"short rows":           {[]int{90_000, 3}, []int{3, 1}, []int{5, 1}},
	"rows of 100":          {[]int{9000, 100}, []int{100, 1}, []int{128, 1}},
	"rows of 1000":         {[]int{1100, 1000}, []int{1030, 1}, []int{1024, 1}},
	"a column, broadcast":  {[]int{1100, 900}, []int{900, 1}, []int{1, 0}},
	"a row, broadcast":     {[]int{1100, 900}, []int{900, 1}, []int{0, 1}},
	"one, broadcast":       {[]int{1_000_003}, []int{1}, []int{0}},
}

func extentOf(shape, strides []int) (low, high int) {
	for d, n := range shape {
		low, high = low+min(0, strides[d]*(n-1)), high+max(0, strides[d]*(n-1))
	}
	return low, high + 1
}

// TestLargeLayoutsOnAnyNumberOfThreads compares each with what the kernel gives for a gathered
// copy, and looks at what lies between the elements.
func TestLargeLayoutsOnAnyNumberOfThreads(t *testing.T) {
	defer func(n int) { must(SetNumThreads(n)) }(NumThreads())
	defer func(name string) { must(SetTier(name)) }(Tier())
	random := rand.New(rand.NewPCG(21, 22))
	for name, l := range largeLayouts {
		srcLow, srcHigh := extentOf(l.shape, l.src)
		_, dstHigh := extentOf(l.shape, l.dst)
		n := count(l.shape)
		src, dst, want := make([]uint64, srcHigh-srcLow), make([]uint64, dstHigh), make([]uint64, dstHigh)
		untouched := make([]uint64, dstHigh)
		for i := range untouched {
			untouched[i] = 0xa5a5a5a5a5a5a5a5
		}
		for i := range src {
			src[i] = random.Uint64()&^(3<<62|3<<30) | 1<<61 | 1<<29
		}
		gathered, computed := make([]uint64, n), make([]uint64, n)
		places := func(strides []int) []int { // the element that each item is
			all := make([]int, n)
			for item := range all {
				place, rest := 0, item
				for d := len(l.shape) - 1; d >= 0; d-- {
					place += rest % l.shape[d] * strides[d]
					rest /= l.shape[d]
				}
				all[item] = place
			}
			return all
		}
		srcPlaces, dstPlaces := places(l.src), places(l.dst)
		conversions := [][2]DType{{F32, F32}, {I32, F32}, {F64, F64}, {F16, F16}, {C64, C64}, {F32, F64}}
		if testing.Short() {
			conversions = conversions[:2]
		}
		for _, types := range conversions {
			from, to := types[0], types[1]
			sizes := [2]int{from.Size(), to.Size()}
			at := func(memory []uint64, low, i, size int) unsafe.Pointer {
				return unsafe.Add(unsafe.Pointer(&memory[0]), (i-low)*size)
			}
			for item, place := range srcPlaces {
				copy(unsafe.Slice((*byte)(at(gathered, 0, item, sizes[0])), sizes[0]),
					unsafe.Slice((*byte)(at(src, srcLow, place, sizes[0])), sizes[0]))
			}
			array := func(memory []uint64, low int, dtype DType, strides []int) Array {
				a := Array{Data: at(memory, low, 0, dtype.Size()), DType: dtype, Shape: l.shape}
				for _, stride := range strides {
					a.Strides = append(a.Strides, stride*dtype.Size())
				}
				return a
			}
			flat := func(memory []uint64, dtype DType) Array {
				return Array{Data: unsafe.Pointer(&memory[0]), DType: dtype, Shape: []int{n}, Strides: []int{dtype.Size()}}
			}
			must(SetNumThreads(1))
			must(SetTier("scalar"))
			must(Apply(flat(computed, to), flat(gathered, from)))
			copy(want, untouched)
			for item, place := range dstPlaces {
				copy(unsafe.Slice((*byte)(at(want, 0, place, sizes[1])), sizes[1]),
					unsafe.Slice((*byte)(at(computed, 0, item, sizes[1])), sizes[1]))
			}
			for _, tier := range Tiers()[:1] {
				must(SetTier(tier))
				for _, threads := range []int{1, 2, 5} {
					must(SetNumThreads(threads))
					copy(dst, untouched)
					must(Apply(array(dst, 0, to, l.dst), array(src, srcLow, from, l.src)))
					for i := range dst {
						if dst[i] != want[i] {
							t.Fatalf("%s, %v to %v, %d threads: 8 bytes at %d are %#x, want %#x", name, from, to, threads, 8*i, dst[i], want[i])
						}
					}
				}
			}
		}
	}
}

// TestManyCallersAtOnce: the helpers serve one call at a time, and every other is computed all the
// same.
func TestManyCallersAtOnce(t *testing.T) {
	defer func(n int) { must(SetNumThreads(n)) }(NumThreads())
	must(SetNumThreads(4))
	const n = 400_000
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i + 1)
	}
	want := make([]float32, n)
	Float32(want, x)
	var group sync.WaitGroup
	failed := make(chan string, 8)
	for caller := range 8 {
		group.Go(func() {
			y := make([]float32, n)
			for range 40 {
				clear(y)
				dst := Array{Data: unsafe.Pointer(&y[0]), DType: F32, Shape: []int{n}, Strides: []int{4}}
				src := Array{Data: unsafe.Pointer(&x[0]), DType: F32, Shape: []int{n}, Strides: []int{4}}
				must(Apply(dst, src))
				for i := range y {
					if y[i] != want[i] {
						failed <- fmt.Sprintf("caller %d: [%d] is %v, want %v", caller, i, y[i], want[i])
						return
					}
				}
			}
		})
	}
	group.Wait()
	close(failed)
	for text := range failed {
		t.Error(text)
	}
}
