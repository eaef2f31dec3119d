/* The avx2 tier, for x86-64 processors with AVX2, FMA and F16C. f32 is computed in blocks of 6
 * vectors, f64 in blocks of 4, f16 and bf16 in f32 lanes, c64 and c128 in two vectors of re and two
 * of im.
 *
 *     intrinsic                instruction        latency / throughput (Zen 4, cycles)
 *     _mm256_sqrt_ps           vsqrtps ymm        15 / 5
 *     _mm256_div_ps            vdivps ymm         11 / 3
 *     _mm256_sqrt_pd           vsqrtpd ymm        21 / 8.4
 *     _mm256_div_pd            vdivpd ymm         13 / 5
 *     _mm256_rsqrt_ps          vrsqrtps ymm        4 / 0.5
 *     _mm256_fmadd_ps, _pd     vfmadd231ps ymm     4 / 0.5
 *     _mm256_cvtph_ps          vcvtph2ps ymm       6 / 0.7
 *     _mm256_cvtps_ph          vcvtps2ph xmm       6 / 0.7
 *
 * One divider does square roots and divisions, and meanwhile the multipliers have little to do. So
 * f32 and f64 give the divider half of a block's vectors and compute the others by fma, to the same
 * bits. The 16-bit dtypes are bound by conversions and fma, complex dtypes by fma and addition.
 * x86's own nans are the contract's. Masked lanes neither load nor store, so tails read nothing
 * beyond the end. */
#ifdef __x86_64__
#include "kernels.h"

#include "cast.h"
#include "mode.h"
#include "move.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define AVX2 __attribute__((target("avx2,fma,f16c")))

enum {
    F32_BLOCK = 6,   /* vectors that are computed together, step by step; more would need more registers than there are */
    F32_DIVIDED = 3, /* of these by the divider */
    F64_BLOCK = 4,
    F64_DIVIDED = 2,
    F32S = 8,
    F64S = 4,
    PAIRS = 2, /* vectors of re and of im that are computed together */
};

#define TIER AVX2
#define BITS 32
#define LANES F32S
#define VECTORS PAIRS
#include "complex.h"
#define BITS 64
#define LANES F64S
#define VECTORS PAIRS
#include "complex.h"

/* Masks of the first k lanes: read 8 or 4 lanes, beginning k elements before the first zero. */
static const int32_t lanes_i32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t lanes_i64[8] = {-1, -1, -1, -1};

/* y = RN(1 / RN(√x)) for x in [2^-100, inf). By fma, with g → √x, h → 1/(2√x), s = RN(√x) and y →
 * 1/s:
 *
 *     h = y0/2   g = x·y0   r = 1/2 - g·h   r = r + 1.4375 r²   g = g + g·r   h = h + h·r       y0: 1/√x to 11 bits
 *     s = g + (x - g²)·h
 *     y = 2h   e = 1 - s·y   e = e + 1.0625·2^-48   y = y + y·e
 *
 * 1.5 r² would be the exact term; a little less keeps g below √x, which matters for the last x
 * before 4. y + y·e is (1 - e²)/s. The difference matters in one case: s is the last number before
 * a power of two, y is that power's reciprocal, 1/s is just above the midpoint of two numbers, and
 * y + y·e is that midpoint. The larger e lifts this result over its midpoint, and no other. Tested
 * for all x with this processor's y0. A search over all x with every y0 that an error of 1.5·2^-12
 * allows found two wrong results, among the 9216 for the last x before 4.
 *
 * This function computes y0 and its half for the vectors after those of the divider, and returns
 * whether all their x are in that range. The half's bits tell: below 2^-100, where the low digits
 * of x - g² would be lost, the half is larger, and for zero it is inf. The halves for infinity,
 * negatives and nans (from 0 and nan) are larger as unsigned integers. */
AVX2 INLINE bool seed_f32s(__m256 *g, __m256 *h, const __m256 *x_f32x8, int divided, int block) {
    __m256i const exponent_u32x8 = _mm256_set1_epi32(1 << 23), range_u32x8 = _mm256_set1_epi32((127 + 49) << 23 | 1 << 22);
    __m256i most_u32x8 = _mm256_setzero_si256();
    for (int i = divided; i < block; i++) g[i] = _mm256_rsqrt_ps(x_f32x8[i]);
    for (int i = divided; i < block; i++) {
        h[i] = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(g[i]), exponent_u32x8));
    }
    for (int i = divided; i < block; i++) most_u32x8 = _mm256_max_epu32(most_u32x8, _mm256_castps_si256(h[i]));
    __m256i const outside_u32x8 = _mm256_cmpeq_epi32(_mm256_max_epu32(most_u32x8, range_u32x8), most_u32x8);
    return _mm256_testz_si256(outside_u32x8, outside_u32x8);
}

