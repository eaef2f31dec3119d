/* The neon tier, for every aarch64 processor. f32 and f64 are computed in blocks of 4 vectors, f16
 * and bf16 in f32 lanes, c64 and c128 in two vectors of re and two of im.
 *
 *     intrinsic            instruction        latency / throughput (Neoverse V2, cycles)
 *     vsqrtq_f32           fsqrt 4s           7-10 / 3.5-4.5
 *     vdivq_f32            fdiv 4s            7-10 / 3.5-4.5
 *     vsqrtq_f64           fsqrt 2d           7-16 / 3.5-7.5
 *     vdivq_f64            fdiv 2d            7-15 / 3.5-7
 *     vrsqrteq_f32         frsqrte 4s         4 / 1
 *     vfmaq_f32            fmla 4s            4 / 0.25
 *     vcvt_f32_f16         fcvtl 4s           4 / 2
 *     vcvt_f16_f32         fcvtn 4h           4 / 2
 *
 * Square roots and divisions share the divider's pipes, and meanwhile the multipliers are idle. So
 * f32 and f64 give the divider half of a block's vectors and compute the others by fma, to the same
 * bits. By count, not by measurement (bench/neon.py), that is 15 operations a vector on two pipes
 * or four, beside the divider's 7 to 9 cycles. The 16-bit dtypes use only Newton's steps, 7
 * operations a vector. The arithmetic quiets nans as the contract requires. For a negative, Arm
 * makes the positive nan, so the contract's negative nan is blended in as an integer. There are no
 * masked loads: the tail loads and stores lane by lane and reads nothing beyond the end. Its
 * arithmetic is the body's. */
#ifdef __aarch64__
#include "kernels.h"

#include "mode.h"

#include <arm_neon.h>
#include <string.h>

#define TIER
#define BITS 32
#define LANES 4
#define VECTORS 2
#include "complex.h"
#define BITS 64
#define LANES 2
#define VECTORS 2
#include "complex.h"

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

enum {
    BLOCK = 4,   /* vectors that are computed together, step by step */
    DIVIDED = 2, /* of these by the divider */
};

/* y = RN(1 / RN(√x)) for x in [2^-100, inf). By fma, with g → √x, h → 1/(2√x), s = RN(√x) and y →
 * 1/s:
 *
 *     g = x·y0   h = y0/2   twice: r = 1/2 - g·h   g = g + g·r   h = h + h·r       y0: 1/√x to 8 bits
 *     s = g + (x - g²)·h
 *     y = 2h   e = 1 - s·y   e = e + 1.0625·2^-48   y = y + y·e
 *
 * y + y·e is (1 - e²)/s. The difference matters in one case: s is the last number before a power of
 * two, y is that power's reciprocal, 1/s is just above the midpoint of two numbers, and y + y·e is
 * that midpoint. The larger e lifts this result over its midpoint, and no other. Below 2^-100 the
 * low digits of x - g² would be lost. */
