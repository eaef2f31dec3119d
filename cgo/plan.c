/* Carries out plans (plan.h). It walks over the items of both sides. Items that are not contiguous
 * go through tiles. If src is nearest to contiguous in a dimension other than the last, blocks of
 * it are transposed. Needs the plan's kernels and movers, the workers, and scratch memory. It
 * writes only dst's items and its own memory, and restores the caller's floating-point mode. */
#include "plan.h"

#include "mode.h"
#include "workers.h"

#include <stdlib.h>
#include <string.h>

enum {
    ITEM = 16,      /* bytes of the largest item */
    TILE = 512,     /* such items in a tile, between two stages: two tiles are 16 KiB, half of the smallest L1 */
    FAR_TILE = 64,  /* items in a tile if each is on its own cache line: the next lines arrive while these items are computed */
    SHORT_ROW = 12, /* items; shorter contiguous rows with gaps between them go through tiles together */
    SHORT_RUN = 256, /* items; shorter contiguous runs are gathered into tiles, not computed one by one */
    LONG_RUN = 1024, /* items; in longer runs the incomplete cache lines at the ends don't matter */
    CHUNK = 1 << 16, /* items between two calls of `interrupted`, and in a thread's share: 10 µs to 2 ms */
    REPEATED = 4,    /* if every item of src is needed at least this often, it is computed once and copied */

    /* The part of src that is transposed at once: rows of dst, which are columns next to each other
     * in src. A cache holds 8 lines that are a large power of two apart. If dst's rows are that far
     * apart, so are the lines of a column. So src is read in runs of some lines, and dst is written
     * in long runs. */
    BLOCK_ROWS = 64,
    BLOCK_ROW = 1152, /* bytes of src's items in one row */

    LINE = 64,          /* bytes of a cache line, to which scratch memory is aligned */
    ON_STACK = 4 << 10, /* most bytes of scratch memory on the caller's stack, which may be 32 KiB in all */
};

_Static_assert(2 * TILE * ITEM + BLOCK_ROWS * BLOCK_ROW <= WORKERS_SCRATCH, "helpers have scratch memory for every plan");

int64_t gorsqrt_streaming_from = INT64_MAX;

/* One side of a plan during a walk over its items: the position of the next item. */
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

/* Advances by k in dimension d, not beyond its end. The later dimensions must be at their start. */
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

/* The next rows of k items from the cursor on, at most n items in all: as many whole rows as there
 * are, or one row or a part of it. *d is the dimension to advance in, by *step. */
typedef struct {
    int64_t rows, k;
    int d;
    int64_t step;
} rows_ahead;

static rows_ahead look_ahead(const cursor *at, int64_t n) {
    int const last = at->plan->ndim - 1;
    if (last < 0) return (rows_ahead){1, 1, 0, 0};
    int64_t const length = at->plan->shape[last], left = length - at->index[last];
    if (last > 0 && left == length && n >= length) {
        int64_t const below = at->plan->shape[last - 1] - at->index[last - 1];
        int64_t const rows = below < n / length ? below : n / length;
        return (rows_ahead){rows, length, last - 1, rows};
    }
    int64_t const k = left < n ? left : n;
    return (rows_ahead){1, k, last, k};
}

/* The bytes from one item to the next, and from one row to the next. */
static int64_t item_stride(const cursor *at) {
    return at->plan->ndim > 0 ? at->strides[at->plan->ndim - 1] : 0;
}

static int64_t row_stride(const cursor *at) {
    return at->plan->ndim > 1 ? at->strides[at->plan->ndim - 2] : 0;
}

/* Moves the next n items between the cursor's position and a tile: into the tile if `gather`. */
static void move_tile(cursor *at, char *memory, char *tile, bool gather, int64_t n, int64_t size) {
    int64_t const row = row_stride(at), item = item_stride(at);
    while (n > 0) {
        rows_ahead const next = look_ahead(at, n);
        char *const there = memory + at->offset;
        if (gather) {
            at->plan->mover->rows(tile, next.k * size, size, there, row, item, next.rows, next.k, size);
        } else {
            at->plan->mover->rows(there, row, item, tile, next.k * size, size, next.rows, next.k, size);
        }
        cursor_advance(at, next.d, next.step);
        tile += next.rows * next.k * size;
        n -= next.rows * next.k;
    }
}

