// Package binding is the package that gopy wraps for Python. In Go it has the management surface:
// exported functions of plain types. In C it has the functions rsqrt and rsqrt_. Install adds them
// to gopy's module itself, because a call through gopy costs ten times as much.
package binding

/*
#cgo CFLAGS: -std=c11 -O3 -fno-fast-math -fvisibility=hidden -fstack-protector-strong -Wall -Wextra -Wno-unused-parameter -D_GNU_SOURCE
#cgo LDFLAGS: -ldl -Wl,--wrap=_cgo_try_pthread_create
#include "binding.h"
*/
import "C"

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/cuda"
	"github.com/gorsqrt/gorsqrt/rsqrt"
)

// The management surface, wrapped by gopy. No panic may leave these functions: it would end the
// interpreter.

//go:embed rsqrt.txt
var rsqrtDoc string

//go:embed rsqrt_.txt
var rsqrtInplaceDoc string

// variable returns a variable of C's environment, empty if it is not set. Go's own environment is
// not Python's (start.c).
func variable(name string) string {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	return C.GoString(C.getenv(cName))
}

// cacheLimit returns how many bytes of large results' memory are kept for later results:
// GORSQRT_CACHE_LIMIT, or a sixteenth of the memory that the process may expect to have, at most 1
// GiB.
func cacheLimit() (int, error) {
	text := variable("GORSQRT_CACHE_LIMIT")
	if text == "" {
		return min(rsqrt.Memory()/16, 1<<30), nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 0 {
		return 0, fmt.Errorf("GORSQRT_CACHE_LIMIT is '%s', which is not a number of bytes", text)
	}
	return limit, nil
}

// Install adds rsqrt and rsqrt_ to the Python module of this name, and chooses the instruction set:
// GORSQRT_ISA, or the best. It returns gorsqrt's version.
func Install(module string) (version string, err error) {
	defer recovered(&err)
	if isa := variable("GORSQRT_ISA"); isa != "" {
		if err := rsqrt.SetTier(isa); err != nil {
			return "", fmt.Errorf("GORSQRT_ISA: %w", err)
		}
	}
	threads, source, err := rsqrt.DefaultThreads(variable)
	if err != nil {
		return "", errors.New(err.Error())
	}
	if _, err := SetNumThreads(threads); err != nil {
		return "", err
	}
	C.threads_come_from(C.CString(source)) // never freed: C keeps it
	limit, err := cacheLimit()
	if err != nil {
		return "", err
	}
	C.pool_set_limit(C.size_t(limit))
	publish()
	// C keeps these strings until the process ends: they are never freed.
	name, doc, inplaceDoc := C.CString(module), C.CString(rsqrtDoc), C.CString(rsqrtInplaceDoc)
	gil := C.PyGILState_Ensure()
	failed := C.call_install(name, doc, inplaceDoc)
	C.PyGILState_Release(gil)
	if failed != 0 {
		return "", errors.New("gorsqrt could not be installed into " + module)
	}
	return rsqrt.Version, nil
}

// SetTier chooses the instruction set for all later calls and returns its name. It is for tests and
// benchmarks.
func SetTier(name string) (tier string, err error) {
	defer recovered(&err)
	if err := rsqrt.SetTier(name); err != nil {
		return "", err
	}
	publish()
	return rsqrt.Tier(), nil
}

// SetDefaultDType sets, by its name, the dtype to which booleans and integers are cast, and returns
// the name.
func SetDefaultDType(name string) (dtype string, err error) {
	defer recovered(&err)
	var refused *rsqrt.Error
	if errors.As(rsqrt.SetDefaultDType(name), &refused) {
		return "", errors.New(refused.Text)
	}
	publish()
	return name, nil
}

// GetDefaultDType returns the name of the dtype to which booleans and integers are cast.
func GetDefaultDType() (dtype string, err error) {
	defer recovered(&err)
	return rsqrt.DefaultDType().String(), nil
}

// SetNumThreads sets how many threads may work on one call, including the caller's. It returns the
// number that was set, as a string: beside an error gopy wraps no other type.
func SetNumThreads(n int) (threads string, err error) {
	defer recovered(&err)
	var refused *rsqrt.Error
	if errors.As(rsqrt.SetNumThreads(n), &refused) {
		return "", errors.New(refused.Text)
	}
	return strconv.Itoa(rsqrt.NumThreads()), nil
}

// Config describes this build and this machine as a JSON object.
func Config() (text string, err error) {
	defer recovered(&err)
	gopy := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/go-python/gopy" {
				gopy = module.Version
			}
		}
	}
	config, err := json.Marshal(struct {
		Version    string         `json:"version"`
		Tier       string         `json:"tier"`
		Tiers      []string       `json:"tiers"`
		Threads    int            `json:"threads"`
		Caches     map[string]int `json:"caches"`
		Go         string         `json:"go"`
		Gopy       string         `json:"gopy"`
		CUDADriver *string        `json:"cuda_driver"`
	}{
		rsqrt.Version, rsqrt.Tier(), rsqrt.Tiers(), rsqrt.NumThreads(), rsqrt.Caches(),
		strings.TrimPrefix(runtime.Version(), "go"), strings.TrimPrefix(gopy, "v"), cudaDriver(),
	})
	return string(config), err
}

