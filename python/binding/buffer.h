/* Objects with the buffer protocol, such as array.array, and objects with numpy's array
 * interface. */
#ifndef GORSQRT_BUFFER_H
#define GORSQRT_BUFFER_H

#include "operand.h"

/* The type array.array; NULL until the program has imported the module array. */
extern PyTypeObject *array_array_type;

/* Whether a type is array.array or a subclass: 1 or 0; -1 with an exception set. */
int buffer_is_array(PyTypeObject *type);

int buffer_take(operand *o, bool written);
int buffer_take_interface(operand *o, bool written);

/* Fresh memoryviews, and fresh array.arrays of f32 or f64. */
fresh buffer_fresh(const operand *like, int32_t dtype, const int64_t *strides);
fresh buffer_fresh_array(const operand *like, int32_t dtype, const int64_t *strides);
fresh buffer_memoryview(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);
fresh buffer_array(int32_t dtype, int64_t n);

#endif
