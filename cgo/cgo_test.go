package cgo

import (
	"bytes"
	"math"
	"syscall"
	"testing"
	"unsafe"
)

type float interface{ float32 | float64 }

// reference computes the contract by Go's own arithmetic, which rounds every operation to its type.
func reference[F float](x F) F {
	switch {
	case x != x:
		return quieted(x)
	case x < 0:
		return bitsNaN[F]()
	}
	return 1 / F(math.Sqrt(float64(x))) // the square root of a float32 is not changed by rounding twice
}

func quieted[F float](x F) F {
	switch x := any(x).(type) {
	case float32:
		return F(math.Float32frombits(math.Float32bits(x) | 1<<22))
	case float64:
		return any(math.Float64frombits(math.Float64bits(x) | 1<<51)).(F)
	}
	panic("no float")
}

func bitsNaN[F float]() F {
	if unsafe.Sizeof(F(0)) == 4 {
		return any(math.Float32frombits(0xffc00000)).(F)
	}
	return any(math.Float64frombits(0xfff8000000000000)).(F)
}

func bits[F float](x F) uint64 {
	if y, ok := any(x).(float32); ok {
		return uint64(math.Float32bits(y))
	}
	return math.Float64bits(float64(x))
}

// specials returns the values at the edges of the format, and nans with payloads.
func specials[F float]() []F {
	patterns := []uint64{
		0, 1, 2, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
		0x7ff0000000000001, 0x7ff8000000000000, 0x7ff8000012345678, 0x7fffffffffffffff,
	}
	if unsafe.Sizeof(F(0)) == 4 {
		patterns = []uint64{
			0, 1, 2, 0x007fffff, 0x00800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc12345, 0x7fffffff,
		}
	}
	var values []F
	for _, p := range patterns {
		values = append(values, fromBits[F](p), fromBits[F](p|1<<(8*unsafe.Sizeof(F(0))-1)))
	}
	return values
}

func fromBits[F float](p uint64) F {
	if unsafe.Sizeof(F(0)) == 4 {
		x := uint32(p)
		return *(*F)(unsafe.Pointer(&x))
	}
	return *(*F)(unsafe.Pointer(&p))
}

// guarded maps at least this many bytes of memory between two pages that must not be accessed.
func guarded(t *testing.T, bytes int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, ((bytes+page-1)/page+2)*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(memory) })
	for _, guard := range [][]byte{memory[:page], memory[len(memory)-page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return memory[page : len(memory)-page]
}

// wipe fills memory so that written can tell which bytes are written later. Both treat the memory
// as a whole: with a sanitizer or an emulator, which check or emulate each of Go's accesses, loops
// over bytes would cost more than the rest of the tests.
func wipe(memory []byte) {
	for n := copy(memory, []byte{0xa5}); n < len(memory); n *= 2 {
		copy(memory[n:], memory[:n])
	}
}

func written(memory []byte) bool { return bytes.Count(memory, []byte{0xa5}) < len(memory) }
