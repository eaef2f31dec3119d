/* The avx512 tier: 16 f32, f16 or bf16, 8 f64, c64 or c128 at a time, masked tails. The 16-bit dtypes are computed in f32
 * lanes.
 *
 *     intrinsic            instruction        latency / throughput (Zen 4, cycles)
 *     _mm512_sqrt_ps       vsqrtps zmm        15 / 10
 *     _mm512_div_ps        vdivps zmm         11 / 10
 *     _mm512_sqrt_pd       vsqrtpd zmm        21 / 18
 *     _mm512_div_pd        vdivpd zmm         13 / 10
 *     _mm512_cvtph_ps      vcvtph2ps zmm       7 / 2
 *     _mm512_cvtps_ph      vcvtps2ph ymm       7 / 2
 *
 * Bound by the divider, which square roots and divisions share. x86 gives the contract's nans by itself. Masked lanes
 * neither load nor store, so the tail reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __x86_64__
#include "kernels.h"

#include "mode.h"

#define LANES 8
#define TIER __attribute__((target("avx512f")))
#include "complex.h"

#pragma STDC FP_CONTRACT OFF

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

AVX512 static inline __m256i rsqrt_f16x16(__m256i x_u16x16) {
    __m512 const x_f32x16 = _mm512_cvtph_ps(x_u16x16);
    __m512 const y_f32x16 = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(x_f32x16));
    return _mm512_cvtps_ph(y_f32x16, _MM_FROUND_TO_NEAREST_INT);
}

AVX512 void rsqrt_f16_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f16_avx512, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i const x_u16x16 = _mm256_loadu_si256((const __m256i *)(x + i));
        _mm256_storeu_si256((__m256i *)(y + i), rsqrt_f16x16(x_u16x16));
    }
    if (i < n) {
        __mmask16 const rest = (__mmask16)((1u << (n - i)) - 1);
        __m256i const x_u16x16 = _mm256_maskz_loadu_epi16(rest, x + i);
        _mm256_mask_storeu_epi16(y + i, rest, rsqrt_f16x16(x_u16x16));
    }
}

/* Half an ulp added and the rest cut off is rounding to nearest: no result is near a tie. */
AVX512 static inline __m256i rsqrt_bf16x16(__m256i x_u16x16) {
    __m512 const x_f32x16 = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x_u16x16), 16));
    __m512 const y_f32x16 = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(x_f32x16));
    __m512i const rounded_u32x16 = _mm512_add_epi32(_mm512_castps_si512(y_f32x16), _mm512_set1_epi32(0x8000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_u32x16, 16));
}

AVX512 void rsqrt_bf16_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_bf16_avx512, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i const x_u16x16 = _mm256_loadu_si256((const __m256i *)(x + i));
        _mm256_storeu_si256((__m256i *)(y + i), rsqrt_bf16x16(x_u16x16));
    }
    if (i < n) {
        __mmask16 const rest = (__mmask16)((1u << (n - i)) - 1);
        __m256i const x_u16x16 = _mm256_maskz_loadu_epi16(rest, x + i);
        _mm256_mask_storeu_epi16(y + i, rest, rsqrt_bf16x16(x_u16x16));
    }
}

AVX512 void rsqrt_f32_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f32_avx512, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    __m512 const one_f32x16 = _mm512_set1_ps(1.0f);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 const x_f32x16 = _mm512_loadu_ps(x + i);
        _mm512_storeu_ps(y + i, _mm512_div_ps(one_f32x16, _mm512_sqrt_ps(x_f32x16)));
    }
    if (i < n) {
        __mmask16 const rest = (__mmask16)((1u << (n - i)) - 1);
        __m512 const x_f32x16 = _mm512_maskz_loadu_ps(rest, x + i);
        _mm512_mask_storeu_ps(y + i, rest, _mm512_div_ps(one_f32x16, _mm512_sqrt_ps(x_f32x16)));
    }
}

AVX512 void rsqrt_f64_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f64_avx512, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    __m512d const one_f64x8 = _mm512_set1_pd(1.0);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512d const x_f64x8 = _mm512_loadu_pd(x + i);
        _mm512_storeu_pd(y + i, _mm512_div_pd(one_f64x8, _mm512_sqrt_pd(x_f64x8)));
    }
    if (i < n) {
        __mmask8 const rest = (__mmask8)((1u << (n - i)) - 1);
        __m512d const x_f64x8 = _mm512_maskz_loadu_pd(rest, x + i);
        _mm512_mask_storeu_pd(y + i, rest, _mm512_div_pd(one_f64x8, _mm512_sqrt_pd(x_f64x8)));
    }
}

TIER static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return _mm512_fmadd_pd(a, b, c);
}

TIER static inline f64s sqrt_f64s(f64s x) {
    return _mm512_sqrt_pd(x);
}

TIER static inline f64s widen_f64s(i64s x) {
    return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm512_cvtepi64_epi32((__m512i)x)));
}

TIER static inline i64s narrow_i64s(f64s x) {
    return (i64s)_mm512_cvtepu32_epi64(_mm256_castps_si256(_mm512_cvtpd_ps(x)));
}

TIER void rsqrt_c64_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c64_avx512, dst, src, n);
        return;
    }
    const int64_t *z = src;
    int64_t *y = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512i const z_c64x8 = _mm512_loadu_si512(z + i);
        _mm512_storeu_si512(y + i, (__m512i)rsqrt_c64_items((i64s)z_c64x8));
    }
    if (i < n) {
        __mmask8 const rest = (__mmask8)((1u << (n - i)) - 1);
        __m512i const z_c64x8 = _mm512_maskz_loadu_epi64(rest, z + i);
        _mm512_mask_storeu_epi64(y + i, rest, (__m512i)rsqrt_c64_items((i64s)z_c64x8));
    }
}

/* The first and the last four of eight items, taken apart and put together; the order within `parts` is no matter. */
TIER static inline parts parts_from_items(__m512d first_c128x4, __m512d last_c128x4) {
    return (parts){(i64s)_mm512_unpacklo_pd(first_c128x4, last_c128x4), (i64s)_mm512_unpackhi_pd(first_c128x4, last_c128x4)};
}

TIER static inline __m512d first_items(parts z) {
    return _mm512_unpacklo_pd((__m512d)z.re, (__m512d)z.im);
}

TIER static inline __m512d last_items(parts z) {
    return _mm512_unpackhi_pd((__m512d)z.re, (__m512d)z.im);
}

TIER void rsqrt_c128_avx512(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c128_avx512, dst, src, n);
        return;
    }
    const double *z = src;
    double *y = dst;
    size_t const doubles = 2 * n;
    size_t i = 0;
    for (; i + 16 <= doubles; i += 16) {
        parts const y_c128x8 = rsqrt_c128_items(parts_from_items(_mm512_loadu_pd(z + i), _mm512_loadu_pd(z + i + 8)));
        _mm512_storeu_pd(y + i, first_items(y_c128x8));
        _mm512_storeu_pd(y + i + 8, last_items(y_c128x8));
    }
    if (i < doubles) {
        unsigned const rest = (1u << (doubles - i)) - 1;
        __mmask8 const first = (__mmask8)rest, last = (__mmask8)(rest >> 8);
        parts const z_c128x8 = parts_from_items(_mm512_maskz_loadu_pd(first, z + i), _mm512_maskz_loadu_pd(last, z + i + 8));
        parts const y_c128x8 = rsqrt_c128_items(z_c128x8);
        _mm512_mask_storeu_pd(y + i, first, first_items(y_c128x8));
        _mm512_mask_storeu_pd(y + i + 8, last, last_items(y_c128x8));
    }
}
#endif
