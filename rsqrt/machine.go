package rsqrt

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// Upper bound for the share of the last-level cache that we count on, and the guess if Linux does
// not report it. Larger caches serve many cores: a virtual machine with two cores of an Intel Xeon
// with 300 MiB was faster with streaming stores from 32 MiB on.
const lastCacheShare = 32 << 20

func init() {
	// Six tenths of the last cache. Results of more would leave the cache before they are read, and
	// a store would read their lines for nothing. Other programs use the cache too, so it is a
	// guess.
	last := 0
	for _, size := range Caches() {
		last = max(last, size)
	}
	if last == 0 || last > lastCacheShare {
		last = lastCacheShare
	}
	cgo.SetStreaming(last / 10 * 6)
	cgo.SetIntel(cgo.IsIntel())
	n, _ := Processors()
	must(SetNumThreads(n))
}

// ReadFile returns a file's text, empty if it can't be read. It leaves nothing open; package os
// would keep descriptors for Go's network poller from the first file on.
func ReadFile(path string) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = syscall.Close(fd) }()
	var text []byte
	for part := make([]byte, 4096); ; {
		n, err := syscall.Read(fd, part)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return string(text)
		}
		text = append(text, part[:n]...)
	}
}

// Caches has the processor's data caches in bytes by name (L1, L2, L3). It is empty if Linux does
// not report them.
func Caches() map[string]int {
	sizes := map[string]int{}
	for index := range 8 {
		read := func(name string) string {
			return strings.TrimSpace(ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name)))
		}
		var size int
		var unit rune
		if n, _ := fmt.Sscanf(read("size"), "%d%c", &size, &unit); n == 0 || read("type") == "Instruction" {
			continue
		}
		if shift, ok := map[rune]int{'K': 10, 'M': 20}[unit]; ok {
			size <<= shift
		}
		sizes["L"+read("level")] = size
	}
	return sizes
}

// controlGroups lists the folders of a controller, of version 1 or 2: this process's control group
// first, then those above it. The limits of all of them hold. All paths begin at root.
func controlGroups(root, controller string) (folders []string, version int) {
	var group string
	for line := range strings.Lines(ReadFile(root + "/proc/self/cgroup")) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 {
			continue
		}
		if slices.Contains(strings.Split(fields[1], ","), controller) {
			group, version = fields[2], 1
			break
		}
		if fields[0] == "0" {
			group, version = fields[2], 2
		}
	}
	for line := range strings.Lines(ReadFile(root + "/proc/self/mountinfo")) {
		// id parent device root mount-point options [optional fields] - type source super-options
		mount, system, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, types := strings.Fields(mount), strings.Fields(system)
		if !found || len(fields) < 5 || len(types) < 3 {
			continue
		}
		ours := types[0] == "cgroup2"
		if version == 1 {
			ours = types[0] == "cgroup" && slices.Contains(strings.Split(types[2], ","), controller)
		}
		if !ours || version == 0 {
			continue
		}
		// A container may see no more than its own group, as the root of the mount.
		below, inside := strings.CutPrefix(group, strings.TrimSuffix(unescape(fields[3]), "/"))
		if below = strings.TrimRight(below, "/"); !inside || !strings.HasPrefix(below, "/") {
			below = ""
		}
		point := root + unescape(fields[4])
		for ; below != ""; below = below[:strings.LastIndexByte(below, '/')] {
			folders = append(folders, point+below)
		}
		return append(folders, point), version
	}
	return nil, 0
}

// unescape gives a path of mountinfo its spaces back.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(path)
}

// number is the number in a file of one word; false if there is none.
func number(path string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(ReadFile(path)), 64)
	return n, err == nil && n >= 0
}

