#include "kernels.h"

#include "mode.h"

const int64_t gorsqrt_item_size[GORSQRT_DTYPES] = {
    [GORSQRT_F16] = 2,   [GORSQRT_BF16] = 2, [GORSQRT_F32] = 4, [GORSQRT_F64] = 8, [GORSQRT_C64] = 8,
    [GORSQRT_C128] = 16, [GORSQRT_BOOL] = 1, [GORSQRT_I8] = 1,  [GORSQRT_U8] = 1,  [GORSQRT_I16] = 2,
    [GORSQRT_U16] = 2,   [GORSQRT_I32] = 4,  [GORSQRT_U32] = 4, [GORSQRT_I64] = 8, [GORSQRT_U64] = 8,
};

#define TIER(name)                                                                                                             \
    {                                                                                                                          \
        [GORSQRT_F16] = rsqrt_f16_##name, [GORSQRT_BF16] = rsqrt_bf16_##name, [GORSQRT_F32] = rsqrt_f32_##name,                \
        [GORSQRT_F64] = rsqrt_f64_##name, [GORSQRT_C64] = rsqrt_c64_##name,   [GORSQRT_C128] = rsqrt_c128_##name,              \
    }

gorsqrt_kernel *const gorsqrt_kernels[GORSQRT_TIERS][GORSQRT_COMPUTED] = {
    [GORSQRT_SCALAR] = TIER(scalar),
#ifdef __x86_64__
    [GORSQRT_AVX2] = TIER(avx2),
    [GORSQRT_AVX512] = TIER(avx512),
    [GORSQRT_AVX512VBMI] =
        {
            [GORSQRT_F16] = rsqrt_f16_avx512vbmi,
            [GORSQRT_BF16] = rsqrt_bf16_avx512vbmi,
            [GORSQRT_F32] = rsqrt_f32_avx512,
            [GORSQRT_F64] = rsqrt_f64_avx512,
            [GORSQRT_C64] = rsqrt_c64_avx512,
            [GORSQRT_C128] = rsqrt_c128_avx512,
        },
#endif
#ifdef __aarch64__
    [GORSQRT_NEON] = TIER(neon),
#endif
};

gorsqrt_kernel *const gorsqrt_casting_kernels[GORSQRT_TIERS][GORSQRT_DTYPES][GORSQRT_COMPUTED] = {
#ifdef __x86_64__
    [GORSQRT_AVX512] = {[GORSQRT_I32] = {[GORSQRT_F32] = rsqrt_i32_f32_avx512},
                        [GORSQRT_I64] = {[GORSQRT_F32] = rsqrt_i64_f32_avx512}},
    [GORSQRT_AVX512VBMI] = {[GORSQRT_I32] = {[GORSQRT_F32] = rsqrt_i32_f32_avx512},
                            [GORSQRT_I64] = {[GORSQRT_F32] = rsqrt_i64_f32_avx512}},
#endif
};

bool gorsqrt_intel = false;

bool gorsqrt_is_intel(void) {
#ifdef __x86_64__
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

gorsqrt_kernel *gorsqrt_streaming(gorsqrt_kernel *kernel) {
#ifdef __x86_64__
    if (kernel == rsqrt_f32_avx2) return rsqrt_f32_avx2_streaming;
    if (kernel == rsqrt_f64_avx2) return rsqrt_f64_avx2_streaming;
    if (kernel == rsqrt_f32_avx512) return rsqrt_f32_avx512_streaming;
    if (kernel == rsqrt_f64_avx512) return rsqrt_f64_avx512_streaming;
#endif
    return kernel;
}

void gorsqrt_streamed(void) {
#ifdef __x86_64__
    _mm_sfence();
#endif
}

gorsqrt_rows_kernel *gorsqrt_over_rows(gorsqrt_kernel *kernel) {
#ifdef __x86_64__
    if (kernel == rsqrt_f32_avx2) return rsqrt_f32_avx2_rows;
    if (kernel == rsqrt_f64_avx2) return rsqrt_f64_avx2_rows;
    if (kernel == rsqrt_f32_avx512) return rsqrt_f32_avx512_rows;
    if (kernel == rsqrt_f64_avx512) return rsqrt_f64_avx512_rows;
#endif
    (void)kernel;
    return NULL;
}

gorsqrt_places_kernel *gorsqrt_over_places(gorsqrt_kernel *kernel) {
#ifdef __x86_64__
    if (kernel == rsqrt_f32_avx512) return rsqrt_f32_avx512_places;
#endif
    (void)kernel;
    return NULL;
}

/* Through a pointer and from another file, so that no arithmetic can be moved across the change of mode. */
void run_in_default_mode(gorsqrt_kernel *kernel, void *dst, const void *src, size_t n) {
    fp_mode const callers = mode_get();
    mode_set(FP_MODE_DEFAULT);
    kernel(dst, src, n);
    mode_set(callers);
}
