/* Results in memory that gorsqrt allocates: on the CPU for memoryviews and for arrays of an array
 * API namespace, on CUDA devices for libraries that have no file here. Other libraries read them by
 * the buffer protocol, DLPack or __cuda_array_interface__. */
#ifndef GORSQRT_MEMORY_H
#define GORSQRT_MEMORY_H

#include "operand.h"

/* The type of results on a CUDA device. */
extern PyTypeObject *device_memory;

/* Fills in an operand from an object of that type. Always 0. */
int memory_take_device(operand *o, bool written);

/* Fresh objects of this layout (strides in bytes): on the CPU, with a buffer and DLPack; or on the
 * CUDA device of the operand's memory. */
fresh memory_fresh(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);
fresh memory_fresh_on_device(const operand *like, int32_t dtype, const int64_t *strides);

/* Each dtype's buffer format; NULL for bfloat16, which has none. */
extern const char *const buffer_format[GORSQRT_COMPUTED];

/* Makes the two types. 0, or -1 with an exception set. */
int memory_install(void);

#endif