/* All further steps, and the divider's work. */
AVX2 INLINE void rsqrt_f32_block(__m256 *y_f32x8, __m256 *g, __m256 *h, const __m256 *x_f32x8, int divided, int block) {
    __m256 const half_f32x8 = _mm256_set1_ps(0.5f), one_f32x8 = _mm256_set1_ps(1.0f);
    __m256 const near_f32x8 = _mm256_set1_ps(1.4375f), more_f32x8 = _mm256_set1_ps(0x1.1p-48f);
    __m256 r[F32_BLOCK], s[F32_BLOCK], e[F32_BLOCK];
    for (int i = 0; i < divided; i++) s[i] = _mm256_sqrt_ps(x_f32x8[i]);
    for (int i = divided; i < block; i++) g[i] = _mm256_mul_ps(x_f32x8[i], g[i]);
    for (int i = divided; i < block; i++) r[i] = _mm256_fnmadd_ps(g[i], h[i], half_f32x8);
    for (int i = divided; i < block; i++) r[i] = _mm256_fmadd_ps(r[i], _mm256_mul_ps(r[i], near_f32x8), r[i]);
    for (int i = divided; i < block; i++) g[i] = _mm256_fmadd_ps(g[i], r[i], g[i]);
    for (int i = divided; i < block; i++) h[i] = _mm256_fmadd_ps(h[i], r[i], h[i]);
    for (int i = 0; i < divided; i++) y_f32x8[i] = _mm256_div_ps(one_f32x8, s[i]);
    for (int i = divided; i < block; i++) r[i] = _mm256_fnmadd_ps(g[i], g[i], x_f32x8[i]);
    for (int i = divided; i < block; i++) s[i] = _mm256_fmadd_ps(r[i], h[i], g[i]);
    for (int i = divided; i < block; i++) h[i] = _mm256_add_ps(h[i], h[i]);
    for (int i = divided; i < block; i++) e[i] = _mm256_fnmadd_ps(s[i], h[i], one_f32x8);
    for (int i = divided; i < block; i++) e[i] = _mm256_add_ps(e[i], more_f32x8);
    for (int i = divided; i < block; i++) y_f32x8[i] = _mm256_fmadd_ps(h[i], e[i], h[i]);
}

/* x without the numbers for which arithmetic is slow or wrong, and a factor for the results.
 * Subnormals, bits·2^-149, become 2·bits by a conversion of integers, with a factor of 2^75. Other
 * numbers below 2^-100 are multiplied by 2^64, with a factor of 2^32. */
AVX2 INLINE __m256 lifted_f32x8(__m256 x_f32x8, __m256 *factor_f32x8) {
    __m256i const x_u32x8 = _mm256_castps_si256(x_f32x8);
    __m256i const magnitude_u32x8 = _mm256_and_si256(x_u32x8, _mm256_set1_epi32(INT32_MAX));
    __m256i const is_subnormal_u32x8 = _mm256_cmpgt_epi32(_mm256_set1_epi32(1 << 23), magnitude_u32x8); /* or zero */
    __m256i const is_small_u32x8 = _mm256_cmpgt_epi32(_mm256_set1_epi32((127 - 100) << 23), magnitude_u32x8);
    __m256i const up_u32x8 = _mm256_and_si256(is_small_u32x8, _mm256_set1_epi32(64 << 23));
    __m256i const more_u32x8 = _mm256_and_si256(is_subnormal_u32x8, _mm256_set1_epi32((75 - 32) << 23));
    __m256i const down_u32x8 = _mm256_add_epi32(_mm256_srli_epi32(up_u32x8, 1), _mm256_set1_epi32(127 << 23));
    *factor_f32x8 = _mm256_castsi256_ps(_mm256_add_epi32(down_u32x8, more_u32x8));
    __m256i const sign_u32x8 = _mm256_xor_si256(x_u32x8, magnitude_u32x8);
    __m256i const doubled_u32x8 = _mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_add_epi32(x_u32x8, x_u32x8)));
    __m256i const converted_u32x8 = _mm256_or_si256(doubled_u32x8, sign_u32x8);
    __m256i const scaled_u32x8 = _mm256_add_epi32(x_u32x8, up_u32x8);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(scaled_u32x8, converted_u32x8, is_subnormal_u32x8));
}

/* y if it is a number, else 2·y0. For zeros, infinities, negatives and nans y is a nan, and 2·y0 is
 * the result. For others 2·y0 is about twice the result. So the answer is the minimum of both: min
 * returns its second operand if the first is a nan. */
AVX2 INLINE __m256 number_or_seed(__m256 y_f32x8, __m256 seed_f32x8) {
    return _mm256_min_ps(y_f32x8, _mm256_add_ps(seed_f32x8, seed_f32x8));
}

/* A block with arbitrary values. */
AVX2 static __attribute__((noinline)) void rsqrt_f32_any_block(float *y, const float *x) {
    __m256 x_f32x8[F32_BLOCK], g[F32_BLOCK], h[F32_BLOCK], y_f32x8[F32_BLOCK], factor_f32x8[F32_BLOCK];
    for (int i = 0; i < F32_BLOCK; i++) x_f32x8[i] = lifted_f32x8(_mm256_loadu_ps(x + i * F32S), factor_f32x8 + i);
    seed_f32s(g, h, x_f32x8, F32_DIVIDED, F32_BLOCK);
    rsqrt_f32_block(y_f32x8, g, h, x_f32x8, F32_DIVIDED, F32_BLOCK);
    for (int i = F32_DIVIDED; i < F32_BLOCK; i++) y_f32x8[i] = number_or_seed(y_f32x8[i], _mm256_rsqrt_ps(x_f32x8[i]));
    for (int i = 0; i < F32_BLOCK; i++) _mm256_storeu_ps(y + i * F32S, _mm256_mul_ps(y_f32x8[i], factor_f32x8[i]));
}

