/* Arrays on CUDA devices that have __cuda_array_interface__, cupy's among them. */
#ifndef GORSQRT_CUDA_H
#define GORSQRT_CUDA_H

#include "operand.h"

/* Which of these containers an object is; NOT_AN_ARRAY if none, or with an exception set. */
container cuda_recognise(PyObject *object);

int cuda_take(operand *o, bool written);
int cuda_take_cupy(operand *o, bool written);

fresh cuda_fresh_cupy(const operand *like, int32_t dtype, const int64_t *strides);

/* The array that the caller gets for memory of ours: of the input's namespace, if it has one. */
PyObject *cuda_finish(const operand *input, PyObject *result);

#endif
