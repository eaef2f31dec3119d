/* The avx2 tier: 8 f32, f16 or bf16, 4 f64, c64 or c128 at a time. The 16-bit dtypes are computed in f32 lanes.
 *
 *     intrinsic            instruction        latency / throughput (Zen 4, cycles)
 *     _mm256_sqrt_ps       vsqrtps ymm        15 / 5
 *     _mm256_div_ps        vdivps ymm         11 / 5
 *     _mm256_sqrt_pd       vsqrtpd ymm        21 / 9
 *     _mm256_div_pd        vdivpd ymm         13 / 5
 *     _mm256_cvtph_ps      vcvtph2ps ymm       6 / 1
 *     _mm256_cvtps_ph      vcvtps2ph xmm       6 / 2
 *
 * Bound by the divider, which square roots and divisions share. x86 gives the contract's nans by itself. Masked lanes
 * neither load nor store, so the tail reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __x86_64__
#include "kernels.h"

#include "mode.h"

#include <string.h>
#define LANES 4
#define TIER __attribute__((target("avx2,fma")))
#include "complex.h"

#pragma STDC FP_CONTRACT OFF

/* A mask of the first k lanes: read 8 or 4 lanes from k elements before the zeros. */
static const int32_t lanes_i32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t lanes_i64[8] = {-1, -1, -1, -1};

__attribute__((target("avx2,f16c"))) static inline __m128i rsqrt_f16x8(__m128i x_u16x8) {
    __m256 const x_f32x8 = _mm256_cvtph_ps(x_u16x8);
    __m256 const y_f32x8 = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(x_f32x8));
    return _mm256_cvtps_ph(y_f32x8, _MM_FROUND_TO_NEAREST_INT);
}

__attribute__((target("avx2,f16c"))) void rsqrt_f16_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f16_avx2, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i const x_u16x8 = _mm_loadu_si128((const __m128i *)(x + i));
        _mm_storeu_si128((__m128i *)(y + i), rsqrt_f16x8(x_u16x8));
    }
    if (i < n) {
        uint16_t tail[8] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        _mm_storeu_si128((__m128i *)tail, rsqrt_f16x8(_mm_loadu_si128((const __m128i *)tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

/* Half an ulp added and the rest cut off is rounding to nearest: no result is near a tie. */
__attribute__((target("avx2"))) static inline __m128i rsqrt_bf16x8(__m128i x_u16x8) {
    __m256 const x_f32x8 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x_u16x8), 16));
    __m256 const y_f32x8 = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(x_f32x8));
    __m256i const y_u32x8 = _mm256_srli_epi32(_mm256_add_epi32(_mm256_castps_si256(y_f32x8), _mm256_set1_epi32(0x8000)), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(y_u32x8), _mm256_extracti128_si256(y_u32x8, 1));
}

