package rsqrt

import (
	"github.com/gorsqrt/gorsqrt/cgo"
)

const maxNDim = cgo.MaxNDim

// PlanInto decides how the CPU writes 1/√src to dst, or why it can't; see [Apply]. Booleans and
// integers are computed in the dtype integers. The memory is not touched.
func PlanInto(plan *cgo.Plan, dst, src Array, integers DType) error {
	if src.Device == CUDA && dst.Device == CUDA && dst.Index == src.Index {
		return onDevice(Src, src.Device)
	}
	_, err := DecideInto(plan, dst, src, integers)
	return err
}

// DecideInto is PlanInto for memory of the CPU or of one CUDA device. It returns the dtype of the
// computation. The plan's stages are for the CPU.
func DecideInto(plan *cgo.Plan, dst, src Array, integers DType) (DType, error) {
	switch {
	case src.Device == Elsewhere:
		return 0, onDevice(Src, src.Device)
	case dst.Device == Elsewhere:
		return 0, onDevice(Dst, dst.Device)
	case dst.Device != src.Device || dst.Index != src.Index:
		return 0, twoDevices(dst, src)
	}
	if len(src.Shape) > maxNDim {
		return 0, TooManyDims(Src, len(src.Shape))
	}
	if len(dst.Shape) > maxNDim {
		return 0, TooManyDims(Dst, len(dst.Shape))
	}
	if dst.ReadOnly {
		return 0, readOnly(dst)
	}
	effort := overlapEffort
	itself, shared := overlapsItself(dst, &effort), no
	if itself == yes {
		return 0, errSelfOverlap
	}
	if !sameItems(dst, src) {
		shared = overlap(dst, src, &effort)
	}
	if shared == yes && (dst.DType == src.DType || dst.dense() && src.dense()) {
		return 0, errPartialOverlap
	}
	compute := src.DType.Computed(integers)
	if !fill(plan, compute, dst, src) {
		return 0, noCast(compute, dst.DType)
	}
	if !equal(dst.Shape, src.Shape) {
		return 0, otherShape(dst, src)
	}
	loops(plan, dst, src)
	if shared != no || itself == unknown {
		plan.Temporary = 1
	}
	return compute, nil
}

// PlanFresh decides how the CPU writes 1/√src to a fresh block of memory. It returns the dtype of
// the result, and writes its strides to strides[:len(src.Shape)]. Booleans and integers are
// computed in the dtype integers.
func PlanFresh(plan *cgo.Plan, strides []int, src Array, integers DType) (DType, error) {
	if src.Device != CPU {
		return 0, onDevice(Src, src.Device)
	}
	return DecideFresh(plan, strides, src, integers)
}

// DecideFresh is PlanFresh for memory of the CPU or a CUDA device. The plan's stages are for the
// CPU.
func DecideFresh(plan *cgo.Plan, strides []int, src Array, integers DType) (DType, error) {
	if src.Device == Elsewhere {
		return 0, onDevice(Src, src.Device)
	}
	if len(src.Shape) > maxNDim {
		return 0, TooManyDims(Src, len(src.Shape))
	}
	dst := Array{DType: src.DType.Computed(integers), Shape: src.Shape, Strides: strides[:len(src.Shape)]}
	like, size := src.Strides, src.DType.Size()
	if dst.DType != src.DType && src.Device == CPU {
		// On the CPU torch casts into a temporary first, and preserves the temporary's layout.
		var cast [maxNDim]int
		like = preserveCast(cast[:len(src.Shape)], src.Shape, like, size)
	}
	preserve(dst.Strides, dst.Shape, like, size, dst.DType.Size())
	fill(plan, dst.DType, dst, src)
	loops(plan, dst, src)
	return dst.DType, nil
}

// PlanItems writes the part of a plan that depends on the dtypes alone, for results in the dtype of
// the computation. It returns false if items of src's dtype are not computed in that one.
func PlanItems(plan *cgo.Plan, compute, src DType) bool {
	return src.Computed(compute) == compute && fill(plan, compute, Array{DType: compute}, Array{DType: src})
}

// fill writes the plan's stages: from src's dtype to the computed one, the kernel, and from there
// to dst's dtype. It returns false if dst's dtype can't take the result.
func fill(plan *cgo.Plan, compute DType, dst, src Array) bool {
	plan.Temporary = 0
	plan.N = count(src.Shape)
	plan.SrcSize, plan.DstSize = src.DType.Size(), dst.DType.Size()
	tier := active.Load()
	plan.Mover, plan.Kernels = tier.mover, 0
	kernels := tier.kernels[compute]
	stages := plan.Stage[:0]
	if casting := kernels.Casting(int(src.DType)); casting != 0 {
		stages = append(stages, casting)
	} else {
		stages, _ = casts(stages, tier.Tier, src.DType, compute)
		stages = append(stages, kernels.Plain())
	}
	stages, possible := casts(stages, tier.Tier, compute, dst.DType)
	if src.DType == compute && dst.DType == compute {
		plan.Kernels = kernels
	}
	plan.Stages = int32(len(stages))
	return possible
}

// loops writes the plan's loops: the dimensions ordered by dst's strides, the smallest last, turned
// so that these strides are positive. Dimensions of length 1 are dropped, and neighbours that are
// one dimension in both arrays are merged.
func loops(plan *cgo.Plan, dst, src Array) {
	plan.SrcOffset, plan.DstOffset = 0, 0
	ndim := 0
	for d, length := range src.Shape {
		if length == 1 {
			continue
		}
		dstStride, srcStride := dst.Strides[d], src.Strides[d]
		if dstStride < 0 {
			plan.DstOffset += (length - 1) * dstStride
			plan.SrcOffset += (length - 1) * srcStride
			dstStride, srcStride = -dstStride, -srcStride
		}
		at := ndim
		for ; at > 0 && plan.DstStrides[at-1] < dstStride; at-- {
			plan.Shape[at], plan.DstStrides[at], plan.SrcStrides[at] = plan.Shape[at-1], plan.DstStrides[at-1], plan.SrcStrides[at-1]
		}
		plan.Shape[at], plan.DstStrides[at], plan.SrcStrides[at] = length, dstStride, srcStride
		ndim++
	}
	last := 0
	for d := 1; d < ndim; d++ {
		length := plan.Shape[d]
		if plan.DstStrides[last] == length*plan.DstStrides[d] && plan.SrcStrides[last] == length*plan.SrcStrides[d] {
			plan.Shape[last] *= length
		} else {
			last++
			plan.Shape[last] = length
		}
		plan.DstStrides[last], plan.SrcStrides[last] = plan.DstStrides[d], plan.SrcStrides[d]
	}
	plan.NDim = int32(min(ndim, last+1))
}

// sameItems says whether two arrays are the same elements in the same order.
func sameItems(a, b Array) bool {
	if a.Data != b.Data || a.DType.Size() != b.DType.Size() || !equal(a.Shape, b.Shape) {
		return false
	}
	for d, length := range a.Shape {
		if length > 1 && a.Strides[d] != b.Strides[d] {
			return false
		}
	}
	return true
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for d := range a {
		if a[d] != b[d] {
			return false
		}
	}
	return true
}
