// Package cuda is the operation of package rsqrt on arrays in a CUDA device's memory, with the same
// rules and the same bits.
//
// The kernels are PTX, which the driver compiles for its GPU when a dtype is first used. The
// driver's library is loaded by the first call, and by nothing else: a program that imports this
// package runs on machines without one.
//
// To build it, package cu needs a cuda.h among C's headers: NVIDIA's of 11.0 to 12.9, or this
// module's own.
//
//	CGO_CFLAGS="-O2 -I$(go list -m -f '{{.Dir}}' github.com/gorsqrt/gorsqrt)/cuda/include" go build
//
// No other part of the toolkit is needed.
package cuda

// #include "launch.h"
import "C"

import (
	"embed"
	"math/bits"
	"runtime"
	"sync"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
	"gorgonia.org/cu"
)

// The handles of the default streams, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD of the driver; 0
// stands for the first one too.
const (
	LegacyStream    uintptr = 1
	PerThreadStream uintptr = 2
)

// Apply writes 1/√src to dst, element by element, by the rules of [rsqrt.Apply]. Both are on the
// same CUDA device. The work is enqueued on the stream, a CUstream of the device's primary context,
// which may be capturing. Apply does not wait: the arrays must stay until the work has run.
//
// An [*rsqrt.Error] says why the call was refused, with nothing enqueued, or gives the driver's
// error. The driver may report a failure of earlier work. Of this call only the last step, which
// restores the thread's context, can fail after the work is enqueued.
//
// It may be called from any number of goroutines at once.
func Apply(dst, src rsqrt.Array, stream uintptr) error {
	return ApplyIn(dst, src, rsqrt.DefaultDType(), stream)
}

// ApplyIn is [Apply] with the dtype that booleans and integers are computed in. The work waits for
// the streams `beside`, and they wait for the work: the arrays may be used on any of them.
func ApplyIn(dst, src rsqrt.Array, integers rsqrt.DType, stream uintptr, beside ...uintptr) error {
	var plan cgo.Plan
	compute, err := rsqrt.DecideInto(&plan, dst, src, integers)
	if err != nil {
		return err
	}
	return Launch(&plan, compute, dst, src, stream, beside...)
}

// Launch enqueues what [rsqrt.DecideInto] or [rsqrt.DecideFresh] has decided of these arrays: the
// plan, and the dtype that is computed in.
func Launch(plan *cgo.Plan, compute rsqrt.DType, dst, src rsqrt.Array, stream uintptr, beside ...uintptr) error {
	if plan.N == 0 {
		return nil
	}
	if src.Device != rsqrt.CUDA {
		return refusal("package cuda computes on CUDA devices; these arrays are in the CPU's memory")
	}
	if err := open(); err != nil {
		return err
	}
	return within(src.Index, func(gpu *device) (err error) {
		for _, other := range beside {
			if err == nil {
				err = order(other, stream)
			}
		}
		if err == nil {
			err = gpu.launch(plan, compute, dst, src, streamOf(stream))
		}
		for _, other := range beside {
			if err == nil {
				err = order(stream, other)
			}
		}
		return err
	})
}

// Mark is an event of the driver on the device of this index. It comes to pass when the work that
// is on the stream now is done. It is zero if the stream is capturing: then nothing is enqueued.
func Mark(index int, stream uintptr) (event uintptr, err error) {
	err = within(index, func(*device) error {
		captured, err := capturing(stream)
		if err == nil && !captured {
			event, err = record(stream)
		}
		return err
	})
	return event, err
}

// Passed says whether a mark has come to pass, and destroys it if so. It does not wait, and is no
// part of a capture. A device that reports an error does no more work, so the mark has passed.
func Passed(index int, event uintptr) bool {
	passed := true
	_ = within(index, func(*device) error {
		return relaxed(func() error {
			passed = past(event)
			return nil
		})
	})
	return passed
}

