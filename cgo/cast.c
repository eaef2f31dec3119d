#include "cast.h"

#include "half.h"

#include <stdbool.h>

#pragma STDC FP_CONTRACT OFF

/* cast_<from>_<to>: each item read as `source`, written as `target`; memcpy, since neither side need be aligned. */
#define CAST(from, to, source, target, value)                                                                                  \
    void cast_##from##_##to(void *dst, const void *src, size_t n) {                                                            \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            source x;                                                                                                          \
            memcpy(&x, (const char *)src + i * sizeof x, sizeof x);                                                            \
            target const y = value;                                                                                            \
            memcpy((char *)dst + i * sizeof y, &y, sizeof y);                                                                  \
        }                                                                                                                      \
    }

typedef struct {
    float re, im;
} c64;

typedef struct {
    double re, im;
} c128;

CAST(f16, f32, uint16_t, float, f16_to_f32(x))
CAST(bf16, f32, uint16_t, float, bf16_to_f32(x))
CAST(f32, f16, float, uint16_t, f16_from_f32(x))
CAST(f32, bf16, float, uint16_t, bf16_from_f32(x))
CAST(f32, f64, float, double, x)
CAST(f64, f32, double, float, (float)x)
CAST(f32, c64, float, c64, (c64){.re = x})
CAST(f64, c128, double, c128, (c128){.re = x})

void cast_c64_c128(void *dst, const void *src, size_t n) {
    cast_f32_f64(dst, src, 2 * n);
}

void cast_c128_c64(void *dst, const void *src, size_t n) {
    cast_f64_f32(dst, src, 2 * n);
}

CAST(bool, f32, uint8_t, float, x != 0)
CAST(i8, f32, int8_t, float, x)
CAST(u8, f32, uint8_t, float, x)
CAST(i16, f32, int16_t, float, x)
CAST(u16, f32, uint16_t, float, x)
CAST(i32, f32, int32_t, float, (float)x)
CAST(u32, f32, uint32_t, float, (float)x)
CAST(i64, f32, int64_t, float, (float)x)
CAST(u64, f32, uint64_t, float, (float)x)
CAST(bool, f64, uint8_t, double, x != 0)
CAST(i8, f64, int8_t, double, x)
CAST(u8, f64, uint8_t, double, x)
CAST(i16, f64, int16_t, double, x)
CAST(u16, f64, uint16_t, double, x)
CAST(i32, f64, int32_t, double, x)
CAST(u32, f64, uint32_t, double, x)
CAST(i64, f64, int64_t, double, (double)x)
CAST(u64, f64, uint64_t, double, (double)x)

#define FROM_INTEGER(name) {[GORSQRT_F32] = cast_##name##_f32, [GORSQRT_F64] = cast_##name##_f64}

gorsqrt_kernel *const gorsqrt_casts[GORSQRT_DTYPES][GORSQRT_COMPUTED] = {
    [GORSQRT_F16] = {[GORSQRT_F32] = cast_f16_f32},
    [GORSQRT_BF16] = {[GORSQRT_F32] = cast_bf16_f32},
    [GORSQRT_F32] =
        {
            [GORSQRT_F16] = cast_f32_f16,
            [GORSQRT_BF16] = cast_f32_bf16,
            [GORSQRT_F64] = cast_f32_f64,
            [GORSQRT_C64] = cast_f32_c64,
        },
    [GORSQRT_F64] = {[GORSQRT_F32] = cast_f64_f32, [GORSQRT_C128] = cast_f64_c128},
    [GORSQRT_C64] = {[GORSQRT_C128] = cast_c64_c128},
    [GORSQRT_C128] = {[GORSQRT_C64] = cast_c128_c64},
    [GORSQRT_BOOL] = FROM_INTEGER(bool),
    [GORSQRT_I8] = FROM_INTEGER(i8),
    [GORSQRT_U8] = FROM_INTEGER(u8),
    [GORSQRT_I16] = FROM_INTEGER(i16),
    [GORSQRT_U16] = FROM_INTEGER(u16),
    [GORSQRT_I32] = FROM_INTEGER(i32),
    [GORSQRT_U32] = FROM_INTEGER(u32),
    [GORSQRT_I64] = FROM_INTEGER(i64),
    [GORSQRT_U64] = FROM_INTEGER(u64),
};
