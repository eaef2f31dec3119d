/* The avx512 tier, for x86-64 processors with AVX-512. f32 is computed in blocks of 9 vectors, f64
 * in blocks of 8, f16 and bf16 by tables or in f32 lanes, c64 and c128 in two vectors of re and two
 * of im.
 *
 *     intrinsic                instruction         latency / throughput (Zen 4, cycles; Zen 5 halves the second but the divider's)
 *     _mm512_sqrt_ps           vsqrtps zmm         15 / 10
 *     _mm512_div_ps            vdivps zmm          11 / 6
 *     _mm512_sqrt_pd           vsqrtpd zmm         21 / 16
 *     _mm512_div_pd            vdivpd zmm          13 / 9
 *     _mm512_rsqrt14_ps, _pd   vrsqrt14ps zmm       5 / 1
 *     _mm512_fmadd_ps, _pd     vfmadd231ps zmm      4 / 1
 *     _mm512_permutex2var_epi8 vpermt2b zmm         6 / 1      _epi16 alike
 *     _mm512_scalef_ps, _pd    vscalefps zmm        6 / 2
 *     _mm512_fixupimm_ps, _pd  vfixupimmps zmm      4 / 1
 *     _mm512_cvtph_ps          vcvtph2ps zmm        7 / 1.3
 *     _mm512_cvtps_ph          vcvtps2ph ymm        7 / 1.3
 *
 * One divider does square roots and divisions, and meanwhile the multipliers have little to do:
 * each root and each division takes the place of two fma. So f32 and f64 give the divider some
 * vectors of a block and compute the others by fma, to the same bits. Then both are busy. f16's
 * table is bound by the number of instructions, bf16's by the second-level cache, their f32 lanes
 * by conversions and fma. Complex dtypes are bound by multiplications, and by how many operations
 * can wait for each other. x86's own nans are the contract's. Masked lanes neither load nor store,
 * so tails read nothing beyond the end. */
#ifdef __x86_64__
#include "kernels.h"

#include "cast.h"
#include "mode.h"
#include "move.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prfchw")))

/* The vectors that are computed together, step by step, and how many of them the divider computes.
 * It and the multipliers then take nearly the same time on Zen 4: 64 cycles beside 61 in f32, 75
 * beside 77 in f64, where the multipliers also lose some to integers. Intel's multipliers are 3.9
 * and 4.5 times as fast as its divider, Zen 4's 1.8 and 1.9 times: `python bench limits`. */
enum {
    F32_BLOCK = 9,
    F32_DIVIDED = 4,
    F32_DIVIDED_INTEL = 2,
    F32S = 16,
    F64_BLOCK = 8,
    F64_DIVIDED = 3,
    F64_DIVIDED_INTEL = 1,
    F64S = 8,
    PAIRS = 2,    /* vectors of re and of im that are computed together with the second half of as many */
    AHEAD = 4096, /* bytes; prefetched so far in advance, which does nothing outside the arrays */
};

/* One hexadecimal digit per kind of value, from the lowest: nans quieted (2 2), a zero's infinity
 * (6), +1 as computed (0), -inf a nan (3), +inf zero (8), negatives a nan (3), positive numbers as
 * computed (0). */
static const int fixup_table = 0x03830622;

#define TIER AVX512
#define BITS 32
#define LANES F32S
#define VECTORS PAIRS
#include "complex.h"
#define BITS 64
#define LANES F64S
#define VECTORS PAIRS
#include "complex.h"

/* The mask of the items, of `items`, that are in the j-th vector of 16 or 8. */
AVX512 INLINE __mmask16 first_16(size_t items, int j) {
    size_t const before = 16 * (size_t)j, left = items > before ? items - before : 0;
    return left < 16 ? (__mmask16)((1u << left) - 1) : 0xffff;
}

AVX512 INLINE __mmask8 first_8(size_t items, int j) {
    size_t const before = 8 * (size_t)j, left = items > before ? items - before : 0;
    return left < 8 ? (__mmask8)((1u << left) - 1) : 0xff;
}

/* y = RN(1 / RN(√x)) for x in [2^-100, inf). By fma, with g → √x, h → 1/(2√x), s = RN(√x) and y →
 * 1/s:
 *
 *     h = y0/2   g = x·y0   r = 1/2 - g·h   g = g + g·r   h = h + h·r       y0: 1/√x to 14 bits
 *     s = g + (x - g²)·h
 *     y = 2h   e = 1 - s·y   e = e + 2^-60, rounded up   y = y + y·e
 *
 * y + y·e is (1 - e²)/s. The difference matters in one case: s is the last number before a power of
 * two, y is that power's reciprocal, 1/s is just above the midpoint of two numbers, and y + y·e is
 * that midpoint. The larger e lifts this result over its midpoint, and no other. Tested for all x
 * with this processor's y0, and in a search for all x with every y0 that the 14 bits allow.
 *
 * This function computes y0 and its half for the vectors after those of the divider, and returns
 * whether all their x are in that range. The half's bits tell: below 2^-100, where the low digits
 * of x - g² would be lost, the half is larger, and for zero it is inf. The halves for infinity,
 * negatives and nans (from 0 and nan) are larger as unsigned integers. */
AVX512 INLINE bool seed_f32s(__m512 *g, __m512 *h, const __m512 *x_f32x16, int divided, int block) {
    __m512i const exponent_u32x16 = _mm512_set1_epi32(1 << 23), range_u32x16 = _mm512_set1_epi32((127 + 49) << 23 | 1 << 22);
    __m512i most_u32x16 = _mm512_setzero_si512();
    for (int i = divided; i < block; i++) g[i] = _mm512_rsqrt14_ps(x_f32x16[i]);
    for (int i = divided; i < block; i++) {
        h[i] = _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(g[i]), exponent_u32x16));
    }
    for (int i = divided; i < block; i++) most_u32x16 = _mm512_max_epu32(most_u32x16, _mm512_castps_si512(h[i]));
    return _mm512_cmpge_epu32_mask(most_u32x16, range_u32x16) == 0;
}

