/* A plan: Go's decision about one call, which C carries out. Go mirrors the struct as cgo.Plan.
 *
 *     for each index in shape, in C order:
 *         y = stages applied to the item at src + Σ index·src_strides
 *         the item at dst + Σ index·dst_strides = y
 *
 * Strides and offsets are in bytes and may be negative or zero; items need not be aligned. Unless
 * `temporary` is set, dst and src are the same items or share no byte. Go has merged dimensions
 * where possible, and has put the smallest stride last. */
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
    const gorsqrt_kernels *kernels;            /* the only stage is the plain kernel of these; NULL if it is not */
    int64_t temporary;                         /* not 0: the sides may overlap; finish reading before the first write */
    gorsqrt_kernel *stage[GORSQRT_MAX_STAGES]; /* passes over contiguous items: casts and a kernel */
    int64_t shape[GORSQRT_MAX_NDIM], src_strides[GORSQRT_MAX_NDIM], dst_strides[GORSQRT_MAX_NDIM];
} gorsqrt_plan;

enum gorsqrt_outcome { GORSQRT_DONE, GORSQRT_INTERRUPTED, GORSQRT_NO_MEMORY };

/* From this many bytes read and written on, results are stored past the caches. Set it once, before
 * the first plan. */
extern int64_t gorsqrt_streaming_from;

/* Carries out the whole plan, in chunks of some milliseconds, with the workers' help if that is
 * faster. Between two of the caller's chunks it calls `interrupted` (may be NULL). It stops if that
 * answers true: dst is then partly written. The caller keeps the memory at dst and src in place
 * until the function returns. GORSQRT_NO_MEMORY: nothing was written. */
enum gorsqrt_outcome gorsqrt_execute(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                     void *context);

#endif
