#include "plan.h"

#include "mode.h"

#include <stdlib.h>
#include <string.h>

enum {
    TILE = 512,      /* items in flight between two stages */
    ITEM = 16,       /* bytes of the largest item: two tiles of it are 16 KiB, half of the smallest L1 */
    SHORT_ROW = 64,  /* contiguous rows below this are gathered into tiles rather than computed one by one */
    PIECE = 1 << 21, /* items between two looks at `interrupted`: 20 ms on the slowest tier */
};

/* One side of a plan while it is walked: the next item and where it stands. */
typedef struct {
    const gorsqrt_plan *plan;
    const int64_t *strides;
    int64_t offset;
    int64_t index[GORSQRT_MAX_NDIM];
} cursor;

static void cursor_place(cursor *at, const gorsqrt_plan *plan, const int64_t *strides, int64_t offset, int64_t item) {
    at->plan = plan;
    at->strides = strides;
    at->offset = offset;
    for (int d = plan->ndim - 1; d >= 0; d--) {
        at->index[d] = item % plan->shape[d];
        item /= plan->shape[d];
        at->offset += at->index[d] * strides[d];
    }
}

/* How many items are left in the row, the last dimension. */
static int64_t cursor_row(const cursor *at) {
    int const last = at->plan->ndim - 1;
    return last < 0 ? 1 : at->plan->shape[last] - at->index[last];
}

/* Moves on by k items, not beyond the row's end. */
static void cursor_advance(cursor *at, int64_t k) {
    for (int d = at->plan->ndim - 1; d >= 0; d--) {
        at->index[d] += k;
        at->offset += k * at->strides[d];
        if (at->index[d] < at->plan->shape[d] || d == 0) return;
        at->offset -= at->index[d] * at->strides[d];
        at->index[d] = 0;
        k = 1;
    }
}

/* Copies n items of `size` bytes, `to_stride` and `from_stride` bytes apart. The constant sizes let the compiler make each
 * a plain load and store. */
static inline void move_items(char *to, int64_t to_stride, const char *from, int64_t from_stride, int64_t n, size_t size) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i * to_stride, from + i * from_stride, size);
}

static void move(char *to, int64_t to_stride, const char *from, int64_t from_stride, int64_t n, int64_t size) {
    if (to_stride == size && from_stride == size) {
        memcpy(to, from, (size_t)(n * size));
        return;
    }
    switch (size) {
        case 1: move_items(to, to_stride, from, from_stride, n, 1); break;
        case 2: move_items(to, to_stride, from, from_stride, n, 2); break;
        case 4: move_items(to, to_stride, from, from_stride, n, 4); break;
        case 8: move_items(to, to_stride, from, from_stride, n, 8); break;
        default: move_items(to, to_stride, from, from_stride, n, ITEM);
    }
}

static void gather(char *tile, const char *src, cursor *from, int64_t n) {
    int64_t const size = from->plan->src_size;
    while (n > 0) {
        int64_t const row = cursor_row(from), k = row < n ? row : n;
        move(tile, size, src + from->offset, from->plan->ndim ? from->strides[from->plan->ndim - 1] : size, k, size);
        cursor_advance(from, k);
        tile += k * size;
        n -= k;
    }
}

static void scatter(char *dst, cursor *to, const char *tile, int64_t n) {
    int64_t const size = to->plan->dst_size;
    while (n > 0) {
        int64_t const row = cursor_row(to), k = row < n ? row : n;
        move(dst + to->offset, to->plan->ndim ? to->strides[to->plan->ndim - 1] : size, tile, size, k, size);
        cursor_advance(to, k);
        tile += k * size;
        n -= k;
    }
}

/* Not inlined, so that no arithmetic can be moved across the change of mode. */
__attribute__((noinline)) static void run_items(const gorsqrt_plan *plan, void *dst, const void *src, int64_t begin,
                                                int64_t end) {
    int const last = plan->ndim - 1;
    bool const long_rows = last < 0 || plan->shape[last] >= SHORT_ROW || plan->ndim == 1;
    bool const src_direct = long_rows && (last < 0 || plan->src_strides[last] == plan->src_size);
    bool const dst_direct = long_rows && (last < 0 || plan->dst_strides[last] == plan->dst_size);
    bool const tiled = !src_direct || !dst_direct || plan->stages != 1;

    cursor from, to;
    cursor_place(&from, plan, plan->src_strides, plan->src_offset, begin);
    cursor_place(&to, plan, plan->dst_strides, plan->dst_offset, begin);
    _Alignas(64) char tiles[2][TILE * ITEM];

    for (int64_t left = end - begin; left > 0;) {
        int64_t n = left;
        if (tiled && n > TILE) n = TILE;
        if ((src_direct || dst_direct) && n > cursor_row(&from)) n = cursor_row(&from);

        const char *in = (const char *)src + from.offset;
        int spare = 0;
        if (!src_direct || plan->stages == 0) {
            gather(tiles[0], src, &from, n);
            in = tiles[0];
            spare = 1;
        } else {
            cursor_advance(&from, n);
        }
        for (int s = 0; s < plan->stages; s++) {
            bool const in_place = dst_direct && s == plan->stages - 1;
            char *const out = in_place ? (char *)dst + to.offset : tiles[spare];
            plan->stage[s](out, in, (size_t)n);
            in = out;
            spare = !spare;
        }
        if (dst_direct && plan->stages > 0) {
            cursor_advance(&to, n);
        } else {
            scatter(dst, &to, in, n);
        }
        left -= n;
    }
}

void gorsqrt_run(const gorsqrt_plan *plan, void *dst, const void *src, int64_t begin, int64_t end) {
    if (begin >= end) return;
    bool const foreign = mode_is_foreign();
    fp_mode const callers = mode_get();
    if (foreign) mode_set(FP_MODE_DEFAULT);
    run_items(plan, dst, src, begin, end);
    if (foreign) mode_set(callers);
}

static enum gorsqrt_outcome run_in_pieces(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                          void *context) {
    for (int64_t begin = 0; begin < plan->n; begin += PIECE) {
        if (begin > 0 && interrupted && interrupted(context)) return GORSQRT_INTERRUPTED;
        gorsqrt_run(plan, dst, src, begin, plan->n - begin > PIECE ? begin + PIECE : plan->n);
    }
    return GORSQRT_DONE;
}

static void compact(const gorsqrt_plan *plan, int64_t size, int64_t *strides) {
    for (int d = plan->ndim - 1; d >= 0; d--) {
        strides[d] = size;
        size *= plan->shape[d];
    }
}

enum gorsqrt_outcome gorsqrt_execute(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                     void *context) {
    if (!plan->temporary || plan->n == 0) return run_in_pieces(plan, dst, src, interrupted, context);

    /* The block lives until this call returns and nobody else sees it. */
    char *const block = malloc((size_t)(plan->n * plan->dst_size));
    if (block == NULL) return GORSQRT_NO_MEMORY;
    gorsqrt_plan compute = *plan, copy = *plan;
    compute.dst_offset = copy.src_offset = 0;
    compact(plan, plan->dst_size, compute.dst_strides);
    compact(plan, plan->dst_size, copy.src_strides);
    copy.src_size = plan->dst_size;
    copy.stages = 0;
    enum gorsqrt_outcome outcome = run_in_pieces(&compute, block, src, interrupted, context);
    if (outcome == GORSQRT_DONE) outcome = run_in_pieces(&copy, dst, block, interrupted, context);
    free(block);
    return outcome;
}