/* All further steps, and the divider's work. */
AVX512 INLINE void rsqrt_f32_block(__m512 *y_f32x16, __m512 *g, __m512 *h, const __m512 *x_f32x16, int divided, int block) {
    __m512 const half_f32x16 = _mm512_set1_ps(0.5f), one_f32x16 = _mm512_set1_ps(1.0f), least_f32x16 = _mm512_set1_ps(0x1p-60f);
    __m512 r[F32_BLOCK], s[F32_BLOCK], e[F32_BLOCK];
    for (int i = 0; i < divided; i++) s[i] = _mm512_sqrt_ps(x_f32x16[i]);
    for (int i = divided; i < block; i++) g[i] = _mm512_mul_ps(x_f32x16[i], g[i]);
    for (int i = divided; i < block; i++) r[i] = _mm512_fnmadd_ps(g[i], h[i], half_f32x16);
    for (int i = divided; i < block; i++) g[i] = _mm512_fmadd_ps(g[i], r[i], g[i]);
    for (int i = divided; i < block; i++) h[i] = _mm512_fmadd_ps(h[i], r[i], h[i]);
    for (int i = 0; i < divided; i++) y_f32x16[i] = _mm512_div_ps(one_f32x16, s[i]);
    for (int i = divided; i < block; i++) r[i] = _mm512_fnmadd_ps(g[i], g[i], x_f32x16[i]);
    for (int i = divided; i < block; i++) s[i] = _mm512_fmadd_ps(r[i], h[i], g[i]);
    for (int i = divided; i < block; i++) h[i] = _mm512_add_ps(h[i], h[i]);
    for (int i = divided; i < block; i++) e[i] = _mm512_fnmadd_ps(s[i], h[i], one_f32x16);
    for (int i = divided; i < block; i++) {
        e[i] = _mm512_add_round_ps(e[i], least_f32x16, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    }
    for (int i = divided; i < block; i++) y_f32x16[i] = _mm512_fmadd_ps(h[i], e[i], h[i]);
}

/* Both functions together. If an x that is computed by fma is not in that range, the answer is
 * false and y is unchanged, unless `any` is set. */
AVX512 INLINE bool rsqrt_f32_vectors(__m512 *y_f32x16, const __m512 *x_f32x16, int divided, int block, bool any) {
    __m512 g[F32_BLOCK], h[F32_BLOCK];
    if (__builtin_expect(!seed_f32s(g, h, x_f32x16, divided, block), 0) && !any) return false;
    rsqrt_f32_block(y_f32x16, g, h, x_f32x16, divided, block);
    return true;
}

/* A whole block; the number of vectors for the divider is the one that suits the processor. */
AVX512 INLINE bool rsqrt_f32_whole(__m512 *y_f32x16, const __m512 *x_f32x16, bool any) {
    if (gorsqrt_intel) return rsqrt_f32_vectors(y_f32x16, x_f32x16, F32_DIVIDED_INTEL, F32_BLOCK, any);
    return rsqrt_f32_vectors(y_f32x16, x_f32x16, F32_DIVIDED, F32_BLOCK, any);
}

/* A block with arbitrary values. It computes with mantissas in [1/2, 2), chosen so that the
 * exponents are even, and then subtracts half the exponents. Results for zeros, infinities,
 * negatives and nans come from a table. Nothing here is slow for subnormals. */
AVX512 static __attribute__((noinline)) void rsqrt_f32_any_block(float *y, const float *x) {
    __m512 const minus_half_f32x16 = _mm512_set1_ps(-0.5f);
    __m512 m_f32x16[F32_BLOCK], y_f32x16[F32_BLOCK];
    for (int i = 0; i < F32_BLOCK; i++) {
        m_f32x16[i] = _mm512_getmant_ps(_mm512_loadu_ps(x + i * F32S), _MM_MANT_NORM_p5_2, _MM_MANT_SIGN_src);
    }
    rsqrt_f32_whole(y_f32x16, m_f32x16, true);
    for (int i = 0; i < F32_BLOCK; i++) {
        __m512 const x_f32x16 = _mm512_loadu_ps(x + i * F32S);
        __m512 const exponent_f32x16 = _mm512_mul_ps(_mm512_getexp_ps(x_f32x16), minus_half_f32x16); /* rounded down by: */
        __m512 const scaled_f32x16 = _mm512_scalef_ps(y_f32x16[i], exponent_f32x16);
        __m512i const table_i32x16 = _mm512_set1_epi32(fixup_table);
        _mm512_storeu_ps(y + i * F32S, _mm512_fixupimm_ps(scaled_f32x16, x_f32x16, table_i32x16, 0));
    }
}

/* Whether all x of a block are in its range, asked before there is a seed: for processors on which
 * the seed of a subnormal is slow, like an exception, and after a block in which some x were not in
 * range. */
AVX512 INLINE bool are_ordinary_f32s(const __m512 *x_f32x16) {
    __m512i const least_u32x16 = _mm512_set1_epi32((127 - 100) << 23),
                  range_u32x16 = _mm512_set1_epi32((255 - 127 + 100) << 23);
    __m512i most_u32x16 = _mm512_setzero_si512();
    for (int i = 0; i < F32_BLOCK; i++) {
        most_u32x16 = _mm512_max_epu32(most_u32x16, _mm512_sub_epi32(_mm512_castps_si512(x_f32x16[i]), least_u32x16));
    }
    return _mm512_cmpge_epu32_mask(most_u32x16, range_u32x16) == 0;
}

/* Prefetches the line of x or y that a loop needs `ahead` bytes later (or earlier, if negative). y
 * is not prefetched for streaming stores; Intel's other stores wait for their lines. f32 on Zen 4
 * gains nothing by it. */
AVX512 INLINE void prefetch(const void *y, const void *x, ptrdiff_t ahead, bool streaming) {
    if (streaming) {
        __builtin_prefetch((const char *)x + ahead, 0, 3);
    } else if (gorsqrt_intel) {
        __builtin_prefetch((const char *)y + ahead, 1, 3);
    }
}

/* The source of the f32 kernel: integers are converted as they are loaded. */
enum source { FROM_F32, FROM_I32, FROM_I64 };

/* Loads items i to i + 15 of x. Lanes that are not set in `lanes` become 1, and nothing is read for
 * them. */
AVX512 INLINE __m512 load_f32x16(const void *x, size_t i, __mmask16 lanes, enum source from) {
    if (from == FROM_F32) return _mm512_mask_loadu_ps(_mm512_set1_ps(1.0f), lanes, (const float *)x + i);
    if (from == FROM_I32) {
        return _mm512_cvtepi32_ps(_mm512_mask_loadu_epi32(_mm512_set1_epi32(1), lanes, (const int32_t *)x + i));
    }
    __m512i const one_i64x8 = _mm512_set1_epi64(1);
    __m512i const low_i64x8 = _mm512_mask_loadu_epi64(one_i64x8, (__mmask8)lanes, (const int64_t *)x + i);
    __m512i const high_i64x8 = _mm512_mask_loadu_epi64(one_i64x8, (__mmask8)(lanes >> 8), (const int64_t *)x + i + 8);
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtepi64_ps(low_i64x8)), _mm512_cvtepi64_ps(high_i64x8), 1);
}

/* Computes n items, at most a block's, and ones beyond them. If one is out of the block's range,
 * the answer is false and nothing is written. */
AVX512 INLINE bool rsqrt_f32_part(float *y, const float *x, size_t n, int divided, int block) {
    __m512 x_f32x16[F32_BLOCK], y_f32x16[F32_BLOCK];
    for (int j = 0; j < block; j++) x_f32x16[j] = load_f32x16(x, (size_t)j * F32S, first_16(n, j), FROM_F32);
    if (!rsqrt_f32_vectors(y_f32x16, x_f32x16, divided, block, false)) return false;
    for (int j = 0; j < block; j++) _mm512_mask_storeu_ps(y + j * F32S, first_16(n, j), y_f32x16[j]);
    return true;
}

/* The rest, less than a block, in the smallest block that holds it. The divider computes a single
 * vector, and any rest that is not in range. */
AVX512 static __attribute__((noinline)) void rsqrt_f32_rest(float *y, const float *x, size_t n) {
    if (n > 7 * F32S) {
        if (rsqrt_f32_part(y, x, n, F32_DIVIDED, F32_BLOCK)) return;
    } else if (n > 5 * F32S) {
        if (rsqrt_f32_part(y, x, n, 3, 7)) return;
    } else if (n > 2 * F32S) {
        if (rsqrt_f32_part(y, x, n, 2, 5)) return;
    } else if (n > F32S) {
        if (rsqrt_f32_part(y, x, n, 1, 2)) return;
    }
    size_t i = 0;
    for (; i + F32S / 2 < n; i += F32S) {
        __mmask16 const rest = first_16(n - i, 0);
        __m512 const root_f32x16 = _mm512_sqrt_ps(load_f32x16(x, i, rest, FROM_F32));
        _mm512_mask_storeu_ps(y + i, rest, _mm512_div_ps(_mm512_set1_ps(1.0f), root_f32x16));
    }
    if (i < n) {
        __mmask8 const rest = first_8(n - i, 0);
        __m256 const one_f32x8 = _mm256_set1_ps(1.0f);
        __m256 const root_f32x8 = _mm256_sqrt_ps(_mm256_mask_loadu_ps(one_f32x8, rest, x + i));
        _mm256_mask_storeu_ps(y + i, rest, _mm256_div_ps(one_f32x8, root_f32x8));
    }
}

AVX512 INLINE void rsqrt_f32_items(float *y, const void *x, size_t n, enum source from, bool streaming) {
    size_t const step = F32_BLOCK * F32S, whole = n / step;
    bool const from_end = begins_at_end(y, x);
    bool wary = false;
    for (size_t k = 0; k < whole; k++) {
        size_t const i = (from_end ? whole - 1 - k : k) * step;
        __m512 x_f32x16[F32_BLOCK], y_f32x16[F32_BLOCK];
        for (int j = 0; j < F32_BLOCK; j++) {
            if (gorsqrt_intel) prefetch(y + i + j * F32S, (const float *)x + i + j * F32S, AHEAD, streaming);
            x_f32x16[j] = load_f32x16(x, i + (size_t)j * F32S, 0xffff, from);
        }
        if (__builtin_expect(wary, 0)) wary = !are_ordinary_f32s(x_f32x16);
        if (wary || !rsqrt_f32_whole(y_f32x16, x_f32x16, false)) {
            wary = gorsqrt_intel;
            float block[F32_BLOCK * F32S];
            if (from != FROM_F32) {
                for (int j = 0; j < F32_BLOCK; j++) _mm512_storeu_ps(block + j * F32S, x_f32x16[j]);
            }
            rsqrt_f32_any_block(y + i, from == FROM_F32 ? (const float *)x + i : block);
            continue;
        }
        for (int j = 0; j < F32_BLOCK; j++) {
            if (streaming) {
                _mm512_stream_ps(y + i + j * F32S, y_f32x16[j]);
            } else {
                _mm512_storeu_ps(y + i + j * F32S, y_f32x16[j]);
            }
        }
    }
    size_t i = whole * step;
    if (from == FROM_F32) {
        rsqrt_f32_rest(y + i, (const float *)x + i, n - i);
        return;
    }
    float rest[F32_BLOCK * F32S];
    for (size_t k = 0; i + k < n; k += F32S) _mm512_storeu_ps(rest + k, load_f32x16(x, i + k, first_16(n - i - k, 0), from));
    rsqrt_f32_rest(y + i, rest, n - i);
}

AVX512 static void rsqrt_f32_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_avx512, dst, src, n);
        return;
    }
    rsqrt_f32_items(dst, src, n, FROM_F32, false);
}

