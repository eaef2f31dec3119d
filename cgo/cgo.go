// Package cgo holds gorsqrt's arithmetic in C, one file per instruction set, and one-line wrappers
// around it. It decides nothing: package rsqrt chooses which kernel runs on which memory.
package cgo

/*
#cgo CFLAGS: -std=c11 -O3 -fno-fast-math -Wall -Wextra -Wno-unknown-pragmas
#cgo LDFLAGS: -lm
#include "plan.h"
#include "workers.h"

static void call(uintptr_t kernel, void *dst, const void *src, size_t n) { ((gorsqrt_kernel *)kernel)(dst, src, n); }
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// The dtypes, as kernels.h numbers them. Those below Computed have kernels.
const (
	F16      = int(C.GORSQRT_F16)
	BF16     = int(C.GORSQRT_BF16)
	F32      = int(C.GORSQRT_F32)
	F64      = int(C.GORSQRT_F64)
	C64      = int(C.GORSQRT_C64)
	C128     = int(C.GORSQRT_C128)
	Computed = int(C.GORSQRT_COMPUTED)
	Bool     = int(C.GORSQRT_BOOL)
	I8       = int(C.GORSQRT_I8)
	U8       = int(C.GORSQRT_U8)
	I16      = int(C.GORSQRT_I16)
	U16      = int(C.GORSQRT_U16)
	I32      = int(C.GORSQRT_I32)
	U32      = int(C.GORSQRT_U32)
	I64      = int(C.GORSQRT_I64)
	U64      = int(C.GORSQRT_U64)
	DTypes   = int(C.GORSQRT_DTYPES)

	MaxNDim   = int(C.GORSQRT_MAX_NDIM)
	maxStages = int(C.GORSQRT_MAX_STAGES)
)

// Size returns the number of bytes of one item of a dtype.
func Size(dtype int) int { return int(C.gorsqrt_item_size[dtype]) }

// IsIntel returns whether the processor is Intel's.
func IsIntel() bool { return bool(C.gorsqrt_is_intel()) }

// SetIntel sets whether the AVX-512 kernels run in the variant for Intel's processors. No result
// bit changes. Call it before the first kernel.
func SetIntel(intel bool) { C.gorsqrt_intel = C.bool(intel) }

// Call runs a kernel over n items of its dtype. dst and src are the same items or disjoint.
func Call(kernel Kernel, dst, src unsafe.Pointer, n int) {
	C.call(C.uintptr_t(kernel), dst, src, C.size_t(n))
}

// Plan mirrors gorsqrt_plan, which plan.h documents. It holds addresses of C's functions and tables
// only, none of an array, so it may be in Go's memory or in C's.
type Plan struct {
	N                             int
	SrcSize, DstSize              int
	SrcOffset, DstOffset          int
	NDim, Stages                  int32
	Mover                         Mover
	Kernels                       Kernels
	Temporary                     int
	Stage                         [maxStages]Kernel
	Shape, SrcStrides, DstStrides [MaxNDim]int
}

// Fails to compile unless every field has the same place in both structs.
var _ = [1]struct{}{}[0|
	(unsafe.Offsetof(Plan{}.N)^unsafe.Offsetof(C.gorsqrt_plan{}.n))|
	(unsafe.Offsetof(Plan{}.SrcSize)^unsafe.Offsetof(C.gorsqrt_plan{}.src_size))|
	(unsafe.Offsetof(Plan{}.DstSize)^unsafe.Offsetof(C.gorsqrt_plan{}.dst_size))|
	(unsafe.Offsetof(Plan{}.SrcOffset)^unsafe.Offsetof(C.gorsqrt_plan{}.src_offset))|
	(unsafe.Offsetof(Plan{}.DstOffset)^unsafe.Offsetof(C.gorsqrt_plan{}.dst_offset))|
	(unsafe.Offsetof(Plan{}.NDim)^unsafe.Offsetof(C.gorsqrt_plan{}.ndim))|
	(unsafe.Offsetof(Plan{}.Stages)^unsafe.Offsetof(C.gorsqrt_plan{}.stages))|
	(unsafe.Offsetof(Plan{}.Mover)^unsafe.Offsetof(C.gorsqrt_plan{}.mover))|
	(unsafe.Offsetof(Plan{}.Kernels)^unsafe.Offsetof(C.gorsqrt_plan{}.kernels))|
	(unsafe.Offsetof(Plan{}.Temporary)^unsafe.Offsetof(C.gorsqrt_plan{}.temporary))|
	(unsafe.Offsetof(Plan{}.Stage)^unsafe.Offsetof(C.gorsqrt_plan{}.stage))|
	(unsafe.Offsetof(Plan{}.Shape)^unsafe.Offsetof(C.gorsqrt_plan{}.shape))|
	(unsafe.Offsetof(Plan{}.SrcStrides)^unsafe.Offsetof(C.gorsqrt_plan{}.src_strides))|
	(unsafe.Offsetof(Plan{}.DstStrides)^unsafe.Offsetof(C.gorsqrt_plan{}.dst_strides))|
	(unsafe.Sizeof(Plan{})^unsafe.Sizeof(C.gorsqrt_plan{}))]

// Execute carries out a plan on the memory at dst and src, which the caller keeps in place.
func Execute(plan *Plan, dst, src unsafe.Pointer) error {
	if C.gorsqrt_execute((*C.gorsqrt_plan)(unsafe.Pointer(plan)), dst, src, nil, nil) == C.GORSQRT_NO_MEMORY {
		return fmt.Errorf("no memory for a temporary of %d bytes", plan.N*plan.DstSize)
	}
	return nil
}

// MostThreads is the largest number that SetThreads accepts.
const MostThreads = int(C.WORKERS_MOST)

// SetThreads sets how many threads may work on one plan, including the caller's: at least 1, at
// most MostThreads.
func SetThreads(n int) { C.gorsqrt_set_threads(C.int(max(1, min(n, MostThreads)))) }

// Threads returns the number that SetThreads has set, 1 before that.
func Threads() int { return int(C.gorsqrt_threads()) }

// SetStreaming sets the number of bytes read and written from which a plan's results are stored
// past the caches. Call it before the first plan.
func SetStreaming(bytes int) { C.gorsqrt_streaming_from = C.int64_t(bytes) }