// Allocate gets memory on the device of this index, for work enqueued on its legacy default stream
// from now on.
func Allocate(index, bytes int) (memory uintptr, err error) {
	if err := open(); err != nil {
		return 0, err
	}
	err = within(index, func(*device) (err error) {
		memory, err = allocate(bytes, streamOf(LegacyStream))
		return err
	})
	return memory, err
}

// Free gives [Allocate]'s memory back once the work is done that is on the legacy default stream
// now, and on the streams that it waits for.
func Free(index int, memory uintptr) error {
	return within(index, func(*device) error { return free(memory, streamOf(LegacyStream)) })
}

// Order has later work on the stream next wait for the work that is on the stream first now.
func Order(index int, first, next uintptr) error {
	return within(index, func(*device) error { return order(first, next) })
}

// within runs work with a device's primary context as the current one of the thread.
func within(index int, work func(*device) error) error {
	// The driver's current context is a thread's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	gpu, err := deviceAt(index)
	if err != nil {
		return err
	}
	if err := cu.PushCurrentCtx(gpu.context); err != nil {
		return failed(err)
	}
	err = work(gpu)
	if _, popErr := cu.PopCurrentCtx(); err == nil {
		err = failed(popErr)
	}
	return err
}

// A device in use: its primary context, which torch and cupy use too, and the modules loaded there.
// It is kept as long as the process lives.
type device struct {
	context cu.CUContext
	mutex   sync.Mutex
	kernels [cgo.Computed]*kernels
}

var devices sync.Map // from the index to the *device

func deviceAt(index int) (*device, error) {
	if known, ok := devices.Load(index); ok {
		return known.(*device), nil
	}
	var context cu.CUContext
	err := relaxed(func() error {
		ordinal, err := cu.GetDevice(index)
		if err == nil {
			context, err = ordinal.RetainPrimaryCtx()
		}
		return failed(err)
	})
	if err != nil {
		return nil, err
	}
	// Two goroutines may come here at once: the context is the same, and each holds it once more.
	known, _ := devices.LoadOrStore(index, &device{context: context})
	return known.(*device), nil
}

// The kernels of one dtype; rsqrt.cu describes them.
type kernels struct{ flat, items, wide cu.Function }

//go:embed ptx
var ptx embed.FS

var tokens = [cgo.Computed]string{cgo.F16: "f16", cgo.BF16: "bf16", cgo.F32: "f32", cgo.F64: "f64", cgo.C64: "c64", cgo.C128: "c128"}

