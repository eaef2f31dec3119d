/* The arithmetic: one kernel per operation, dtype and instruction set, named by exactly these:
 * rsqrt_f32_avx2.
 *
 * Every kernel computes 1/√src[i] for i = 0 … n-1, in
 *
 *     f32 f64    RN(1 / RN(√x))        RN: round to nearest, ties to even
 *                torch.rsqrt on the CPU, bit for bit; less than 1.5 ulp from 1/√x: the division's half, and up to one that
 *                the root's half becomes
 *     f16 bf16   RN(1/√x), correctly rounded: the f32 result, rounded once more, is never near a tie
 *
 *     +0 → +inf   -0 → -inf   +inf → +0   x < 0, -inf → the negative quiet nan   nan → itself, quieted
 *
 * Those of c64 and c128, pairs (re, im) of f32 and f64, compute the principal 1/√z, cut along the
 * negative real axis, each part within 0.51 ulp. The imaginary part's sign bit is opposite to im's,
 * zeros' included, so that 1/√conj(z) = conj(1/√z); a nan in the result is the positive quiet nan
 * without payload:
 *
 *     re or im infinite → (+0, ∓0)   else re or im nan → (nan, nan)   (±0, ±0) → (+inf, nan)   (-1, ±0) → (+0, ∓1)
 *
 * All tiers give the same bits for every input.
 *
 * dst and src are the same block or share no byte; neither need be aligned. Kernels read and write
 * nothing else, keep no state, may run on any thread, and neither use nor change the caller's
 * floating-point mode (flush-to-zero, rounding): each opens as mode.h says.
 *
 * No a·b + c may become a fused one: gcc leaves them alone under -std=c11, clang because of the
 * pragma FP_CONTRACT. */
#ifndef GORSQRT_KERNELS_H
#define GORSQRT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "gorsqrt: -ffast-math and -Ofast replace 1/sqrt by an estimate; build with -fno-fast-math"
#endif

/* The dtypes: first those that are computed as themselves, then those that are cast to one of them
 * first. */
enum gorsqrt_dtype {
    GORSQRT_F16,
    GORSQRT_BF16,
    GORSQRT_F32,
    GORSQRT_F64,
    GORSQRT_C64,
    GORSQRT_C128,
    GORSQRT_COMPUTED,
    GORSQRT_BOOL = GORSQRT_COMPUTED,
    GORSQRT_I8,
    GORSQRT_U8,
    GORSQRT_I16,
    GORSQRT_U16,
    GORSQRT_I32,
    GORSQRT_U32,
    GORSQRT_I64,
    GORSQRT_U64,
    GORSQRT_DTYPES
};

/* Bytes of one item, by dtype. */
extern const int64_t gorsqrt_item_size[GORSQRT_DTYPES];

typedef void gorsqrt_kernel(void *dst, const void *src, size_t n);

/* A kernel over rows of k items each. Those of dst are next to each other, those of src src_item
 * bytes apart, not 0; rows are dst_row and src_row bytes apart. It is for plans, which see to the
 * floating-point mode; the rest is as above. */
typedef void gorsqrt_rows_kernel(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item, int64_t rows,
                                 int64_t k);

/* And over rows whose items lie dst_item bytes apart in dst, too. */
typedef void gorsqrt_places_kernel(void *dst, int64_t dst_row, int64_t dst_item, const void *src, int64_t src_row,
                                   int64_t src_item, int64_t rows, int64_t k);

/* How a tier computes one dtype. Plans do without what is NULL. */
typedef struct {
    gorsqrt_kernel *plain;
    /* With streaming stores, past the caches: for results that they would not hold until they are
     * used. dst is then a multiple of the item from the start of a cache line, and not src; whoever
     * has called it ends with gorsqrt_streamed, before any other thread looks at dst. */
    gorsqrt_kernel *streaming;
    gorsqrt_rows_kernel *rows;
    gorsqrt_places_kernel *places;
    gorsqrt_kernel *casting[GORSQRT_DTYPES]; /* from integers, which are cast as they are loaded: a pass less */
} gorsqrt_kernels;

/* How a tier moves items: see move.h. */
typedef struct {
    /* Rows of k items, from_row and to_row from a row to the next, from_item and to_item from an
     * item to the next. */
    void (*rows)(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item, int64_t rows,
                 int64_t k, int64_t size);
    /* to[row][column] = from[column][row]: a row's items are next to each other in `to`, a column's
     * in `from`. */
    void (*transposed)(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, int64_t columns,
                       int64_t size);
} gorsqrt_mover;

/* A tier: what is computed by one instruction set. Its file ends with it. */
typedef struct gorsqrt_tier {
    const char *name; /* by which callers choose it; of tiers with one name the first that runs counts */
    const char *
        needs; /* features of the processor, by their names in /proc/cpuinfo with spaces between, and those of `below`; may be "" */
    /* If this tier has no kernel, no cast or no mover, it has the one of this other tier; NULL:
     * scalar, which has all of them. */
    const struct gorsqrt_tier *below;
    gorsqrt_kernels of[GORSQRT_COMPUTED];
    gorsqrt_kernel *casts[GORSQRT_DTYPES][GORSQRT_COMPUTED]; /* the direct ones: see cast.h */
    const gorsqrt_mover *mover;
} gorsqrt_tier;

/* The tiers of this build by the names of their objects, the best first, scalar last. Which of them
 * the processor runs is Go's question (rsqrt/dispatch.go). */
#if defined(__x86_64__)
#define GORSQRT_TIERS(TIER) TIER(avx512vbmi) TIER(avx512) TIER(avx2) TIER(scalar)
#elif defined(__aarch64__)
#define GORSQRT_TIERS(TIER) TIER(neon) TIER(scalar)
#endif

#define GORSQRT_DECLARED(tier) extern const gorsqrt_tier gorsqrt_##tier;
GORSQRT_TIERS(GORSQRT_DECLARED)

/* The same as an array. */
#define GORSQRT_COUNTED(tier) +1
enum { GORSQRT_TIER_COUNT = GORSQRT_TIERS(GORSQRT_COUNTED) };
extern const gorsqrt_tier *const gorsqrt_tiers[GORSQRT_TIER_COUNT];

/* After streaming kernels. */
void gorsqrt_streamed(void);

/* Whether the processor is taken for one of Intel's; gorsqrt_is_intel asks it. Their dividers are
 * slower beside their multipliers than AMD's, and so do less in avx512's kernels; what else differs
 * there was found by timing one, and is left alone on others. It is set before the first call; no
 * bit depends on it. */
extern bool gorsqrt_intel;
bool gorsqrt_is_intel(void);

/* Whether a loop that loads from x and stores to y begins at the end. A load waits for an earlier
 * store whose address has the same last 12 bits, until that store is done. If y lies up to 1 KiB
 * after x, modulo 4 KiB, an ascending loop meets that at every load (float64 past AMD's caches
 * takes 1.45 times the time), and a descending one never does. Intel's ascend: they ask ahead. */
static inline bool begins_at_end(const void *y, const void *x) {
    return !gorsqrt_intel && ((uintptr_t)y - (uintptr_t)x) % 4096 - 1 < 1023;
}

/* How many of n items lie before the first whole cache line of dst. */
static inline size_t items_to_line(const void *dst, size_t size, size_t n) {
    size_t const items = -(uintptr_t)dst % 64 / size;
    return items < n ? items : n;
}

#endif
