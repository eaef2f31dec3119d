/* Casts between dtypes, (dst, src, n) over contiguous items that share no byte. Each function is
 * one step; Go chains them (rsqrt/dtype.go). Results are rounded to nearest even; nans keep their
 * sign and are quieted. They must run under the default floating-point mode, which gorsqrt_execute
 * sets.
 *
 * A tier that casts by its own vectors includes this file, makes the functions with CASTS, and puts
 * CASTS_OF into its table; TIER names the functions' attributes. The source is the same in every
 * tier, the compiler makes the vectors, and all tiers give the same bits. */
#ifndef GORSQRT_CAST_H
#define GORSQRT_CAST_H

#include "half.h"
#include "kernels.h"

#include <string.h>

typedef struct {
    float re, im;
} c64;

typedef struct {
    double re, im;
} c128;

/* cast_<from>_<to>_<tier>: reads each item as `source` and writes it as `target`. It uses memcpy
 * because neither side need be aligned. */
#define CAST(tier, from, to, source, target, value)                                                                            \
    TIER static void cast_##from##_##to##_##tier(void *restrict dst, const void *restrict src, size_t n) {                     \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            source x;                                                                                                          \
            memcpy(&x, (const char *)src + i * sizeof x, sizeof x);                                                            \
            target const y = value;                                                                                            \
            memcpy((char *)dst + i * sizeof y, &y, sizeof y);                                                                  \
        }                                                                                                                      \
    }

/* All casts except those of f16. */
#define CASTS(tier)                                                                                                            \
    CAST(tier, bf16, f32, uint16_t, float, bf16_to_f32(x))                                                                     \
    CAST(tier, f32, bf16, float, uint16_t, bf16_from_f32(x))                                                                   \
    CAST(tier, f32, f64, float, double, x)                                                                                     \
    CAST(tier, f64, f32, double, float, (float)x)                                                                              \
    CAST(tier, f32, c64, float, c64, (c64){.re = x})                                                                           \
    CAST(tier, f64, c128, double, c128, (c128){.re = x})                                                                       \
    TIER static void cast_c64_c128_##tier(void *dst, const void *src, size_t n) {                                              \
        cast_f32_f64_##tier(dst, src, 2 * n);                                                                                  \
    }                                                                                                                          \
    TIER static void cast_c128_c64_##tier(void *dst, const void *src, size_t n) {                                              \
        cast_f64_f32_##tier(dst, src, 2 * n);                                                                                  \
    }                                                                                                                          \
    CAST(tier, bool, f32, uint8_t, float, x != 0)                                                                              \
    CAST(tier, i8, f32, int8_t, float, x)                                                                                      \
    CAST(tier, u8, f32, uint8_t, float, x)                                                                                     \
    CAST(tier, i16, f32, int16_t, float, x)                                                                                    \
    CAST(tier, u16, f32, uint16_t, float, x)                                                                                   \
    CAST(tier, i32, f32, int32_t, float, (float)x)                                                                             \
    CAST(tier, u32, f32, uint32_t, float, (float)x)                                                                            \
    CAST(tier, i64, f32, int64_t, float, (float)x)                                                                             \
    CAST(tier, u64, f32, uint64_t, float, (float)x)                                                                            \
    CAST(tier, bool, f64, uint8_t, double, x != 0)                                                                             \
    CAST(tier, i8, f64, int8_t, double, x)                                                                                     \
    CAST(tier, u8, f64, uint8_t, double, x)                                                                                    \
    CAST(tier, i16, f64, int16_t, double, x)                                                                                   \
    CAST(tier, u16, f64, uint16_t, double, x)                                                                                  \
    CAST(tier, i32, f64, int32_t, double, (double)x)                                                                           \
    CAST(tier, u32, f64, uint32_t, double, (double)x)                                                                          \
    CAST(tier, i64, f64, int64_t, double, (double)x)                                                                           \
    CAST(tier, u64, f64, uint64_t, double, (double)x)

/* The same casts as entries of a tier's table. */
#define CASTS_OF(tier)                                                                                                         \
    [GORSQRT_BF16][GORSQRT_F32] = cast_bf16_f32_##tier, [GORSQRT_F32][GORSQRT_BF16] = cast_f32_bf16_##tier,                    \
    [GORSQRT_F32][GORSQRT_F64] = cast_f32_f64_##tier, [GORSQRT_F32][GORSQRT_C64] = cast_f32_c64_##tier,                        \
    [GORSQRT_F64][GORSQRT_F32] = cast_f64_f32_##tier, [GORSQRT_F64][GORSQRT_C128] = cast_f64_c128_##tier,                      \
    [GORSQRT_C64][GORSQRT_C128] = cast_c64_c128_##tier, [GORSQRT_C128][GORSQRT_C64] = cast_c128_c64_##tier,                    \
    [GORSQRT_BOOL][GORSQRT_F32] = cast_bool_f32_##tier, [GORSQRT_BOOL][GORSQRT_F64] = cast_bool_f64_##tier,                    \
    [GORSQRT_I8][GORSQRT_F32] = cast_i8_f32_##tier, [GORSQRT_I8][GORSQRT_F64] = cast_i8_f64_##tier,                            \
    [GORSQRT_U8][GORSQRT_F32] = cast_u8_f32_##tier, [GORSQRT_U8][GORSQRT_F64] = cast_u8_f64_##tier,                            \
    [GORSQRT_I16][GORSQRT_F32] = cast_i16_f32_##tier, [GORSQRT_I16][GORSQRT_F64] = cast_i16_f64_##tier,                        \
    [GORSQRT_U16][GORSQRT_F32] = cast_u16_f32_##tier, [GORSQRT_U16][GORSQRT_F64] = cast_u16_f64_##tier,                        \
    [GORSQRT_I32][GORSQRT_F32] = cast_i32_f32_##tier, [GORSQRT_I32][GORSQRT_F64] = cast_i32_f64_##tier,                        \
    [GORSQRT_U32][GORSQRT_F32] = cast_u32_f32_##tier, [GORSQRT_U32][GORSQRT_F64] = cast_u32_f64_##tier,                        \
    [GORSQRT_I64][GORSQRT_F32] = cast_i64_f32_##tier, [GORSQRT_I64][GORSQRT_F64] = cast_i64_f64_##tier,                        \
    [GORSQRT_U64][GORSQRT_F32] = cast_u64_f32_##tier, [GORSQRT_U64][GORSQRT_F64] = cast_u64_f64_##tier

#endif
