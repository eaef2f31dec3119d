/* The avx2 tier: 8 f32 or 4 f64 at a time.
 *
 *     intrinsic            instruction        latency / throughput (Zen 4, cycles)
 *     _mm256_sqrt_ps       vsqrtps ymm        15 / 5
 *     _mm256_div_ps        vdivps ymm         11 / 5
 *     _mm256_sqrt_pd       vsqrtpd ymm        21 / 9
 *     _mm256_div_pd        vdivpd ymm         13 / 5
 *
 * Bound by the divider, which square roots and divisions share. x86 gives the contract's nans by itself. Masked lanes
 * neither load nor store, so the tail reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __x86_64__
#include "kernels.h"

#include "mode.h"

#pragma STDC FP_CONTRACT OFF

/* A mask of the first k lanes: read 8 or 4 lanes from k elements before the zeros. */
static const int32_t lanes_i32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t lanes_i64[8] = {-1, -1, -1, -1};

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
#endif