AVX512 static void rsqrt_f32_avx512_streaming(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_avx512_streaming, dst, src, n);
        return;
    }
    size_t const head = items_to_line(dst, sizeof(float), n);
    rsqrt_f32_items(dst, src, head, FROM_F32, false);
    rsqrt_f32_items((float *)dst + head, (const float *)src + head, n - head, FROM_F32, true);
}

/* 16 items that are `item` bytes apart: -4, 8, 12 or 20. Because 3 and 5 are odd, each item has its
 * own lane among 16, and the loads of all lines can share a vector. Nothing before the first or
 * after the last item is read. */
AVX512 INLINE __m512 near_f32x16(const char *x, int64_t item) {
    if (item == -4) {
        __m512i const backwards = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        return _mm512_permutexvar_ps(backwards, _mm512_loadu_ps(x - 60));
    }
    if (item == 8) {
        __m512i const evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
        return _mm512_permutex2var_ps(_mm512_loadu_ps(x), evens, _mm512_loadu_ps(x + 60));
    }
    if (item == 12) {
        __m512i const thirds = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13);
        __m512 x_f32x16 = _mm512_loadu_ps(x);
        x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x4924, x + 64);
        x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x2492, x + 128);
        return _mm512_permutexvar_ps(thirds, x_f32x16);
    }
    __m512i const fifths = _mm512_setr_epi32(0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11);
    __m512 x_f32x16 = _mm512_loadu_ps(x);
    x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x4210, x + 64);
    x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x2108, x + 128);
    x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x1084, x + 192);
    x_f32x16 = _mm512_mask_loadu_ps(x_f32x16, 0x0842, x + 256);
    return _mm512_permutexvar_ps(fifths, x_f32x16);
}

/* The same for any distance. The loop loads four by four: the fewer instructions and loads, the
 * more cache lines are on their way at once. */
AVX512 INLINE __m512 far_f32x16(const char *x, int64_t item) {
    __m128i x_i32x4[4];
#pragma GCC unroll 1
    for (int j = 0; j < 4; j++, x += 4 * item) {
        int32_t x_i32[4];
        for (int k = 0; k < 4; k++) memcpy(x_i32 + k, x + k * item, sizeof *x_i32);
        x_i32x4[j] = _mm_setr_epi32(x_i32[0], x_i32[1], x_i32[2], x_i32[3]);
    }
    __m512i x_i32x16 = _mm512_castsi128_si512(x_i32x4[0]);
    x_i32x16 = _mm512_inserti32x4(x_i32x16, x_i32x4[1], 1);
    x_i32x16 = _mm512_inserti32x4(x_i32x16, x_i32x4[2], 2);
    return _mm512_castsi512_ps(_mm512_inserti32x4(x_i32x16, x_i32x4[3], 3));
}

/* By the divider, which does not limit the speed of items far apart. */
AVX512 static __attribute__((noinline)) void rsqrt_f32_far(float *y, const char *x, int64_t item, size_t n) {
    for (; n >= F32S; n -= F32S) {
        _mm512_storeu_ps(y, _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(far_f32x16(x, item))));
        y += F32S;
        x += F32S * item;
    }
    float rest[F32S];
    for (size_t k = 0; k < n; k++) memcpy(rest + k, x + (int64_t)k * item, sizeof *rest);
    rsqrt_f32_rest(y, rest, n);
}

AVX512 INLINE void rsqrt_f32_near(float *y, const char *x, int64_t item, size_t n) {
    size_t i = 0;
    for (; i + F32_BLOCK * F32S <= n; i += F32_BLOCK * F32S) {
        __m512 x_f32x16[F32_BLOCK], y_f32x16[F32_BLOCK];
        for (int j = 0; j < F32_BLOCK; j++) x_f32x16[j] = near_f32x16(x + ((int64_t)i + j * F32S) * item, item);
        if (!rsqrt_f32_whole(y_f32x16, x_f32x16, false)) {
            float any[F32_BLOCK * F32S];
            for (int j = 0; j < F32_BLOCK; j++) _mm512_storeu_ps(any + j * F32S, x_f32x16[j]);
            rsqrt_f32_any_block(y + i, any);
            continue;
        }
        for (int j = 0; j < F32_BLOCK; j++) _mm512_storeu_ps(y + i + j * F32S, y_f32x16[j]);
    }
    rsqrt_f32_far(y + i, x + (int64_t)i * item, item, n - i);
}

/* Not inlined: a function that also holds this code computes short contiguous rows an eighth
 * slower. */
AVX512 static __attribute__((noinline)) void rsqrt_f32_apart(float *y, const char *x, int64_t item, size_t n) {
    switch (item) {
        case 8: rsqrt_f32_near(y, x, 8, n); break;
        case 12: rsqrt_f32_near(y, x, 12, n); break;
        case 20: rsqrt_f32_near(y, x, 20, n); break;
        case -4: rsqrt_f32_near(y, x, -4, n); break;
        default: rsqrt_f32_far(y, x, item, n);
    }
}

/* Contiguous rows of one to four vectors. The last vector ends with the row, so it may share items
 * with the one before: these items are read before the first write, and written twice, which costs
 * less than a mask if the line is far. Rows are often a large power of two apart, and a cache holds
 * only 8 lines at such a distance; so at most 4 vectors are computed together. Returns how many
 * rows are done. */
AVX512 INLINE int64_t rsqrt_f32_short_rows(char *dst, int64_t dst_row, const char *src, int64_t src_row, int64_t rows,
                                           int64_t k, int vectors) {
    int const step = 4 / vectors, block = step * vectors;
    __mmask16 const lanes = first_16((size_t)k, 0);
    int64_t const last = vectors == 1 ? 0 : k - F32S;
    int64_t r = 0;
    for (; r + step <= rows; r += step, dst += step * dst_row, src += step * src_row) {
        __m512 x_f32x16[4], y_f32x16[4];
        for (int j = 0; j < block; j++) {
            const float *const row = (const float *)(src + j / vectors * src_row);
            int64_t const i = j % vectors == vectors - 1 ? last : j % vectors * F32S;
            x_f32x16[j] = load_f32x16(row, (size_t)i, vectors == 1 ? lanes : 0xffff, FROM_F32);
        }
        if (!rsqrt_f32_vectors(y_f32x16, x_f32x16, block / 2, block, false)) {
            for (int64_t i = 0; i < step; i++) {
                rsqrt_f32_rest((float *)(dst + i * dst_row), (const float *)(src + i * src_row), (size_t)k);
            }
            continue;
        }
        for (int j = 0; j < block; j++) {
            float *const row = (float *)(dst + j / vectors * dst_row);
            int64_t const i = j % vectors == vectors - 1 ? last : j % vectors * F32S;
            if (vectors == 1) {
                _mm512_mask_storeu_ps(row, lanes, y_f32x16[j]);
            } else {
                _mm512_storeu_ps(row + i, y_f32x16[j]);
            }
        }
    }
    return r;
}

AVX512 static void rsqrt_f32_avx512_rows(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item,
                                         int64_t rows, int64_t k) {
    /* Rows in place that all map to the same sets of the first-level cache: the next rows' lines
     * would evict lines that a block is about to write. One row at a time keeps fewer lines on
     * their way. But Intel's loads wait for earlier stores a multiple of 4096 bytes away, and the
     * sets of its first-level cache hold 12 lines, not 8. */
    bool const crowded = !gorsqrt_intel && dst == src && dst_row % 4096 == 0 && k <= 2 * F32S;
    int64_t r = 0;
    if (src_item == 4 && !crowded) {
        switch ((k + F32S - 1) / F32S) {
            case 1: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 1); break;
            case 2: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 2); break;
            case 3: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 3); break;
            case 4: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 4);
        }
    }
    for (; r < rows; r++) {
        float *const y = (float *)((char *)dst + r * dst_row);
        const char *const x = (const char *)src + r * src_row;
        if (src_item == 4) {
            rsqrt_f32_items(y, x, (size_t)k, FROM_F32, false);
        } else {
            rsqrt_f32_apart(y, x, src_item, (size_t)k);
        }
    }
}

/* Stores 16 items to places `item` bytes apart. A store takes a cycle, whatever its size. */
AVX512 INLINE void put_f32x16(char *y, int64_t item, __m512 y_f32x16) {
    __m512i const y_u32x16 = _mm512_castps_si512(y_f32x16);
    __m128i const y_u32x4[4] = {_mm512_castsi512_si128(y_u32x16), _mm512_extracti32x4_epi32(y_u32x16, 1),
                                _mm512_extracti32x4_epi32(y_u32x16, 2), _mm512_extracti32x4_epi32(y_u32x16, 3)};
    for (int j = 0; j < 4; j++) {
        for (int half = 0; half < 2; half++, y += 2 * item) {
            int64_t const pair = half == 0 ? _mm_cvtsi128_si64(y_u32x4[j]) : _mm_extract_epi64(y_u32x4[j], 1);
            int32_t const first = (int32_t)pair, second = (int32_t)(pair >> 32);
            memcpy(y, &first, sizeof first);
            memcpy(y + item, &second, sizeof second);
        }
    }
}