/* The contiguous runs of one side of a plan. */
typedef struct {
    int64_t run; /* items */
    int outer;   /* the last dimension that is not part of a run; -1 if there is none */
    bool direct; /* stages read or write the runs in place; otherwise items go through a tile */
} side;

/* A plan that is being carried out. Threads share it by units: items, or blocks if src is
 * transposed.
 *
 * Each thread has its own scratch memory: two tiles, then the block if src is transposed. */
typedef struct {
    const gorsqrt_plan *plan;
    char *dst;
    const char *src;
    int64_t units, unit_items;
    int rows; /* the dimension with the smallest stride in src; -1 if that is the last one, or if transposing gains nothing */
    bool streaming;
    bool in_rows;                       /* dst's items are contiguous in the last dimension */
    gorsqrt_kernel *first;              /* the first stage, or its variant with streaming stores */
    gorsqrt_rows_kernel *over_rows;     /* the only stage, over rows of src that need not be contiguous, or NULL */
    gorsqrt_places_kernel *over_places; /* the same, to items that are apart in dst, or NULL */
    side from, to;                      /* set if there are no blocks */
    int64_t tile_items, tile;           /* most items in a tile at once, and a tile's bytes */
    int64_t scratch;                    /* bytes */
} job;

/* Computes the next n items from the cursor on into a tile. */
static void compute_rows(const job *j, cursor *from, char *tile, int64_t n) {
    int64_t const row = row_stride(from), item = item_stride(from), size = j->plan->dst_size;
    while (n > 0) {
        rows_ahead const next = look_ahead(from, n);
        j->over_rows(tile, next.k * size, j->src + from->offset, row, item, next.rows, next.k);
        cursor_advance(from, next.d, next.step);
        tile += next.rows * next.k * size;
        n -= next.rows * next.k;
    }
}

/* Works without tiles. If there is a stage, computes rows; otherwise copies items, and a source
 * item may be copied many times. */
static void run_rows(const job *j, int64_t begin, int64_t end) {
    const gorsqrt_plan *const plan = j->plan;
    cursor from, to;
    cursor_place(&from, plan, plan->src_strides, plan->src_offset, begin);
    cursor_place(&to, plan, plan->dst_strides, plan->dst_offset, begin);
    for (int64_t n = end - begin; n > 0;) {
        rows_ahead const next = look_ahead(&to, n);
        char *const y = j->dst + to.offset;
        const char *const x = j->src + from.offset;
        if (j->over_places) {
            j->over_places(y, row_stride(&to), item_stride(&to), x, row_stride(&from), item_stride(&from), next.rows, next.k);
        } else if (j->over_rows) {
            j->over_rows(y, row_stride(&to), x, row_stride(&from), item_stride(&from), next.rows, next.k);
        } else {
            plan->mover->rows(y, row_stride(&to), item_stride(&to), x, row_stride(&from), item_stride(&from), next.rows, next.k,
                              plan->dst_size);
        }
        cursor_advance(&from, next.d, next.step);
        cursor_advance(&to, next.d, next.step);
        n -= next.rows * next.k;
    }
}

/* Applies the stages to n contiguous items at `in`. The last stage writes to `out`, or to a tile if
 * that is NULL. Returns the address of the result. `in` may be the first tile. */
static const char *compute(const job *j, char *out, const char *in, int64_t n, char *tiles) {
    const gorsqrt_plan *const plan = j->plan;
    int spare = in == tiles;
    for (int s = 0; s < plan->stages; s++) {
        char *const to = out && s == plan->stages - 1 ? out : tiles + spare * j->tile;
        (s == 0 ? j->first : plan->stage[s])(to, in, (size_t)n);
        in = to;
        spare = !spare;
    }
    return in;
}

static int64_t magnitude(int64_t x) {
    return x < 0 ? -x : x;
}

