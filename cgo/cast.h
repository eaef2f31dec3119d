/* Casts between dtypes, (dst, src, n) over contiguous items that share no byte. One step each: Go chains them (rsqrt/cast.go).
 * Rounded to nearest even; nans keep their sign and are quieted. They run under the default floating-point mode, which
 * gorsqrt_run sees to. */
#ifndef GORSQRT_CAST_H
#define GORSQRT_CAST_H

#include "kernels.h"

gorsqrt_kernel cast_f16_f32, cast_bf16_f32, cast_f32_f16, cast_f32_bf16, cast_f32_f64, cast_f64_f32;
gorsqrt_kernel cast_f32_c64, cast_f64_c128, cast_c64_c128, cast_c128_c64;
gorsqrt_kernel cast_bool_f32, cast_i8_f32, cast_u8_f32, cast_i16_f32, cast_u16_f32, cast_i32_f32, cast_u32_f32, cast_i64_f32,
    cast_u64_f32;
gorsqrt_kernel cast_bool_f64, cast_i8_f64, cast_u8_f64, cast_i16_f64, cast_u16_f64, cast_i32_f64, cast_u32_f64, cast_i64_f64,
    cast_u64_f64;

/* The direct casts; NULL where there is none. */
extern gorsqrt_kernel *const gorsqrt_casts[GORSQRT_DTYPES][GORSQRT_COMPUTED];

#endif
