package rsqrt

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