__attribute__((target("avx2"))) void rsqrt_bf16_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_bf16_avx2, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i const x_u16x8 = _mm_loadu_si128((const __m128i *)(x + i));
        _mm_storeu_si128((__m128i *)(y + i), rsqrt_bf16x8(x_u16x8));
    }
    if (i < n) {
        uint16_t tail[8] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        _mm_storeu_si128((__m128i *)tail, rsqrt_bf16x8(_mm_loadu_si128((const __m128i *)tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

__attribute__((target("avx2"))) void rsqrt_f32_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f32_avx2, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    __m256 const one_f32x8 = _mm256_set1_ps(1.0f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 const x_f32x8 = _mm256_loadu_ps(x + i);
        _mm256_storeu_ps(y + i, _mm256_div_ps(one_f32x8, _mm256_sqrt_ps(x_f32x8)));
    }
    if (i < n) {
        __m256i const rest = _mm256_loadu_si256((const __m256i *)(lanes_i32 + 8 - (n - i)));
        __m256 const x_f32x8 = _mm256_maskload_ps(x + i, rest);
        _mm256_maskstore_ps(y + i, rest, _mm256_div_ps(one_f32x8, _mm256_sqrt_ps(x_f32x8)));
    }
}

__attribute__((target("avx2"))) void rsqrt_f64_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f64_avx2, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    __m256d const one_f64x4 = _mm256_set1_pd(1.0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256d const x_f64x4 = _mm256_loadu_pd(x + i);
        _mm256_storeu_pd(y + i, _mm256_div_pd(one_f64x4, _mm256_sqrt_pd(x_f64x4)));
    }
    if (i < n) {
        __m256i const rest = _mm256_loadu_si256((const __m256i *)(lanes_i64 + 4 - (n - i)));
        __m256d const x_f64x4 = _mm256_maskload_pd(x + i, rest);
        _mm256_maskstore_pd(y + i, rest, _mm256_div_pd(one_f64x4, _mm256_sqrt_pd(x_f64x4)));
    }
}

TIER static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return _mm256_fmadd_pd(a, b, c);
}

TIER static inline f64s sqrt_f64s(f64s x) {
    return _mm256_sqrt_pd(x);
}

TIER static inline f64s widen_f64s(i64s x) {
    __m256i const halves_i32x8 = _mm256_permutevar8x32_epi32((__m256i)x, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    return _mm256_cvtps_pd(_mm_castsi128_ps(_mm256_castsi256_si128(halves_i32x8)));
}

TIER static inline i64s narrow_i64s(f64s x) {
    return (i64s)_mm256_cvtepu32_epi64(_mm_castps_si128(_mm256_cvtpd_ps(x)));
}

TIER void rsqrt_c64_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c64_avx2, dst, src, n);
        return;
    }
    const long long *z = src;
    long long *y = dst;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i const z_c64x4 = _mm256_loadu_si256((const __m256i *)(z + i));
        _mm256_storeu_si256((__m256i *)(y + i), (__m256i)rsqrt_c64_items((i64s)z_c64x4));
    }
    if (i < n) {
        __m256i const rest = _mm256_loadu_si256((const __m256i *)(lanes_i64 + 4 - (n - i)));
        __m256i const z_c64x4 = _mm256_maskload_epi64(z + i, rest);
        _mm256_maskstore_epi64(y + i, rest, (__m256i)rsqrt_c64_items((i64s)z_c64x4));
    }
}

/* The first and the last two of four items, taken apart and put together; the order within `parts` is no matter. */
TIER static inline parts parts_from_items(__m256d first_c128x2, __m256d last_c128x2) {
    return (parts){(i64s)_mm256_unpacklo_pd(first_c128x2, last_c128x2), (i64s)_mm256_unpackhi_pd(first_c128x2, last_c128x2)};
}

TIER static inline __m256d first_items(parts z) {
    return _mm256_unpacklo_pd((__m256d)z.re, (__m256d)z.im);
}

TIER static inline __m256d last_items(parts z) {
    return _mm256_unpackhi_pd((__m256d)z.re, (__m256d)z.im);
}

TIER void rsqrt_c128_avx2(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c128_avx2, dst, src, n);
        return;
    }
    const double *z = src;
    double *y = dst;
    size_t const doubles = 2 * n;
    size_t i = 0;
    for (; i + 8 <= doubles; i += 8) {
        parts const y_c128x4 = rsqrt_c128_items(parts_from_items(_mm256_loadu_pd(z + i), _mm256_loadu_pd(z + i + 4)));
        _mm256_storeu_pd(y + i, first_items(y_c128x4));
        _mm256_storeu_pd(y + i + 4, last_items(y_c128x4));
    }
    if (i < doubles) {
        size_t const rest = doubles - i, in_first = rest < 4 ? rest : 4;
        __m256i const first = _mm256_loadu_si256((const __m256i *)(lanes_i64 + 4 - in_first));
        __m256i const last = _mm256_loadu_si256((const __m256i *)(lanes_i64 + 4 - (rest - in_first)));
        parts const z_c128x4 = parts_from_items(_mm256_maskload_pd(z + i, first), _mm256_maskload_pd(z + i + 4, last));
        parts const y_c128x4 = rsqrt_c128_items(z_c128x4);
        _mm256_maskstore_pd(y + i, first, first_items(y_c128x4));
        _mm256_maskstore_pd(y + i + 4, last, last_items(y_c128x4));
    }
}
#endif
