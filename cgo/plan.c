#include "plan.h"

#include "mode.h"
#include "workers.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum {
    ITEM = 16,       /* bytes of the largest item */
    TILE = 512,      /* of those in a tile, what is in flight between two stages: two are 16 KiB, half of the smallest L1 */
    SHORT_RUN = 256, /* contiguous runs below this are gathered into tiles rather than computed one by one */
    FILL = 2048,     /* bytes copied at a time where one item fills many places */
    PANEL = 32,      /* rows of a panel: two cache lines of f32 in each of src's rows */
    CHUNK = 1 << 16, /* items between two looks at `interrupted`, and that one thread takes at a time: 10 µs to 2 ms */
};

int64_t gorsqrt_streaming_from = INT64_MAX;

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

/* Moves on by k of dimension d, not beyond its end; the dimensions after it are at their start. */
static void cursor_advance(cursor *at, int d, int64_t k) {
    for (; d >= 0; d--) {
        at->index[d] += k;
        at->offset += k * at->strides[d];
        if (at->index[d] < at->plan->shape[d] || d == 0) return;
        at->offset -= at->index[d] * at->strides[d];
        at->index[d] = 0;
        k = 1;
    }
}

/* How many items, counted from the last dimension, lie one after the other; *outer is the first dimension that is not in it. */
static int64_t contiguous_run(const gorsqrt_plan *plan, const int64_t *strides, int64_t size, int *outer) {
    int64_t run = 1;
    *outer = plan->ndim - 1;
    for (; *outer >= 0 && strides[*outer] == run * size; --*outer) run *= plan->shape[*outer];
    return run;
}

/* Copies rows of k items of `size` bytes, with these bytes from a row to the next and from an item to the next. The constant sizes
 * let the compiler make each a plain load and store, and where the strides are constant too, shuffles of whole vectors. */
static inline __attribute__((always_inline)) void move_rows(char *restrict to, int64_t to_row, int64_t to_item,
                                                            const char *restrict from, int64_t from_row, int64_t from_item,
                                                            int64_t rows, int64_t k, size_t size) {
    for (int64_t r = 0; r < rows; r++) {
        char *restrict const out = to + r * to_row;
        const char *restrict const in = from + r * from_row;
#pragma GCC unroll 8
        for (int64_t i = 0; i < k; i++) memcpy(out + i * to_item, in + i * from_item, size);
    }
}

static inline __attribute__((always_inline)) void move_sized(char *to, int64_t to_row, int64_t to_item, const char *from,
                                                             int64_t from_row, int64_t from_item, int64_t rows, int64_t k,
                                                             int64_t size) {
    size_t const bytes = (size_t)size;
    if (to_item == size) {
        if (from_item == size) {
            move_rows(to, to_row, size, from, from_row, size, rows, k, bytes);
        } else if (from_item == 0) {
            move_rows(to, to_row, size, from, from_row, 0, rows, k, bytes);
        } else if (from_item == -size) {
            move_rows(to, to_row, size, from, from_row, -size, rows, k, bytes);
        } else if (from_item == 2 * size) {
            move_rows(to, to_row, size, from, from_row, 2 * size, rows, k, bytes);
        } else if (from_item == 3 * size) {
            move_rows(to, to_row, size, from, from_row, 3 * size, rows, k, bytes);
        } else {
            move_rows(to, to_row, size, from, from_row, from_item, rows, k, bytes);
        }
    } else if (from_item == size) {
        move_rows(to, to_row, to_item, from, from_row, size, rows, k, bytes);
    } else {
        move_rows(to, to_row, to_item, from, from_row, from_item, rows, k, bytes);
    }
}

/* Between memory and a tile: they share no byte. */
static void move(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item, int64_t rows,
                 int64_t k, int64_t size) {
    if (to_item == size && from_item == size && k * size >= 128) {
        for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_row, from + r * from_row, (size_t)(k * size));
        return;
    }
    switch (size) {
        case 1: move_sized(to, to_row, to_item, from, from_row, from_item, rows, k, 1); break;
        case 2: move_sized(to, to_row, to_item, from, from_row, from_item, rows, k, 2); break;
        case 4: move_sized(to, to_row, to_item, from, from_row, from_item, rows, k, 4); break;
        case 8: move_sized(to, to_row, to_item, from, from_row, from_item, rows, k, 8); break;
        default: move_sized(to, to_row, to_item, from, from_row, from_item, rows, k, ITEM);
    }
}

