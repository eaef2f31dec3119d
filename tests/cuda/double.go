// Package double builds, loads and calls the test double of libcuda.so.1, whose sources are in the
// folder libcuda.
package double

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

static void *library;

static const char *load(const char *path) {
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library ? NULL : dlerror();
}

// Calls a function with whole numbers and pointers, at most seven. The driver's functions that
// tests call have no other arguments.
static int call(const char *name, uintptr_t *a) {
    int (*f)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t) =
        (int (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t))dlsym(library, name);
    return f ? f(a[0], a[1], a[2], a[3], a[4], a[5], a[6]) : -1;
}

static char *text(const char *name) { return ((char *(*)(void))dlsym(library, name))(); }
*/
import "C"

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// Load builds the double if its sources have changed, and loads it. A later load of libcuda.so.1 in
// this process gets the double.
func Load() error {
	_, here, _, _ := runtime.Caller(0)
	sources := filepath.Join(filepath.Dir(here), "libcuda")
	output := filepath.Join(sources, "build", "libcuda.so.1")
	if err := build(sources, output); err != nil {
		return err
	}
	path := C.CString(output)
	defer C.free(unsafe.Pointer(path))
	if problem := C.load(path); problem != nil {
		return fmt.Errorf("%s", C.GoString(problem))
	}
	return nil
}

func build(sources, output string) error {
	built, err := os.Stat(output)
	if err == nil {
		old := false
		files, _ := filepath.Glob(filepath.Join(sources, "*.[ch]"))
		for _, file := range append(files, filepath.Join(sources, "../../../cuda/include/cuda.h")) {
			source, err := os.Stat(file)
			old = old || err != nil || source.ModTime().After(built.ModTime())
		}
		if !old {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o777); err != nil {
		return err
	}
	fresh := fmt.Sprintf("%s.%d", output, os.Getpid()) // two test programs may build at once
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	command := exec.Command("make", "--silent", "-C", sources, "CC="+cc, "OUTPUT="+fresh)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %v\n%s", command, err, said)
	}
	return os.Rename(fresh, output)
}

// Call calls the double's function of this name. The arguments are whole numbers and pointers to
// memory that stays in place.
func Call(name string, args ...uintptr) int {
	symbol := C.CString(name)
	defer C.free(unsafe.Pointer(symbol))
	var all [7]C.uintptr_t
	for i, a := range args {
		all[i] = C.uintptr_t(a)
	}
	return int(C.call(symbol, &all[0]))
}

// must ends the test program if the driver refuses a call that the tests themselves make.
func must(name string, args ...uintptr) {
	if code := Call(name, args...); code != 0 {
		panic(fmt.Sprintf("%s answers %d: %s", name, code, Why()))
	}
}

// made returns the word that a function writes through its first argument.
func made(name string, args ...uintptr) uintptr {
	word := (*uintptr)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(word))
	must(name, append([]uintptr{uintptr(unsafe.Pointer(word))}, args...)...)
	return *word
}

// On runs work with a device's primary context as the current one.
func On(device int, work func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must("cuInit", 0)
	must("cuCtxPushCurrent_v2", made("cuDevicePrimaryCtxRetain", uintptr(device)))
	defer must("cuCtxPopCurrent_v2", 0)
	work()
}

// Memory is an allocation on a device.
type Memory struct {
	Device  int
	Address uintptr
}

// Alloc allocates memory with these bytes.
func Alloc(device int, bytes []byte) (m Memory) {
	On(device, func() { m = Memory{device, made("cuMemAlloc_v2", uintptr(max(1, len(bytes))))} })
	m.Write(bytes)
	return m
}

// AllocHuge allocates memory whose bytes are not set. Only the bytes that are written take the
// CPU's memory.
func AllocHuge(device, length int) (m Memory) {
	On(device, func() { m = Memory{device, made("cuMemAlloc_v2", uintptr(length))} })
	return m
}

// At returns the memory from an offset on.
func (m Memory) At(offset int) Memory { return Memory{m.Device, m.Address + uintptr(offset)} }

// Write copies bytes into the memory and waits for the copy.
func (m Memory) Write(bytes []byte) {
	if len(bytes) == 0 {
		return
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&bytes[0])
	On(m.Device, func() { must("cuMemcpyHtoD_v2", m.Address, uintptr(unsafe.Pointer(&bytes[0])), uintptr(len(bytes))) })
}

// Read waits for the work on the default stream and on the streams that wait for it, and returns a
// copy of the memory.
func (m Memory) Read(length int) []byte {
	bytes, code := m.TryRead(length)
	if code != 0 {
		panic(fmt.Sprintf("error %d: %s", code, Why()))
	}
	return bytes
}