// quota is how many processors' time the control groups grant, +Inf if they say nothing.
func quota(root string) float64 {
	least := math.Inf(1)
	folders, version := controlGroups(root, "cpu")
	for _, folder := range folders {
		var granted, period float64
		if version == 2 {
			words := strings.Fields(ReadFile(folder + "/cpu.max"))
			if len(words) < 2 || words[0] == "max" {
				continue
			}
			granted, _ = strconv.ParseFloat(words[0], 64)
			period, _ = strconv.ParseFloat(words[1], 64)
		} else {
			granted, _ = number(folder + "/cpu.cfs_quota_us") // -1: none
			period, _ = number(folder + "/cpu.cfs_period_us")
		}
		if granted > 0 && period > 0 {
			least = min(least, granted/period)
		}
	}
	return least
}

// affinity is how many processors this thread may run on; 1 if Linux does not tell.
func affinity() int {
	var mask [1024]uint64
	// Linux writes to the mask during the call, and answers how many bytes.
	n, _, failed := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
	if failed != 0 {
		return 1
	}
	count := 0
	for _, word := range mask[:n/8] {
		count += bits.OnesCount64(word)
	}
	return max(count, 1)
}

// Processors is the number of processors that this process may use, and the limit that gives it:
// "affinity", or the control group's "quota", rounded up.
func Processors() (n int, limit string) { return processors("") }

func processors(root string) (n int, limit string) {
	n = affinity()
	if granted := quota(root); granted <= float64(n-1) {
		return max(int(math.Ceil(granted)), 1), "quota"
	}
	return n, "affinity"
}

// Memory is the number of bytes that this process may have: the least of the machine's memory, the
// control groups' limits and the resource limits.
func Memory() int { return memory("") }

func memory(root string) int {
	least := math.MaxInt
	var machine syscall.Sysinfo_t
	if syscall.Sysinfo(&machine) == nil {
		least = int(machine.Totalram) * int(machine.Unit)
	}
	const rss = 5 // RLIMIT_RSS, which package syscall lacks
	for _, resource := range []int{syscall.RLIMIT_AS, syscall.RLIMIT_DATA, rss} {
		var limit syscall.Rlimit
		if syscall.Getrlimit(resource, &limit) == nil && limit.Cur < uint64(least) {
			least = int(limit.Cur)
		}
	}
	folders, version := controlGroups(root, "memory")
	files := []string{"/memory.max", "/memory.high"}
	if version == 1 {
		files = []string{"/memory.limit_in_bytes", "/memory.soft_limit_in_bytes"}
	}
	for _, folder := range folders {
		for _, file := range files {
			if limit, ok := number(folder + file); ok && limit < float64(least) { // "max" is no number
				least = int(limit)
			}
		}
	}
	return least
}

// DefaultThreads is the number of threads until it is set, and its source: GORSQRT_NUM_THREADS, or
// else the first number of OMP_NUM_THREADS, or else [Processors]. A malformed OMP_NUM_THREADS is
// ignored: it is meant for other programs.
func DefaultThreads(variable func(name string) string) (n int, source string, err error) {
	const own, openMP = "GORSQRT_NUM_THREADS", "OMP_NUM_THREADS"
	if text := variable(own); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			return 0, "", errorf(RuntimeError, Neither, "%s is '%s', which is not a number of threads", own, text)
		}
		return n, own, nil
	}
	first, _, _ := strings.Cut(variable(openMP), ",")
	if n, err = strconv.Atoi(strings.TrimSpace(first)); err == nil && n >= 1 {
		return n, openMP, nil
	}
	n, source = Processors()
	return n, source, nil
}

// NumThreads is the number of threads that may work on one call, the caller's among them.
func NumThreads() int { return cgo.Threads() }

// SetNumThreads sets [NumThreads], to at most [cgo.MostThreads]. Small calls always use one thread.
// The bits of results don't depend on it.
func SetNumThreads(n int) error {
	if n < 1 {
		return errorf(RuntimeError, Neither, "number of threads is %d; at least 1 is needed", n)
	}
	cgo.SetThreads(n)
	return nil
}