/* By the divider: its 16 cycles for a vector are as long as the vector's stores take. */
AVX512 static void rsqrt_f32_avx512_places(void *dst, int64_t dst_row, int64_t dst_item, const void *src, int64_t src_row,
                                           int64_t src_item, int64_t rows, int64_t k) {
    for (int64_t r = 0; r < rows; r++) {
        char *y = (char *)dst + r * dst_row;
        const char *x = (const char *)src + r * src_row;
        int64_t n = k;
        for (; n >= F32S; n -= F32S, y += F32S * dst_item, x += F32S * src_item) {
            __m512 const x_f32x16 = src_item == 4 ? _mm512_loadu_ps(x) : far_f32x16(x, src_item);
            put_f32x16(y, dst_item, _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(x_f32x16)));
        }
        float rest[F32S];
        for (int64_t i = 0; i < n; i++) memcpy(rest + i, x + i * src_item, sizeof *rest);
        rsqrt_f32_rest(rest, rest, (size_t)n);
        for (int64_t i = 0; i < n; i++) memcpy(y + i * dst_item, rest + i, sizeof *rest);
    }
}

AVX512 static void rsqrt_i32_f32_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_i32_f32_avx512, dst, src, n);
        return;
    }
    rsqrt_f32_items(dst, src, n, FROM_I32, false);
}

AVX512 static void rsqrt_i64_f32_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_i64_f32_avx512, dst, src, n);
        return;
    }
    rsqrt_f32_items(dst, src, n, FROM_I64, false);
}

/* The same for x in [2^-960, inf), with one more iteration and e = e + e·(e + 2^-70). With another
 * processor's seed, the next e would lift some results over a midpoint. There is no proof here: the
 * hard cases are enumerated and tested. */
AVX512 INLINE bool seed_f64s(__m512d *g, __m512d *h, const __m512d *x_f64x8, int divided, int block) {
    __m512i const exponent_u64x8 = _mm512_set1_epi64(1ll << 52), range_u32x16 = _mm512_set1_epi32((1023 + 479) << 20 | 1 << 19);
    __m512i most_u32x16 = _mm512_setzero_si512();
    for (int i = divided; i < block; i++) g[i] = _mm512_rsqrt14_pd(x_f64x8[i]);
    for (int i = divided; i < block; i++) {
        h[i] = _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(g[i]), exponent_u64x8));
    }
    for (int i = divided; i < block; i++) most_u32x16 = _mm512_max_epu32(most_u32x16, _mm512_castpd_si512(h[i]));
    return _mm512_mask_cmpge_epu32_mask(0xaaaa, most_u32x16, range_u32x16) == 0; /* 64-bit integers take three times as long */
}

AVX512 INLINE void rsqrt_f64_block(__m512d *y_f64x8, __m512d *g, __m512d *h, const __m512d *x_f64x8, int divided, int block) {
    __m512d const half_f64x8 = _mm512_set1_pd(0.5), one_f64x8 = _mm512_set1_pd(1.0), tiny_f64x8 = _mm512_set1_pd(0x1p-70);
    __m512d r[F64_BLOCK], s[F64_BLOCK], e[F64_BLOCK];
    for (int i = 0; i < divided; i++) s[i] = _mm512_sqrt_pd(x_f64x8[i]);
    for (int i = divided; i < block; i++) g[i] = _mm512_mul_pd(x_f64x8[i], g[i]);
    for (int iteration = 0; iteration < 2; iteration++) {
        for (int i = divided; i < block; i++) r[i] = _mm512_fnmadd_pd(g[i], h[i], half_f64x8);
        for (int i = divided; i < block; i++) g[i] = _mm512_fmadd_pd(g[i], r[i], g[i]);
        for (int i = divided; i < block; i++) h[i] = _mm512_fmadd_pd(h[i], r[i], h[i]);
    }
    for (int i = 0; i < divided; i++) y_f64x8[i] = _mm512_div_pd(one_f64x8, s[i]);
    for (int i = divided; i < block; i++) r[i] = _mm512_fnmadd_pd(g[i], g[i], x_f64x8[i]);
    for (int i = divided; i < block; i++) s[i] = _mm512_fmadd_pd(r[i], h[i], g[i]);
    for (int i = divided; i < block; i++) h[i] = _mm512_add_pd(h[i], h[i]);
    for (int i = divided; i < block; i++) e[i] = _mm512_fnmadd_pd(s[i], h[i], one_f64x8);
    for (int i = divided; i < block; i++) {
        e[i] = _mm512_fmadd_pd(e[i], _mm512_add_pd(e[i], tiny_f64x8), e[i]);
    }
    for (int i = divided; i < block; i++) y_f64x8[i] = _mm512_fmadd_pd(h[i], e[i], h[i]);
}

/* Like rsqrt_f32_vectors. */
AVX512 INLINE bool rsqrt_f64_vectors(__m512d *y_f64x8, const __m512d *x_f64x8, int divided, int block, bool any) {
    __m512d g[F64_BLOCK], h[F64_BLOCK];
    if (__builtin_expect(!seed_f64s(g, h, x_f64x8, divided, block), 0) && !any) return false;
    rsqrt_f64_block(y_f64x8, g, h, x_f64x8, divided, block);
    return true;
}

AVX512 INLINE bool rsqrt_f64_whole(__m512d *y_f64x8, const __m512d *x_f64x8, bool any) {
    if (gorsqrt_intel) return rsqrt_f64_vectors(y_f64x8, x_f64x8, F64_DIVIDED_INTEL, F64_BLOCK, any);
    return rsqrt_f64_vectors(y_f64x8, x_f64x8, F64_DIVIDED, F64_BLOCK, any);
}

/* As rsqrt_f32_any_block. */
AVX512 static __attribute__((noinline)) void rsqrt_f64_any_block(double *y, const double *x) {
    __m512d const minus_half_f64x8 = _mm512_set1_pd(-0.5);
    __m512d m_f64x8[F64_BLOCK], y_f64x8[F64_BLOCK];
    for (int i = 0; i < F64_BLOCK; i++) {
        m_f64x8[i] = _mm512_getmant_pd(_mm512_loadu_pd(x + i * F64S), _MM_MANT_NORM_p5_2, _MM_MANT_SIGN_src);
    }
    rsqrt_f64_whole(y_f64x8, m_f64x8, true);
    for (int i = 0; i < F64_BLOCK; i++) {
        __m512d const x_f64x8 = _mm512_loadu_pd(x + i * F64S);
        __m512d const exponent_f64x8 = _mm512_mul_pd(_mm512_getexp_pd(x_f64x8), minus_half_f64x8);
        __m512d const scaled_f64x8 = _mm512_scalef_pd(y_f64x8[i], exponent_f64x8);
        __m512i const table_i64x8 = _mm512_set1_epi64(fixup_table);
        _mm512_storeu_pd(y + i * F64S, _mm512_fixupimm_pd(scaled_f64x8, x_f64x8, table_i64x8, 0));
    }
}

/* As rsqrt_f32_part and rsqrt_f32_rest. */
AVX512 INLINE bool rsqrt_f64_part(double *y, const double *x, size_t n, int divided, int block) {
    __m512d x_f64x8[F64_BLOCK], y_f64x8[F64_BLOCK];
    for (int j = 0; j < block; j++) x_f64x8[j] = _mm512_mask_loadu_pd(_mm512_set1_pd(1.0), first_8(n, j), x + j * F64S);
    if (!rsqrt_f64_vectors(y_f64x8, x_f64x8, divided, block, false)) return false;
    for (int j = 0; j < block; j++) _mm512_mask_storeu_pd(y + j * F64S, first_8(n, j), y_f64x8[j]);
    return true;
}

AVX512 static __attribute__((noinline)) void rsqrt_f64_rest(double *y, const double *x, size_t n) {
    if (n > 5 * F64S) {
        if (rsqrt_f64_part(y, x, n, F64_DIVIDED, F64_BLOCK)) return;
    } else if (n > 2 * F64S) {
        if (rsqrt_f64_part(y, x, n, 2, 5)) return;
    }
    for (size_t i = 0; i < n; i += F64S) {
        __mmask8 const rest = first_8(n - i, 0);
        __m512d const one_f64x8 = _mm512_set1_pd(1.0);
        __m512d const root_f64x8 = _mm512_sqrt_pd(_mm512_mask_loadu_pd(one_f64x8, rest, x + i));
        _mm512_mask_storeu_pd(y + i, rest, _mm512_div_pd(one_f64x8, root_f64x8));
    }
}