/* Reads or writes a direct side's runs in place; the other side's items go through a tile. */
static void run_items(const job *j, int64_t begin, int64_t end, char *tiles) {
    const gorsqrt_plan *const plan = j->plan;
    bool const src_direct = j->from.direct, dst_direct = j->to.direct;
    int64_t const src_run = j->from.run, dst_run = j->to.run;

    /* A direct side's cursor stays at the start of a run; src_in and dst_in count the items into
     * the run. */
    int64_t src_in = src_direct ? begin % src_run : 0, dst_in = dst_direct ? begin % dst_run : 0;
    cursor from, to;
    cursor_place(&from, plan, plan->src_strides, plan->src_offset, begin - src_in);
    cursor_place(&to, plan, plan->dst_strides, plan->dst_offset, begin - dst_in);

    for (int64_t at = begin, n; at < end; at += n) {
        n = end - at < j->tile_items ? end - at : j->tile_items;
        if (src_direct && n > src_run - src_in) n = src_run - src_in;
        if (dst_direct && n > dst_run - dst_in) n = dst_run - dst_in;
        const char *in = j->src + from.offset + src_in * plan->src_size;
        char *const out = j->dst + to.offset + dst_in * plan->dst_size;
        if (j->over_rows) {
            compute_rows(j, &from, tiles, n);
            move_tile(&to, j->dst, tiles, false, n, plan->dst_size);
            continue;
        }
        if (src_direct) {
            src_in += n;
            if (src_in == src_run) {
                src_in = 0;
                cursor_advance(&from, j->from.outer, 1);
            }
        } else {
            move_tile(&from, (char *)j->src, tiles, true, n, plan->src_size);
            in = tiles;
        }
        if (!dst_direct) {
            move_tile(&to, j->dst, (char *)compute(j, NULL, in, n, tiles), false, n, plan->dst_size);
            continue;
        }
        compute(j, out, in, n, tiles);
        dst_in += n;
        if (dst_in == dst_run) {
            dst_in = 0;
            cursor_advance(&to, j->to.outer, 1);
        }
    }
}

/* The most columns of a block. For items of 4 bytes these are two blocks of the avx512 f32 kernel,
 * or six of the avx2 one; otherwise a power of two, like the other kernels' blocks. */
static int64_t block_columns(const gorsqrt_plan *plan) {
    if (plan->src_size == 4) return BLOCK_ROW / 4;
    return plan->src_size < 4 ? 256 : 1024 / plan->src_size;
}

/* Cuts a dimension into blocks of at most `most` items that begin and end at cache lines. The first
 * item lies `before` items, fewer than `most`, after the start of a block. */
typedef struct {
    int64_t length, most, before;
} cut;

static int64_t cut_pieces(cut c) {
    return (c.before + c.length + c.most - 1) / c.most;
}

static int64_t cut_begin(cut c, int64_t piece) {
    return piece == 0 ? 0 : piece * c.most - c.before;
}

static int64_t cut_end(cut c, int64_t piece) {
    int64_t const end = (piece + 1) * c.most - c.before;
    return end < c.length ? end : c.length;
}

/* `first` is the first item. A dimension that fits into one block, or is not contiguous, is not
 * aligned. */
static cut cut_at_lines(int64_t length, int64_t most, const char *first, int64_t stride, int64_t size) {
    bool const whole = length <= most || stride != size;
    return (cut){length, most, whole ? 0 : (int64_t)((uintptr_t)first % 64) / size % most};
}

static cut cut_rows(const job *j) {
    const gorsqrt_plan *const plan = j->plan;
    return cut_at_lines(plan->shape[j->rows], BLOCK_ROWS, j->src + plan->src_offset, plan->src_strides[j->rows],
                        plan->src_size);
}

static cut cut_columns(const job *j) {
    const gorsqrt_plan *const plan = j->plan;
    int const last = plan->ndim - 1;
    return cut_at_lines(plan->shape[last], block_columns(plan), j->dst + plan->dst_offset, plan->dst_strides[last],
                        plan->dst_size);
}

/* Prefetches lines into the second-level cache. */
static void prefetch_columns(const char *from, int64_t from_column, int64_t columns, int64_t bytes) {
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(from + c * from_column + b, 0, 2);
    }
}

/* Walks over blocks along the dimension j->rows, in which src is nearest to contiguous. Each block
 * is transposed on its way into scratch memory, then its rows are computed. Meanwhile the lines of
 * the next block arrive. */