static inline void rsqrt_f32_block(float32x4_t *y_f32x4, const float32x4_t *x_f32x4) {
    float32x4_t const half_f32x4 = vdupq_n_f32(0.5f), one_f32x4 = vdupq_n_f32(1.0f), more_f32x4 = vdupq_n_f32(0x1.1p-48f);
    float32x4_t g[BLOCK], h[BLOCK], r[BLOCK], s[BLOCK], e[BLOCK];
    for (int i = 0; i < DIVIDED; i++) s[i] = vsqrtq_f32(x_f32x4[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vrsqrteq_f32(x_f32x4[i]);
    for (int i = DIVIDED; i < BLOCK; i++) g[i] = vmulq_f32(x_f32x4[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vmulq_f32(h[i], half_f32x4);
    for (int iteration = 0; iteration < 2; iteration++) {
        for (int i = DIVIDED; i < BLOCK; i++) r[i] = vfmsq_f32(half_f32x4, g[i], h[i]);
        for (int i = DIVIDED; i < BLOCK; i++) g[i] = vfmaq_f32(g[i], g[i], r[i]);
        for (int i = DIVIDED; i < BLOCK; i++) h[i] = vfmaq_f32(h[i], h[i], r[i]);
    }
    for (int i = 0; i < DIVIDED; i++) y_f32x4[i] = vdivq_f32(one_f32x4, s[i]);
    for (int i = DIVIDED; i < BLOCK; i++) r[i] = vfmsq_f32(x_f32x4[i], g[i], g[i]);
    for (int i = DIVIDED; i < BLOCK; i++) s[i] = vfmaq_f32(g[i], r[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vaddq_f32(h[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) e[i] = vfmsq_f32(one_f32x4, s[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) e[i] = vaddq_f32(e[i], more_f32x4);
    for (int i = DIVIDED; i < BLOCK; i++) y_f32x4[i] = vfmaq_f32(h[i], h[i], e[i]);
}

/* Whether every x is in [2^-100, inf). */
static inline bool are_ordinary_f32s(const float32x4_t *x_f32x4) {
    uint32x4_t most_u32x4 = vdupq_n_u32(0);
    for (int i = 0; i < BLOCK; i++) {
        uint32x4_t const above_u32x4 = vsubq_u32(vreinterpretq_u32_f32(x_f32x4[i]), vdupq_n_u32((127 - 100) << 23));
        most_u32x4 = vmaxq_u32(most_u32x4, above_u32x4);
    }
    return vmaxvq_u32(most_u32x4) < (255u - 127 + 100) << 23;
}

/* As rsqrt_f32_block, for x in [2^-960, inf), with one more iteration, and 2^-106 in place of
 * 2^-48. There is no proof here: the hard cases are enumerated and tested, and y0 is the same on
 * every aarch64 processor, to the bit. */
static inline void rsqrt_f64_block(float64x2_t *y_f64x2, const float64x2_t *x_f64x2) {
    float64x2_t const half_f64x2 = vdupq_n_f64(0.5), one_f64x2 = vdupq_n_f64(1.0), more_f64x2 = vdupq_n_f64(0x1.1p-106);
    float64x2_t g[BLOCK], h[BLOCK], r[BLOCK], s[BLOCK], e[BLOCK];
    for (int i = 0; i < DIVIDED; i++) s[i] = vsqrtq_f64(x_f64x2[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vrsqrteq_f64(x_f64x2[i]);
    for (int i = DIVIDED; i < BLOCK; i++) g[i] = vmulq_f64(x_f64x2[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vmulq_f64(h[i], half_f64x2);
    for (int iteration = 0; iteration < 3; iteration++) {
        for (int i = DIVIDED; i < BLOCK; i++) r[i] = vfmsq_f64(half_f64x2, g[i], h[i]);
        for (int i = DIVIDED; i < BLOCK; i++) g[i] = vfmaq_f64(g[i], g[i], r[i]);
        for (int i = DIVIDED; i < BLOCK; i++) h[i] = vfmaq_f64(h[i], h[i], r[i]);
    }
    for (int i = 0; i < DIVIDED; i++) y_f64x2[i] = vdivq_f64(one_f64x2, s[i]);
    for (int i = DIVIDED; i < BLOCK; i++) r[i] = vfmsq_f64(x_f64x2[i], g[i], g[i]);
    for (int i = DIVIDED; i < BLOCK; i++) s[i] = vfmaq_f64(g[i], r[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) h[i] = vaddq_f64(h[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) e[i] = vfmsq_f64(one_f64x2, s[i], h[i]);
    for (int i = DIVIDED; i < BLOCK; i++) e[i] = vaddq_f64(e[i], more_f64x2);
    for (int i = DIVIDED; i < BLOCK; i++) y_f64x2[i] = vfmaq_f64(h[i], h[i], e[i]);
}

/* Whether every x is in [2^-960, inf), by the upper halves of its bits. */
static inline bool are_ordinary_f64s(const float64x2_t *x_f64x2) {
    uint32x4_t most_u32x4 = vdupq_n_u32(0);
    for (int i = 0; i < BLOCK; i += 2) {
        uint32x4_t const a_u32x4 = vreinterpretq_u32_f64(x_f64x2[i]), b_u32x4 = vreinterpretq_u32_f64(x_f64x2[i + 1]);
        uint32x4_t const above_u32x4 = vsubq_u32(vuzp2q_u32(a_u32x4, b_u32x4), vdupq_n_u32((1023 - 960) << 20));
        most_u32x4 = vmaxq_u32(most_u32x4, above_u32x4);
    }
    return vmaxvq_u32(most_u32x4) < (2047u - 1023 + 960) << 20;
}

/* 1/√x for the 16-bit dtypes, for any x that is not subnormal: y0, to 8 bits, then twice y = y·(3 -
 * y²·x)/2. If one of y² and x is zero and the other infinite, frsqrts answers 3/2, so y keeps the
 * special value of y0. */
static inline float32x4_t rsqrt_near_f32x4(float32x4_t x_f32x4) {
    float32x4_t y_f32x4 = vrsqrteq_f32(x_f32x4);
    y_f32x4 = vmulq_f32(y_f32x4, vrsqrtsq_f32(vmulq_f32(y_f32x4, y_f32x4), x_f32x4));
    y_f32x4 = vmulq_f32(y_f32x4, vrsqrtsq_f32(vmulq_f32(y_f32x4, y_f32x4), x_f32x4));
    uint32x4_t const nan_u32x4 = vdupq_n_u32(0xffc00000u);
    return vreinterpretq_f32_u32(vbslq_u32(vcltzq_f32(x_f32x4), nan_u32x4, vreinterpretq_u32_f32(y_f32x4)));
}

/* No f16 is a subnormal f32. */
static inline uint16x8_t rsqrt_f16x8(uint16x8_t x_u16x8) {
    float16x8_t const x_f16x8 = vreinterpretq_f16_u16(x_u16x8);
    float32x4_t const low_f32x4 = rsqrt_near_f32x4(vcvt_f32_f16(vget_low_f16(x_f16x8)));
    float32x4_t const high_f32x4 = rsqrt_near_f32x4(vcvt_high_f32_f16(x_f16x8));
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low_f32x4), high_f32x4));
}

/* Converts bf16s to f32s, and back. Adding half an ulp and cutting off the rest rounds to nearest,
 * because no result is near a tie. */
static inline float32x4_t low_bf16s(uint16x8_t x_u16x8) {
    return vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x_u16x8), 16));
}

static inline float32x4_t high_bf16s(uint16x8_t x_u16x8) {
    return vreinterpretq_f32_u32(vshll_high_n_u16(x_u16x8, 16));
}

static inline uint16x8_t bf16s_from(float32x4_t low_f32x4, float32x4_t high_f32x4) {
    uint32x4_t const half_u32x4 = vdupq_n_u32(0x8000);
    uint16x4_t const low_u16x4 = vaddhn_u32(vreinterpretq_u32_f32(low_f32x4), half_u32x4);
    return vaddhn_high_u32(low_u16x4, vreinterpretq_u32_f32(high_f32x4), half_u32x4);
}

/* Subnormals, whose y0² may be too large, and all items of their vector are computed by the
 * divider. */
static inline uint16x8_t rsqrt_bf16x8(uint16x8_t x_u16x8) {
    uint16x8_t const magnitude_u16x8 = vandq_u16(x_u16x8, vdupq_n_u16(INT16_MAX));
    uint16x8_t const below_u16x8 = vsubq_u16(magnitude_u16x8, vdupq_n_u16(1));
    if (__builtin_expect(vminvq_u16(below_u16x8) < 0x0080 - 1, 0)) {
        return bf16s_from(rsqrt_f32x4(low_bf16s(x_u16x8)), rsqrt_f32x4(high_bf16s(x_u16x8)));
    }
    return bf16s_from(rsqrt_near_f32x4(low_bf16s(x_u16x8)), rsqrt_near_f32x4(high_bf16s(x_u16x8)));
}

static void rsqrt_f16_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f16_neon, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) vst1q_u16(y + i, rsqrt_f16x8(vld1q_u16(x + i)));
    if (i < n) {
        uint16_t tail[8] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vst1q_u16(tail, rsqrt_f16x8(vld1q_u16(tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

static void rsqrt_bf16_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_bf16_neon, dst, src, n);
        return;
    }
    const uint16_t *x = src;
    uint16_t *y = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) vst1q_u16(y + i, rsqrt_bf16x8(vld1q_u16(x + i)));
    if (i < n) {
        uint16_t tail[8] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vst1q_u16(tail, rsqrt_bf16x8(vld1q_u16(tail)));
        memcpy(y + i, tail, (n - i) * sizeof *y);
    }
}

static void rsqrt_f32_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_neon, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    size_t i = 0;
    for (; i + 4 * BLOCK <= n; i += 4 * BLOCK) {
        float32x4_t x_f32x4[BLOCK], y_f32x4[BLOCK];
        for (int j = 0; j < BLOCK; j++) x_f32x4[j] = vld1q_f32(x + i + 4 * j);
        if (__builtin_expect(are_ordinary_f32s(x_f32x4), 1)) {
            rsqrt_f32_block(y_f32x4, x_f32x4);
        } else {
            for (int j = 0; j < BLOCK; j++) y_f32x4[j] = rsqrt_f32x4(x_f32x4[j]);
        }
        for (int j = 0; j < BLOCK; j++) vst1q_f32(y + i + 4 * j, y_f32x4[j]);
    }
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

static void rsqrt_f64_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_neon, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    size_t i = 0;
    for (; i + 2 * BLOCK <= n; i += 2 * BLOCK) {
        float64x2_t x_f64x2[BLOCK], y_f64x2[BLOCK];
        for (int j = 0; j < BLOCK; j++) x_f64x2[j] = vld1q_f64(x + i + 2 * j);
        if (__builtin_expect(are_ordinary_f64s(x_f64x2), 1)) {
            rsqrt_f64_block(y_f64x2, x_f64x2);
        } else {
            for (int j = 0; j < BLOCK; j++) y_f64x2[j] = rsqrt_f64x2(x_f64x2[j]);
        }
        for (int j = 0; j < BLOCK; j++) vst1q_f64(y + i + 2 * j, y_f64x2[j]);
    }
    for (; i + 2 <= n; i += 2) vst1q_f64(y + i, rsqrt_f64x2(vld1q_f64(x + i)));
    if (i < n) vst1q_lane_f64(y + i, rsqrt_f64x2(vld1q_dup_f64(x + i)), 0);
}

static inline f32s fma_f32s(f32s a, f32s b, f32s c) {
    return (f32s)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

static inline f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return (f32s)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

static inline f32s max_f32s(f32s a, f32s b) {
    return (f32s)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}

static inline f32s min_f32s(f32s a, f32s b) {
    return (f32s)vminq_f32((float32x4_t)a, (float32x4_t)b);
}

static inline bool any_f32s(i32s where) {
    return vminvq_s32((int32x4_t)where) < 0;
}

static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return (f64s)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}

static inline f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return (f64s)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}

static inline f64s max_f64s(f64s a, f64s b) {
    return (f64s)vmaxq_f64((float64x2_t)a, (float64x2_t)b);
}

static inline f64s min_f64s(f64s a, f64s b) {
    return (f64s)vminq_f64((float64x2_t)a, (float64x2_t)b);
}

static inline bool any_f64s(i64s where) {
    return vminvq_s32((int32x4_t)(where >> 63)) < 0;
}

static void rsqrt_c64_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c64_neon, dst, src, n);
        return;
    }
    const float *x = src;
    float *y = dst;
    for (size_t i = 0; i < n; i += 8) {
        float tail[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
        size_t const rest = n - i < 8 ? n - i : 8;
        const float *from = x + 2 * i;
        float *to = y + 2 * i;
        if (rest < 8) from = to = memcpy(tail, from, 2 * rest * sizeof *x);
        float32x4x2_t const first = vld2q_f32(from), last = vld2q_f32(from + 8);
        parts_f32 z[2] = {{(i32s)first.val[0], (i32s)first.val[1]}, {(i32s)last.val[0], (i32s)last.val[1]}};
        rsqrt_f32s(z);
        float32x4x2_t const head = {{(float32x4_t)z[0].re, (float32x4_t)z[0].im}}; /* named: vst2q is a macro in clang */
        float32x4x2_t const back = {{(float32x4_t)z[1].re, (float32x4_t)z[1].im}};
        vst2q_f32(to, head);
        vst2q_f32(to + 8, back);
        if (rest < 8) memcpy(y + 2 * i, tail, 2 * rest * sizeof *y);
    }
}

static void rsqrt_c128_neon(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c128_neon, dst, src, n);
        return;
    }
    const double *x = src;
    double *y = dst;
    for (size_t i = 0; i < n; i += 4) {
        double tail[8] = {1, 1, 1, 1, 1, 1, 1, 1};
        size_t const rest = n - i < 4 ? n - i : 4;
        const double *from = x + 2 * i;
        double *to = y + 2 * i;
        if (rest < 4) from = to = memcpy(tail, from, 2 * rest * sizeof *x);
        float64x2x2_t const first = vld2q_f64(from), last = vld2q_f64(from + 4);
        parts_f64 z[2] = {{(i64s)first.val[0], (i64s)first.val[1]}, {(i64s)last.val[0], (i64s)last.val[1]}};
        rsqrt_f64s(z);
        float64x2x2_t const head = {{(float64x2_t)z[0].re, (float64x2_t)z[0].im}}; /* named: vst2q is a macro in clang */
        float64x2x2_t const back = {{(float64x2_t)z[1].re, (float64x2_t)z[1].im}};
        vst2q_f64(to, head);
        vst2q_f64(to + 4, back);
        if (rest < 4) memcpy(y + 2 * i, tail, 2 * rest * sizeof *y);
    }
}

/* Casts and moves are the scalar tier's: there the compiler uses neon's vectors by default. */
const gorsqrt_tier gorsqrt_neon = {
    .name = "neon",
    .needs = "asimd",
    .of =
        {
            [GORSQRT_F16] = {.plain = rsqrt_f16_neon},
            [GORSQRT_BF16] = {.plain = rsqrt_bf16_neon},
            [GORSQRT_F32] = {.plain = rsqrt_f32_neon},
            [GORSQRT_F64] = {.plain = rsqrt_f64_neon},
            [GORSQRT_C64] = {.plain = rsqrt_c64_neon},
            [GORSQRT_C128] = {.plain = rsqrt_c128_neon},
        },
};
#endif
