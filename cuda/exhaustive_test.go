//go:build exhaustive

package cuda

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
)

// TestEveryFloat32 computes all 2^32 inputs by the PTX and on the CPU: `make exhaustive`, some
// minutes.
func TestEveryFloat32(t *testing.T) {
	const n = 1 << 24
	x := make([]float32, n)
	bits := unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), n)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*n)
	memory := double.Alloc(0, bytes)
	defer memory.Free()
	array := flatLayout(rsqrt.F32, 0, n).on(0, memory.Address)
	for first := uint64(0); first < 1<<32; first += n {
		for i := range bits {
			// An odd multiplier leaves out no value, and lets neighbours differ in exponent and
			// sign.
			bits[i] = uint32(first+uint64(i)) * 0x9e3779b1
		}
		memory.Write(bytes)
		if err := Apply(array, array, LegacyStream); err != nil {
			t.Fatal(err)
		}
		rsqrt.Float32(x, x)
		if got := memory.Read(4 * n); !slices.Equal(got, bytes) {
			t.Fatalf("the values from %#x on differ", first)
		}
	}
}
