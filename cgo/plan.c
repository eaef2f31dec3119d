#include "plan.h"

#include "mode.h"
#include "workers.h"

#include <stdlib.h>
#include <string.h>

enum {
    ITEM = 16,       /* bytes of the largest item */
    TILE = 512,      /* of those in a tile, which holds items between two stages: two are 16 KiB, half of the smallest L1 */
    FAR_TILE = 64,   /* items in a tile where each comes from a line of its own: the next lines come while these are computed */
    SHORT_ROW = 12,  /* contiguous rows below this, that are apart, go through tiles with others */
    SHORT_RUN = 256, /* contiguous runs below this are gathered into tiles rather than computed one by one */
    LONG_RUN = 1024, /* from here on the lines at the ends of a run don't count, which are not stored whole */
    CHUNK = 1 << 16, /* items between two looks at `interrupted`, and that one thread takes at a time: 10 µs to 2 ms */
    REPEATED = 4,    /* how often each item must be asked for, for it to be computed once and copied */

    /* What is turned at once: rows of dst, columns next to each other in src. A cache has room for
     * 8 lines that are a large power of two apart, and where rows are, the lines of a column are.
     * So src is read in runs of some lines, and dst written in long ones. */
    BLOCK_ROWS = 64,
    BLOCK_ROW = 1152, /* bytes of src's items in one */

    LINE = 64,          /* bytes of a cache line, which scratch memory is aligned to */
    ON_STACK = 4 << 10, /* bytes of scratch memory that the caller's stack has room for: it may be 32 KiB in all */
};

_Static_assert(2 * TILE * ITEM + BLOCK_ROWS * BLOCK_ROW <= WORKERS_SCRATCH, "helpers have scratch memory for every plan");

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

/* The next rows of k items from where the cursor stands, together at most n: as many whole ones as
 * there are, or one, of which this is a part. *d is the dimension to advance in, by *step. */
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

/* The bytes from an item to the next, and from a row to the next. */
static int64_t item_stride(const cursor *at) {
    return at->plan->ndim > 0 ? at->strides[at->plan->ndim - 1] : 0;
}

static int64_t row_stride(const cursor *at) {
    return at->plan->ndim > 1 ? at->strides[at->plan->ndim - 2] : 0;
}

/* The next n items between a tile and where the cursor stands. */
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

/* One side of a plan by its contiguous runs. */
typedef struct {
    int64_t run; /* items */
    int outer;   /* the first dimension that is not in a run */
    bool direct; /* stages read or write the runs where they are; else items go through a tile */
} side;

/* A plan under way. Its units are what it may be cut into: items, or where src is turned, blocks.
 *
 * Each thread brings scratch memory of its own: two tiles, and after them the block, if src is
 * turned. */
typedef struct {
    const gorsqrt_plan *plan;
    char *dst;
    const char *src;
    int64_t units, unit_items;
    int rows; /* the dimension whose neighbours are nearest to each other in src; -1 where that is the last, or nothing is gained */
    bool streaming;
    bool in_rows;                       /* dst's items follow each other */
    gorsqrt_kernel *first;              /* the first stage, or what does the same with streaming stores */
    gorsqrt_rows_kernel *over_rows;     /* the only stage over rows of src, which need not be contiguous, or NULL */
    gorsqrt_places_kernel *over_places; /* the same to places apart in dst, or NULL */
    side from, to;                      /* if there are no blocks */
    int64_t tile_items, tile;           /* the most items that go through a tile at once, and a tile's bytes */
    int64_t scratch;                    /* bytes */
} job;

/* The next n items from where the cursor stands, computed on their way into a tile. */
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

/* Without tiles: copies items, where there is no stage, which may be the same one many times; or
 * computes them over rows. */
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

/* Applies the stages to n contiguous items at `in`, of which the last goes to `out`, or to a tile
 * where that is NULL. It answers where the result is. `in` may be the first tile. */
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

