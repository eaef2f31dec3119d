#include "cast.h"

#include "half.h"

#include <stdbool.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#pragma STDC FP_CONTRACT OFF

/* The tiers' functions have the same source, from which the compiler makes vectors of what the attribute allows. */
#define TARGET_scalar
#define TARGET_avx2 __attribute__((target("avx2,f16c")))
#define TARGET_avx512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

typedef struct {
    float re, im;
} c64;

typedef struct {
    double re, im;
} c128;

/* cast_<from>_<to>_<tier>: each item read as `source`, written as `target`; memcpy, since neither side need be aligned. */
#define CAST(tier, from, to, source, target, value)                                                                            \
    TARGET_##tier static void cast_##from##_##to##_##tier(void *restrict dst, const void *restrict src, size_t n) {            \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            source x;                                                                                                          \
            memcpy(&x, (const char *)src + i * sizeof x, sizeof x);                                                            \
            target const y = value;                                                                                            \
            memcpy((char *)dst + i * sizeof y, &y, sizeof y);                                                                  \
        }                                                                                                                      \
    }

/* All but those of f16. */
#define CASTS(tier)                                                                                                            \
    CAST(tier, bf16, f32, uint16_t, float, bf16_to_f32(x))                                                                     \
    CAST(tier, f32, bf16, float, uint16_t, bf16_from_f32(x))                                                                   \
    CAST(tier, f32, f64, float, double, x)                                                                                     \
    CAST(tier, f64, f32, double, float, (float)x)                                                                              \
    CAST(tier, f32, c64, float, c64, (c64){.re = x})                                                                           \
    CAST(tier, f64, c128, double, c128, (c128){.re = x})                                                                       \
    TARGET_##tier static void cast_c64_c128_##tier(void *dst, const void *src, size_t n) {                                     \
        cast_f32_f64_##tier(dst, src, 2 * n);                                                                                  \
    }                                                                                                                          \
    TARGET_##tier static void cast_c128_c64_##tier(void *dst, const void *src, size_t n) {                                     \
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

CASTS(scalar)
CAST(scalar, f16, f32, uint16_t, float, f16_to_f32(x))
CAST(scalar, f32, f16, float, uint16_t, f16_from_f32(x))
#ifdef __x86_64__
CASTS(avx2)
CASTS(avx512)

TARGET_avx2 static void cast_f16_f32_avx2(void *restrict dst, const void *restrict src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i const x_u16x8 = _mm_loadu_si128((const __m128i *)((const uint16_t *)src + i));
        _mm256_storeu_ps((float *)dst + i, _mm256_cvtph_ps(x_u16x8));
    }
    cast_f16_f32_scalar((float *)dst + i, (const uint16_t *)src + i, n - i);
}

TARGET_avx2 static void cast_f32_f16_avx2(void *restrict dst, const void *restrict src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 const x_f32x8 = _mm256_loadu_ps((const float *)src + i);
        _mm_storeu_si128((__m128i *)((uint16_t *)dst + i), _mm256_cvtps_ph(x_f32x8, _MM_FROUND_TO_NEAREST_INT));
    }
    cast_f32_f16_scalar((uint16_t *)dst + i, (const float *)src + i, n - i);
}
#define cast_f16_f32_avx512 cast_f16_f32_avx2
#define cast_f32_f16_avx512 cast_f32_f16_avx2
#endif

#define FROM_INTEGER(name, tier) {[GORSQRT_F32] = cast_##name##_f32_##tier, [GORSQRT_F64] = cast_##name##_f64_##tier}

#define TABLE(tier)                                                                                                            \
    {                                                                                                                          \
        [GORSQRT_F16] = {[GORSQRT_F32] = cast_f16_f32_##tier},                                                                 \
        [GORSQRT_BF16] = {[GORSQRT_F32] = cast_bf16_f32_##tier},                                                               \
        [GORSQRT_F32] = {[GORSQRT_F16] = cast_f32_f16_##tier,                                                                  \
                         [GORSQRT_BF16] = cast_f32_bf16_##tier,                                                                \
                         [GORSQRT_F64] = cast_f32_f64_##tier,                                                                  \
                         [GORSQRT_C64] = cast_f32_c64_##tier},                                                                 \
        [GORSQRT_F64] = {[GORSQRT_F32] = cast_f64_f32_##tier, [GORSQRT_C128] = cast_f64_c128_##tier},                          \
        [GORSQRT_C64] = {[GORSQRT_C128] = cast_c64_c128_##tier},                                                               \
        [GORSQRT_C128] = {[GORSQRT_C64] = cast_c128_c64_##tier},                                                               \
        [GORSQRT_BOOL] = FROM_INTEGER(bool, tier),                                                                             \
        [GORSQRT_I8] = FROM_INTEGER(i8, tier),                                                                                 \
        [GORSQRT_U8] = FROM_INTEGER(u8, tier),                                                                                 \
        [GORSQRT_I16] = FROM_INTEGER(i16, tier),                                                                               \
        [GORSQRT_U16] = FROM_INTEGER(u16, tier),                                                                               \
        [GORSQRT_I32] = FROM_INTEGER(i32, tier),                                                                               \
        [GORSQRT_U32] = FROM_INTEGER(u32, tier),                                                                               \
        [GORSQRT_I64] = FROM_INTEGER(i64, tier),                                                                               \
        [GORSQRT_U64] = FROM_INTEGER(u64, tier),                                                                               \
    }

gorsqrt_kernel *const gorsqrt_casts[GORSQRT_TIERS][GORSQRT_DTYPES][GORSQRT_COMPUTED] = {
    [GORSQRT_SCALAR] = TABLE(scalar),
#ifdef __x86_64__
    [GORSQRT_AVX2] = TABLE(avx2),     [GORSQRT_AVX512] = TABLE(avx512), [GORSQRT_AVX512VBMI] = TABLE(avx512),
#endif
#ifdef __aarch64__
    [GORSQRT_NEON] = TABLE(scalar), /* vectors of it are the compiler's default there */
#endif
};