AVX2 INLINE void rsqrt_f32_items(float *y, const float *x, size_t n, bool streaming) {
    size_t const step = F32_BLOCK * F32S, whole = n / step;
    bool const from_end = begins_at_end(y, x);
    for (size_t k = 0; k < whole; k++) {
        size_t const i = (from_end ? whole - 1 - k : k) * step;
        __m256 x_f32x8[F32_BLOCK], g[F32_BLOCK], h[F32_BLOCK], y_f32x8[F32_BLOCK];
        for (int j = 0; j < F32_BLOCK; j++) x_f32x8[j] = _mm256_loadu_ps(x + i + j * F32S);
        if (__builtin_expect(!seed_f32s(g, h, x_f32x8, F32_DIVIDED, F32_BLOCK), 0)) {
            rsqrt_f32_any_block(y + i, x + i);
            continue;
        }
        rsqrt_f32_block(y_f32x8, g, h, x_f32x8, F32_DIVIDED, F32_BLOCK);
        for (int j = 0; j < F32_BLOCK; j++) {
            if (streaming) {
                _mm256_stream_ps(y + i + j * F32S, y_f32x8[j]);
            } else {
                _mm256_storeu_ps(y + i + j * F32S, y_f32x8[j]);
            }
        }
    }
    size_t i = whole * step;
    for (; i + 4 * F32S <= n; i += 4 * F32S) { /* at most once; with `if` gcc would make a slow memcpy of the stores */
        __m256 x_f32x8[F32_BLOCK], g[F32_BLOCK], h[F32_BLOCK], y_f32x8[F32_BLOCK];
        for (int j = 0; j < 4; j++) x_f32x8[j] = _mm256_loadu_ps(x + i + j * F32S);
        if (!seed_f32s(g, h, x_f32x8, 2, 4)) break;
        rsqrt_f32_block(y_f32x8, g, h, x_f32x8, 2, 4);
        for (int j = 0; j < 4; j++) _mm256_storeu_ps(y + i + j * F32S, y_f32x8[j]);
    }
    for (; i < n; i += F32S) {
        __m256i const rest = _mm256_loadu_si256((const __m256i *)(lanes_i32 + F32S - (n - i < F32S ? n - i : F32S)));
        __m256 const root_f32x8 = _mm256_sqrt_ps(_mm256_maskload_ps(x + i, rest));
        _mm256_maskstore_ps(y + i, rest, _mm256_div_ps(_mm256_set1_ps(1.0f), root_f32x8));
    }
}

AVX2 static void rsqrt_f32_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_avx2, dst, src, n);
        return;
    }
    rsqrt_f32_items(dst, src, n, false);
}

AVX2 static void rsqrt_f32_avx2_streaming(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_avx2_streaming, dst, src, n);
        return;
    }
    size_t const head = items_to_line(dst, sizeof(float), n);
    rsqrt_f32_items(dst, src, head, false);
    rsqrt_f32_items((float *)dst + head, (const float *)src + head, n - head, true);
}

/* 8 items that are `item` bytes apart: -4, 8 or 12. For 12 it reads two more items than lie between
 * the first and the last. */
AVX2 INLINE __m256 near_f32x8(const char *x, int64_t item) {
    if (item == -4) {
        __m256i const backwards = _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0);
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)(x - 28)), backwards);
    }
    __m256 const first_f32x8 = _mm256_loadu_ps((const float *)x);
    if (item == 8) {
        __m256i const evens = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
        __m256 const x_f32x8 = _mm256_blend_ps(first_f32x8, _mm256_loadu_ps((const float *)(x + 28)), 0xaa);
        return _mm256_permutevar8x32_ps(x_f32x8, evens);
    }
    __m256i const thirds = _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5);
    __m256 const x_f32x8 = _mm256_blend_ps(first_f32x8, _mm256_loadu_ps((const float *)(x + 32)), 0x92);
    return _mm256_permutevar8x32_ps(_mm256_blend_ps(x_f32x8, _mm256_loadu_ps((const float *)(x + 64)), 0x24), thirds);
}

/* The same for any distance, without reading more. The loop loads four by four: the fewer
 * instructions and loads, the more cache lines are on their way at once. */
AVX2 INLINE __m256 far_f32x8(const char *x, int64_t item) {
    __m128 x_f32x4[2];
#pragma GCC unroll 1
    for (int j = 0; j < 2; j++, x += 4 * item) {
        float x_f32[4];
        for (int k = 0; k < 4; k++) memcpy(x_f32 + k, x + k * item, sizeof *x_f32);
        x_f32x4[j] = _mm_setr_ps(x_f32[0], x_f32[1], x_f32[2], x_f32[3]);
    }
    return _mm256_insertf128_ps(_mm256_castps128_ps256(x_f32x4[0]), x_f32x4[1], 1);
}

/* By the divider, which does not limit the speed of items far apart. */
AVX2 static __attribute__((noinline)) void rsqrt_f32_far(float *y, const char *x, int64_t item, size_t n) {
    for (; n >= F32S; n -= F32S) {
        _mm256_storeu_ps(y, _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(far_f32x8(x, item))));
        y += F32S;
        x += F32S * item;
    }
    float rest[F32S];
    for (size_t k = 0; k < n; k++) memcpy(rest + k, x + (int64_t)k * item, sizeof *rest);
    rsqrt_f32_items(y, rest, n, false);
}

AVX2 INLINE void rsqrt_f32_near(float *y, const char *x, int64_t item, size_t n) {
    size_t i = 0;
    for (; i + F32_BLOCK * F32S < n; i += F32_BLOCK * F32S) {
        __m256 x_f32x8[F32_BLOCK], g[F32_BLOCK], h[F32_BLOCK], y_f32x8[F32_BLOCK];
        for (int j = 0; j < F32_BLOCK; j++) x_f32x8[j] = near_f32x8(x + ((int64_t)i + j * F32S) * item, item);
        if (__builtin_expect(!seed_f32s(g, h, x_f32x8, F32_DIVIDED, F32_BLOCK), 0)) {
            float any[F32_BLOCK * F32S];
            for (int j = 0; j < F32_BLOCK; j++) _mm256_storeu_ps(any + j * F32S, x_f32x8[j]);
            rsqrt_f32_any_block(y + i, any);
            continue;
        }
        rsqrt_f32_block(y_f32x8, g, h, x_f32x8, F32_DIVIDED, F32_BLOCK);
        for (int j = 0; j < F32_BLOCK; j++) _mm256_storeu_ps(y + i + j * F32S, y_f32x8[j]);
    }
    rsqrt_f32_far(y + i, x + (int64_t)i * item, item, n - i);
}

/* Contiguous rows of two to four vectors. The last vector ends with the row, so it may share items
 * with the one before: these items are read before the first write, and written twice. Returns how
 * many rows are done. */