// TryRead is Read, but returns the driver's error.
func (m Memory) TryRead(length int) (bytes []byte, code int) {
	bytes = make([]byte, length)
	if length == 0 {
		return bytes, 0
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&bytes[0])
	On(m.Device, func() { code = Call("cuMemcpyDtoH_v2", uintptr(unsafe.Pointer(&bytes[0])), m.Address, uintptr(length)) })
	return bytes, code
}

// Peek returns the memory as it is now, without waiting: the double's memory is the CPU's.
func (m Memory) Peek(length int) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&m.Address))), length)...)
}

// Free frees the memory.
func (m Memory) Free() { must("cuMemFree_v2", m.Address) }

// NewStream makes a stream. It waits for the default stream unless it is non-blocking.
func NewStream(device int, nonBlocking uintptr) (stream uintptr) {
	On(device, func() { stream = made("cuStreamCreate", nonBlocking) })
	return stream
}

// Synchronize waits for a stream and returns the driver's answer.
func Synchronize(device int, stream uintptr) (code int) {
	On(device, func() { code = Call("cuStreamSynchronize", stream) })
	return code
}

// Record makes an event behind the work that is enqueued on the stream now.
func Record(device int, stream uintptr) (event uintptr) {
	On(device, func() {
		event = made("cuEventCreate", 0)
		must("cuEventRecord", event, stream)
	})
	return event
}

// Wait lets a stream wait for an event.
func Wait(device int, stream, event uintptr) {
	On(device, func() { must("cuStreamWaitEvent", stream, event, 0) })
}

// Capture captures the work that the function work enqueues on the stream. It returns the graph, or
// the driver's answer if that fails.
func Capture(device int, stream uintptr, mode uintptr, work func()) (graph uintptr, code int) {
	On(device, func() {
		must("cuStreamBeginCapture_v2", stream, mode)
		work()
		word := (*uintptr)(C.calloc(1, 8))
		defer C.free(unsafe.Pointer(word))
		if code = Call("cuStreamEndCapture", stream, uintptr(unsafe.Pointer(word))); code == 0 {
			graph = made("cuGraphInstantiateWithFlags", *word, 0)
		}
	})
	return graph, code
}

// Replay enqueues a graph.
func Replay(device int, graph, stream uintptr) {
	On(device, func() { must("cuGraphLaunch", graph, stream) })
}

// The double's controls; libcuda.c describes them.

// LoadModule loads PTX into a device's primary context. It returns the module, or the driver's
// answer if the driver refuses it.
func LoadModule(device int, ptx string) (module uintptr, code int) {
	text := C.CString(ptx)
	defer C.free(unsafe.Pointer(text))
	word := (*uintptr)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(word))
	On(device, func() { code = Call("cuModuleLoadData", uintptr(unsafe.Pointer(word)), uintptr(unsafe.Pointer(text))) })
	return *word, code
}

// Function returns a module's function, in the current context.
func Function(module uintptr, name string) uintptr {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return made("cuModuleGetFunction", module, uintptr(unsafe.Pointer(text)))
}

// Fail makes one call of a function fail: the one after the next `after` calls.
func Fail(function string, after, code int) {
	name := C.CString(function)
	defer C.free(unsafe.Pointer(name))
	Call("double_fail", uintptr(unsafe.Pointer(name)), uintptr(after), uintptr(code))
}

// Log returns the calls since the last Log.
func Log() []string {
	symbol := C.CString("double_log")
	defer C.free(unsafe.Pointer(symbol))
	text := C.text(symbol)
	defer C.free(unsafe.Pointer(text))
	return strings.Split(strings.TrimSpace(C.GoString(text)), "\n")
}

// Why returns where the last kernel went wrong, or why a module was refused.
func Why() string {
	symbol := C.CString("double_why")
	defer C.free(unsafe.Pointer(symbol))
	return C.GoString(C.text(symbol))
}

// Bits sets the nans that arithmetic makes, and the content of registers before they are written.
func Bits(nan32 uint32, nan64, unwritten uint64) {
	Call("double_bits", uintptr(nan32), uintptr(nan64), uintptr(unwritten))
}

// First makes grids of more than this many blocks run without the first ones.
func First(block int) { Call("double_first", uintptr(block)) }

// Pending returns the number of pieces of work that wait on a device.
func Pending(device int) int { return Call("double_pending", uintptr(device)) }

// Reset clears the errors of kernels, and returns the number of allocations.
func Reset() int { return Call("double_reset") }