AVX512 INLINE bool are_ordinary_f64s(const __m512d *x_f64x8) {
    __m512i const least_u64x8 = _mm512_set1_epi64((1023ll - 960) << 52),
                  range_u32x16 = _mm512_set1_epi32((2047 - 1023 + 960) << 20);
    __m512i most_u32x16 = _mm512_setzero_si512();
    for (int i = 0; i < F64_BLOCK; i++) {
        most_u32x16 = _mm512_max_epu32(most_u32x16, _mm512_sub_epi64(_mm512_castpd_si512(x_f64x8[i]), least_u64x8));
    }
    return _mm512_mask_cmpge_epu32_mask(0xaaaa, most_u32x16, range_u32x16) == 0;
}

AVX512 INLINE void rsqrt_f64_items(double *y, const double *x, size_t n, bool streaming) {
    size_t const step = F64_BLOCK * F64S, whole = n / step;
    bool const from_end = begins_at_end(y, x);
    bool wary = false;
    for (size_t k = 0; k < whole; k++) {
        size_t const i = (from_end ? whole - 1 - k : k) * step;
        __m512d x_f64x8[F64_BLOCK], y_f64x8[F64_BLOCK];
        for (int j = 0; j < F64_BLOCK; j++) {
            prefetch(y + i + j * F64S, x + i + j * F64S, from_end ? -AHEAD : AHEAD, streaming);
            x_f64x8[j] = _mm512_loadu_pd(x + i + j * F64S);
        }
        if (__builtin_expect(wary, 0)) wary = !are_ordinary_f64s(x_f64x8);
        if (wary || !rsqrt_f64_whole(y_f64x8, x_f64x8, false)) {
            wary = gorsqrt_intel;
            rsqrt_f64_any_block(y + i, x + i);
            continue;
        }
        for (int j = 0; j < F64_BLOCK; j++) {
            if (streaming) {
                _mm512_stream_pd(y + i + j * F64S, y_f64x8[j]);
            } else {
                _mm512_storeu_pd(y + i + j * F64S, y_f64x8[j]);
            }
        }
    }
    size_t i = whole * step;
    rsqrt_f64_rest(y + i, x + i, n - i);
}

AVX512 static void rsqrt_f64_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_avx512, dst, src, n);
        return;
    }
    rsqrt_f64_items(dst, src, n, false);
}

AVX512 static void rsqrt_f64_avx512_streaming(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_avx512_streaming, dst, src, n);
        return;
    }
    size_t const head = items_to_line(dst, sizeof(double), n);
    rsqrt_f64_items(dst, src, head, false);
    rsqrt_f64_items((double *)dst + head, (const double *)src + head, n - head, true);
}

AVX512 INLINE __m256d apart_f64x4(const char *x, int64_t item) {
    double x_f64[4];
    for (int j = 0; j < 4; j++) memcpy(x_f64 + j, x + j * item, sizeof *x_f64);
    return _mm256_setr_pd(x_f64[0], x_f64[1], x_f64[2], x_f64[3]);
}

/* Like near_f32x16 and far_f32x16. */
AVX512 INLINE __m512d apart_f64x8(const char *x, int64_t item) {
    return _mm512_insertf64x4(_mm512_castpd256_pd512(apart_f64x4(x, item)), apart_f64x4(x + 4 * item, item), 1);
}

AVX512 static __attribute__((noinline)) void rsqrt_f64_far(double *y, const char *x, int64_t item, size_t n) {
    for (; n >= F64S; n -= F64S) {
        _mm512_storeu_pd(y, _mm512_div_pd(_mm512_set1_pd(1.0), _mm512_sqrt_pd(apart_f64x8(x, item))));
        y += F64S;
        x += F64S * item;
    }
    double rest[F64S];
    for (size_t k = 0; k < n; k++) memcpy(rest + k, x + (int64_t)k * item, sizeof *rest);
    rsqrt_f64_rest(y, rest, n);
}

AVX512 INLINE void rsqrt_f64_near(double *y, const char *x, int64_t item, size_t n) {
    size_t i = 0;
    for (; i + F64_BLOCK * F64S <= n; i += F64_BLOCK * F64S) {
        __m512d x_f64x8[F64_BLOCK], y_f64x8[F64_BLOCK];
        for (int j = 0; j < F64_BLOCK; j++) x_f64x8[j] = apart_f64x8(x + ((int64_t)i + j * F64S) * item, item);
        if (!rsqrt_f64_whole(y_f64x8, x_f64x8, false)) {
            double any[F64_BLOCK * F64S];
            for (int j = 0; j < F64_BLOCK; j++) _mm512_storeu_pd(any + j * F64S, x_f64x8[j]);
            rsqrt_f64_any_block(y + i, any);
            continue;
        }
        for (int j = 0; j < F64_BLOCK; j++) _mm512_storeu_pd(y + i + j * F64S, y_f64x8[j]);
    }
    rsqrt_f64_far(y + i, x + (int64_t)i * item, item, n - i);
}

AVX512 static void rsqrt_f64_avx512_rows(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item,
                                         int64_t rows, int64_t k) {
    for (int64_t r = 0; r < rows; r++) {
        double *const y = (double *)((char *)dst + r * dst_row);
        const char *const x = (const char *)src + r * src_row;
        if (src_item == 8) {
            rsqrt_f64_items(y, (const double *)x, (size_t)k, false);
        } else if (-64 < src_item && src_item < 64) {
            rsqrt_f64_near(y, x, src_item, (size_t)k);
        } else {
            rsqrt_f64_far(y, x, src_item, (size_t)k);
        }
    }
}

/* 1/√x within 2^-26, enough for the 16-bit dtypes: y0 + (1 - x·y0²)·y0/2. For zeros, infinities,
 * negatives and nans that is a nan. Then min returns its second operand, 2·y0, which is the result.
 * For others 2·y0 is about twice the result. */
AVX512 INLINE __m512 rsqrt_near_f32x16(__m512 x_f32x16) {
    __m512 const y_f32x16 = _mm512_rsqrt14_ps(x_f32x16);
    __m512 const g_f32x16 = _mm512_mul_ps(x_f32x16, y_f32x16);
    __m512 const e_f32x16 = _mm512_fnmadd_ps(g_f32x16, y_f32x16, _mm512_set1_ps(1.0f));
    __m512i const h_u32x16 = _mm512_sub_epi32(_mm512_castps_si512(y_f32x16), _mm512_set1_epi32(1 << 23));
    __m512 const near_f32x16 = _mm512_fmadd_ps(_mm512_castsi512_ps(h_u32x16), e_f32x16, y_f32x16);
    return _mm512_min_ps(near_f32x16, _mm512_add_ps(y_f32x16, y_f32x16));
}

AVX512 INLINE __m256i rsqrt_any_f16x16(__m256i x_u16x16) {
    return _mm512_cvtps_ph(rsqrt_near_f32x16(_mm512_cvtph_ps(x_u16x16)), _MM_FROUND_TO_NEAREST_INT);
}

AVX512 INLINE void rsqrt_f16_items(uint16_t *y, const uint16_t *x, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm256_storeu_si256((__m256i *)(y + i), rsqrt_any_f16x16(_mm256_loadu_si256((const __m256i *)(x + i))));
    }
    if (i < n) {
        __mmask16 const rest = (__mmask16)((1u << (n - i)) - 1);
        _mm256_mask_storeu_epi16(y + i, rest, rsqrt_any_f16x16(_mm256_maskz_loadu_epi16(rest, x + i)));
    }
}

AVX512 static void rsqrt_f16_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f16_avx512, dst, src, n);
        return;
    }
    rsqrt_f16_items(dst, src, n);
}

/* Converts bf16s to two vectors of f32s: the items at even places, and those at odd places. */
AVX512 INLINE __m512 even_bf16s(__m512i x_u16x32) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(x_u16x32, 16));
}

AVX512 INLINE __m512 odd_bf16s(__m512i x_u16x32) {
    return _mm512_castsi512_ps(_mm512_and_si512(x_u16x32, _mm512_set1_epi32((int)0xffff0000)));
}

/* Converts back. Adding half an ulp and cutting off the rest rounds to nearest, because no result
 * is near a tie. */
AVX512 INLINE __m512i bf16s_from(__m512 even_f32x16, __m512 odd_f32x16) {
    __m512i const half_u32x16 = _mm512_set1_epi32(0x8000);
    __m512i const low_u32x16 = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(even_f32x16), half_u32x16), 16);
    __m512i const high_u32x16 = _mm512_add_epi32(_mm512_castps_si512(odd_f32x16), half_u32x16);
    return _mm512_mask_blend_epi16(0xaaaaaaaa, low_u32x16, high_u32x16);
}

AVX512 INLINE __m512i rsqrt_any_bf16x32(__m512i x_u16x32) {
    return bf16s_from(rsqrt_near_f32x16(even_bf16s(x_u16x32)), rsqrt_near_f32x16(odd_bf16s(x_u16x32)));
}

