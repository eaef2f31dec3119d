/* Arrays of the DLPack protocol, and the protocol's structs. */
#ifndef GORSQRT_DLPACK_H
#define GORSQRT_DLPACK_H

#include "operand.h"

/* Versions 0.x and 1.x of the structs; from the protocol's public specification, dlpack.h 1.3. */

enum { DL_CPU = 1, DL_CUDA = 2, DL_CUDA_HOST = 3, DL_ROCM_HOST = 11, DL_CUDA_MANAGED = 13 };
enum { DL_FLOAT = 2, DL_BFLOAT = 4, DL_COMPLEX = 5, DL_FLOAT8 = 7 };
enum { DL_MAJOR = 1, DL_MINOR = 3 };
enum { DL_READ_ONLY = 1, DL_COPIED = 2 };

typedef struct {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape, *strides; /* in elements; strides may be NULL for C order */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_unversioned {
    dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_unversioned *); /* may be NULL */
} dl_unversioned;

typedef struct dl_versioned {
    struct {
        uint32_t major, minor;
    } version;
    void *context;
    void (*deleter)(struct dl_versioned *); /* may be NULL */
    uint64_t flags;
    dl_tensor tensor; /* in another major version the fields from here on have other meanings */
} dl_versioned;

/* The names of capsules whose tensor has not been taken out yet. */
#define DL_UNVERSIONED "dltensor"
#define DL_VERSIONED "dltensor_versioned"

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