/* n times the same item. Where they lie close, most of them as copies of those before, twice as many each time. */
static void fill(char *to, int64_t to_item, const char *item, int64_t n, int64_t size) {
    if (size == sizeof(wchar_t) && to_item == size && (uintptr_t)to % sizeof(wchar_t) == 0) {
        wchar_t bits;
        memcpy(&bits, item, sizeof bits);
        wmemset((wchar_t *)to, bits, (size_t)n); /* libc's has the widest stores of this machine */
        return;
    }
    int64_t done = to_item != size || n < 16 ? n : 16;
    move(to, 0, to_item, item, 0, 0, 1, done, size);
    for (int64_t k; done < n; done += k) {
        k = done * size < FILL ? done : FILL / size;
        if (k > n - done) k = n - done;
        memcpy(to + done * size, to, (size_t)(k * size));
    }
}

/* The next n items between a tile and where the cursor stands: parts of a row, or whole rows as long as there are some. */
static void move_tile(cursor *at, char *memory, char *tile, bool gather, int64_t n, int64_t size) {
    int const last = at->plan->ndim - 1;
    if (last < 0) {
        memcpy(gather ? tile : memory + at->offset, gather ? memory + at->offset : tile, (size_t)size);
        return;
    }
    int64_t const length = at->plan->shape[last], item = at->strides[last];
    while (n > 0) {
        int64_t rows = 1, k = length - at->index[last], row = 0;
        int d = last;
        if (last > 0 && k == length && n >= length) {
            d = last - 1;
            row = at->strides[d];
            rows = at->plan->shape[d] - at->index[d];
            if (rows > n / length) rows = n / length;
        } else if (k > n) {
            k = n;
        }
        if (gather) {
            move(tile, k * size, size, memory + at->offset, row, item, rows, k, size);
        } else {
            move(memory + at->offset, row, item, tile, k * size, size, rows, k, size);
        }
        cursor_advance(at, d, d == last ? k : rows);
        tile += rows * k * size;
        n -= rows * k;
    }
}

/* A plan under way. Its units are what it may be cut into: items, or where it goes by panels, panels of rows. */
typedef struct {
    const gorsqrt_plan *plan;
    char *dst;
    const char *src;
    int64_t units, unit_items;
    int rows; /* the dimension whose neighbours are nearest to each other in src; -1 where that is the last, or nothing is gained */
    bool streaming;
} job;

/* Applies the stages to n contiguous items at `in`, of which the last goes to `out`, or to a tile where that is NULL. It answers
 * where the result is. `in` may be the first tile. */
static const char *compute(const gorsqrt_plan *plan, char *out, const char *in, int64_t n, char (*tiles)[TILE * ITEM]) {
    int spare = in == tiles[0];
    for (int s = 0; s < plan->stages; s++) {
        char *const to = out && s == plan->stages - 1 ? out : tiles[spare];
        plan->stage[s](to, in, (size_t)n);
        in = to;
        spare = !spare;
    }
    return in;
}

/* How many items of a plan fit into a tile at every stage. */
static int64_t tile_items(const gorsqrt_plan *plan) {
    int64_t const item = plan->src_size > plan->dst_size ? plan->src_size : plan->dst_size;
    return plan->stages > 1 ? TILE : TILE * ITEM / item;
}

/* Where a side's runs are long, stages read or write them in place; else it goes through a tile. A row of one item, broadcast, is
 * computed once. */
