/* The facts that cuda.go, which launches the kernels, and rsqrt.cu, which has them, share. */
#ifndef GORSQRT_LAUNCH_H
#define GORSQRT_LAUNCH_H

#include <stdint.h>

enum {
    THREADS = 256, /* of a block */
    FLIGHT = 4,    /* loads of a thread before its first store */
    VECTOR = 16,   /* bytes that a thread of the kernel for contiguous items loads at once */
    MAX_NDIM = 40, /* 40 dimensions of length 2 are more items than any device holds */
};

/* Kinds of a source; FLOAT: it is of the dtype that is computed. */
enum { SIGNED, UNSIGNED, BOOLEAN, FLOAT };

/* Any items, as the other kernels take them: 64-bit words. Offsets and strides are in bytes. */

typedef struct {
    uint64_t length;
    uint64_t magic, shift; /* i / length = (i·magic / 2^32 + i) >> shift, where that is below 2^31 */
    int64_t src, dst;
} dim;

typedef struct {
    uint64_t dst, src, n;
    uint64_t src_kind, src_size; /* of a part */
    uint64_t dst_type, dst_size, dst_parts;
    uint64_t aligned;   /* every part of both sides lies on a multiple of its size */
    uint64_t ndim;      /* 1 at least */
    dim dims[MAX_NDIM]; /* from the innermost to the outermost */
} plan;

#endif
