package rsqrt

import "fmt"

// ErrorKind says which exception an error is in Python.
type ErrorKind int

// The exceptions that a decision can end in.
const (
	RuntimeError ErrorKind = iota
	TypeError
	ValueError
)

// Error is why a call was refused. Nothing was written when it is returned.
type Error struct {
	Kind ErrorKind
	Text string
}

func (e *Error) Error() string { return e.Text }

func errorf(kind ErrorKind, format string, args ...any) *Error {
	return &Error{kind, fmt.Sprintf(format, args...)}
}

// Unsupported is the refusal of an argument whose element type, as its container names it, has no kernel.
func Unsupported(argument, dtype string) *Error {
	return errorf(TypeError, "argument '%s' has dtype %s, which is not supported; supported are %s", argument, dtype, Supported())
}

func readOnly(dst Array) *Error {
	return errorf(ValueError, "the destination%s is read-only; a writable one is needed", of(dst))
}

func otherShape(dst, src Array) *Error {
	return errorf(RuntimeError, "the output%s has shape %s, which does not match the required output shape %s; it cannot be resized",
		of(dst), list(dst.Shape), list(src.Shape))
}

func tooManyDims(ndim int) *Error {
	return errorf(RuntimeError, "arrays of %d dimensions are not supported; at most 64 are", ndim)
}

// The texts of these two are torch's.
var (
	errSelfOverlap = &Error{RuntimeError, "unsupported operation: more than one element of the written-to tensor refers to a " +
		"single memory location. Please clone() the tensor before performing the operation."}
	errPartialOverlap = &Error{RuntimeError, "unsupported operation: some elements of the input tensor and the written-to tensor " +
		"refer to a single memory location. Please clone() the tensor before performing the operation."}
)

func of(a Array) string {
	if a.Kind == "" {
		return ""
	}
	return ", a " + a.Kind + ","
}

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
