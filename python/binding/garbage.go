package binding

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Garbage. The collector's own pace is turned off (start.c). Instead calls collect their garbage,
// because of the runtime's timers. If much less of the heap is in use than before, the runtime
// gives memory back to the system bit by bit, by timers, and its timers open an epoll and an
// eventfd that stay open. So each collection follows about the same amount of garbage as the one
// before. And the heap holds a ballast whose tenth, the difference that the runtime ignores, is
// more than the amounts can differ by.
const (
	mostGarbage  = 4 << 20
	ballastBytes = 16 << 20
)

var garbage struct {
	sync.Mutex
	allocated [1]metrics.Sample // bytes, since Go started
	collected uint64            // allocated bytes at the last collection
	ballast   []byte            // never touched, so it costs address space only
}

func init() {
	garbage.allocated[0].Name = "/gc/heap/allocs:bytes"
	// Memory that the heap keeps from now on. If there were none when the heap wants some, the
	// runtime would end the process.
	garbage.ballast = make([]byte, 2*mostGarbage)
	garbage.ballast = make([]byte, ballastBytes)
	debug.FreeOSMemory()
}

// collect collects the garbage of calls if there is much of it.
func collect() {
	if !garbage.TryLock() {
		return
	}
	defer garbage.Unlock()
	metrics.Read(garbage.allocated[:])
	if now := garbage.allocated[0].Value.Uint64(); now-garbage.collected > mostGarbage {
		garbage.collected = now
		runtime.GC()
	}
}