AVX2 INLINE int64_t rsqrt_f32_short_rows(char *dst, int64_t dst_row, const char *src, int64_t src_row, int64_t rows, int64_t k,
                                         int vectors) {
    int const step = F32_BLOCK / vectors, block = step * vectors;
    int64_t r = 0;
    for (; r + step <= rows; r += step, dst += step * dst_row, src += step * src_row) {
        __m256 x_f32x8[F32_BLOCK], g[F32_BLOCK], h[F32_BLOCK], y_f32x8[F32_BLOCK];
        for (int j = 0; j < block; j++) {
            const float *const row = (const float *)(src + j / vectors * src_row);
            int64_t const i = j % vectors == vectors - 1 ? k - F32S : j % vectors * F32S;
            x_f32x8[j] = _mm256_loadu_ps(row + i);
        }
        if (__builtin_expect(!seed_f32s(g, h, x_f32x8, block / 2, block), 0)) {
            for (int j = 0; j < block; j++) y_f32x8[j] = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(x_f32x8[j]));
        } else {
            rsqrt_f32_block(y_f32x8, g, h, x_f32x8, block / 2, block);
        }
        for (int j = 0; j < block; j++) {
            float *const row = (float *)(dst + j / vectors * dst_row);
            int64_t const i = j % vectors == vectors - 1 ? k - F32S : j % vectors * F32S;
            _mm256_storeu_ps(row + i, y_f32x8[j]);
        }
    }
    return r;
}

AVX2 static void rsqrt_f32_avx2_rows(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item,
                                     int64_t rows, int64_t k) {
    int64_t r = 0;
    if (src_item == 4 && k >= F32S) {
        switch ((k + F32S - 1) / F32S) {
            case 1:
            case 2: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 2); break;
            case 3: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 3); break;
            case 4: r = rsqrt_f32_short_rows(dst, dst_row, src, src_row, rows, k, 4);
        }
    }
    for (; r < rows; r++) {
        float *const y = (float *)((char *)dst + r * dst_row);
        const char *const x = (const char *)src + r * src_row;
        switch (src_item) {
            case 4: rsqrt_f32_items(y, (const float *)x, (size_t)k, false); break;
            case 8: rsqrt_f32_near(y, x, 8, (size_t)k); break;
            case 12: rsqrt_f32_near(y, x, 12, (size_t)k); break;
            case -4: rsqrt_f32_near(y, x, -4, (size_t)k); break;
            default: rsqrt_f32_far(y, x, src_item, (size_t)k);
        }
    }
}

/* y0 of two vectors, 1/√x to 11 bits, from the upper halves of x's bits. x = f·2^(2k - 1022), where
 * f is in [1/2, 2) and k is half of x's biased exponent. So 1/√x = 1/√f · 2^(511 - k), and vrsqrtps
 * gives 1/√f. */
AVX2 INLINE void seed_f64s(__m256d *y_f64x4, const __m256d *x_f64x4) {
    __m256 const upper_f32x8 = _mm256_shuffle_ps(_mm256_castpd_ps(x_f64x4[0]), _mm256_castpd_ps(x_f64x4[1]), 0xdd);
    __m256i const upper_u32x8 = _mm256_castps_si256(upper_f32x8);
    __m256i const mantissa_u32x8 = _mm256_and_si256(_mm256_slli_epi32(upper_u32x8, 3), _mm256_set1_epi32(0x00ffffff));
    __m256i const f_u32x8 = _mm256_or_si256(mantissa_u32x8, _mm256_set1_epi32(0x3f000000));
    __m256i const root_u32x8 = _mm256_castps_si256(_mm256_rsqrt_ps(_mm256_castsi256_ps(f_u32x8)));
    __m256i const k_u32x8 = _mm256_and_si256(_mm256_srli_epi32(upper_u32x8, 1), _mm256_set1_epi32(0x3ff00000));
    __m256i const place_u32x8 = _mm256_sub_epi32(_mm256_set1_epi32((1023 - 127 + 511) << 20), k_u32x8);
    __m256i const y_u32x8 = _mm256_add_epi32(_mm256_srli_epi32(root_u32x8, 3), place_u32x8);
    y_f64x4[0] = _mm256_castsi256_pd(_mm256_unpacklo_epi32(_mm256_setzero_si256(), y_u32x8));
    y_f64x4[1] = _mm256_castsi256_pd(_mm256_unpackhi_epi32(_mm256_setzero_si256(), y_u32x8));
}

/* The same for x in [2^-960, inf), by three iterations without r², and
 *
 *     y = 2h   e = 1 - s·y   e = e + e·(1 + 2^-40)e   y = y + y·e
 *
 * The factor breaks that tie upwards. There is no proof here: the hard cases are enumerated and
 * tested. */