// publish gives the kernels in use to the express lane, and the settings to a forked child's copy
// of this library.
func publish() {
	for dtype, kernels := range rsqrt.Kernels() {
		*(*cgo.Kernels)(unsafe.Pointer(&C.go_here.kernels[dtype])) = kernels
		*(*cgo.Kernel)(unsafe.Pointer(&C.go_here.express[dtype])) = kernels.Plain()
	}
	steps := (*unsafe.Pointer)(unsafe.Pointer(&C.go_here.steps))
	atomic.StorePointer(steps, stepsOfTier())
	// The text ends in a zero: no name fills the array.
	tier := (*[len(C.go_here.tier)]byte)(unsafe.Pointer(&C.go_here.tier))
	clear(tier[copy(tier[:], rsqrt.Tier()):])
	C.go_here.default_dtype = C.int32_t(rsqrt.DefaultDType())
}

// The tables of all steps, by tier, in C's memory: they are never freed, since a loop that began
// under another tier may read its own.
var tables sync.Map

// stepsOfTier is the table of the tier in use.
func stepsOfTier() unsafe.Pointer {
	tier := rsqrt.Tier()
	if table, known := tables.Load(tier); known {
		return table.(unsafe.Pointer)
	}
	type table [cgo.DTypes][cgo.Computed]C.gorsqrt_steps
	written := C.calloc(1, C.size_t(unsafe.Sizeof(table{})))
	if written == nil {
		panic("no memory")
	}
	for src := range cgo.DTypes {
		for compute := range cgo.Computed {
			var plan cgo.Plan
			if !rsqrt.PlanItems(&plan, rsqrt.DType(compute), rsqrt.DType(src)) {
				continue
			}
			steps := &(*table)(written)[src][compute]
			*(*cgo.Mover)(unsafe.Pointer(&steps.mover)) = plan.Mover
			*(*cgo.Kernels)(unsafe.Pointer(&steps.kernels)) = plan.Kernels
			for s, stage := range plan.Stage[:plan.Stages] {
				*(*cgo.Kernel)(unsafe.Pointer(&steps.stage[s])) = stage
			}
			steps.stages = C.int64_t(plan.Stages)
		}
	}
	tables.Store(tier, written)
	return written
}

// cudaDriver returns the version of NVIDIA's kernel driver, nil if there is none.
func cudaDriver() *string {
	text := rsqrt.ReadFile("/proc/driver/nvidia/version")
	if text == "" {
		return nil
	}
	for _, word := range strings.Fields(text) {
		if strings.Contains(word, ".") && strings.Trim(word, "0123456789.") == "" {
			return &word
		}
	}
	unknown := "unknown"
	return &unknown
}

// Decisions, called by decide.c through the table in go.c.

// gorsqrtDecideInto plans 1/√src into dst. On CUDA devices it fills in the device's index. It
// returns whether it refuses; if so, refusal says why. It needs no GIL.
//
//export gorsqrtDecideInto
func gorsqrtDecideInto(plan *C.gorsqrt_plan, dst, src *C.gorsqrt_array, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error {
		y, x, err := arrays(dst, src)
		if err != nil {
			return err
		}
		// The plan is the caller's, on its stack, for this call; it holds no Go pointer.
		decided := (*cgo.Plan)(unsafe.Pointer(plan))
		unlocated := locate(&y, &x) // does not matter if there is another reason, which needs no driver
		if dst.is_open == 0 || src.is_open == 0 {
			return rsqrt.PlanInto(decided, y, x, integers(src))
		}
		dst.index, src.index = C.int32_t(y.Index), C.int32_t(x.Index)
		if _, err := rsqrt.DecideInto(decided, y, x, integers(src)); err != nil {
			return err
		}
		return unlocated
	})
}

