/* The scalar tier: one element at a time, on every machine.
 *
 *     x86-64                              latency (Zen 4)    throughput bound
 *     _mm_sqrt_ss / _mm_sqrt_sd           15 / 21 cycles     the one divider: sqrt + div, 8 / 14 cycles an element
 *     divss / divsd                       11 / 13 cycles
 *
 * The square root's instruction is named, because sqrtf and sqrt would call libm (they may set
 * errno). Results for negatives and nans are made with integers, because processors give different
 * nans for square roots. fma is libm's if the architecture does not promise an instruction. Needs
 * kernels.h; it has every kernel and cast and a mover, which other tiers use if they have none of
 * their own. */
#include "kernels.h"

#include "cast.h"
#include "half.h"
#include "mode.h"
#include "move.h"

#define TIER
#define BITS 32
#define LANES 1
#define VECTORS 1
#include "complex.h"
#define BITS 64
#define LANES 1
#define VECTORS 1
#include "complex.h"

#include <string.h>
#ifdef __aarch64__
#include <arm_neon.h>
#endif

#pragma STDC FP_CONTRACT OFF

static inline float sqrt_f32(float x) {
#ifdef __x86_64__
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#else
    return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0);
#endif
}

static inline double sqrt_f64(double x) {
#ifdef __x86_64__
    return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x)));
#else
    return vget_lane_f64(vsqrt_f64(vdup_n_f64(x)), 0);
#endif
}

static void rsqrt_f16_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f16_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t x_u16, y_u16;
        memcpy(&x_u16, (const char *)src + i * sizeof x_u16, sizeof x_u16);
        if ((x_u16 & 0x7fff) > 0x7c00) {
            y_u16 = x_u16 | 0x0200;
        } else if (x_u16 > 0x8000) {
            y_u16 = 0xfe00;
        } else if ((x_u16 & 0x7fff) == 0) {
            y_u16 = x_u16 | 0x7c00;
        } else {
            y_u16 = f16_from_f32(1.0f / sqrt_f32(f16_to_f32(x_u16)));
        }
        memcpy((char *)dst + i * sizeof y_u16, &y_u16, sizeof y_u16);
    }
}

static void rsqrt_bf16_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_bf16_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t x_u16, y_u16;
        memcpy(&x_u16, (const char *)src + i * sizeof x_u16, sizeof x_u16);
        if ((x_u16 & 0x7fff) > 0x7f80) {
            y_u16 = x_u16 | 0x0040;
        } else if (x_u16 > 0x8000) {
            y_u16 = 0xffc0;
        } else {
            y_u16 = bf16_from_f32(1.0f / sqrt_f32(bf16_to_f32(x_u16)));
        }
        memcpy((char *)dst + i * sizeof y_u16, &y_u16, sizeof y_u16);
    }
}

static void rsqrt_f32_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f32_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float x_f32, y_f32;
        memcpy(&x_f32, (const char *)src + i * sizeof x_f32, sizeof x_f32);
        if (x_f32 >= 0) {
            y_f32 = 1.0f / sqrt_f32(x_f32);
        } else {
            uint32_t x_u32;
            memcpy(&x_u32, &x_f32, sizeof x_u32);
            x_u32 = x_f32 != x_f32 ? x_u32 | 0x00400000u : 0xffc00000u;
            memcpy(&y_f32, &x_u32, sizeof y_f32);
        }
        memcpy((char *)dst + i * sizeof y_f32, &y_f32, sizeof y_f32);
    }
}

static void rsqrt_f64_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double x_f64, y_f64;
        memcpy(&x_f64, (const char *)src + i * sizeof x_f64, sizeof x_f64);
        if (x_f64 >= 0) {
            y_f64 = 1.0 / sqrt_f64(x_f64);
        } else {
            uint64_t x_u64;
            memcpy(&x_u64, &x_f64, sizeof x_u64);
            x_u64 = x_f64 != x_f64 ? x_u64 | 0x0008000000000000u : 0xfff8000000000000u;
            memcpy(&y_f64, &x_u64, sizeof y_f64);
        }
        memcpy((char *)dst + i * sizeof y_f64, &y_f64, sizeof y_f64);
    }
}

static inline f32s fma_f32s(f32s a, f32s b, f32s c) {
    return (f32s){__builtin_fmaf(a[0], b[0], c[0])};
}

static inline f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return (f32s){__builtin_fmaf(-a[0], b[0], c[0])};
}

static inline f32s max_f32s(f32s a, f32s b) {
    return a[0] > b[0] ? a : b;
}

static inline f32s min_f32s(f32s a, f32s b) {
    return a[0] < b[0] ? a : b;
}

static inline bool any_f32s(i32s where) {
    return where[0] < 0;
}

static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return (f64s){__builtin_fma(a[0], b[0], c[0])};
}

static inline f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return (f64s){__builtin_fma(-a[0], b[0], c[0])};
}

static inline f64s max_f64s(f64s a, f64s b) {
    return a[0] > b[0] ? a : b;
}

static inline f64s min_f64s(f64s a, f64s b) {
    return a[0] < b[0] ? a : b;
}

static inline bool any_f64s(i64s where) {
    return where[0] < 0;
}

static void rsqrt_c64_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c64_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        parts_f32 z_c64;
        memcpy(&z_c64, (const char *)src + i * sizeof z_c64, sizeof z_c64);
        rsqrt_f32s(&z_c64);
        memcpy((char *)dst + i * sizeof z_c64, &z_c64, sizeof z_c64);
    }
}

static void rsqrt_c128_scalar(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_c128_scalar, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        parts_f64 z_c128;
        memcpy(&z_c128, (const char *)src + i * sizeof z_c128, sizeof z_c128);
        rsqrt_f64s(&z_c128);
        memcpy((char *)dst + i * sizeof z_c128, &z_c128, sizeof z_c128);
    }
}

CASTS(scalar)
CAST(scalar, f16, f32, uint16_t, float, f16_to_f32(x))
CAST(scalar, f32, f16, float, uint16_t, f16_from_f32(x))

MOVER(scalar, 16, square_u32x4, 4, square_u64x2)

const gorsqrt_tier gorsqrt_scalar = {
    .name = "scalar",
    .needs = "",
    .of =
        {
            [GORSQRT_F16] = {.plain = rsqrt_f16_scalar},
            [GORSQRT_BF16] = {.plain = rsqrt_bf16_scalar},
            [GORSQRT_F32] = {.plain = rsqrt_f32_scalar},
            [GORSQRT_F64] = {.plain = rsqrt_f64_scalar},
            [GORSQRT_C64] = {.plain = rsqrt_c64_scalar},
            [GORSQRT_C128] = {.plain = rsqrt_c128_scalar},
        },
    .casts =
        {
            CASTS_OF(scalar),
            [GORSQRT_F16][GORSQRT_F32] = cast_f16_f32_scalar,
            [GORSQRT_F32][GORSQRT_F16] = cast_f32_f16_scalar,
        },
    .mover = &(const gorsqrt_mover){rows_scalar, transposed_scalar},
};