AVX2 INLINE void rsqrt_f64_block(__m256d *y_f64x4, const __m256d *x_f64x4) {
    __m256d const half_f64x4 = _mm256_set1_pd(0.5), one_f64x4 = _mm256_set1_pd(1.0), more_f64x4 = _mm256_set1_pd(1 + 0x1p-40);
    __m256d g[F64_BLOCK], h[F64_BLOCK], r[F64_BLOCK], s[F64_BLOCK], e[F64_BLOCK];
    for (int i = 0; i < F64_DIVIDED; i++) s[i] = _mm256_sqrt_pd(x_f64x4[i]);
    seed_f64s(h + F64_DIVIDED, x_f64x4 + F64_DIVIDED);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) g[i] = _mm256_mul_pd(x_f64x4[i], h[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) h[i] = _mm256_mul_pd(h[i], half_f64x4);
    for (int iteration = 0; iteration < 3; iteration++) {
        for (int i = F64_DIVIDED; i < F64_BLOCK; i++) r[i] = _mm256_fnmadd_pd(g[i], h[i], half_f64x4);
        for (int i = F64_DIVIDED; i < F64_BLOCK; i++) g[i] = _mm256_fmadd_pd(g[i], r[i], g[i]);
        for (int i = F64_DIVIDED; i < F64_BLOCK; i++) h[i] = _mm256_fmadd_pd(h[i], r[i], h[i]);
    }
    for (int i = 0; i < F64_DIVIDED; i++) y_f64x4[i] = _mm256_div_pd(one_f64x4, s[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) r[i] = _mm256_fnmadd_pd(g[i], g[i], x_f64x4[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) s[i] = _mm256_fmadd_pd(r[i], h[i], g[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) h[i] = _mm256_add_pd(h[i], h[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) e[i] = _mm256_fnmadd_pd(s[i], h[i], one_f64x4);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) e[i] = _mm256_fmadd_pd(e[i], _mm256_mul_pd(e[i], more_f64x4), e[i]);
    for (int i = F64_DIVIDED; i < F64_BLOCK; i++) y_f64x4[i] = _mm256_fmadd_pd(h[i], e[i], h[i]);
}

/* Whether every x that goes the fma way is in [2^-960, inf), by the upper halves. */
AVX2 INLINE bool are_ordinary_f64s(const __m256d *x_f64x4) {
    __m256 const upper_f32x8 =
        _mm256_shuffle_ps(_mm256_castpd_ps(x_f64x4[F64_DIVIDED]), _mm256_castpd_ps(x_f64x4[F64_DIVIDED + 1]), 0xdd);
    __m256i const above_u32x8 = _mm256_sub_epi32(_mm256_castps_si256(upper_f32x8), _mm256_set1_epi32((1023 - 960) << 20));
    __m256i const range_u32x8 = _mm256_set1_epi32((2047 - 1023 + 960) << 20);
    __m256i const outside_u32x8 = _mm256_cmpeq_epi32(_mm256_max_epu32(above_u32x8, range_u32x8), above_u32x8);
    return _mm256_testz_si256(outside_u32x8, outside_u32x8);
}

AVX2 INLINE void rsqrt_f64_items(double *y, const double *x, size_t n, bool streaming) {
    __m256d const one_f64x4 = _mm256_set1_pd(1.0);
    size_t const step = F64_BLOCK * F64S, whole = n / step;
    bool const from_end = begins_at_end(y, x);
    for (size_t k = 0; k < whole; k++) {
        size_t const i = (from_end ? whole - 1 - k : k) * step;
        __m256d x_f64x4[F64_BLOCK], y_f64x4[F64_BLOCK];
        for (int j = 0; j < F64_BLOCK; j++) x_f64x4[j] = _mm256_loadu_pd(x + i + j * F64S);
        if (__builtin_expect(are_ordinary_f64s(x_f64x4), 1)) {
            rsqrt_f64_block(y_f64x4, x_f64x4);
        } else {
            for (int j = 0; j < F64_BLOCK; j++) y_f64x4[j] = _mm256_div_pd(one_f64x4, _mm256_sqrt_pd(x_f64x4[j]));
        }
        for (int j = 0; j < F64_BLOCK; j++) {
            if (streaming) {
                _mm256_stream_pd(y + i + j * F64S, y_f64x4[j]);
            } else {
                _mm256_storeu_pd(y + i + j * F64S, y_f64x4[j]);
            }
        }
    }
    size_t i = whole * step;
    for (; i < n; i += F64S) {
        __m256i const rest = _mm256_loadu_si256((const __m256i *)(lanes_i64 + F64S - (n - i < F64S ? n - i : F64S)));
        __m256d const root_f64x4 = _mm256_sqrt_pd(_mm256_maskload_pd(x + i, rest));
        _mm256_maskstore_pd(y + i, rest, _mm256_div_pd(one_f64x4, root_f64x4));
    }
}

AVX2 static void rsqrt_f64_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_avx2, dst, src, n);
        return;
    }
    rsqrt_f64_items(dst, src, n, false);
}

AVX2 static void rsqrt_f64_avx2_streaming(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_avx2_streaming, dst, src, n);
        return;
    }
    size_t const head = items_to_line(dst, sizeof(double), n);
    rsqrt_f64_items(dst, src, head, false);
    rsqrt_f64_items((double *)dst + head, (const double *)src + head, n - head, true);
}

AVX2 INLINE __m256d apart_f64x4(const char *x, int64_t item) {
    double x_f64[F64S];
    for (int j = 0; j < F64S; j++) memcpy(x_f64 + j, x + j * item, sizeof *x_f64);
    return _mm256_setr_pd(x_f64[0], x_f64[1], x_f64[2], x_f64[3]);
}

/* Like rsqrt_f32_far. */
AVX2 static __attribute__((noinline)) void rsqrt_f64_far(double *y, const char *x, int64_t item, size_t n) {
    for (; n >= F64S; n -= F64S) {
        _mm256_storeu_pd(y, _mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(apart_f64x4(x, item))));
        y += F64S;
        x += F64S * item;
    }
    double rest[F64S];
    for (size_t k = 0; k < n; k++) memcpy(rest + k, x + (int64_t)k * item, sizeof *rest);
    rsqrt_f64_items(y, rest, n, false);
}

AVX2 INLINE void rsqrt_f64_near(double *y, const char *x, int64_t item, size_t n) {
    size_t i = 0;
    for (; i + F64_BLOCK * F64S <= n; i += F64_BLOCK * F64S) {
        __m256d x_f64x4[F64_BLOCK], y_f64x4[F64_BLOCK];
        for (int j = 0; j < F64_BLOCK; j++) x_f64x4[j] = apart_f64x4(x + ((int64_t)i + j * F64S) * item, item);
        if (__builtin_expect(are_ordinary_f64s(x_f64x4), 1)) {
            rsqrt_f64_block(y_f64x4, x_f64x4);
        } else {
            for (int j = 0; j < F64_BLOCK; j++) y_f64x4[j] = _mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(x_f64x4[j]));
        }
        for (int j = 0; j < F64_BLOCK; j++) _mm256_storeu_pd(y + i + j * F64S, y_f64x4[j]);
    }
    rsqrt_f64_far(y + i, x + (int64_t)i * item, item, n - i);
}