static void run_items(const job *j, int64_t begin, int64_t end) {
    const gorsqrt_plan *const plan = j->plan;
    int const last = plan->ndim - 1;
    int src_outer, dst_outer;
    int64_t const src_run = contiguous_run(plan, plan->src_strides, plan->src_size, &src_outer);
    int64_t const dst_run = contiguous_run(plan, plan->dst_strides, plan->dst_size, &dst_outer);
    bool const broadcast = last >= 0 && plan->src_strides[last] == 0 && plan->shape[last] >= 16;
    bool const direct = plan->stages > 0 && !broadcast;
    bool const src_direct = direct && (src_run >= SHORT_RUN || src_run == plan->n);
    bool const dst_direct = direct && (dst_run >= SHORT_RUN || dst_run == plan->n);
    int64_t const most = src_direct && dst_direct && plan->stages == 1 ? end - begin : tile_items(plan);

    /* A direct side's cursor stays at the start of a run, and the items into it are counted apart. */
    int64_t src_in = src_direct ? begin % src_run : 0, dst_in = dst_direct ? begin % dst_run : 0;
    cursor from, to;
    cursor_place(&from, plan, plan->src_strides, plan->src_offset, begin - src_in);
    cursor_place(&to, plan, plan->dst_strides, plan->dst_offset, begin - dst_in);
    _Alignas(64) char tiles[2][TILE * ITEM];

    for (int64_t at = begin, n; at < end; at += n) {
        n = end - at < most ? end - at : most;
        if (broadcast) {
            if (n > plan->shape[last] - from.index[last]) n = plan->shape[last] - from.index[last];
            memcpy(tiles[0], j->src + from.offset, (size_t)plan->src_size);
            const char *const y = compute(plan, NULL, tiles[0], 1, tiles);
            fill(j->dst + to.offset, plan->dst_strides[last], y, n, plan->dst_size);
            cursor_advance(&from, last, n);
            cursor_advance(&to, last, n);
            continue;
        }
        if (src_direct && n > src_run - src_in) n = src_run - src_in;
        if (dst_direct && n > dst_run - dst_in) n = dst_run - dst_in;
        const char *in = j->src + from.offset + src_in * plan->src_size;
        char *const out = j->dst + to.offset + dst_in * plan->dst_size;
        if (src_direct) {
            src_in += n;
            if (src_in == src_run) {
                src_in = 0;
                cursor_advance(&from, src_outer, 1);
            }
        } else {
            move_tile(&from, (char *)j->src, tiles[0], true, n, plan->src_size);
            in = tiles[0];
        }
        if (!dst_direct) {
            move_tile(&to, j->dst, (char *)compute(plan, NULL, in, n, tiles), false, n, plan->dst_size);
            continue;
        }
        if (j->streaming && plan->stages == 1) {
            gorsqrt_streaming(plan->stage[0])(out, in, (size_t)n);
        } else {
            compute(plan, out, in, n, tiles);
        }
        dst_in += n;
        if (dst_in == dst_run) {
            dst_in = 0;
            cursor_advance(&to, dst_outer, 1);
        }
    }
}

/* The numbered items of two vectors: gcc before 12 has a builtin of its own for it. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (__typeof__(a)){__VA_ARGS__})
#endif

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

/* to[row][column] = from[column][row], by squares of 16 bytes in registers; both are `size` bytes apart within a row. */
static void transpose_u32(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_column, int64_t rows,
                          int64_t columns) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
        const char *const in = from + c * from_column;
        for (int64_t ahead = 16; ahead < 20; ahead++) {
            __builtin_prefetch(in + ahead * from_column);
            __builtin_prefetch(in + ahead * from_column + 4 * rows - 1);
        }
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            u32x4 a, b, d, e;
            memcpy(&a, in + 4 * r, 16);
            memcpy(&b, in + 4 * r + from_column, 16);
            memcpy(&d, in + 4 * r + 2 * from_column, 16);
            memcpy(&e, in + 4 * r + 3 * from_column, 16);
            u32x4 const ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
            u32x4 const de_low = SHUFFLE(d, e, 0, 4, 1, 5), de_high = SHUFFLE(d, e, 2, 6, 3, 7);
            a = SHUFFLE(ab_low, de_low, 0, 1, 4, 5);
            b = SHUFFLE(ab_low, de_low, 2, 3, 6, 7);
            d = SHUFFLE(ab_high, de_high, 0, 1, 4, 5);
            e = SHUFFLE(ab_high, de_high, 2, 3, 6, 7);
            memcpy(to + r * to_row + 4 * c, &a, 16);
            memcpy(to + (r + 1) * to_row + 4 * c, &b, 16);
            memcpy(to + (r + 2) * to_row + 4 * c, &d, 16);
            memcpy(to + (r + 3) * to_row + 4 * c, &e, 16);
        }
        move_rows(to + r * to_row + 4 * c, to_row, 4, in + 4 * r, 4, from_column, rows - r, 4, 4);
    }
    move_rows(to + 4 * c, 4, to_row, from + c * from_column, from_column, 4, columns - c, rows, 4);
}

