/* The neon tier: 4 f32 or 2 f64 at a time, on every aarch64.
 *
 *     intrinsic            instruction        latency / throughput (Neoverse V2, cycles)
 *     vsqrtq_f32           fsqrt 4s           7-10 / 3.5-4.5
 *     vdivq_f32            fdiv 4s            7-10 / 3.5-4.5
 *     vsqrtq_f64           fsqrt 2d           7-16 / 3.5-7.5
 *     vdivq_f64            fdiv 2d            7-15 / 3.5-7
 *
 * Bound by the two pipes that divide, which square roots and divisions share. A nan goes through quieted by itself; but the
 * nan that arm makes of a negative is the positive one, so the contract's is blended in as an integer. There are no masked
 * loads: the tail loads and stores lane by lane, so that it reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __aarch64__
#include "kernels.h"

#include "mode.h"

#include <arm_neon.h>

#pragma STDC FP_CONTRACT OFF

static inline float32x4_t rsqrt_f32x4(float32x4_t x_f32x4) {
    float32x4_t const y_f32x4 = vdivq_f32(vdupq_n_f32(1.0f), vsqrtq_f32(x_f32x4));
    uint32x4_t const nan_u32x4 = vdupq_n_u32(0xffc00000u);
    return vreinterpretq_f32_u32(vbslq_u32(vcltzq_f32(x_f32x4), nan_u32x4, vreinterpretq_u32_f32(y_f32x4)));
}

static inline float64x2_t rsqrt_f64x2(float64x2_t x_f64x2) {
    float64x2_t const y_f64x2 = vdivq_f64(vdupq_n_f64(1.0), vsqrtq_f64(x_f64x2));
    uint64x2_t const nan_u64x2 = vdupq_n_u64(0xfff8000000000000u);
    return vreinterpretq_f64_u64(vbslq_u64(vcltzq_f64(x_f64x2), nan_u64x2, vreinterpretq_u64_f64(y_f64x2)));
}

void rsqrt_f32_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f32_neon, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, rsqrt_f32x4(vld1q_f32(x + i)));
    if (i < n) {
        size_t const rest = n - i;
        float32x4_t x_f32x4 = vld1q_dup_f32(x + i);
        if (rest > 1) x_f32x4 = vld1q_lane_f32(x + i + 1, x_f32x4, 1);
        if (rest > 2) x_f32x4 = vld1q_lane_f32(x + i + 2, x_f32x4, 2);
        float32x4_t const y_f32x4 = rsqrt_f32x4(x_f32x4);
        vst1q_lane_f32(y + i, y_f32x4, 0);
        if (rest > 1) vst1q_lane_f32(y + i + 1, y_f32x4, 1);
        if (rest > 2) vst1q_lane_f32(y + i + 2, y_f32x4, 2);
    }
}

void rsqrt_f64_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f64_neon, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) vst1q_f64(y + i, rsqrt_f64x2(vld1q_f64(x + i)));
    if (i < n) vst1q_lane_f64(y + i, rsqrt_f64x2(vld1q_dup_f64(x + i)), 0);
}
#endif