AVX2 static void rsqrt_f64_avx2_rows(void *dst, int64_t dst_row, const void *src, int64_t src_row, int64_t src_item,
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

/* 1/√x within 2^-22 for positive x that are not subnormal, enough for the 16-bit dtypes: y0 + (1 -
 * x·y0²)·y0/2. */
AVX2 INLINE __m256 rsqrt_near_f32x8(__m256 x_f32x8) {
    __m256 const y_f32x8 = _mm256_rsqrt_ps(x_f32x8);
    __m256 const g_f32x8 = _mm256_mul_ps(x_f32x8, y_f32x8);
    __m256 const e_f32x8 = _mm256_fnmadd_ps(g_f32x8, y_f32x8, _mm256_set1_ps(1.0f));
    __m256i const h_u32x8 = _mm256_sub_epi32(_mm256_castps_si256(y_f32x8), _mm256_set1_epi32(1 << 23));
    return _mm256_fmadd_ps(_mm256_castsi256_ps(h_u32x8), e_f32x8, y_f32x8);
}

/* The same for all x that are not subnormal. */
AVX2 INLINE __m256 rsqrt_normal_f32x8(__m256 x_f32x8) {
    return number_or_seed(rsqrt_near_f32x8(x_f32x8), _mm256_rsqrt_ps(x_f32x8));
}

/* Whether every x's bits are in [low, end). */
AVX2 INLINE bool are_between_u16s(__m256i x_u16x16, uint16_t low, uint16_t end) {
    __m256i const above_u16x16 = _mm256_sub_epi16(x_u16x16, _mm256_set1_epi16((short)low));
    __m256i const inside_u16x16 = _mm256_subs_epu16(_mm256_set1_epi16((short)(end - low)), above_u16x16);
    return _mm256_testz_si256(_mm256_cmpeq_epi16(inside_u16x16, _mm256_setzero_si256()), _mm256_set1_epi16(-1));
}

/* No f16 is a subnormal f32. */
AVX2 INLINE __m128i rsqrt_any_f16x8(__m128i x_u16x8) {
    return _mm256_cvtps_ph(rsqrt_normal_f32x8(_mm256_cvtph_ps(x_u16x8)), _MM_FROUND_TO_NEAREST_INT);
}

AVX2 static void rsqrt_f16_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f16_avx2, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i const low_u16x8 = _mm_loadu_si128((const __m128i *)(x + i));
        __m128i const high_u16x8 = _mm_loadu_si128((const __m128i *)(x + i + 8));
        __m128i low_y_u16x8, high_y_u16x8;
        if (__builtin_expect(are_between_u16s(_mm256_loadu_si256((const __m256i *)(x + i)), 0x0001, 0x7c00), 1)) {
            low_y_u16x8 = _mm256_cvtps_ph(rsqrt_near_f32x8(_mm256_cvtph_ps(low_u16x8)), _MM_FROUND_TO_NEAREST_INT);
            high_y_u16x8 = _mm256_cvtps_ph(rsqrt_near_f32x8(_mm256_cvtph_ps(high_u16x8)), _MM_FROUND_TO_NEAREST_INT);
        } else {
            low_y_u16x8 = rsqrt_any_f16x8(low_u16x8);
            high_y_u16x8 = rsqrt_any_f16x8(high_u16x8);
        }
        _mm_storeu_si128((__m128i *)(y + i), low_y_u16x8);
        _mm_storeu_si128((__m128i *)(y + i + 8), high_y_u16x8);
    }
    for (; i < n; i += 8) {
        uint16_t tail[8] = {0};
        size_t const bytes = (n - i < 8 ? n - i : 8) * sizeof *x;
        memcpy(tail, x + i, bytes);
        _mm_storeu_si128((__m128i *)tail, rsqrt_any_f16x8(_mm_loadu_si128((const __m128i *)tail)));
        memcpy(y + i, tail, bytes);
    }
}

/* Converts bf16s to two vectors of f32s: the items at even places, and those at odd places. */
AVX2 INLINE __m256 even_bf16s(__m256i x_u16x16) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(x_u16x16, 16));
}

AVX2 INLINE __m256 odd_bf16s(__m256i x_u16x16) {
    return _mm256_castsi256_ps(_mm256_and_si256(x_u16x16, _mm256_set1_epi32((int)0xffff0000)));
}

/* Converts back. Adding half an ulp and cutting off the rest rounds to nearest, because no result
 * is near a tie. */
AVX2 INLINE __m256i bf16s_from(__m256 even_f32x8, __m256 odd_f32x8) {
    __m256i const half_u32x8 = _mm256_set1_epi32(0x8000);
    __m256i const low_u32x8 = _mm256_srli_epi32(_mm256_add_epi32(_mm256_castps_si256(even_f32x8), half_u32x8), 16);
    __m256i const high_u32x8 = _mm256_add_epi32(_mm256_castps_si256(odd_f32x8), half_u32x8);
    return _mm256_blend_epi16(low_u32x8, high_u32x8, 0xaa);
}

AVX2 INLINE __m256 rsqrt_any_f32x8(__m256 x_f32x8) {
    __m256 factor_f32x8;
    __m256 const y_f32x8 = rsqrt_normal_f32x8(lifted_f32x8(x_f32x8, &factor_f32x8));
    return _mm256_mul_ps(y_f32x8, factor_f32x8);
}

AVX2 INLINE __m256i rsqrt_any_bf16x16(__m256i x_u16x16) {
    return bf16s_from(rsqrt_any_f32x8(even_bf16s(x_u16x16)), rsqrt_any_f32x8(odd_bf16s(x_u16x16)));
}

