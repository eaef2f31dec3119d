package cgo

// #include "kernels.h"
import "C"

import (
	"strings"
	"unsafe"
)

// Kernel is the address of a C function (dst, src, n) over contiguous items; see kernels.h and
// cast.h for their contracts. It is an integer, not a Go pointer, so that plans can be written into
// C's memory without the garbage collector. Code never moves.
type Kernel uintptr

// Kernels is the address of a gorsqrt_kernels, the functions of a tier that compute one dtype.
// Mover is the address of a gorsqrt_mover. Both are integers for the same reason.
type (
	Kernels uintptr
	Mover   uintptr
)

// Tier is a gorsqrt_tier: the functions of one instruction set.
type Tier struct{ c *C.gorsqrt_tier }

// Tiers returns the tiers of this build, the best first and last the scalar one, which runs
// everywhere.
func Tiers() (tiers []Tier) {
	for _, tier := range C.gorsqrt_tiers {
		tiers = append(tiers, Tier{tier})
	}
	return tiers
}

// Name returns the name by which callers choose the tier. Of tiers with one name the first that the
// processor runs is used.
func (t Tier) Name() string { return C.GoString(t.c.name) }

// Needs returns the processor features that the tier needs, by their names in /proc/cpuinfo.
func (t Tier) Needs() (features []string) {
	if t.c.below != nil {
		features = Tier{t.c.below}.Needs()
	}
	return append(features, strings.Fields(C.GoString(t.c.needs))...)
}

// having returns the first tier for which it is true: this one, or one below it, down to the scalar
// tier; false if there is none.
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

// Plain returns the dtype's kernel over contiguous items.
func (k Kernels) Plain() Kernel { return kernel(unsafe.Pointer(k.c().plain)) }

// Casting returns the kernel that casts items of this integer dtype as it loads them; 0 if there is
// none.
func (k Kernels) Casting(from int) Kernel { return kernel(unsafe.Pointer(k.c().casting[from])) }

// The address is of C's static memory, which is never freed.
func (k Kernels) c() *C.gorsqrt_kernels { return *(**C.gorsqrt_kernels)(unsafe.Pointer(&k)) }

func kernel(function unsafe.Pointer) Kernel { return Kernel(uintptr(function)) }