AVX512 INLINE void rsqrt_bf16_items(uint16_t *y, const uint16_t *x, size_t n) {
    size_t i = 0;
    for (; i + 32 <= n; i += 32) _mm512_storeu_si512(y + i, rsqrt_any_bf16x32(_mm512_loadu_si512(x + i)));
    if (i < n) {
        __mmask32 const rest = ((__mmask32)1 << (n - i)) - 1;
        _mm512_mask_storeu_epi16(y + i, rest, rsqrt_any_bf16x32(_mm512_maskz_loadu_epi16(rest, x + i)));
    }
}

AVX512 static void rsqrt_bf16_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_bf16_avx512, dst, src, n);
        return;
    }
    rsqrt_bf16_items(dst, src, n);
}

#define AVX512_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,prfchw,avx512vbmi,avx512vbmi2")))

/* The 16-bit dtypes by tables. With u = a constant - x, the bits of 1/√x are (u + c + 1)/2, rounded
 * down, which is one instruction. The small number c corrects for the curve of 1/√x, and is the
 * same for x and 4x. The constant is the greatest x that uses the table. So all other values
 * (infinity, nans, negative numbers, zeros, subnormals) have a greater u than the least such x. */
enum {
    TABLE_BLOCK = 4, /* vectors that are computed together */
    U16S = 32,
    AND_OR = 0xea, /* vpternlog's a & b | c */
};

/* The mask of the items, of `items`, that are in the j-th vector of 32. */
AVX512 INLINE __mmask32 first_32(size_t items, int j) {
    size_t const before = U16S * (size_t)j, left = items > before ? items - before : 0;
    return left < U16S ? ((__mmask32)1 << left) - 1 : 0xffffffff;
}

/* f16's c is c0 + t·(c1 + t·c2)/2^15, rounded to nearest, in each of 64 pieces of 32 numbers. t is
 * 64 plus u's last 5 bits, and the sum in brackets is a signed number modulo 2^16. Because t begins
 * at 64, c1 and c2 make up for c0's lack of a fraction. A search found them such that all 32
 * results are right; tests compute them all. */
static const uint16_t rsqrt_f16_table[3][64] = {
    {14368, 14352, 14335, 14319, 14309, 14295, 14274, 14260, 14247, 14233, 14220, 14209, 14197, 14189, 14180, 14165,
     14167, 14147, 14139, 14138, 14126, 14121, 14116, 14111, 14122, 14110, 14108, 14108, 14111, 14117, 14133, 14126,
     14184, 14169, 14159, 14150, 14142, 14133, 14130, 14119, 14113, 14107, 14103, 14110, 14107, 14093, 14093, 14093,
     14090, 14092, 14094, 14099, 14105, 14115, 14123, 14128, 14135, 14150, 14158, 14175, 14195, 14204, 14230, 14264},
    {49241, 48614, 49907, 50469, 46456, 45816, 51855, 52265, 52167, 53121, 53735, 53948, 54190, 52522, 52133, 57208,
     48563, 59016, 59742, 55489, 61443, 61964, 63649, 65535, 55435, 302,   3018,  4832,  6262,  5293,  63606, 11026,
     51689, 56583, 57208, 57667, 58128, 58961, 56305, 60350, 61099, 62278, 62535, 54488, 55085, 65535, 64859, 65339,
     3450,  4034,  5465,  4989,  5240,  3226,  3283,  7615,  11943, 10002, 16195, 16042, 15021, 25465, 23229, 16454},
    {0,  9, 2, 1, 29, 37, 1,  1, 5, 4, 5, 4,  10, 23, 29, 1,  61, 0, 2, 35, 3,  7,  2,  0,  72, 12, 4,  4,  2,  22, 77, 10,
     29, 0, 1, 2, 1,  4,  23, 3, 2, 0, 3, 57, 58, 0,  13, 16, 1,  4, 2, 15, 21, 41, 54, 37, 18, 45, 17, 32, 53, 0,  30, 88},
};

AVX512_VBMI INLINE void rsqrt_f16_block(__m512i *y_u16x32, const __m512i *u_u16x32) {
    __m512i const low_u16x32 = _mm512_set1_epi16(31), from_u16x32 = _mm512_set1_epi16(64);
    __m512i const upper_u16x32 = _mm512_set1_epi16(1 << 11); /* a product's upper half is u/32; shifts would delay lookups */
    __m512i first_u16x32[3], last_u16x32[3];
    for (int j = 0; j < 3; j++) first_u16x32[j] = _mm512_loadu_si512(rsqrt_f16_table[j]);
    for (int j = 0; j < 3; j++) last_u16x32[j] = _mm512_loadu_si512(rsqrt_f16_table[j] + 32);
    __m512i piece[TABLE_BLOCK], c0[TABLE_BLOCK], c1[TABLE_BLOCK], c2[TABLE_BLOCK], t[TABLE_BLOCK];
    for (int i = 0; i < TABLE_BLOCK; i++) piece[i] = _mm512_mulhi_epu16(u_u16x32[i], upper_u16x32); /* low 6 bits count */
    for (int i = 0; i < TABLE_BLOCK; i++) c2[i] = _mm512_permutex2var_epi16(first_u16x32[2], piece[i], last_u16x32[2]);
    for (int i = 0; i < TABLE_BLOCK; i++) t[i] = _mm512_ternarylogic_epi32(u_u16x32[i], low_u16x32, from_u16x32, AND_OR);
    for (int i = 0; i < TABLE_BLOCK; i++) c1[i] = _mm512_permutex2var_epi16(first_u16x32[1], piece[i], last_u16x32[1]);
    for (int i = 0; i < TABLE_BLOCK; i++) c2[i] = _mm512_mullo_epi16(t[i], c2[i]);
    for (int i = 0; i < TABLE_BLOCK; i++) c0[i] = _mm512_permutex2var_epi16(first_u16x32[0], piece[i], last_u16x32[0]);
    for (int i = 0; i < TABLE_BLOCK; i++) c1[i] = _mm512_mulhrs_epi16(t[i], _mm512_add_epi16(c1[i], c2[i]));
    for (int i = 0; i < TABLE_BLOCK; i++) y_u16x32[i] = _mm512_avg_epu16(u_u16x32[i], _mm512_add_epi16(c0[i], c1[i]));
}

/* bf16's c is 0x3f00 plus a byte, which bits 1 to 7 of u select. */
static const uint8_t rsqrt_bf16_table[128] = {
    17, 17, 16, 15, 15, 14, 13, 13, 12, 11, 11, 10, 10, 9,  9,  8,  8,  7,  7,  7,  6,  6,  6,  5,  5,  5,
    5,  5,  4,  4,  4,  4,  4,  4,  4,  5,  5,  5,  5,  6,  6,  6,  7,  8,  8,  9,  10, 10, 10, 9,  9,  9,
    8,  7,  7,  7,  6,  6,  5,  5,  5,  4,  4,  4,  3,  3,  3,  3,  3,  2,  2,  2,  2,  2,  2,  2,  2,  2,
    2,  2,  3,  3,  3,  4,  4,  4,  4,  5,  6,  6,  6,  7,  8,  8,  10, 10, 11, 12, 13, 14, 15, 16, 18, 19,
    20, 22, 24, 24, 26, 28, 30, 32, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 23, 21, 21, 20, 19, 19};

/* Looks up the bytes of two vectors at once: the first vector's at even places, the second's at odd
 * places. */
AVX512_VBMI INLINE void rsqrt_bf16_block(__m512i *y_u16x32, const __m512i *u_u16x32) {
    __mmask64 const odd = 0xaaaaaaaaaaaaaaaa;
    __m512i const places_u8x64 = _mm512_set1_epi64(0x3100210011000100); /* for odd bytes: the place of bits 1 to 8 of 4 items */
    __m512i const low_u16x32 = _mm512_set1_epi16(0xff), high_u16x32 = _mm512_set1_epi16(0x3f00),
                  next_u16x32 = _mm512_set1_epi16(0x3f);
    __m512i const first_u8x64 = _mm512_loadu_si512(rsqrt_bf16_table), last_u8x64 = _mm512_loadu_si512(rsqrt_bf16_table + 64);
    for (int i = 0; i < TABLE_BLOCK; i += 2) {
        __m512i const even_u8x64 = _mm512_srli_epi16(u_u16x32[i], 1);
        __m512i const i_u8x64 = _mm512_mask_multishift_epi64_epi8(even_u8x64, odd, places_u8x64, u_u16x32[i + 1]);
        __m512i const c_u8x64 =
            _mm512_permutex2var_epi8(first_u8x64, i_u8x64, last_u8x64); /* selected by the low 7 bits of each */
        __m512i const a_u16x32 = _mm512_ternarylogic_epi32(c_u8x64, low_u16x32, high_u16x32, AND_OR);
        __m512i const b_u16x32 = _mm512_shrdi_epi16(c_u8x64, next_u16x32, 8);
        y_u16x32[i] = _mm512_avg_epu16(u_u16x32[i], a_u16x32);
        y_u16x32[i + 1] = _mm512_avg_epu16(u_u16x32[i + 1], b_u16x32);
    }
}