static void run_blocks(const job *j, int64_t begin, int64_t end, char *tiles) {
    const gorsqrt_plan *const plan = j->plan;
    int const last = plan->ndim - 1;
    int64_t const src_size = plan->src_size, dst_size = plan->dst_size, most_columns = block_columns(plan);
    int64_t const src_row = plan->src_strides[j->rows], src_column = plan->src_strides[last];
    int64_t const dst_row = plan->dst_strides[j->rows], dst_column = plan->dst_strides[last];
    cut const by_row = cut_rows(j), by_column = cut_columns(j);
    int64_t const down = cut_pieces(by_row), across = cut_pieces(by_column);
    const gorsqrt_mover *const mover = plan->mover;
    char *const block = tiles + 2 * j->tile;

    for (int64_t unit = begin; unit < end; unit++) {
        int64_t const row = cut_begin(by_row, unit % down), rows = cut_end(by_row, unit % down) - row;
        int64_t const column = cut_begin(by_column, unit / down % across);
        int64_t const columns = cut_end(by_column, unit / down % across) - column;
        int64_t src_at = plan->src_offset + row * src_row + column * src_column;
        int64_t dst_at = plan->dst_offset + row * dst_row + column * dst_column;
        int64_t outer = unit / down / across;
        for (int d = last - 1; outer > 0; d--) {
            if (d == j->rows) continue;
            src_at += outer % plan->shape[d] * plan->src_strides[d];
            dst_at += outer % plan->shape[d] * plan->dst_strides[d];
            outer /= plan->shape[d];
        }
        const char *const in = j->src + src_at;
        char *const out = j->dst + dst_at;
        if (src_row == src_size) {
            mover->transposed(block, columns * src_size, in, src_column, rows, columns, src_size);
        } else {
            mover->rows(block, src_size, columns * src_size, in, src_column, src_row, columns, rows, src_size);
        }
        /* Compute into dst itself if its rows are contiguous, or long enough for a call each.
         * Otherwise compute as many rows as fit into a tile. */
        bool const dense = dst_column == dst_size && dst_row == columns * dst_size;
        bool const single = dst_column == dst_size && columns > most_columns / 2;
        bool const direct = plan->stages > 0 && (dense || single || j->streaming);
        int64_t const group = direct && !dense ? 1 : j->tile_items / columns;
        bool const ahead = src_row == src_size && unit % down + 1 < down;
        for (int64_t r = 0, asked = 0, n; r < rows; r += n) {
            n = rows - r < group ? rows - r : group;
            char *const to = out + r * dst_row;
            const char *const y = compute(j, direct ? to : NULL, block + r * columns * src_size, n * columns, tiles);
            if (!direct) {
                mover->rows(to, dst_row, dst_column, y, columns * dst_size, dst_size, n, columns, dst_size);
            }
            int64_t const upto = ahead ? columns * (r + n) / rows : 0;
            prefetch_columns(in + rows * src_size + asked * src_column, src_column, upto - asked, BLOCK_ROWS * src_size);
            asked = upto;
        }
    }
}

/* The bytes of the widest item that can go through a tile. */
static int64_t widest_item(const gorsqrt_plan *plan) {
    if (plan->stages > 1) return ITEM;
    return plan->src_size > plan->dst_size ? plan->src_size : plan->dst_size;
}

static side look_at_runs(const gorsqrt_plan *plan, const int64_t *strides, int64_t size) {
    side s = {.run = 1, .outer = plan->ndim - 1};
    for (; s.outer >= 0 && strides[s.outer] == s.run * size; s.outer--) s.run *= plan->shape[s.outer];
    s.direct = s.run >= SHORT_RUN || s.run == plan->n;
    return s;
}

/* Sizes a plan's scratch memory: tiles for at most `most` items, and a block of `block` bytes. */
static void size_scratch(job *j, int tiles, int64_t most, int64_t block) {
    int64_t const item = widest_item(j->plan), items = TILE * ITEM / item;
    j->tile_items = items < most ? items : most;
    j->tile = tiles == 0 ? 0 : (j->tile_items * item + LINE - 1) / LINE * LINE;
    j->scratch = (tiles > 1 ? 2 : 1) * j->tile + block;
}

/* Sizes the tiles of a plan without blocks. If every item of src is on its own cache line the tiles
 * are small, so that the next lines arrive while one tile is computed. */
