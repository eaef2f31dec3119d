// Package rsqrt is the operation: the reciprocal square root of every element of an array, 1/√x.
//
// For float32 and float64 each element of the result is
//
//	RN(1 / RN(√x))        RN: rounded to nearest, ties to even
//
// the bits of torch.rsqrt on the CPU, less than 1.5 ulp from the exact 1/√x. They are the same whatever the element's position,
// the array's length, alignment and strides, and the instruction set. Special values, as in IEEE 754's rSqrt but for the nans'
// bits, which are fixed: ±0 → ±Inf, +Inf → +0, x < 0 and -Inf → the negative quiet NaN, NaN → the same NaN, quieted. Subnormals
// are computed as any other.
//
// Everything here may be called from any number of goroutines at once.
package rsqrt

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// Version is this release of gorsqrt, the Python package's too.
const Version = "0.1.0"

// DType is the type of an array's elements.
type DType int

// The dtypes that are computed as themselves.
const (
	F32 = DType(cgo.F32)
	F64 = DType(cgo.F64)
)

// Array is a view of memory that somebody else owns: n-dimensional, with any strides.
type Array struct {
	// Data points at the element whose indices are all zero. The caller keeps the memory alive and in place during a call.
	Data  unsafe.Pointer
	DType DType
	// Shape has the lengths of at most 64 dimensions; none for a single element.
	Shape []int
	// Strides has one entry for each of Shape: bytes from an element to the next along that dimension. They may be negative,
	// zero, or no multiple of the element's size.
	Strides []int
	// ReadOnly arrays are refused as destinations.
	ReadOnly bool
}

// Float32 writes 1/√src[i] to dst[i]. dst and src have one length, and are the same memory or share none; it panics where
// the lengths differ.
func Float32(dst, src []float32) {
	call(F32, unsafe.Pointer(unsafe.SliceData(dst)), unsafe.Pointer(unsafe.SliceData(src)), len(dst), len(src))
}

// Float64 is [Float32] for float64.
func Float64(dst, src []float64) {
	call(F64, unsafe.Pointer(unsafe.SliceData(dst)), unsafe.Pointer(unsafe.SliceData(src)), len(dst), len(src))
}

func call(dtype DType, dst, src unsafe.Pointer, dstLen, srcLen int) {
	if dstLen != srcLen {
		panic(fmt.Sprintf("rsqrt: dst has length %d, src has length %d", dstLen, srcLen))
	}
	cgo.Call(active.Load().kernels[dtype], dst, src, dstLen)
}

// Apply writes 1/√src to dst, element by element. The two have one shape; the result is computed in src's dtype and then
// rounded to dst's. Where they share memory otherwise than by being the same elements, where two elements of dst share a
// byte, and where dst is read-only, it returns an [*Error] and has written nothing.
func Apply(dst, src Array) error {
	var plan cgo.Plan
	if err := PlanInto(&plan, dst, src); err != nil {
		return err
	}
	return cgo.Execute(&plan, dst.Data, src.Data)
}

// String is numpy's and torch's name of the dtype.
func (t DType) String() string { return names[t] }

// Size is the number of bytes of one element.
func (t DType) Size() int { return cgo.Size(int(t)) }

var names = [cgo.DTypes]string{F32: "float32", F64: "float64"}

// Supported lists the names of all dtypes: "float32 and float64".
func Supported() string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
