/* Arrays on CUDA devices that have __cuda_array_interface__, including cupy's. */
#ifndef GORSQRT_CUDA_H
#define GORSQRT_CUDA_H

#include "operand.h"

/* The container of an object: CUPY_ARRAY or CUDA_ARRAY. NOT_AN_ARRAY if it is neither, or with an
 * exception set. */
container cuda_recognise(PyObject *object);

int cuda_take(operand *o, bool written);
int cuda_take_cupy(operand *o, bool written);

fresh cuda_fresh_cupy(const operand *like, int32_t dtype, const int64_t *strides);

/* The caller's array for a result in our own memory: an array of the input's namespace if the input
 * has one, else the result itself. */
PyObject *cuda_finish(const operand *input, PyObject *result);

#endif
