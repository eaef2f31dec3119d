/* C order: computes its strides, and checks an array for it. Strides and steps have one unit: bytes
 * or items. */
#ifndef GORSQRT_LAYOUT_H
#define GORSQRT_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

/* Writes the strides of C order for items that are `step` apart. False if they overflow. An array
 * without items may have any strides, so the answer is true for it. */
static inline bool layout_c_order(int ndim, const int64_t *shape, int64_t step, int64_t *strides) {
    bool fits = true, none = false;
    for (int d = ndim - 1; d >= 0; d--) {
        strides[d] = step;
        none |= shape[d] == 0;
        fits &= !__builtin_mul_overflow(step, shape[d] > 1 ? shape[d] : 1, &step);
    }
    return fits || none;
}

/* Whether an array has C order, with items that are `step` apart. It must have items. */
static inline bool layout_is_c_order(int64_t ndim, const int64_t *shape, const int64_t *strides, int64_t step) {
    for (int64_t d = ndim - 1; d >= 0; d--) {
        if (shape[d] != 1 && strides[d] != step) return false;
        step *= shape[d];
    }
    return true;
}

#endif
