package binding

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
)

// How many bytes of garbage are left before it is collected, and how many calls come between two looks at that.
const (
	mostGarbage = 4 << 20
	callsALook  = 256
)

// The numbers of the runtime's that are looked at, in bytes.
const (
	allocated = iota // since the beginning
	objects          // that are there now, garbage among them
	free             // pages of the heap that hold nothing
)

// What the calls have left. The collector's own pace is turned off (start.c): it would give memory back to the system bit by
// bit, by timers, and those open an epoll and an eventfd that stay open.
var garbage = struct {
	sync.Mutex
	calls     atomic.Uint32
	collected uint64 // what was allocated at the last collection
	samples   []metrics.Sample
}{samples: []metrics.Sample{
	allocated: {Name: "/gc/heap/allocs:bytes"},
	objects:   {Name: "/memory/classes/heap/objects:bytes"},
	free:      {Name: "/memory/classes/heap/free:bytes"},
}}

func init() {
	// Memory that the heap keeps from now on: if there were none when it wants some, the runtime would end the process.
	sink = make([]byte, 2*mostGarbage)
	sink = nil
	debug.FreeOSMemory()
}

// Hides from the compiler that nobody uses what is in it.
var sink []byte

// collect counts a call, and now and then collects what calls have left, in a goroutine of its own.
func collect() {
	if garbage.calls.Add(1)%callsALook != 0 || !garbage.TryLock() {
		return
	}
	defer garbage.Unlock()
	metrics.Read(garbage.samples)
	number := func(i int) uint64 { return garbage.samples[i].Value.Uint64() }
	if number(allocated)-garbage.collected < mostGarbage {
		return
	}
	garbage.collected = number(allocated)
	if number(free) > number(objects)/16 {
		go debug.FreeOSMemory() // at once and whole, before the runtime does it bit by bit
	} else {
		go runtime.GC()
	}
}