static void size_tiles(job *j) {
    const gorsqrt_plan *const plan = j->plan;
    j->from = look_at_runs(plan, plan->src_strides, plan->src_size);
    j->to = look_at_runs(plan, plan->dst_strides, plan->dst_size);
    if (j->over_rows) j->from.direct = j->to.direct = false;
    int const tiles = j->over_rows ? 1 : !j->from.direct + plan->stages - 1 + !j->to.direct;
    if (tiles == 0) {
        j->tile_items = plan->n;
        return;
    }
    bool const far = !j->from.direct && magnitude(plan->src_strides[plan->ndim - 1]) >= LINE;
    size_scratch(j, tiles, far && plan->n > FAR_TILE ? FAR_TILE : plan->n, 0);
}

/* Chooses how to carry out a plan: by blocks if some dimension has a smaller stride in src than the
 * last one, and both are long enough. The job is filled in through a pointer: copying fields that
 * were just written takes as long as some items. */
static void prepare(job *j, const gorsqrt_plan *plan, void *dst, const void *src) {
    *j = (job){.plan = plan, .dst = dst, .src = src, .units = plan->n, .unit_items = 1, .rows = -1};
    int const last = plan->ndim - 1;
    int64_t const length = last < 0 ? 1 : plan->shape[last], src_item = last < 0 ? plan->src_size : plan->src_strides[last];
    int rows = last;
    for (int d = 0; d < last; d++) {
        int64_t const stride = magnitude(plan->src_strides[d]);
        if (plan->shape[d] >= 4 && stride > 0 && stride < magnitude(plan->src_strides[rows])) rows = d;
    }
    if (rows != last && length >= 4 && plan->shape[rows] * length >= SHORT_RUN) {
        j->rows = rows;
        cut const by_row = cut_rows(j), by_column = cut_columns(j);
        j->units = plan->n / by_row.length / by_column.length * cut_pieces(by_row) * cut_pieces(by_column);
        j->unit_items = (by_row.length < by_row.most ? by_row.length : by_row.most) *
                        (by_column.length < by_column.most ? by_column.length : by_column.most);
        size_scratch(j, 2, j->unit_items, j->unit_items * plan->src_size);
    }
    if (plan->stages == 0) return;
    j->first = plan->stage[0];
    bool const in_rows = last < 0 || plan->dst_strides[last] == plan->dst_size;
    bool const runs =
        j->rows >= 0 ? length >= block_columns(plan) : src_item == plan->src_size && (last <= 0 || length >= LONG_RUN);
    bool const aligned = (uintptr_t)((char *)dst + plan->dst_offset) % (uintptr_t)plan->dst_size == 0;
    bool const in_place = (char *)dst + plan->dst_offset == (const char *)src + plan->src_offset;
    j->streaming = plan->stages == 1 && in_rows && runs && aligned && !in_place &&
                   plan->n * (plan->src_size + plan->dst_size) >= gorsqrt_streaming_from;
    /* Compute by rows if their items are apart, or if they are contiguous, too short for a stage's
     * call each, but long enough for vectors. The rows go into dst, or into a tile if dst's items
     * are apart. */
    bool const apart = src_item != plan->src_size;
    bool const by_rows = last >= 0 && j->rows < 0 && plan->stages == 1 && src_item != 0 &&
                         (apart ? length >= SHORT_RUN : last > 0 && length >= SHORT_ROW && length < LONG_RUN);
    bool const apart_by_one = !in_rows && plan->dst_strides[last] == 2 * plan->dst_size; /* movers are fast at this */
    static const gorsqrt_kernels none;
    const gorsqrt_kernels *const kernels = plan->kernels ? plan->kernels : &none;
    if (j->streaming) {
        if (kernels->streaming) j->first = kernels->streaming;
    } else {
        if (!in_rows && !apart_by_one && j->rows < 0 && plan->stages == 1 && src_item != 0 && length >= SHORT_ROW) {
            j->over_places = kernels->places;
        }
        if (by_rows && !j->over_places) j->over_rows = kernels->rows;
    }
    j->in_rows = in_rows;
    if (j->rows < 0 && !j->over_places && !(j->over_rows && in_rows)) size_tiles(j);
}

