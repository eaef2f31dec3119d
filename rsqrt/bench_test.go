package rsqrt

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
)

// BenchmarkPlan measures the decision about a strided array, as itself and with casts.
func BenchmarkPlan(b *testing.B) {
	var x, y [64]float64
	array := func(memory *float64, dtype DType, stride int) Array {
		return Array{Data: unsafe.Pointer(memory), DType: dtype, Shape: []int{4}, Strides: []int{stride * dtype.Size()}}
	}
	for _, types := range [][2]DType{{F32, F32}, {I32, F32}, {F16, F64}} {
		dst, src := array(&y[0], types[1], 1), array(&x[0], types[0], 2)
		b.Run(fmt.Sprintf("%v to %v", types[0], types[1]), func(b *testing.B) {
			var plan cgo.Plan
			for b.Loop() {
				must(PlanInto(&plan, dst, src, F32))
			}
		})
	}
}
