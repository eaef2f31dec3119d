/* The arithmetic: one kernel per operation, dtype and instruction set, named by exactly these: rsqrt_f32_avx2.
 *
 * Every kernel computes, for i = 0 … n-1,
 *
 *     dst[i] = RN(1 / RN(√src[i]))        RN: round to nearest, ties to even
 *
 * which is torch.rsqrt on the CPU, bit for bit, and less than 1.5 ulp from 1/√x: the division's half, and up to one that
 * the root's half becomes. All tiers give the same bits for every input:
 *
 *     +0 → +inf   -0 → -inf   +inf → +0   x < 0, -inf → the negative quiet nan   nan → itself, quieted
 *
 * dst and src are the same block or share no byte; neither need be aligned. Kernels read and write nothing else, keep no
 * state, may run on any thread, and neither use nor change the caller's floating-point mode (flush-to-zero, rounding). */
#ifndef GORSQRT_KERNELS_H
#define GORSQRT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "gorsqrt: -ffast-math and -Ofast replace 1/sqrt by an estimate; build with -fno-fast-math"
#endif

enum gorsqrt_dtype { GORSQRT_F32, GORSQRT_F64, GORSQRT_DTYPES };

enum gorsqrt_tier { GORSQRT_SCALAR, GORSQRT_AVX2, GORSQRT_AVX512, GORSQRT_NEON, GORSQRT_TIERS };

/* Bytes of one item, by dtype. */
extern const int64_t gorsqrt_item_size[GORSQRT_DTYPES];

typedef void gorsqrt_kernel(void *dst, const void *src, size_t n);

gorsqrt_kernel rsqrt_f32_scalar, rsqrt_f64_scalar;
#ifdef __x86_64__
gorsqrt_kernel rsqrt_f32_avx2, rsqrt_f64_avx2;
gorsqrt_kernel rsqrt_f32_avx512, rsqrt_f64_avx512;
#endif
#ifdef __aarch64__
gorsqrt_kernel rsqrt_f32_neon, rsqrt_f64_neon;
#endif

/* Every kernel that this build holds; NULL where the architecture lacks the tier. Whether the processor has it is
 * Go's question (rsqrt/dispatch.go). */
extern gorsqrt_kernel *const gorsqrt_kernels[GORSQRT_TIERS][GORSQRT_DTYPES];

#endif
