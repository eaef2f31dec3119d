package cuda

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra
#cgo LDFLAGS: -L${SRCDIR}/lib -Wl,--as-needed -ldl -lpthread
#include "driver.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/rsqrt"
	"gorgonia.org/cu"
)

// The driver's words for a child of fork, whose parent has used CUDA: it can't be initialised
// there.
const notInitialized = C.CUDA_ERROR_NOT_INITIALIZED

// open loads and initialises the driver.
func open() error {
	switch code := C.driver_open(); code {
	case C.CUDA_SUCCESS:
		return nil
	case notInitialized: // torch's text
		return refusal("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start method")
	case C.CUDA_ERROR_SHARED_OBJECT_INIT_FAILED:
		return refusal("CUDA error: NVIDIA's driver could not be loaded (%s); an array on a CUDA device needs it", C.GoString(C.driver_missing()))
	default:
		return driverError(code)
	}
}

// failed makes an *rsqrt.Error of an error of package cu's, which is one of the driver's numbers.
func failed(err error) error {
	if err == nil {
		return nil
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		if number := reflect.ValueOf(next); number.CanInt() {
			return driverError(C.CUresult(number.Int()))
		}
	}
	return refusal("CUDA error: %v", err)
}

// driverError is an error in the driver's own name and words.
func driverError(code C.CUresult) error {
	var name, text *C.char // the driver's, for ever
	if C.cuGetErrorName(code, &name) != C.CUDA_SUCCESS || C.cuGetErrorString(code, &text) != C.CUDA_SUCCESS {
		return refusal("CUDA error: %d, which this driver has no name for", int(code))
	}
	return refusal("CUDA error: %s: %s", C.GoString(name), C.GoString(text))
}

func refusal(format string, args ...any) error {
	return &rsqrt.Error{Kind: rsqrt.RuntimeError, Operand: rsqrt.Neither, Text: fmt.Sprintf(format, args...)}
}

// What package cu lacks.

// relaxed runs work that is no part of a capture, even if a stream of this thread is capturing.
func relaxed(work func() error) error {
	mode := C.CUstreamCaptureMode(C.CU_STREAM_CAPTURE_MODE_RELAXED)
	if code := C.cuThreadExchangeStreamCaptureMode(&mode); code != C.CUDA_SUCCESS {
		return driverError(code)
	}
	err := work()
	if code := C.cuThreadExchangeStreamCaptureMode(&mode); code != C.CUDA_SUCCESS && err == nil {
		return driverError(code)
	}
	return err
}

// DeviceOf is the index of the CUDA device that memory is on.
func DeviceOf(memory unsafe.Pointer) (int, error) {
	if err := open(); err != nil {
		return 0, err
	}
	var index C.int
	code := C.cuPointerGetAttribute(unsafe.Pointer(&index), C.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, C.CUdeviceptr(uintptr(memory)))
	if code != C.CUDA_SUCCESS {
		return 0, driverError(code)
	}
	return int(index), nil
}

// order lets what is enqueued on the stream next from now on wait for what is on first until now.
func order(first, next uintptr) error {
	event, err := record(first)
	if err != nil {
		return err
	}
	code := C.cuStreamWaitEvent(handle(streamOf(next)), eventOf(event), 0)
	if ended := C.cuEventDestroy(eventOf(event)); code == C.CUDA_SUCCESS { // once it has come to pass
		code = ended
	}
	if code != C.CUDA_SUCCESS {
		return driverError(code)
	}
	return nil
}

// record is an event of the current context. It comes to pass with the work that is on the stream.
func record(stream uintptr) (uintptr, error) {
	var event C.CUevent
	if code := C.cuEventCreate(&event, C.CU_EVENT_DISABLE_TIMING); code != C.CUDA_SUCCESS {
		return 0, driverError(code)
	}
	if code := C.cuEventRecord(event, handle(streamOf(stream))); code != C.CUDA_SUCCESS {
		C.cuEventDestroy(event)
		return 0, driverError(code)
	}
	return uintptr(unsafe.Pointer(event)), nil
}

// past says whether an event has come to pass, or can't since the device has failed, and destroys
// it if so.
func past(event uintptr) bool {
	if C.cuEventQuery(eventOf(event)) == C.CUDA_ERROR_NOT_READY {
		return false
	}
	C.cuEventDestroy(eventOf(event))
	return true
}

// capturing says whether what is enqueued on a stream of the current context is captured.
func capturing(stream uintptr) (bool, error) {
	var status C.CUstreamCaptureStatus
	if code := C.cuStreamIsCapturing(handle(streamOf(stream)), &status); code != C.CUDA_SUCCESS {
		return false, driverError(code)
	}
	return status != C.CU_STREAM_CAPTURE_STATUS_NONE, nil
}

// allocate gets device memory in the stream's order: usable by what is launched there from now on.
func allocate(bytes int, stream cu.Stream) (uintptr, error) {
	var memory C.CUdeviceptr
	if code := C.cuMemAllocAsync(&memory, C.size_t(bytes), handle(stream)); code != C.CUDA_SUCCESS {
		return 0, driverError(code)
	}
	return uintptr(memory), nil
}

// free gives it back when what was launched there until now is done.
func free(memory uintptr, stream cu.Stream) error {
	if code := C.cuMemFreeAsync(C.CUdeviceptr(memory), handle(stream)); code != C.CUDA_SUCCESS {
		return driverError(code)
	}
	return nil
}

func handle(stream cu.Stream) C.CUstream { return C.CUstream(unsafe.Pointer(stream.C())) }

// eventOf is an event of record's.
func eventOf(event uintptr) C.CUevent { return *(*C.CUevent)(unsafe.Pointer(&event)) }

// streamOf is a stream that somebody else has made. A cu.Stream is the driver's handle and nothing
// else.
func streamOf(handle uintptr) cu.Stream { return *(*cu.Stream)(unsafe.Pointer(&handle)) }
