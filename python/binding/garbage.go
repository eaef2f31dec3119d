package binding

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Garbage. The collector's own pace is turned off (start.c), and calls collect what they have left.
// The reason: when much less of the heap is in use than before, the runtime gives memory back to
// the system bit by bit, by timers, and its timers open an epoll and an eventfd that stay open. So
// each collection comes after as much garbage as the one before it, and beside a block of which a
// tenth, the difference that the runtime lets pass, is more than what may come on top.
const (
	mostGarbage = 4 << 20
	blockBytes  = 16 << 20
)

var garbage struct {
	sync.Mutex
	allocated [1]metrics.Sample // bytes, since the beginning
	collected uint64            // those of the last collection
	block     []byte            // never touched, so it takes addresses only
}

func init() {
	garbage.allocated[0].Name = "/gc/heap/allocs:bytes"
	// Memory that the heap keeps from now on: if there were none when it wants some, the runtime
	// would end the process.
	garbage.block = make([]byte, 2*mostGarbage)
	garbage.block = make([]byte, blockBytes)
	debug.FreeOSMemory()
}

// collect collects what calls have left, if that is much.
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
