package cgo

import (
	"fmt"
	"testing"
	"unsafe"
)

// BenchmarkKernels measures the kernels of every tier and dtype on one item, and on the items that
// fit into the second-level cache.
func BenchmarkKernels(b *testing.B) {
	tokens := [Computed]string{F16: "f16", BF16: "bf16", F32: "f32", F64: "f64", C64: "c64", C128: "c128"}
	one := [Computed]uint64{F16: 0x3c003c003c003c00, BF16: 0x3f803f803f803f80, F32: 0x3f8000003f800000, F64: 1023 << 52, C64: 0x3f8000003f800000, C128: 1023 << 52}
	const bytes = 1 << 17
	src, dst := make([]uint64, bytes/8), make([]uint64, bytes/8)
	for name, tier := range RunningTiers {
		for dtype := range Computed {
			for i := range src {
				src[i] = one[dtype]
			}
			for _, n := range []int{1, bytes / Size(dtype)} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, tokens[dtype], n), func(b *testing.B) {
					b.SetBytes(int64(n * Size(dtype)))
					for b.Loop() {
						Call(tier.Kernels(dtype).Plain(), unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), n)
					}
				})
			}
		}
	}
}
