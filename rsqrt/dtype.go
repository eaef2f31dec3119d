package rsqrt

import (
	"strings"
	"sync/atomic"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// DType is the type of an array's elements.
type DType int

// The dtypes: those that are computed as themselves, and the booleans and integers that are cast to
// the default dtype first.
const (
	F16  = DType(cgo.F16)
	BF16 = DType(cgo.BF16)
	F32  = DType(cgo.F32)
	F64  = DType(cgo.F64)
	C64  = DType(cgo.C64)
	C128 = DType(cgo.C128)
	Bool = DType(cgo.Bool)
	I8   = DType(cgo.I8)
	U8   = DType(cgo.U8)
	I16  = DType(cgo.I16)
	U16  = DType(cgo.U16)
	I32  = DType(cgo.I32)
	U32  = DType(cgo.U32)
	I64  = DType(cgo.I64)
	U64  = DType(cgo.U64)
)

// The dtypes' names in numpy, and in torch's errors.
var names = [cgo.DTypes]struct{ numpy, torch string }{
	F16:  {"float16", "Half"},
	BF16: {"bfloat16", "BFloat16"},
	F32:  {"float32", "Float"},
	F64:  {"float64", "Double"},
	C64:  {"complex64", "ComplexFloat"},
	C128: {"complex128", "ComplexDouble"},
	Bool: {"bool", "Bool"},
	I8:   {"int8", "Char"},
	U8:   {"uint8", "Byte"},
	I16:  {"int16", "Short"},
	U16:  {"uint16", "UInt16"},
	I32:  {"int32", "Int"},
	U32:  {"uint32", "UInt32"},
	I64:  {"int64", "Long"},
	U64:  {"uint64", "UInt64"},
}

// String is numpy's name of the dtype.
func (t DType) String() string { return names[t].numpy }

// Size is the number of bytes of one element.
func (t DType) Size() int { return cgo.Size(int(t)) }

func (t DType) real() bool    { return t <= F64 }
func (t DType) complex() bool { return t == C64 || t == C128 }

// Computed is the dtype of the computation: this one, or `integers` for booleans and integers.
func (t DType) Computed(integers DType) DType {
	if t.real() || t.complex() {
		return t
	}
	return integers
}

// Supported lists the names of all dtypes: "float16, bfloat16, … and uint64".
func Supported() string {
	all := make([]string, len(names))
	for t := range names {
		all[t] = DType(t).String()
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

var defaultDType atomic.Int64

func init() { defaultDType.Store(int64(F32)) }

// DefaultDType is what booleans and integers are cast to: float32 unless [SetDefaultDType] says
// otherwise.
func DefaultDType() DType { return DType(defaultDType.Load()) }

// SetDefaultDType sets the default dtype by its name, one of float16, bfloat16, float32 and
// float64. The errors' texts are torch's.
func SetDefaultDType(name string) error {
	for t := range names {
		if names[t].numpy != name {
			continue
		}
		if !DType(t).real() {
			return errorf(TypeError, Neither, "only floating-point types are supported as the default type")
		}
		defaultDType.Store(int64(t))
		return nil
	}
	return errorf(TypeError, Neither, "invalid dtype object: only floating-point types are supported as the default type")
}

// casts returns a tier's steps from one dtype to another, or false where torch has no such cast of
// a result: complex to real, and anything to a boolean or an integer.
func casts(steps []cgo.Kernel, tier cgo.Tier, from, to DType) ([]cgo.Kernel, bool) {
	switch {
	case from == to:
		return steps, true
	case !to.real() && !to.complex() || from.complex() && to.real():
		return steps, false
	}
	if step := tier.Cast(int(from), int(to)); step != 0 {
		return append(steps, step), true
	}
	via := F32 // as torch: to and from the 16-bit dtypes, and from float64 to complex64
	if to == C128 {
		via = F64
	}
	steps, _ = casts(steps, tier, from, via)
	return casts(steps, tier, via, to)
}
