/* The arithmetic: one kernel per operation, dtype and instruction set. These three make up its
 * name, such as rsqrt_f32_avx2.
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
 * The kernels for c64 and c128, pairs (re, im) of f32 and f64, compute the principal 1/√z, cut
 * along the negative real axis, each part within 0.51 ulp. The imaginary part's sign bit is
 * opposite to that of im, even if it is zero, so that 1/√conj(z) = conj(1/√z). A nan in the result
 * is the positive quiet nan without payload:
 *
 *     re or im infinite → (+0, ∓0)   else re or im nan → (nan, nan)   (±0, ±0) → (+inf, nan)   (-1, ±0) → (+0, ∓1)
 *
 * All tiers give the same bits for every input.
 *
 * dst and src are the same n items or share no byte; neither need be aligned. Kernels read and
 * write no other memory, keep no state and may run on any thread. They neither use nor change the
 * caller's floating-point mode (flush-to-zero, rounding): each opens as mode.h says.
 *
 * The compiler must not fuse a·b + c: gcc does not under -std=c11, clang does not because of the
 * pragma FP_CONTRACT. */
#ifndef GORSQRT_KERNELS_H
#define GORSQRT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "gorsqrt: -ffast-math and -Ofast replace 1/sqrt by an estimate; build with -fno-fast-math"
#endif

/* The dtypes. The first ones are computed without a cast; the others are cast to one of these
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

/* A kernel over rows of k items each. A row's items are contiguous in dst, and src_item bytes apart
 * (not 0) in src; rows are dst_row and src_row bytes apart. Only plans call it, which set the
 * floating-point mode. Otherwise the contract above holds. */
typedef void gorsqrt_rows_kernel(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item, int64_t rows,
                                 int64_t k);

/* The same, over rows whose items are dst_item bytes apart in dst. */
typedef void gorsqrt_places_kernel(void *dst, int64_t dst_row, int64_t dst_item, const void *src, int64_t src_row,
                                   int64_t src_item, int64_t rows, int64_t k);

/* How a tier computes one dtype. Plans do without a function that is NULL. */
typedef struct {
    gorsqrt_kernel *plain;
    /* With streaming stores, past the caches: for results that the caches would not hold until
     * their use. The start of dst must lie a multiple of the item's size after the start of a cache
     * line; src need not. The caller must call gorsqrt_streamed before any other thread reads
     * dst. */
    gorsqrt_kernel *streaming;
    gorsqrt_rows_kernel *rows;
    gorsqrt_places_kernel *places;
    gorsqrt_kernel *casting[GORSQRT_DTYPES]; /* from integers, which are cast as they are loaded: saves a pass */
} gorsqrt_kernels;

/* How a tier moves items; see move.h. */
typedef struct {
    /* Moves rows of k items. Rows are from_row and to_row bytes apart, items from_item and to_item
     * bytes. */
    void (*rows)(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item, int64_t rows,
                 int64_t k, int64_t size);
    /* to[row][column] = from[column][row]. A row's items are contiguous in `to`, a column's in
     * `from`. */
    void (*transposed)(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, int64_t columns,
                       int64_t size);
} gorsqrt_mover;

/* A tier: all functions for one instruction set. The tier's file ends with this table. */
typedef struct gorsqrt_tier {
    const char *name; /* the name by which callers choose it; of tiers with one name the first one that runs is used */
    const char
        *needs; /* features that it needs beside those of `below`: names in /proc/cpuinfo, separated by spaces; may be "" */
    /* If this tier has no kernel, no cast or no mover, this other tier's is used. NULL means
     * scalar, which has all of them. */
    const struct gorsqrt_tier *below;
    gorsqrt_kernels of[GORSQRT_COMPUTED];
    gorsqrt_kernel *casts[GORSQRT_DTYPES][GORSQRT_COMPUTED]; /* the direct casts; see cast.h */
    const gorsqrt_mover *mover;
} gorsqrt_tier;

/* The tiers of this build, by the names of their objects, the best first and scalar last. Go finds
 * out which of them the processor runs (rsqrt/dispatch.go). */
#if defined(__x86_64__)
#define GORSQRT_TIERS(TIER) TIER(avx512vbmi) TIER(avx512) TIER(avx2) TIER(scalar)
#elif defined(__aarch64__)
#define GORSQRT_TIERS(TIER) TIER(neon) TIER(scalar)
#endif

#define GORSQRT_DECLARED(tier) extern const gorsqrt_tier gorsqrt_##tier;
GORSQRT_TIERS(GORSQRT_DECLARED)

/* The same tiers as an array. */
#define GORSQRT_COUNTED(tier) +1
enum { GORSQRT_TIER_COUNT = GORSQRT_TIERS(GORSQRT_COUNTED) };
extern const gorsqrt_tier *const gorsqrt_tiers[GORSQRT_TIER_COUNT];

/* Call this after streaming kernels: orders their stores before later ones. */
void gorsqrt_streamed(void);

/* Whether kernels treat the processor as Intel's; gorsqrt_is_intel asks the processor. Intel's
 * divider is slower relative to its multipliers than AMD's, so the AVX-512 kernels divide fewer
 * vectors there. Other differences were found by timing one Intel processor, and apply to Intel's
 * only. Set it before the first call. No result bit depends on it. */
extern bool gorsqrt_intel;
bool gorsqrt_is_intel(void);

/* Whether a loop that loads from x and stores to y should begin at the end. A load waits for an
 * earlier store whose address has the same last 12 bits, until that store is done. If y lies up to
 * 1 KiB after x, modulo 4 KiB, an ascending loop waits at every load (float64 beyond AMD's caches
 * takes 1.45 times the time), and a descending one never does. On Intel's processors the loops
 * ascend, because they prefetch. */
static inline bool begins_at_end(const void *y, const void *x) {
    return !gorsqrt_intel && ((uintptr_t)y - (uintptr_t)x) % 4096 - 1 < 1023;
}

/* The number of the n items that lie before the first whole cache line of dst. */
static inline size_t items_to_line(const void *dst, size_t size, size_t n) {
    size_t const items = -(uintptr_t)dst % 64 / size;
    return items < n ? items : n;
}

#endif
