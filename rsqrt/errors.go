package rsqrt

import "fmt"

// ErrorKind says which exception an error is in Python.
type ErrorKind int

// The exceptions that a decision can end in.
const (
	RuntimeError ErrorKind = iota
	TypeError
	ValueError
	// OtherShape is a RuntimeError unless the destination's container can be resized. Nothing else
	// was wrong.
	OtherShape
)

// Operand is one of the two arrays of a call.
type Operand int

// The operand that an error is about. Neither: the two together. Torch's texts then name no
// operand.
const (
	Neither Operand = iota
	Src
	Dst
)

func (o Operand) String() string { return [...]string{"", "src ", "dst "}[o] }

// Error is why a call was refused. Nothing was written when it is returned.
type Error struct {
	Kind    ErrorKind
	Operand Operand
	// Text continues a sentence that begins with the operand, where there is one.
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("rsqrt: %v%s", e.Operand, e.Text) }

func errorf(kind ErrorKind, operand Operand, format string, args ...any) *Error {
	return &Error{kind, operand, fmt.Sprintf(format, args...)}
}

// Unsupported is the refusal of an operand of an unsupported dtype, as its container names it.
func Unsupported(operand Operand, dtype string) *Error {
	return errorf(TypeError, operand, "has dtype %s, which is not supported; supported are %s", dtype, Supported())
}

func readOnly(dst Array) *Error {
	because := ""
	if dst.Because != "" {
		because = ", since " + dst.Because
	}
	return errorf(ValueError, Dst, "is read-only%s; a writable array is needed", because)
}

func otherShape(dst, src Array) *Error {
	return errorf(OtherShape, Dst, "has shape %s, which does not match the required output shape %s; "+
		"this container cannot be resized", list(dst.Shape), list(src.Shape))
}

// twoDevices names a CUDA device first, as torch does.
func twoDevices(dst, src Array) *Error {
	first, second := dst, src
	if dst.Device == CPU {
		first, second = src, dst
	}
	return errorf(RuntimeError, Neither, "Expected all tensors to be on the same device, but found at least two devices, %s and %s!",
		device(first), device(second))
}

func device(a Array) string {
	if a.Device == CPU {
		return "cpu"
	}
	return fmt.Sprintf("cuda:%d", a.Index)
}

// onDevice is the refusal of an operand that is not in the CPU's memory.
func onDevice(operand Operand, device Device) *Error {
	name := map[Device]string{CUDA: "a CUDA device", Elsewhere: "a device that is neither the CPU nor CUDA's"}[device]
	return errorf(RuntimeError, operand, "is on %s, where this version of gorsqrt does not compute; copy it to the CPU", name)
}

func noCast(result, output DType) *Error {
	return errorf(RuntimeError, Neither, "result type %s can't be cast to the desired output type %s", names[result].torch, names[output].torch)
}

// TooManyDims is the refusal of an operand of more dimensions than a plan holds.
func TooManyDims(operand Operand, ndim int) *Error {
	return errorf(RuntimeError, operand, "has %d dimensions; at most %d are supported", ndim, maxNDim)
}

// The texts of these are torch's.
var (
	errSelfOverlap = &Error{RuntimeError, Neither, "unsupported operation: more than one element of the written-to tensor " +
		"refers to a single memory location. Please clone() the tensor before performing the operation."}
	errPartialOverlap = &Error{RuntimeError, Neither, "unsupported operation: some elements of the input tensor and the " +
		"written-to tensor refer to a single memory location. Please clone() the tensor before performing the operation."}
)

// list writes a shape as torch does: [2, 3].
func list(shape []int) string {
	text := "["
	for i, n := range shape {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(n)
	}
	return text + "]"
}