// gorsqrtDecideFresh plans 1/√src into fresh memory, and says which dtype and strides (64 places)
// that memory must have.
//
//export gorsqrtDecideFresh
func gorsqrtDecideFresh(plan *C.gorsqrt_plan, strides *C.int64_t, dtype *C.int32_t, src *C.gorsqrt_array, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error {
		x, err := array(rsqrt.Src, src)
		if err != nil {
			return err
		}
		// Both are the caller's, on its stack, for this call.
		places := unsafe.Slice((*int)(unsafe.Pointer(strides)), cgo.MaxNDim)
		decide := rsqrt.PlanFresh
		if src.is_open != 0 {
			decide = rsqrt.DecideFresh
		}
		result, err := decide((*cgo.Plan)(unsafe.Pointer(plan)), places, x, integers(src))
		*dtype = C.int32_t(result)
		return err
	})
}

// gorsqrtLaunch enqueues a plan of 1/√src into dst on their CUDA device, and marks the end of the
// work if mark is not NULL. It returns whether it refuses; if so, refusal says why. It needs no
// GIL. It may take long: the driver compiles code at its first use, and waits if a stream is full.
//
//export gorsqrtLaunch
func gorsqrtLaunch(plan *C.gorsqrt_plan, dst, src *C.gorsqrt_array, mark *C.gorsqrt_mark, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error {
		y, x, err := arrays(dst, src)
		if err == nil {
			err = locate(&y, &x)
		}
		if err != nil {
			return err
		}
		// The plan is the caller's, on its stack, for this call; it holds no Go pointer.
		decided := (*cgo.Plan)(unsafe.Pointer(plan))
		stream, beside := streams(uintptr(dst.stream), uintptr(src.stream))
		err = cuda.Launch(decided, x.DType.Computed(integers(src)), y, x, stream, beside...)
		if err != nil || mark == nil || decided.N == 0 {
			return err
		}
		event, err := cuda.Mark(x.Index, stream)
		*mark = C.gorsqrt_mark{event: C.uintptr_t(event), device: C.int32_t(x.Index)}
		return err
	})
}

// gorsqrtHasPassed returns whether a device has reached a mark. If so, it releases the mark.
//
//export gorsqrtHasPassed
func gorsqrtHasPassed(mark C.gorsqrt_mark) C.bool {
	passed := true
	_ = refused(new(C.gorsqrt_refusal), func() error { // a panic would end the process
		passed = cuda.Passed(int(mark.device), uintptr(mark.event))
		return nil
	})
	return C.bool(passed)
}

// gorsqrtAllocate allocates memory on a CUDA device, in the order of the legacy default stream. If
// *device is negative, it uses the device of the memory other, and writes its index to *device. It
// returns whether it refuses; if so, refusal says why. It needs no GIL.
//
//export gorsqrtAllocate
func gorsqrtAllocate(device *C.int32_t, other unsafe.Pointer, bytes C.size_t, memory *C.uintptr_t, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error {
		if *device < 0 && other != nil {
			index, err := cuda.DeviceOf(other)
			if err != nil {
				return err
			}
			*device = C.int32_t(index)
		}
		*device = max(*device, 0)
		address, err := cuda.Allocate(int(*device), int(bytes))
		*memory = C.uintptr_t(address)
		return err
	})
}

// gorsqrtFree gives gorsqrtAllocate's memory back. It needs no GIL.
//
//export gorsqrtFree
func gorsqrtFree(device C.int32_t, memory C.uintptr_t) {
	_ = refused(new(C.gorsqrt_refusal), func() error {
		_ = cuda.Free(int(device), uintptr(memory)) // if the driver refuses, nothing more can be done
		return nil
	})
}

// gorsqrtOrder lets a stream of a CUDA device wait for the device's legacy default stream. It
// returns whether it refuses; if so, refusal says why.
//
//export gorsqrtOrder
func gorsqrtOrder(device C.int32_t, stream C.uintptr_t, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error { return cuda.Order(int(device), cuda.LegacyStream, uintptr(stream)) })
}

// gorsqrtCollect collects the garbage of calls if there is much of it. C calls it every
// COLLECT_EVERY calls, with the GIL or without.
//
//export gorsqrtCollect
func gorsqrtCollect() { collect() }

// locate asks the driver for the devices of arrays that don't name theirs. An array without items,
// or one unknown to the driver, is taken to be on the other array's device.
func locate(dst, src *rsqrt.Array) (err error) {
	unknown := []*rsqrt.Array{}
	index := 0
	for _, a := range []*rsqrt.Array{src, dst} {
		if a.Device != rsqrt.CUDA {
			continue
		}
		if a.Index < 0 && a.Data != nil {
			found, refused := cuda.DeviceOf(a.Data)
			if refused == nil {
				a.Index = found
			} else if err == nil {
				err = refused
			}
		}
		if a.Index < 0 {
			unknown = append(unknown, a)
		} else {
			index = a.Index
		}
	}
	for _, a := range unknown {
		a.Index = index
	}
	return err
}