AVX512 INLINE bool are_any_above(const __m512i *u_u16x32, __m512i limit_u16x32) {
    __m512i greatest_u16x32 = u_u16x32[0];
    for (int j = 1; j < TABLE_BLOCK; j++) greatest_u16x32 = _mm512_max_epu16(greatest_u16x32, u_u16x32[j]);
    return _mm512_cmpgt_epu16_mask(greatest_u16x32, limit_u16x32) != 0;
}

enum half { F16, BF16 };

/* In f32 lanes, for arbitrary values. */
AVX512 INLINE void rsqrt_lanes(uint16_t *y, const uint16_t *x, size_t n, enum half of) {
    if (of == F16) rsqrt_f16_items(y, x, n);
    if (of == BF16) rsqrt_bf16_items(y, x, n);
}

AVX512_VBMI INLINE void rsqrt_half_block(uint16_t *y, const uint16_t *x, size_t items, enum half of, __m512i most_u16x32,
                                         __m512i limit_u16x32) {
    __m512i const one_u16x32 = _mm512_set1_epi16(of == F16 ? 0x3c00 : 0x3f80);
    __m512i u_u16x32[TABLE_BLOCK], y_u16x32[TABLE_BLOCK];
    for (int j = 0; j < TABLE_BLOCK; j++) {
        __m512i const x_u16x32 = _mm512_mask_loadu_epi16(one_u16x32, first_32(items, j), x + j * U16S);
        u_u16x32[j] = _mm512_sub_epi16(most_u16x32, x_u16x32);
    }
    if (__builtin_expect(are_any_above(u_u16x32, limit_u16x32), 0)) {
        rsqrt_lanes(y, x, items, of);
        return;
    }
    if (of == F16) rsqrt_f16_block(y_u16x32, u_u16x32);
    if (of == BF16) rsqrt_bf16_block(y_u16x32, u_u16x32);
    for (int j = 0; j < TABLE_BLOCK; j++) _mm512_mask_storeu_epi16(y + j * U16S, first_32(items, j), y_u16x32[j]);
}

/* By tables. Blocks with an x that is not between `least` and `most` are computed in f32 lanes, and
 * so is a short tail. bf16's 32 greatest numbers are not in the table: with a greater constant, c
 * would not always be 0x3f00 plus a byte. */
AVX512_VBMI INLINE void rsqrt_half_items(uint16_t *y, const uint16_t *x, size_t n, enum half of) {
    int const least = of == F16 ? 0x0400 : 0x0080, most = of == F16 ? 0x7bff : 0x7f5f;
    __m512i most_u16x32 = _mm512_set1_epi16((short)most), limit_u16x32 = _mm512_set1_epi16((short)(most - least));
    __asm__("" : "+v"(most_u16x32), "+v"(limit_u16x32)); /* otherwise gcc makes the constants anew in every round of the loop */
    size_t const block = TABLE_BLOCK * U16S;
    size_t i = 0;
    for (; i + block <= n; i += block) rsqrt_half_block(y + i, x + i, block, of, most_u16x32, limit_u16x32);
    if (n - i > U16S) {
        rsqrt_half_block(y + i, x + i, n - i, of, most_u16x32, limit_u16x32);
    } else {
        rsqrt_lanes(y + i, x + i, n - i, of);
    }
}

AVX512_VBMI static void rsqrt_f16_avx512vbmi(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f16_avx512vbmi, dst, src, n);
        return;
    }
    rsqrt_half_items(dst, src, n, F16);
}

AVX512_VBMI static void rsqrt_bf16_avx512vbmi(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_bf16_avx512vbmi, dst, src, n);
        return;
    }
    rsqrt_half_items(dst, src, n, BF16);
}

AVX512 INLINE f32s fma_f32s(f32s a, f32s b, f32s c) {
    return _mm512_fmadd_ps(a, b, c);
}

AVX512 INLINE f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return _mm512_fnmadd_ps(a, b, c);
}

AVX512 INLINE f32s max_f32s(f32s a, f32s b) {
    return _mm512_max_ps(a, b);
}

AVX512 INLINE f32s min_f32s(f32s a, f32s b) {
    return _mm512_min_ps(a, b);
}

AVX512 INLINE bool any_f32s(i32s where) {
    return _mm512_movepi32_mask((__m512i)where) != 0;
}

AVX512 INLINE f64s fma_f64s(f64s a, f64s b, f64s c) {
    return _mm512_fmadd_pd(a, b, c);
}

AVX512 INLINE f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return _mm512_fnmadd_pd(a, b, c);
}

AVX512 INLINE f64s max_f64s(f64s a, f64s b) {
    return _mm512_max_pd(a, b);
}

AVX512 INLINE f64s min_f64s(f64s a, f64s b) {
    return _mm512_min_pd(a, b);
}

AVX512 INLINE bool any_f64s(i64s where) {
    return _mm512_movepi64_mask((__m512i)where) != 0;
}

/* Separates the parts of two vectors of items, and joins them again; the order within `parts` does
 * not matter. */

AVX512 INLINE parts_f32 parts_from_c64s(__m512 first_c64x8, __m512 last_c64x8) {
    return (parts_f32){
        (i32s)_mm512_shuffle_ps(first_c64x8, last_c64x8, 0x88),
        (i32s)_mm512_shuffle_ps(first_c64x8, last_c64x8, 0xdd),
    };
}

AVX512 INLINE __m512 first_c64s(parts_f32 z) {
    return _mm512_unpacklo_ps((__m512)z.re, (__m512)z.im);
}

AVX512 INLINE __m512 last_c64s(parts_f32 z) {
    return _mm512_unpackhi_ps((__m512)z.re, (__m512)z.im);
}

AVX512 INLINE void load_c64s(parts_f32 *z, const float *x) {
    for (int j = 0; j < PAIRS; j++, x += 2 * F32S) z[j] = parts_from_c64s(_mm512_loadu_ps(x), _mm512_loadu_ps(x + F32S));
}

AVX512 INLINE void store_c64s(float *y, const parts_f32 *z) {
    for (int j = 0; j < PAIRS; j++, y += 2 * F32S) {
        _mm512_storeu_ps(y, first_c64s(z[j]));
        _mm512_storeu_ps(y + F32S, last_c64s(z[j]));
    }
}

AVX512 static void rsqrt_c64_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c64_avx512, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    size_t const floats = 2 * n;
    size_t const block = 2 * PAIRS * F32S;
    size_t i = 0;
    parts_f32 z[PAIRS], next[PAIRS];
    midway_f32 of_z, of_next;
    for (; i + block <= floats; i += block) {
        load_c64s(z, x + i);
        bool unusual = are_unusual_f32s(z);
        if (!unusual) start_f32s(&of_z, z);
        for (; __builtin_expect(!unusual && i + 2 * block <= floats, 1); i += block) {
            load_c64s(next, x + i + block);
            unusual = are_unusual_f32s(next);
            finish_and_start_f32s(z, &of_z, &of_next, next);
            store_c64s(y + i, z);
            for (int j = 0; j < PAIRS; j++) z[j] = next[j];
            of_z = of_next;
        }
        if (unusual) {
            rsqrt_unusual_f32s(z);
        } else {
            finish_f32s(z, &of_z);
        }
        store_c64s(y + i, z);
    }
    if (i < floats) {
        __m512 const one_f32x16 = _mm512_set1_ps(1.0f);
        __m512 x_f32x16[2 * PAIRS];
        for (int j = 0; j < 2 * PAIRS; j++) {
            x_f32x16[j] = _mm512_mask_loadu_ps(one_f32x16, first_16(floats - i, j), x + i + j * F32S);
        }
        for (int j = 0; j < PAIRS; j++) z[j] = parts_from_c64s(x_f32x16[2 * j], x_f32x16[2 * j + 1]);
        rsqrt_f32s(z);
        for (int j = 0; j < PAIRS; j++) {
            float *const to = y + i + 2 * j * F32S;
            _mm512_mask_storeu_ps(to, first_16(floats - i, 2 * j), first_c64s(z[j]));
            _mm512_mask_storeu_ps(to + F32S, first_16(floats - i, 2 * j + 1), last_c64s(z[j]));
        }
    }
}

AVX512 INLINE parts_f64 parts_from_c128s(__m512d first_c128x4, __m512d last_c128x4) {
    return (parts_f64){
        (i64s)_mm512_unpacklo_pd(first_c128x4, last_c128x4),
        (i64s)_mm512_unpackhi_pd(first_c128x4, last_c128x4),
    };
}

AVX512 INLINE __m512d first_c128s(parts_f64 z) {
    return _mm512_unpacklo_pd((__m512d)z.re, (__m512d)z.im);
}

AVX512 INLINE __m512d last_c128s(parts_f64 z) {
    return _mm512_unpackhi_pd((__m512d)z.re, (__m512d)z.im);
}

