/* A plan: what Go decided about one call, for C to carry out. Go mirrors it as cgo.Plan.
 *
 *     for each index in shape, in C order:
 *         y = stages applied to the item at src + Σ index·src_strides
 *         the item at dst + Σ index·dst_strides = y
 *
 * Strides and offsets are in bytes and may be negative or zero; items need not be aligned. Unless
 * `temporary` is set, the two sides are the same items or share no byte. Go has collapsed the
 * dimensions and put the smallest stride last. */
#ifndef GORSQRT_PLAN_H
#define GORSQRT_PLAN_H

#include "kernels.h"

#include <stdbool.h>

enum { GORSQRT_MAX_NDIM = 64, GORSQRT_MAX_STAGES = 6 };

typedef struct {
    int64_t n; /* items: the product of shape */
    int64_t src_size, dst_size;
    int64_t src_offset, dst_offset;
    int32_t ndim, stages;
    const gorsqrt_mover *mover;                /* unused if both sides are contiguous */
    const gorsqrt_kernels *kernels;            /* whose plain one is the only stage; NULL if that is another */
    int64_t temporary;                         /* not 0: the sides may overlap; finish reading before the first write */
    gorsqrt_kernel *stage[GORSQRT_MAX_STAGES]; /* passes over contiguous items: casts and a kernel */
    int64_t shape[GORSQRT_MAX_NDIM], src_strides[GORSQRT_MAX_NDIM], dst_strides[GORSQRT_MAX_NDIM];
} gorsqrt_plan;

enum gorsqrt_outcome { GORSQRT_DONE, GORSQRT_INTERRUPTED, GORSQRT_NO_MEMORY };

/* Bytes read and written from which results go past the caches; set once, before the first plan. */
extern int64_t gorsqrt_streaming_from;

/* Carries out the whole plan, on the workers too where that pays, in pieces of some milliseconds.
 * Between two of its own it asks `interrupted` (may be NULL), and stops where that answers true:
 * dst is then partly written. */
enum gorsqrt_outcome gorsqrt_execute(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                     void *context);

#endif