/* A direct side's runs are read or written in place; the other side's items go through a tile. */
static void run_items(const job *j, int64_t begin, int64_t end, char *tiles) {
    const gorsqrt_plan *const plan = j->plan;
    bool const src_direct = j->from.direct, dst_direct = j->to.direct;
    int64_t const src_run = j->from.run, dst_run = j->to.run;

    /* A direct side's cursor stays at the start of a run, and the items into it are counted
     * apart. */
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

/* The most columns of a block: of 4 bytes two blocks of the avx512 f32 kernel, six of the avx2 one,
 * and else a power of two, as other kernels'. */
static int64_t block_columns(const gorsqrt_plan *plan) {
    if (plan->src_size == 4) return BLOCK_ROW / 4;
    return plan->src_size < 4 ? 256 : 1024 / plan->src_size;
}

/* How blocks of at most `most` cut a dimension, so that they begin and end with cache lines where
 * the first item lies `before` items, fewer than `most`, behind the beginning of one. */
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

/* `first` is the first item. What one block can take is not cut, nor what is not contiguous. */
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

/* Asks for lines that the second cache will need. */
static void prefetch_columns(const char *from, int64_t from_column, int64_t columns, int64_t bytes) {
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(from + c * from_column + b, 0, 2);
    }
}

/* Walks blocks along the dimension j->rows, which src's neighbours lie along: a block is turned on
 * its way into a tile, then its rows are computed, and while they are, the lines of the next block
 * come. */
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
        /* Into dst itself where its rows are long enough for a call each, or follow each other;
         * else as many as fit into a tile. */
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

/* The bytes of the widest item that may go through a tile. */
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

/* Gives a plan tiles for at most so many items at once, and a block of so many bytes. */
static void size_scratch(job *j, int tiles, int64_t most, int64_t block) {
    int64_t const item = widest_item(j->plan), items = TILE * ITEM / item;
    j->tile_items = items < most ? items : most;
    j->tile = tiles == 0 ? 0 : (j->tile_items * item + LINE - 1) / LINE * LINE;
    j->scratch = (tiles > 1 ? 2 : 1) * j->tile + block;
}

/* The tiles of a plan without blocks: if every item of src comes from a line of its own they are
 * small, so that the next lines come while one is computed. */
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

/* By blocks where some dimension's neighbours are nearer to each other in src than the last one's,
 * and both are long enough. The job is filled in where it stays, since to copy fields that were
 * just written takes as long as some items. */
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
    /* Rows whose items lie apart, and contiguous ones that are not worth a stage's call each, but
     * long enough for vectors: into dst, or where its items lie apart, into a tile. */
    bool const apart = src_item != plan->src_size;
    bool const by_rows = last >= 0 && j->rows < 0 && plan->stages == 1 && src_item != 0 &&
                         (apart ? length >= SHORT_RUN : last > 0 && length >= SHORT_ROW && length < LONG_RUN);
    bool const apart_by_one = !in_rows && plan->dst_strides[last] == 2 * plan->dst_size; /* which movers are fast at */
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

/* Not inlined, so that no arithmetic can be moved across the change of mode. */
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

/* Any two ranges may run at the same time on different threads. */
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

/* Writes nothing if there is no memory. */
static enum gorsqrt_outcome run_all(const gorsqrt_plan *plan, void *dst, const void *src, bool (*interrupted)(void *),
                                    void *context) {
    job j;
    prepare(&j, plan, dst, src);
    int64_t const chunk = j.unit_items < CHUNK ? CHUNK / j.unit_items : 1;
    int64_t const bytes = plan->n * (plan->src_size + plan->dst_size);
    _Alignas(LINE) char near[ON_STACK];
    /* Both are this thread's alone, until the call returns. */
    char *const far = j.scratch > ON_STACK ? malloc((size_t)j.scratch + LINE) : NULL;
    if (j.scratch > ON_STACK && far == NULL) return GORSQRT_NO_MEMORY;
    char *const scratch = far ? far + (-(uintptr_t)far % LINE) : near;
    bool const done = gorsqrt_workers_run(run, &j, scratch, j.units, chunk, bytes, interrupted, context);
    if (far) free(far);
    return done ? GORSQRT_DONE : GORSQRT_INTERRUPTED;
}

/* How many items of src there are, those apart that a stride of 0 repeats. */
static int64_t distinct_items(const gorsqrt_plan *plan) {
    int64_t n = 1;
    for (int d = 0; d < plan->ndim; d++) {
        if (plan->src_strides[d] != 0) n *= plan->shape[d];
    }
    return n;
}

/* Computes every item of src once, into a block, and copies from there. */
static enum gorsqrt_outcome run_through_block(const gorsqrt_plan *plan, int64_t n, void *dst, const void *src,
                                              bool (*interrupted)(void *), void *context) {
    /* The block lives until this call returns and nobody else sees it. */
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