static void transpose_u64(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_column, int64_t rows,
                          int64_t columns) {
    int64_t c = 0;
    for (; c + 2 <= columns; c += 2) {
        const char *const in = from + c * from_column;
        int64_t r = 0;
        for (; r + 2 <= rows; r += 2) {
            u64x2 a, b;
            memcpy(&a, in + 8 * r, 16);
            memcpy(&b, in + 8 * r + from_column, 16);
            u64x2 const low = SHUFFLE(a, b, 0, 2), high = SHUFFLE(a, b, 1, 3);
            memcpy(to + r * to_row + 8 * c, &low, 16);
            memcpy(to + (r + 1) * to_row + 8 * c, &high, 16);
        }
        move_rows(to + r * to_row + 8 * c, to_row, 8, in + 8 * r, 8, from_column, rows - r, 2, 8);
    }
    move_rows(to + 8 * c, 8, to_row, from + c * from_column, from_column, 8, columns - c, rows, 8);
}

/* Walks panels of PANEL rows along the last dimension. src's neighbours lie in other rows: a piece of the panel is
 * turned into a tile, row after row, computed, and its rows written. So whole cache lines are read, and once. */
static void run_panels(const job *j, int64_t begin, int64_t end) {
    const gorsqrt_plan *const plan = j->plan;
    int const last = plan->ndim - 1;
    int64_t const src_size = plan->src_size, dst_size = plan->dst_size;
    int64_t const panels = (plan->shape[j->rows] + PANEL - 1) / PANEL;
    int64_t const src_row = plan->src_strides[j->rows], src_column = plan->src_strides[last];
    int64_t const most_columns = tile_items(plan) / PANEL;
    _Alignas(64) char tiles[2][TILE * ITEM];

    for (int64_t unit = begin; unit < end; unit++) {
        int64_t const first_row = unit % panels * PANEL;
        int64_t const left = plan->shape[j->rows] - first_row, rows = left < PANEL ? left : PANEL;
        int64_t src_at = plan->src_offset + first_row * src_row;
        int64_t dst_at = plan->dst_offset + first_row * plan->dst_strides[j->rows];
        int64_t outer = unit / panels;
        for (int d = last - 1; d >= 0; d--) {
            if (d == j->rows) continue;
            src_at += outer % plan->shape[d] * plan->src_strides[d];
            dst_at += outer % plan->shape[d] * plan->dst_strides[d];
            outer /= plan->shape[d];
        }
        for (int64_t column = 0; column < plan->shape[last];) {
            int64_t const ahead = plan->shape[last] - column, columns = ahead < most_columns ? ahead : most_columns;
            const char *const in = j->src + src_at + column * src_column;
            if (src_size == 4 && src_row == 4) {
                transpose_u32(tiles[0], columns * 4, in, src_column, rows, columns);
            } else if (src_size == 8 && src_row == 8) {
                transpose_u64(tiles[0], columns * 8, in, src_column, rows, columns);
            } else {
                move(tiles[0], src_size, columns * src_size, in, src_column, src_row, columns, rows, src_size);
            }
            const char *const tile = compute(plan, NULL, tiles[0], rows * columns, tiles);
            move(j->dst + dst_at + column * plan->dst_strides[last], plan->dst_strides[j->rows], plan->dst_strides[last], tile,
                 columns * dst_size, dst_size, rows, columns, dst_size);
            column += columns;
        }
    }
}

