package rsqrt

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// What a process may expect of the last cache at most, and where Linux doesn't tell its size: larger ones have many cores. To a guest with
// two cores of an Intel Xeon that has 300 MiB, streaming was faster with 32 MiB already.
const lastCacheShare = 32 << 20

func init() {
	// Six tenths of the last cache: beyond it, what is written first would be gone before it is read, and would be read in vain
	// before it is written. Others may use that cache as well, so it is a guess.
	last := 0
	for _, size := range Caches() {
		last = max(last, size)
	}
	if last == 0 || last > lastCacheShare {
		last = lastCacheShare
	}
	cgo.SetStreaming(last / 10 * 6)
	cgo.SetIntel(cgo.IsIntel())
	// Go has asked for the affinity and the control group's quota.
	must(SetNumThreads(runtime.GOMAXPROCS(0)))
}

// Caches lists the processor's data caches in bytes by name (L1, L2, L3), as Linux tells them; empty where it doesn't.
func Caches() map[string]int {
	sizes := map[string]int{}
	for index := range 8 {
		read := func(name string) string {
			text, _ := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name))
			return strings.TrimSpace(string(text))
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

// NumThreads is how many threads may work on one call, the caller's among them: at first the processors that this process
// may use.
func NumThreads() int { return cgo.Threads() }

// SetNumThreads sets [NumThreads]. Small calls use one in any case. The results' bits don't depend on it.
func SetNumThreads(n int) error {
	if n < 1 {
		return errorf(RuntimeError, Neither, "number of threads is %d; at least 1 is needed", n)
	}
	cgo.SetThreads(n)
	return nil
}
