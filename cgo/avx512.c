/* The avx512 tier: 16 f32 or 8 f64 at a time, masked tails.
 *
 *     intrinsic            instruction        latency / throughput (Zen 4, cycles)
 *     _mm512_sqrt_ps       vsqrtps zmm        15 / 10
 *     _mm512_div_ps        vdivps zmm         11 / 10
 *     _mm512_sqrt_pd       vsqrtpd zmm        21 / 18
 *     _mm512_div_pd        vdivpd zmm         13 / 10
 *
 * Bound by the divider, which square roots and divisions share. x86 gives the contract's nans by itself. Masked lanes
 * neither load nor store, so the tail reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __x86_64__
#include "kernels.h"

#include "mode.h"

#pragma STDC FP_CONTRACT OFF

__attribute__((target("avx512f"))) void rsqrt_f32_avx512(void *dst, const void *src, size_t n) {
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

__attribute__((target("avx512f"))) void rsqrt_f64_avx512(void *dst, const void *src, size_t n) {
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
#endif