static int64_t magnitude(int64_t x) {
    return x < 0 ? -x : x;
}

/* By panels where some dimension's neighbours are nearer to each other in src than the last one's, and both are long enough. */
static job prepare(const gorsqrt_plan *plan, void *dst, const void *src) {
    job j = {.plan = plan, .dst = dst, .src = src, .units = plan->n, .unit_items = 1, .rows = -1};
    int const last = plan->ndim - 1;
    int rows = last;
    for (int d = 0; d < last; d++) {
        int64_t const stride = magnitude(plan->src_strides[d]);
        if (plan->shape[d] >= 4 && stride > 0 && stride < magnitude(plan->src_strides[rows])) rows = d;
    }
    if (rows != last && plan->shape[last] >= 4) {
        int64_t const panels = (plan->shape[rows] + PANEL - 1) / PANEL;
        j.rows = rows;
        j.units = plan->n / plan->shape[rows] / plan->shape[last] * panels;
        j.unit_items = plan->shape[last] * (plan->shape[rows] < PANEL ? plan->shape[rows] : PANEL);
    }
    /* Long rows only, since every one ends in a fence. */
    bool const whole = last < 0 || (plan->src_strides[last] == plan->src_size && (last == 0 || plan->shape[last] >= CHUNK));
    j.streaming = whole && plan->n * (plan->src_size + plan->dst_size) >= gorsqrt_streaming_from &&
                  (uintptr_t)((char *)dst + plan->dst_offset) % (uintptr_t)plan->dst_size == 0 &&
                  (char *)dst + plan->dst_offset != (const char *)src + plan->src_offset;
    return j;
}

/* Not inlined, so that no arithmetic can be moved across the change of mode. */
__attribute__((noinline)) static void run_units(const job *j, int64_t begin, int64_t end) {
    if (j->rows < 0) {
        run_items(j, begin, end);
    } else {
        run_panels(j, begin, end);
    }
}

/* Any two ranges may run at the same time on different threads. */
static void run(const void *context, int64_t begin, int64_t end) {
    bool const foreign = mode_is_foreign();
    fp_mode const callers = mode_get();
    if (foreign) mode_set(FP_MODE_DEFAULT);
    run_units(context, begin, end);
    if (foreign) mode_set(callers);
}

static enum gorsqrt_outcome run_all(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                    void *context) {
    if (plan->n == 0) return GORSQRT_DONE;
    job const j = prepare(plan, dst, src);
    int64_t const chunk = j.unit_items < CHUNK ? CHUNK / j.unit_items : 1;
    int64_t const bytes = plan->n * (plan->src_size + plan->dst_size);
    return workers_run(run, &j, j.units, chunk, bytes, interrupted, context) ? GORSQRT_DONE : GORSQRT_INTERRUPTED;
}

static void compact(const gorsqrt_plan *plan, int64_t size, int64_t *strides) {
    for (int d = plan->ndim - 1; d >= 0; d--) {
        strides[d] = size;
        size *= plan->shape[d];
    }
}

enum gorsqrt_outcome gorsqrt_execute(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                     void *context) {
    if (!plan->temporary || plan->n == 0) return run_all(plan, dst, src, interrupted, context);

    /* The block lives until this call returns and nobody else sees it. */
    char *const block = malloc((size_t)(plan->n * plan->dst_size));
    if (block == NULL) return GORSQRT_NO_MEMORY;
    gorsqrt_plan compute = *plan, copy = *plan;
    compute.dst_offset = copy.src_offset = 0;
    compact(plan, plan->dst_size, compute.dst_strides);
    compact(plan, plan->dst_size, copy.src_strides);
    copy.src_size = plan->dst_size;
    copy.stages = 0;
    enum gorsqrt_outcome outcome = run_all(&compute, block, src, interrupted, context);
    if (outcome == GORSQRT_DONE) outcome = run_all(&copy, dst, block, interrupted, context);
    free(block);
    return outcome;
}