// of loads the kernels of a dtype into the current context, the first time.
func (d *device) of(dtype rsqrt.DType) (*kernels, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if loaded := d.kernels[dtype]; loaded != nil {
		return loaded, nil
	}
	var loaded kernels
	err := relaxed(func() error {
		text, err := ptx.ReadFile("ptx/" + tokens[dtype] + ".ptx")
		if err != nil {
			return err
		}
		module, err := cu.LoadData(string(text))
		if err != nil {
			return failed(err)
		}
		for name, function := range map[string]*cu.Function{"": &loaded.flat, "_items": &loaded.items, "_wide": &loaded.wide} {
			if *function, err = module.Function("rsqrt_" + tokens[dtype] + "_cuda" + name); err != nil {
				return failed(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.kernels[dtype] = &loaded
	return &loaded, nil
}

// What launch.h has.
const (
	threads = C.THREADS
	flight  = C.FLIGHT
	vector  = C.VECTOR

	signed   = C.SIGNED
	unsigned = C.UNSIGNED
	boolean  = C.BOOLEAN
	float    = C.FLOAT
)

func kind(dtype rsqrt.DType) uint64 {
	switch dtype {
	case rsqrt.Bool:
		return boolean
	case rsqrt.I8, rsqrt.I16, rsqrt.I32, rsqrt.I64:
		return signed
	case rsqrt.U8, rsqrt.U16, rsqrt.U32, rsqrt.U64:
		return unsigned
	}
	return float
}

// parts is how many numbers an item of a dtype has, and of which dtype each is.
func parts(dtype rsqrt.DType) (int, rsqrt.DType) {
	switch dtype {
	case rsqrt.C64:
		return 2, rsqrt.F32
	case rsqrt.C128:
		return 2, rsqrt.F64
	}
	return 1, dtype
}

// Mirrors launch.h's dim and plan.
type dim struct {
	length, magic, shift uint64
	src, dst             int64
}

type items struct {
	dst, src, n                uint64
	srcKind, srcSize           uint64
	dstType, dstSize, dstParts uint64
	aligned                    uint64
	ndim                       uint64
	dims                       [C.MAX_NDIM]dim
}

// Fails to compile unless every field of the mirrors lies where C has it.
var _ = [1]struct{}{}[0|
	(unsafe.Offsetof(dim{}.length)^unsafe.Offsetof(C.dim{}.length))|
	(unsafe.Offsetof(dim{}.magic)^unsafe.Offsetof(C.dim{}.magic))|
	(unsafe.Offsetof(dim{}.shift)^unsafe.Offsetof(C.dim{}.shift))|
	(unsafe.Offsetof(dim{}.src)^unsafe.Offsetof(C.dim{}.src))|
	(unsafe.Offsetof(dim{}.dst)^unsafe.Offsetof(C.dim{}.dst))|
	(unsafe.Offsetof(items{}.dst)^unsafe.Offsetof(C.plan{}.dst))|
	(unsafe.Offsetof(items{}.src)^unsafe.Offsetof(C.plan{}.src))|
	(unsafe.Offsetof(items{}.n)^unsafe.Offsetof(C.plan{}.n))|
	(unsafe.Offsetof(items{}.srcKind)^unsafe.Offsetof(C.plan{}.src_kind))|
	(unsafe.Offsetof(items{}.srcSize)^unsafe.Offsetof(C.plan{}.src_size))|
	(unsafe.Offsetof(items{}.dstType)^unsafe.Offsetof(C.plan{}.dst_type))|
	(unsafe.Offsetof(items{}.dstSize)^unsafe.Offsetof(C.plan{}.dst_size))|
	(unsafe.Offsetof(items{}.dstParts)^unsafe.Offsetof(C.plan{}.dst_parts))|
	(unsafe.Offsetof(items{}.aligned)^unsafe.Offsetof(C.plan{}.aligned))|
	(unsafe.Offsetof(items{}.ndim)^unsafe.Offsetof(C.plan{}.ndim))|
	(unsafe.Offsetof(items{}.dims)^unsafe.Offsetof(C.plan{}.dims))|
	(unsafe.Sizeof(items{})^unsafe.Sizeof(C.plan{}))]

// launch enqueues a plan on a stream of the current context.
func (d *device) launch(plan *cgo.Plan, compute rsqrt.DType, dst, src rsqrt.Array, stream cu.Stream) error {
	loaded, err := d.of(compute)
	if err != nil {
		return err
	}
	to, from := uintptr(dst.Data)+uintptr(plan.DstOffset), uintptr(src.Data)+uintptr(plan.SrcOffset)
	if plan.Temporary != 0 {
		// All bytes that src reaches over, copied as they lie. The address's place in a vector is
		// kept.
		low, high := rsqrt.Reach(plan.Shape[:plan.NDim], plan.SrcStrides[:], plan.SrcSize)
		shift := (from + uintptr(low)) % vector
		memory, err := allocate(high-low+int(shift), stream)
		if err != nil {
			return err
		}
		copied := memory + shift
		err = failed(cu.MemcpyDtoDAsync(cu.DevicePtr(copied), cu.DevicePtr(from+uintptr(low)), int64(high-low), stream))
		if err == nil {
			err = loaded.launch(plan, compute, dst.DType, src.DType, to, copied-uintptr(low), stream)
		}
		if freeErr := free(memory, stream); err == nil {
			err = freeErr
		}
		return err
	}
	return loaded.launch(plan, compute, dst.DType, src.DType, to, from, stream)
}

// launch chooses the kernel. to and from are where the items of index zero are.
func (k *kernels) launch(plan *cgo.Plan, compute, dst, src rsqrt.DType, to, from uintptr, stream cu.Stream) error {
	last := plan.NDim - 1
	contiguous := last < 0 || last == 0 && plan.SrcStrides[0] == plan.SrcSize && plan.DstStrides[0] == plan.DstSize
	if contiguous && src == compute && dst == compute && (to|from)%vector == 0 {
		words := []uint64{uint64(to), uint64(from), uint64(plan.N)}
		return start(k.flat, plan.N*plan.SrcSize/vector, flight, words, stream)
	}
	p := described(plan, dst, src, to, from)
	if narrow(plan) {
		return start(k.items, plan.N, flight, p.words(), stream)
	}
	return start(k.wide, plan.N, 1, p.words(), stream)
}

// described is a plan as rsqrt.cu reads it.
func described(plan *cgo.Plan, dst, src rsqrt.DType, to, from uintptr) *items {
	srcParts, srcPart := parts(src)
	dstParts, dstPart := parts(dst)
	p := &items{
		dst: uint64(to), src: uint64(from), n: uint64(plan.N),
		srcKind: kind(src), srcSize: uint64(plan.SrcSize / srcParts),
		dstType: uint64(dstPart), dstSize: uint64(plan.DstSize / dstParts), dstParts: uint64(dstParts),
		ndim: uint64(max(plan.NDim, 1)),
	}
	p.dims[0] = dim{length: 1, magic: 1}
	srcBits, dstBits := from, to
	for i := range int(plan.NDim) {
		d := int(plan.NDim) - 1 - i
		p.dims[i] = divisor(plan.Shape[d])
		p.dims[i].src, p.dims[i].dst = int64(plan.SrcStrides[d]), int64(plan.DstStrides[d])
		srcBits |= uintptr(plan.SrcStrides[d])
		dstBits |= uintptr(plan.DstStrides[d])
	}
	if srcBits%uintptr(srcPart.Size()) == 0 && dstBits%uintptr(dstPart.Size()) == 0 {
		p.aligned = 1
	}
	return p
}

func (p *items) words() []uint64 { return (*[unsafe.Sizeof(*p) / 8]uint64)(unsafe.Pointer(p))[:] }

// divisor is a dimension with what rsqrt.cu's divide wants.
func divisor(length int) dim {
	shift := bits.Len(uint(length - 1))
	high, _ := bits.Div64(uint64(1)<<shift-uint64(length), 0, uint64(length))
	return dim{length: uint64(length), magic: high>>32 + 1, shift: uint64(shift)}
}

// narrow says whether all indices and offsets, and those of the threads beyond the last item, fit
// in 31 bits.
func narrow(plan *cgo.Plan) bool {
	const limit = 1<<31 - threads*flight
	srcLow, srcHigh := rsqrt.Reach(plan.Shape[:plan.NDim], plan.SrcStrides[:], plan.SrcSize)
	dstLow, dstHigh := rsqrt.Reach(plan.Shape[:plan.NDim], plan.DstStrides[:], plan.DstSize)
	return plan.N < limit && min(srcLow, dstLow) > -limit && max(srcHigh, dstHigh) < limit
}

// start enqueues a kernel of one-dimensional blocks, in which a thread takes `each` of n.
func start(kernel cu.Function, n, each int, words []uint64, stream cu.Stream) error {
	// Launch reads one word per parameter and lays them side by side, which is how it passes
	// rsqrt.cu's plan by value.
	params := make([]unsafe.Pointer, len(words))
	for i := range words {
		params[i] = unsafe.Pointer(&words[i])
	}
	blocks := max(1, (n+threads*each-1)/(threads*each))
	return failed(kernel.Launch(blocks, 1, 1, threads, 1, 1, 0, stream, params))
}