AVX2 static void rsqrt_bf16_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_bf16_avx2, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i const x_u16x16 = _mm256_loadu_si256((const __m256i *)(x + i));
        __m256i y_u16x16;
        if (__builtin_expect(are_between_u16s(x_u16x16, 0x0080, 0x7f80), 1)) {
            y_u16x16 = bf16s_from(rsqrt_near_f32x8(even_bf16s(x_u16x16)), rsqrt_near_f32x8(odd_bf16s(x_u16x16)));
        } else {
            y_u16x16 = rsqrt_any_bf16x16(x_u16x16);
        }
        _mm256_storeu_si256((__m256i *)(y + i), y_u16x16);
    }
    if (i < n) {
        uint16_t tail[16] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        _mm256_storeu_si256((__m256i *)tail, rsqrt_any_bf16x16(_mm256_loadu_si256((const __m256i *)tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

AVX2 INLINE f32s fma_f32s(f32s a, f32s b, f32s c) {
    return _mm256_fmadd_ps(a, b, c);
}

AVX2 INLINE f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return _mm256_fnmadd_ps(a, b, c);
}

AVX2 INLINE f32s max_f32s(f32s a, f32s b) {
    return _mm256_max_ps(a, b);
}

AVX2 INLINE f32s min_f32s(f32s a, f32s b) {
    return _mm256_min_ps(a, b);
}

AVX2 INLINE bool any_f32s(i32s where) {
    return _mm256_movemask_ps((__m256)where) != 0;
}

AVX2 INLINE f64s fma_f64s(f64s a, f64s b, f64s c) {
    return _mm256_fmadd_pd(a, b, c);
}

AVX2 INLINE f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return _mm256_fnmadd_pd(a, b, c);
}

AVX2 INLINE f64s max_f64s(f64s a, f64s b) {
    return _mm256_max_pd(a, b);
}

AVX2 INLINE f64s min_f64s(f64s a, f64s b) {
    return _mm256_min_pd(a, b);
}

AVX2 INLINE bool any_f64s(i64s where) {
    return _mm256_movemask_pd((__m256d)where) != 0;
}

/* The mask of the elements, of n elements of 8 bytes, that are in the j-th vector. */
AVX2 INLINE __m256i first_4(size_t n, int j) {
    size_t const before = 4 * (size_t)j, left = n > before ? n - before : 0;
    return _mm256_loadu_si256((const __m256i *)(lanes_i64 + 4 - (left < 4 ? left : 4)));
}

/* Separates the parts of two vectors of items, and joins them again; the order within `parts` does
 * not matter. */

AVX2 INLINE parts_f32 parts_from_c64s(__m256 first_c64x4, __m256 last_c64x4) {
    return (parts_f32){
        (i32s)_mm256_shuffle_ps(first_c64x4, last_c64x4, 0x88),
        (i32s)_mm256_shuffle_ps(first_c64x4, last_c64x4, 0xdd),
    };
}

AVX2 INLINE __m256 first_c64s(parts_f32 z) {
    return _mm256_unpacklo_ps((__m256)z.re, (__m256)z.im);
}

AVX2 INLINE __m256 last_c64s(parts_f32 z) {
    return _mm256_unpackhi_ps((__m256)z.re, (__m256)z.im);
}

AVX2 static void rsqrt_c64_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c64_avx2, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    size_t i = 0;
    parts_f32 z[PAIRS];
    for (; i + PAIRS * F32S <= n; i += PAIRS * F32S) {
        for (int j = 0; j < PAIRS; j++) {
            const float *const from = x + 2 * (i + j * F32S);
            z[j] = parts_from_c64s(_mm256_loadu_ps(from), _mm256_loadu_ps(from + F32S));
        }
        rsqrt_f32s(z);
        for (int j = 0; j < PAIRS; j++) {
            float *const to = y + 2 * (i + j * F32S);
            _mm256_storeu_ps(to, first_c64s(z[j]));
            _mm256_storeu_ps(to + F32S, last_c64s(z[j]));
        }
    }
    if (i < n) {
        __m256 const one_f32x8 = _mm256_set1_ps(1.0f);
        __m256 x_c64x4[2 * PAIRS];
        for (int j = 0; j < 2 * PAIRS; j++) {
            __m256i const some = first_4(n - i, j);
            __m256i const x_i64x4 = _mm256_maskload_epi64((const long long *)(x + 2 * i + j * F32S), some);
            x_c64x4[j] = _mm256_blendv_ps(one_f32x8, _mm256_castsi256_ps(x_i64x4), _mm256_castsi256_ps(some));
        }
        for (int j = 0; j < PAIRS; j++) z[j] = parts_from_c64s(x_c64x4[2 * j], x_c64x4[2 * j + 1]);
        rsqrt_f32s(z);
        for (int j = 0; j < PAIRS; j++) {
            long long *const to = (long long *)y + i + j * F32S;
            _mm256_maskstore_epi64(to, first_4(n - i, 2 * j), _mm256_castps_si256(first_c64s(z[j])));
            _mm256_maskstore_epi64(to + 4, first_4(n - i, 2 * j + 1), _mm256_castps_si256(last_c64s(z[j])));
        }
    }
}

AVX2 INLINE parts_f64 parts_from_c128s(__m256d first_c128x2, __m256d last_c128x2) {
    return (parts_f64){
        (i64s)_mm256_unpacklo_pd(first_c128x2, last_c128x2),
        (i64s)_mm256_unpackhi_pd(first_c128x2, last_c128x2),
    };
}

AVX2 INLINE __m256d first_c128s(parts_f64 z) {
    return _mm256_unpacklo_pd((__m256d)z.re, (__m256d)z.im);
}

AVX2 INLINE __m256d last_c128s(parts_f64 z) {
    return _mm256_unpackhi_pd((__m256d)z.re, (__m256d)z.im);
}

AVX2 static void rsqrt_c128_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c128_avx2, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    size_t const doubles = 2 * n;
    size_t i = 0;
    parts_f64 z[PAIRS];
    for (; i + 2 * PAIRS * F64S <= doubles; i += 2 * PAIRS * F64S) {
        for (int j = 0; j < PAIRS; j++) {
            const double *const from = x + i + 2 * j * F64S;
            z[j] = parts_from_c128s(_mm256_loadu_pd(from), _mm256_loadu_pd(from + F64S));
        }
        rsqrt_f64s(z);
        for (int j = 0; j < PAIRS; j++) {
            double *const to = y + i + 2 * j * F64S;
            _mm256_storeu_pd(to, first_c128s(z[j]));
            _mm256_storeu_pd(to + F64S, last_c128s(z[j]));
        }
    }
    if (i < doubles) {
        __m256d const one_f64x4 = _mm256_set1_pd(1.0);
        __m256d x_f64x4[2 * PAIRS];
        for (int j = 0; j < 2 * PAIRS; j++) {
            __m256i const some = first_4(doubles - i, j);
            __m256d const some_f64x4 = _mm256_maskload_pd(x + i + j * F64S, some);
            x_f64x4[j] = _mm256_blendv_pd(one_f64x4, some_f64x4, _mm256_castsi256_pd(some));
        }
        for (int j = 0; j < PAIRS; j++) z[j] = parts_from_c128s(x_f64x4[2 * j], x_f64x4[2 * j + 1]);
        rsqrt_f64s(z);
        for (int j = 0; j < PAIRS; j++) {
            double *const to = y + i + 2 * j * F64S;
            _mm256_maskstore_pd(to, first_4(doubles - i, 2 * j), first_c128s(z[j]));
            _mm256_maskstore_pd(to + F64S, first_4(doubles - i, 2 * j + 1), last_c128s(z[j]));
        }
    }
}