// streams returns the stream to launch on, and the streams to order with it. Zero means that the
// array may be used on any stream.
func streams(dst, src uintptr) (stream uintptr, beside []uintptr) {
	switch {
	case dst == 0 && src == 0:
		return cuda.LegacyStream, nil
	case dst == 0 || dst == src:
		return src, nil
	case src == 0:
		return dst, nil
	}
	return dst, []uintptr{src}
}

// gorsqrtTakeOver gives this library, a copy in a forked child, the settings of the Go that it
// replaces. It needs no GIL.
//
//export gorsqrtTakeOver
func gorsqrtTakeOver(tier *C.char, defaultDType, threads C.int32_t, refusal *C.gorsqrt_refusal) C.bool {
	return refused(refusal, func() error {
		if _, err := SetNumThreads(int(threads)); err != nil {
			return err
		}
		if _, err := SetTier(C.GoString(tier)); err != nil {
			return err
		}
		_, err := SetDefaultDType(rsqrt.DType(defaultDType).String())
		return err
	})
}

// arrays returns the two operands of a call in Go's terms; the source is judged first.
func arrays(dst, src *C.gorsqrt_array) (y, x rsqrt.Array, err error) {
	if x, err = array(rsqrt.Src, src); err == nil {
		y, err = array(rsqrt.Dst, dst)
	}
	return y, x, err
}

// array returns C's array in Go's terms, without a copy. It may be used only during the call in
// which C holds the argument.
func array(operand rsqrt.Operand, a *C.gorsqrt_array) (rsqrt.Array, error) {
	if a.device != C.CPU && a.is_open == 0 {
		return rsqrt.Array{Device: rsqrt.Device(a.device), Index: int(a.index)}, nil
	}
	if a.dtype == C.GORSQRT_DTYPES {
		return rsqrt.Array{}, rsqrt.Unsupported(operand, C.GoString(a._type))
	}
	if a.ndim > C.GORSQRT_MAX_NDIM { // shape or strides may be missing
		return rsqrt.Array{}, rsqrt.TooManyDims(operand, int(a.ndim))
	}
	return rsqrt.Array{
		Data:     a.data,
		DType:    rsqrt.DType(a.dtype),
		Shape:    unsafe.Slice((*int)(unsafe.Pointer(a.shape)), int(a.ndim)),
		Strides:  unsafe.Slice((*int)(unsafe.Pointer(a.strides)), int(a.ndim)),
		ReadOnly: a.read_only != 0,
		Because:  C.GoString(a.because),
		Device:   rsqrt.Device(a.device),
		Index:    int(a.index),
	}, nil
}

// integers returns the dtype in which a source of booleans or integers is computed.
func integers(src *C.gorsqrt_array) rsqrt.DType {
	if src.default_dtype < 0 {
		return rsqrt.DefaultDType()
	}
	return rsqrt.DType(src.default_dtype)
}

// refused runs a decision and writes its error, or its panic, down for C.
func refused(refusal *C.gorsqrt_refusal, decide func() error) C.bool {
	err := func() (err error) {
		defer recovered(&err)
		return decide()
	}()
	if err == nil {
		return false
	}
	why := &rsqrt.Error{Text: err.Error()}
	errors.As(err, &why)
	*refusal = C.gorsqrt_refusal{C.int32_t(why.Kind), C.int32_t(why.Operand), cString(why.Text)}
	return true
}

// cString is like C.CString, but returns NULL if there is no memory, and C.CString ends the
// process.
func cString(text string) *C.char {
	return C.copied_text((*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text)))
}

// Fails to compile if C's numbers of the exceptions, operands, devices and streams are not Go's.
var (
	_ = [1]struct{}{}[C.RUNTIME_ERROR-rsqrt.RuntimeError]
	_ = [1]struct{}{}[C.TYPE_ERROR-rsqrt.TypeError]
	_ = [1]struct{}{}[C.VALUE_ERROR-rsqrt.ValueError]
	_ = [1]struct{}{}[C.OTHER_SHAPE-rsqrt.OtherShape]
	_ = [1]struct{}{}[C.NEITHER-rsqrt.Neither]
	_ = [1]struct{}{}[C.SRC-rsqrt.Src]
	_ = [1]struct{}{}[C.DST-rsqrt.Dst]
	_ = [1]struct{}{}[C.CUDA-rsqrt.CUDA]
	_ = [1]struct{}{}[C.ELSEWHERE-rsqrt.Elsewhere]
	_ = [1]struct{}{}[C.LEGACY_STREAM-cuda.LegacyStream]
)

// recovered makes an error of a panic.
func recovered(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("gorsqrt: internal error: %v", cause)
	}
}
