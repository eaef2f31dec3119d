package rsqrt

import (
	"errors"
	"strings"
	"testing"
	"unsafe"
)

func TestRefusals(t *testing.T) {
	x := make([]float32, 8)
	array := func(shape, strides []int) Array {
		return Array{Data: unsafe.Pointer(&x[0]), DType: F32, Shape: shape, Strides: strides}
	}
	readOnly := array([]int{4}, []int{4})
	readOnly.ReadOnly = true
	deep := array(make([]int, 65), make([]int, 65))
	for _, c := range []struct {
		name     string
		dst, src Array
		kind     ErrorKind
		text     string
	}{
		{"read-only", readOnly, readOnly, ValueError, "rsqrt: dst is read-only"},
		{"other shape", array([]int{4}, []int{4}), array([]int{1, 4}, []int{0, 4}), RuntimeError, "rsqrt: unsupported operation"},
		{"other length", array([]int{2}, []int{4}), Array{Data: unsafe.Pointer(&x[4]), DType: F32, Shape: []int{3}, Strides: []int{4}}, OtherShape, "dst has shape [2], which does not match the required output shape [3]"},
		{"expanded", array([]int{2, 2}, []int{0, 4}), array([]int{2, 2}, []int{8, 4}), RuntimeError, "more than one element of the written-to tensor"},
		{"65 dimensions", deep, deep, RuntimeError, "src has 65 dimensions; at most 64"},
	} {
		err := Apply(c.dst, c.src)
		var refused *Error
		if !errors.As(err, &refused) || refused.Kind != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
