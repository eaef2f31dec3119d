/* torch's tensors as containers. */
#ifndef GORSQRT_TORCH_H
#define GORSQRT_TORCH_H

#include "operand.h"

/* Fills in an operand from a strided tensor in the CPU's memory or a CUDA device's, ordinary
 * (torch_door.c) or not. */
int torch_take(operand *o, bool written);

/* Fresh tensors. torch_fresh_like: like an operand, with strides in bytes. torch_fresh: on the CPU,
 * with strides in elements. */
fresh torch_fresh_like(const operand *like, int32_t dtype, const int64_t *strides);
fresh torch_fresh(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);

/* Counts the write into a tensor. Always 0. */
int torch_written(PyObject *out, PyObject *input);

/* The answer of gorsqrt/torch/_calls.py to a call with a tensor that is not ordinary. `out` may be
 * NULL. */
PyObject *torch_call(bool in_place, PyObject *input, PyObject *out);

#endif
