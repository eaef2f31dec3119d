/* The neon tier: 4 f32, f16 or bf16, 2 f64, c64 or c128 at a time, on every aarch64. The 16-bit dtypes are computed in f32
 * lanes.
 *
 *     intrinsic            instruction        latency / throughput (Neoverse V2, cycles)
 *     vsqrtq_f32           fsqrt 4s           7-10 / 3.5-4.5
 *     vdivq_f32            fdiv 4s            7-10 / 3.5-4.5
 *     vsqrtq_f64           fsqrt 2d           7-16 / 3.5-7.5
 *     vdivq_f64            fdiv 2d            7-15 / 3.5-7
 *     vcvt_f32_f16         fcvtl 4s           4 / 2
 *     vcvt_f16_f32         fcvtn 4h           4 / 2
 *
 * Bound by the two pipes that divide, which square roots and divisions share. A nan goes through quieted by itself; but the
 * nan that arm makes of a negative is the positive one, so the contract's is blended in as an integer. There are no masked
 * loads: the tail loads and stores lane by lane, so that it reads nothing beyond the end; its arithmetic is the body's. */
#ifdef __aarch64__
#include "kernels.h"

#include "mode.h"

#define LANES 2
#define TIER
#include "complex.h"

#include <arm_neon.h>
#include <string.h>

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

static inline uint16x4_t rsqrt_f16x4(uint16x4_t x_u16x4) {
    float32x4_t const y_f32x4 = rsqrt_f32x4(vcvt_f32_f16(vreinterpret_f16_u16(x_u16x4)));
    return vreinterpret_u16_f16(vcvt_f16_f32(y_f32x4));
}

/* Half an ulp added and the rest cut off is rounding to nearest: no result is near a tie. */
static inline uint16x4_t rsqrt_bf16x4(uint16x4_t x_u16x4) {
    float32x4_t const y_f32x4 = rsqrt_f32x4(vreinterpretq_f32_u32(vshll_n_u16(x_u16x4, 16)));
    return vshrn_n_u32(vaddq_u32(vreinterpretq_u32_f32(y_f32x4), vdupq_n_u32(0x8000)), 16);
}

void rsqrt_f16_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_f16_neon, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1_u16(y + i, rsqrt_f16x4(vld1_u16(x + i)));
    if (i < n) {
        uint16_t tail[4] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vst1_u16(tail, rsqrt_f16x4(vld1_u16(tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

void rsqrt_bf16_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_bf16_neon, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1_u16(y + i, rsqrt_bf16x4(vld1_u16(x + i)));
    if (i < n) {
        uint16_t tail[4] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vst1_u16(tail, rsqrt_bf16x4(vld1_u16(tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
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

static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return (f64s)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}

static inline f64s sqrt_f64s(f64s x) {
    return (f64s)vsqrtq_f64((float64x2_t)x);
}

static inline f64s widen_f64s(i64s x) {
    return (f64s)vcvt_f64_f32(vreinterpret_f32_s32(vmovn_s64((int64x2_t)x)));
}

static inline i64s narrow_i64s(f64s x) {
    return (i64s)vmovl_u32(vreinterpret_u32_f32(vcvt_f32_f64((float64x2_t)x)));
}

void rsqrt_c64_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c64_neon, dst, src, n);
        return;
    }
    const int64_t *z = src;
    int64_t *y = dst;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) vst1q_s64(y + i, (int64x2_t)rsqrt_c64_items((i64s)vld1q_s64(z + i)));
    if (i < n) vst1q_lane_s64(y + i, (int64x2_t)rsqrt_c64_items((i64s)vld1q_dup_s64(z + i)), 0);
}

void rsqrt_c128_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        run_in_default_mode(rsqrt_c128_neon, dst, src, n);
        return;
    }
    const int64_t *z = src;
    int64_t *y = dst;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        int64x2x2_t const z_c128x2 = vld2q_s64(z + 2 * i);
        parts const y_c128x2 = rsqrt_c128_items((parts){(i64s)z_c128x2.val[0], (i64s)z_c128x2.val[1]});
        vst2q_s64(y + 2 * i, (int64x2x2_t){{(int64x2_t)y_c128x2.re, (int64x2_t)y_c128x2.im}});
    }
    if (i < n) {
        parts const y_c128x2 = rsqrt_c128_items((parts){(i64s)vld1q_dup_s64(z + 2 * i), (i64s)vld1q_dup_s64(z + 2 * i + 1)});
        vst1q_lane_s64(y + 2 * i, (int64x2_t)y_c128x2.re, 0);
        vst1q_lane_s64(y + 2 * i + 1, (int64x2_t)y_c128x2.im, 0);
    }
}
#endif