/* Loads one lane each from two columns that are `apart`: 0 and 4, or 0 and 2. */
AVX2 INLINE __m256 lanes_2(const char *from, int64_t apart) {
    __m256 const first = _mm256_castps128_ps256(_mm_loadu_ps((const float *)from));
    return _mm256_insertf128_ps(first, _mm_loadu_ps((const float *)(from + apart)), 1);
}

AVX2 INLINE void square_u32x8(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m256 const a = lanes_2(from, 4 * from_column), b = lanes_2(from + from_column, 4 * from_column);
    __m256 const c = lanes_2(from + 2 * from_column, 4 * from_column), d = lanes_2(from + 3 * from_column, 4 * from_column);
    __m256d const ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    __m256d const cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    _mm256_storeu_pd((double *)to, _mm256_unpacklo_pd(ab_low, cd_low));
    _mm256_storeu_pd((double *)(to + to_row), _mm256_unpackhi_pd(ab_low, cd_low));
    _mm256_storeu_pd((double *)(to + 2 * to_row), _mm256_unpacklo_pd(ab_high, cd_high));
    _mm256_storeu_pd((double *)(to + 3 * to_row), _mm256_unpackhi_pd(ab_high, cd_high));
}

AVX2 INLINE void square_u64x4(char *to, int64_t to_row, const char *from, int64_t from_column) {
    __m256d const a = _mm256_castps_pd(lanes_2(from, 2 * from_column));
    __m256d const b = _mm256_castps_pd(lanes_2(from + from_column, 2 * from_column));
    _mm256_storeu_pd((double *)to, _mm256_unpacklo_pd(a, b));
    _mm256_storeu_pd((double *)(to + to_row), _mm256_unpackhi_pd(a, b));
}

MOVER(avx2, 32, square_u32x8, 4, square_u64x4)

CASTS(avx2)
CAST(tail, f16, f32, uint16_t, float, f16_to_f32(x))
CAST(tail, f32, f16, float, uint16_t, f16_from_f32(x))

AVX2 static void cast_f16_f32_avx2(void *restrict dst, const void *restrict src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i const x_u16x8 = _mm_loadu_si128((const __m128i *)((const uint16_t *)src + i));
        _mm256_storeu_ps((float *)dst + i, _mm256_cvtph_ps(x_u16x8));
    }
    cast_f16_f32_tail((float *)dst + i, (const uint16_t *)src + i, n - i);
}

AVX2 static void cast_f32_f16_avx2(void *restrict dst, const void *restrict src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 const x_f32x8 = _mm256_loadu_ps((const float *)src + i);
        _mm_storeu_si128((__m128i *)((uint16_t *)dst + i), _mm256_cvtps_ph(x_f32x8, _MM_FROUND_TO_NEAREST_INT));
    }
    cast_f32_f16_tail((uint16_t *)dst + i, (const float *)src + i, n - i);
}

const gorsqrt_tier gorsqrt_avx2 = {
    .name = "avx2",
    .needs = "avx2 fma f16c",
    .of =
        {
            [GORSQRT_F16] = {.plain = rsqrt_f16_avx2},
            [GORSQRT_BF16] = {.plain = rsqrt_bf16_avx2},
            [GORSQRT_F32] = {.plain = rsqrt_f32_avx2, .streaming = rsqrt_f32_avx2_streaming, .rows = rsqrt_f32_avx2_rows},
            [GORSQRT_F64] = {.plain = rsqrt_f64_avx2, .streaming = rsqrt_f64_avx2_streaming, .rows = rsqrt_f64_avx2_rows},
            [GORSQRT_C64] = {.plain = rsqrt_c64_avx2},
            [GORSQRT_C128] = {.plain = rsqrt_c128_avx2},
        },
    .casts =
        {
            CASTS_OF(avx2),
            [GORSQRT_F16][GORSQRT_F32] = cast_f16_f32_avx2,
            [GORSQRT_F32][GORSQRT_F16] = cast_f32_f16_avx2,
        },
    .mover = &(const gorsqrt_mover){rows_avx2, transposed_avx2},
};
#endif
