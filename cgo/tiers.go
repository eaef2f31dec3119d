package cgo

// #include "kernels.h"
import "C"

import (
	"strings"
	"unsafe"
)

// Kernel is the address of a C function (dst, src, n) over contiguous items; see kernels.h and
// cast.h for their contracts. It is no Go pointer, so that plans may be written into C's memory
// without the garbage collector's notice; code never moves.
type Kernel uintptr

// Kernels is the address of a gorsqrt_kernels, the functions of a tier that compute one dtype, and
// Mover of a gorsqrt_mover. Neither is a Go pointer, likewise.
type (
	Kernels uintptr
	Mover   uintptr
)

// Tier is one instruction set's functions, a gorsqrt_tier.
type Tier struct{ c *C.gorsqrt_tier }

// Tiers lists the tiers of this build, the best first, and last the scalar one, which runs
// everywhere.
func Tiers() (tiers []Tier) {
	for _, tier := range C.gorsqrt_tiers {
		tiers = append(tiers, Tier{tier})
	}
	return tiers
}

// Name is what callers choose the tier by. Of tiers with one name the first that the processor runs
// counts.
func (t Tier) Name() string { return C.GoString(t.c.name) }

// Needs lists the features of the processor that the tier needs, as Linux names them in
// /proc/cpuinfo.
func (t Tier) Needs() (features []string) {
	if t.c.below != nil {
		features = Tier{t.c.below}.Needs()
	}
	return append(features, strings.Fields(C.GoString(t.c.needs))...)
}

// having is the tier that has what this one is asked for: itself, or else the one below it, and so
// on to the scalar one; false if none has it.
func (t Tier) having(it func(*C.gorsqrt_tier) bool) (Tier, bool) {
	for !it(t.c) {
		switch {
		case t.c == &C.gorsqrt_scalar:
			return t, false
		case t.c.below == nil:
			t.c = &C.gorsqrt_scalar
		default:
			t.c = t.c.below
		}
	}
	return t, true
}

// Kernels returns the functions that compute a dtype.
func (t Tier) Kernels(dtype int) Kernels {
	t, _ = t.having(func(c *C.gorsqrt_tier) bool { return c.of[dtype].plain != nil })
	return Kernels(uintptr(unsafe.Pointer(&t.c.of[dtype])))
}

// Cast returns the direct cast between two dtypes; 0 if there is none. All tiers give the same
// bits.
func (t Tier) Cast(from, to int) Kernel {
	t, _ = t.having(func(c *C.gorsqrt_tier) bool { return c.casts[from][to] != nil })
	return kernel(unsafe.Pointer(t.c.casts[from][to]))
}

// Mover returns the functions that move items.
func (t Tier) Mover() Mover {
	t, _ = t.having(func(c *C.gorsqrt_tier) bool { return c.mover != nil })
	return Mover(uintptr(unsafe.Pointer(t.c.mover)))
}

// Plain is the kernel over contiguous items of the dtype.
func (k Kernels) Plain() Kernel { return kernel(unsafe.Pointer(k.c().plain)) }

// Casting is the kernel that casts integers of this dtype as it loads them; 0 if there is none.
func (k Kernels) Casting(from int) Kernel { return kernel(unsafe.Pointer(k.c().casting[from])) }

// Static memory of C's, which is never freed.
func (k Kernels) c() *C.gorsqrt_kernels { return *(**C.gorsqrt_kernels)(unsafe.Pointer(&k)) }

func kernel(function unsafe.Pointer) Kernel { return Kernel(uintptr(function)) }
