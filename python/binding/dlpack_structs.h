/* The structs of the DLPack protocol, which dlpack.c reads and memory.c writes. */
#ifndef GORSQRT_DLPACK_STRUCTS_H
#define GORSQRT_DLPACK_STRUCTS_H

#include <stdint.h>

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

#endif
