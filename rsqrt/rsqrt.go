// Package rsqrt is the operation: the reciprocal square root of every element of an array, 1/√x.
//
// For float32 and float64 each element of the result is
//
//	RN(1 / RN(√x))        RN: rounded to nearest, ties to even
//
// the bits of torch.rsqrt on the CPU, less than 1.5 ulp from the exact 1/√x. float16 and bfloat16
// are correctly rounded. Each component of a complex64 is within 0.51 ulp, of a complex128 within 1
// ulp. Booleans and integers are cast to the default dtype first. The bits are the same whatever
// the element's position, the array's length, alignment and strides, and the instruction set.
//
// Special values, as in IEEE 754's rSqrt but for the nans' bits, which are fixed: ±0 → ±Inf, +Inf →
// +0, x < 0 and -Inf → the negative quiet NaN, NaN → the same NaN, quieted. Subnormals are computed
// as any other. Complex ones follow C99's Annex G of csqrt, then 1/z.
//
// Everything here may be called from any number of goroutines at once.
package rsqrt

import (
	"fmt"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// Version is this release of gorsqrt, the Python package's too.
const Version = "0.1.0"

// Array is a view of memory that somebody else owns: n-dimensional, with any strides.
type Array struct {
	// Data points at the element whose indices are all zero. The caller keeps the memory alive and
	// in place during a call.
	Data  unsafe.Pointer
	DType DType
	// Shape has the lengths of at most 64 dimensions; none for a single element.
	Shape []int
	// Strides has one entry for each of Shape: bytes from an element to the next along that
	// dimension. They may be negative, zero, or no multiple of the element's size.
	Strides []int
	// ReadOnly arrays are refused as destinations.
	ReadOnly bool
	// Because says why it is read-only, if there is more to say: "jax arrays are immutable".
	Because string
	// Device is where the memory is.
	Device Device
	// Index is which of several CUDA devices that is.
	Index int
}

// Device is where an array's memory is.
type Device int

// The devices. This package computes on the CPU and refuses what lies elsewhere; package cuda
// computes on CUDA's.
const (
	CPU Device = iota
	CUDA
	Elsewhere
)

// Float32 writes 1/√src[i] to dst[i]. dst and src are the same memory or share none. It panics if
// their lengths differ.
func Float32(dst, src []float32) { elements(F32, dst, src) }

// Float64 is [Float32] for float64.
func Float64(dst, src []float64) { elements(F64, dst, src) }

// Float16 is [Float32] for the bits of IEEE 754's binary16.
func Float16(dst, src []uint16) { elements(F16, dst, src) }

// BFloat16 is [Float32] for the bits of bfloat16, the upper half of a float32.
func BFloat16(dst, src []uint16) { elements(BF16, dst, src) }

// Complex64 is [Float32] for complex64.
func Complex64(dst, src []complex64) { elements(C64, dst, src) }

// Complex128 is [Float32] for complex128.
func Complex128(dst, src []complex128) { elements(C128, dst, src) }

func elements[T any](dtype DType, dst, src []T) {
	if len(dst) != len(src) {
		panic(fmt.Sprintf("rsqrt: dst has length %d, src has length %d", len(dst), len(src)))
	}
	// Both slices stay where they are while C runs: cgo pins what a call is given.
	cgo.Call(active.Load().kernels[dtype].Plain(), unsafe.Pointer(unsafe.SliceData(dst)), unsafe.Pointer(unsafe.SliceData(src)), len(dst))
}

// Apply writes 1/√src to dst, element by element. The result is computed in src's dtype, or in the
// default dtype for booleans and integers, and then cast to dst's: from real to any real or complex
// dtype, from complex to complex.
//
// It returns an [*Error], and writes nothing, if
//
//   - the shapes differ, or dst's dtype can't take the result
//   - dst is read-only, or an array is not on the CPU
//   - two elements of dst share a byte
//   - the arrays share memory and are not the same elements
func Apply(dst, src Array) error {
	var plan cgo.Plan
	if err := PlanInto(&plan, dst, src, DefaultDType()); err != nil {
		return err
	}
	return cgo.Execute(&plan, dst.Data, src.Data)
}
