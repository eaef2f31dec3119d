/* Arrays of the DLPack protocol. */
#ifndef GORSQRT_DLPACK_H
#define GORSQRT_DLPACK_H

#include "dlpack_structs.h"
#include "operand.h"

/* Fills in an operand from an object with __dlpack__. For an object on a CUDA device only the
 * device is asked for: the operand is closed until dlpack_open takes its tensor for use on a
 * stream. */
int dlpack_take(operand *o, bool written);
bool dlpack_is_closed(const operand *o);
int dlpack_open(operand *o, bool written, uintptr_t stream);

/* Keeps the tensors of two operands until the device has reached the mark. */
void dlpack_hold(operand *y, operand *x, gorsqrt_mark mark);

/* Fresh memoryviews, or memory on the operand's CUDA device. */
fresh dlpack_fresh(const operand *like, int32_t dtype, const int64_t *strides);

/* The same for an array of an array API namespace, and the namespace's array that shares the
 * result's memory. */
fresh dlpack_fresh_in_namespace(const operand *like, int32_t dtype, const int64_t *strides);
PyObject *dlpack_to_namespace(const operand *input, PyObject *result);

#endif