/* Not inlined, so that the compiler can't move arithmetic across the change of mode. */
__attribute__((noinline)) static void run_units(const job *j, int64_t begin, int64_t end, char *scratch) {
    if (j->rows >= 0) {
        run_blocks(j, begin, end, scratch);
    } else if (j->plan->stages == 0 || j->over_places || (j->over_rows && j->in_rows)) {
        run_rows(j, begin, end);
    } else {
        run_items(j, begin, end, scratch);
    }
    if (j->streaming) gorsqrt_streamed();
}

/* The workers' task. Any two ranges of units may run at the same time on different threads. */
static void run(const void *context, int64_t begin, int64_t end, void *scratch) {
    if (!mode_is_foreign()) {
        run_units(context, begin, end, scratch);
        return;
    }
    fp_mode const callers = mode_get();
    mode_set(FP_MODE_DEFAULT);
    run_units(context, begin, end, scratch);
    mode_set(callers);
}

/* Carries out a plan without a copy of dst. Writes nothing if there is no memory. */
static enum gorsqrt_outcome run_all(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                    void *context) {
    job j;
    prepare(&j, plan, dst, src);
    int64_t const chunk = j.unit_items < CHUNK ? CHUNK / j.unit_items : 1;
    int64_t const bytes = plan->n * (plan->src_size + plan->dst_size);
    _Alignas(LINE) char near[ON_STACK];
    /* Only this thread uses `near` and `far`, until the call returns. */
    char *const far = j.scratch > ON_STACK ? malloc((size_t)j.scratch + LINE) : NULL;
    if (j.scratch > ON_STACK && far == NULL) return GORSQRT_NO_MEMORY;
    char *const scratch = far ? far + (-(uintptr_t)far % LINE) : near;
    bool const done = gorsqrt_workers_run(run, &j, scratch, j.units, chunk, bytes, interrupted, context);
    if (far) free(far);
    return done ? GORSQRT_DONE : GORSQRT_INTERRUPTED;
}

/* The number of distinct items in src: a stride of 0 repeats items. */
static int64_t distinct_items(const gorsqrt_plan *plan) {
    int64_t n = 1;
    for (int d = 0; d < plan->ndim; d++) {
        if (plan->src_strides[d] != 0) n *= plan->shape[d];
    }
    return n;
}

/* Computes every distinct item of src once into temporary memory, and copies it to dst from
 * there. */
static enum gorsqrt_outcome run_through_block(const gorsqrt_plan *plan, int64_t n, void *dst, const void *src,
                                              bool (*interrupted)(void *), void *context) {
    /* The temporary memory lives until this call returns, and no other code sees it. */
    char *const block = malloc((size_t)(n * plan->dst_size));
    if (block == NULL) return GORSQRT_NO_MEMORY;
    gorsqrt_plan compute = *plan, copy = *plan;
    compute.n = n;
    compute.ndim = 0;
    for (int d = 0; d < plan->ndim; d++) {
        if (plan->src_strides[d] == 0) continue;
        compute.shape[compute.ndim] = plan->shape[d];
        compute.src_strides[compute.ndim++] = plan->src_strides[d];
    }
    int64_t stride = plan->dst_size;
    for (int d = plan->ndim - 1, c = compute.ndim - 1; d >= 0; d--) {
        if (plan->src_strides[d] == 0) continue;
        compute.dst_strides[c--] = copy.src_strides[d] = stride;
        stride *= plan->shape[d];
    }
    compute.dst_offset = copy.src_offset = 0;
    copy.src_size = plan->dst_size;
    copy.stages = 0;
    enum gorsqrt_outcome outcome = run_all(&compute, block, src, interrupted, context);
    if (outcome == GORSQRT_DONE) outcome = run_all(&copy, dst, block, interrupted, context);
    free(block);
    return outcome;
}

enum gorsqrt_outcome gorsqrt_execute(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                     void *context) {
    if (plan->n == 0) return GORSQRT_DONE;
    int64_t const n = distinct_items(plan);
    if (plan->temporary) return run_through_block(plan, n, dst, src, interrupted, context);
    if (plan->n >= SHORT_RUN && n * REPEATED <= plan->n) {
        enum gorsqrt_outcome const outcome = run_through_block(plan, n, dst, src, interrupted, context);
        if (outcome != GORSQRT_NO_MEMORY) return outcome;
    }
    return run_all(plan, dst, src, interrupted, context);
}