AVX512 INLINE void load_c128s(parts_f64 *z, const double *x) {
    for (int j = 0; j < PAIRS; j++, x += 2 * F64S) z[j] = parts_from_c128s(_mm512_loadu_pd(x), _mm512_loadu_pd(x + F64S));
}

AVX512 INLINE void store_c128s(double *y, const parts_f64 *z) {
    for (int j = 0; j < PAIRS; j++, y += 2 * F64S) {
        _mm512_storeu_pd(y, first_c128s(z[j]));
        _mm512_storeu_pd(y + F64S, last_c128s(z[j]));
    }
}

AVX512 static void rsqrt_c128_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c128_avx512, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    size_t const doubles = 2 * n;
    size_t const block = 2 * PAIRS * F64S;
    size_t i = 0;
    parts_f64 z[PAIRS], next[PAIRS];
    midway_f64 of_z, of_next;
    for (; i + block <= doubles; i += block) {
        load_c128s(z, x + i);
        bool unusual = are_unusual_f64s(z);
        if (!unusual) start_f64s(&of_z, z);
        for (; __builtin_expect(!unusual && i + 2 * block <= doubles, 1); i += block) {
            load_c128s(next, x + i + block);
            unusual = are_unusual_f64s(next);
            finish_and_start_f64s(z, &of_z, &of_next, next);
            store_c128s(y + i, z);
            for (int j = 0; j < PAIRS; j++) z[j] = next[j];
            of_z = of_next;
        }
        if (unusual) {
            rsqrt_unusual_f64s(z);
        } else {
            finish_f64s(z, &of_z);
        }
        store_c128s(y + i, z);
    }
    if (i < doubles) {
        __m512d const one_f64x8 = _mm512_set1_pd(1.0);
        __m512d x_f64x8[2 * PAIRS];
        for (int j = 0; j < 2 * PAIRS; j++) {
            x_f64x8[j] = _mm512_mask_loadu_pd(one_f64x8, first_8(doubles - i, j), x + i + j * F64S);
        }
        for (int j = 0; j < PAIRS; j++) z[j] = parts_from_c128s(x_f64x8[2 * j], x_f64x8[2 * j + 1]);
        rsqrt_f64s(z);
        for (int j = 0; j < PAIRS; j++) {
            double *const to = y + i + 2 * j * F64S;
            _mm512_mask_storeu_pd(to, first_8(doubles - i, 2 * j), first_c128s(z[j]));
            _mm512_mask_storeu_pd(to + F64S, first_8(doubles - i, 2 * j + 1), last_c128s(z[j]));
        }
    }
}

AVX512 INLINE __m512 lanes_4(const char *from, int64_t apart) {
    __m256 const low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)from)),
                                            _mm_loadu_ps((const float *)(from + apart)), 1);
    __m256 const high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)(from + 2 * apart))),
                                             _mm_loadu_ps((const float *)(from + 3 * apart)), 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

AVX512 INLINE __m512 unpack_low(__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

AVX512 INLINE __m512 unpack_high(__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* Transposes 16 rows of 16 columns, and loads each column's line at once: of 16 lines that are a
 * power of two apart the first-level cache holds 8. */
AVX512 INLINE void square_u32x16(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(from + i * from_column);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = unpack_low(b[i], b[i + 2]);
        a[i + 1] = unpack_high(b[i], b[i + 2]);
        a[i + 2] = unpack_low(b[i + 1], b[i + 3]);
        a[i + 3] = unpack_high(b[i + 1], b[i + 3]);
    }
    /* a[4·i + j], lane k: row 4·k + j, columns from 4·i on. */
    for (int j = 0; j < 4; j++) {
        for (int half = 0; half < 2; half++) {
            b[8 * half + j] = _mm512_shuffle_f32x4(a[8 * half + j], a[8 * half + 4 + j], 0x88);
            b[8 * half + 4 + j] = _mm512_shuffle_f32x4(a[8 * half + j], a[8 * half + 4 + j], 0xdd);
        }
        _mm512_storeu_ps(to + j * to_row, _mm512_shuffle_f32x4(b[j], b[8 + j], 0x88));
        _mm512_storeu_ps(to + (4 + j) * to_row, _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0x88));
        _mm512_storeu_ps(to + (8 + j) * to_row, _mm512_shuffle_f32x4(b[j], b[8 + j], 0xdd));
        _mm512_storeu_ps(to + (12 + j) * to_row, _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0xdd));
    }
}

AVX512 INLINE void square_u64x8(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m512d const a = _mm512_castps_pd(lanes_4(from, 2 * from_column));
    __m512d const b = _mm512_castps_pd(lanes_4(from + from_column, 2 * from_column));
    _mm512_storeu_pd(to, _mm512_unpacklo_pd(a, b));
    _mm512_storeu_pd(to + to_row, _mm512_unpackhi_pd(a, b));
}

MOVER(avx512, 64, square_u32x16, 16, square_u64x8)

/* Stores contiguous items, at most half a line of them, to every second place. One masked store
 * leaves the places between unchanged. It takes two cycles; a store for each item would take one
 * cycle each. */
AVX512 INLINE void spread_line(char *to, const char *from, int64_t items, int64_t size) {
    uint32_t const all = UINT32_MAX;
    if (size == 2) {
        __m256i const x_u16x16 = _mm256_maskz_loadu_epi16((__mmask16)(all >> (32 - items)), from);
        _mm512_mask_storeu_epi16(to, 0x55555555 & all >> (32 - 2 * items), _mm512_cvtepu16_epi32(x_u16x16));
    } else {
        __m512i const twice_u32x16 = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        __m256i const x_u32x8 = _mm256_maskz_loadu_epi32((__mmask8)(all >> (32 - items)), from);
        __m512i const y_u32x16 = _mm512_permutexvar_epi32(twice_u32x16, _mm512_castsi256_si512(x_u32x8));
        _mm512_mask_storeu_epi32(to, (__mmask16)(0x5555 & all >> (32 - 2 * items)), y_u32x16);
    }
}

/* The first store of a row ends with a line, so that the next stores fill whole lines if items are
 * aligned. */
AVX512 INLINE void spread_rows(char *to, int64_t to_row, const char *from, int64_t from_row, int64_t rows, int64_t k,
                               int64_t size) {
    int64_t const line = LINE / 2 / size;
    for (int64_t r = 0; r < rows; r++, to += to_row, from += from_row) {
        int64_t const head = line - (int64_t)((uintptr_t)to % LINE) / (2 * size);
        int64_t i = head < k ? head : k;
        spread_line(to, from, i, size);
        for (; i + line <= k; i += line) spread_line(to + 2 * size * i, from + size * i, line, size);
        if (i < k) spread_line(to + 2 * size * i, from + size * i, k - i, size);
    }
}

AVX512 static void rows_or_spread(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row,
                                  int64_t from_item, int64_t rows, int64_t k, int64_t size) {
    if (size == 2 && from_item == 2 && to_item == 4) {
        spread_rows(to, to_row, from, from_row, rows, k, 2);
    } else if (size == 4 && from_item == 4 && to_item == 8) {
        spread_rows(to, to_row, from, from_row, rows, k, 4);
    } else {
        rows_avx512(to, to_row, to_item, from, from_row, from_item, rows, k, size);
    }
}

CASTS(avx512)

const gorsqrt_tier gorsqrt_avx512 = {
    .name = "avx512",
    .needs = "avx512f avx512bw avx512dq avx512vl",
    .below = &gorsqrt_avx2,
    .of =
        {
            [GORSQRT_F16] = {.plain = rsqrt_f16_avx512},
            [GORSQRT_BF16] = {.plain = rsqrt_bf16_avx512},
            [GORSQRT_F32] = {.plain = rsqrt_f32_avx512,
                             .streaming = rsqrt_f32_avx512_streaming,
                             .rows = rsqrt_f32_avx512_rows,
                             .places = rsqrt_f32_avx512_places,
                             .casting = {[GORSQRT_I32] = rsqrt_i32_f32_avx512, [GORSQRT_I64] = rsqrt_i64_f32_avx512}},
            [GORSQRT_F64] = {.plain = rsqrt_f64_avx512, .streaming = rsqrt_f64_avx512_streaming, .rows = rsqrt_f64_avx512_rows},
            [GORSQRT_C64] = {.plain = rsqrt_c64_avx512},
            [GORSQRT_C128] = {.plain = rsqrt_c128_avx512},
        },
    .casts = {CASTS_OF(avx512)},
    .mover = &(const gorsqrt_mover){rows_or_spread, transposed_avx512},
};

/* The avx512 tier for processors with VBMI and VBMI2: f16 and bf16 by tables. */
const gorsqrt_tier gorsqrt_avx512vbmi = {
    .name = "avx512",
    .needs = "avx512vbmi avx512_vbmi2",
    .below = &gorsqrt_avx512,
    .of = {[GORSQRT_F16] = {.plain = rsqrt_f16_avx512vbmi}, [GORSQRT_BF16] = {.plain = rsqrt_bf16_avx512vbmi}},
};
#endif
