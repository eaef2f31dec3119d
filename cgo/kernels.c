#include "kernels.h"

#include "mode.h"

const int64_t gorsqrt_item_size[GORSQRT_DTYPES] = {[GORSQRT_F32] = 4, [GORSQRT_F64] = 8};

gorsqrt_kernel *const gorsqrt_kernels[GORSQRT_TIERS][GORSQRT_DTYPES] = {
    [GORSQRT_SCALAR] = {[GORSQRT_F32] = rsqrt_f32_scalar, [GORSQRT_F64] = rsqrt_f64_scalar},
#ifdef __x86_64__
    [GORSQRT_AVX2] = {[GORSQRT_F32] = rsqrt_f32_avx2, [GORSQRT_F64] = rsqrt_f64_avx2},
    [GORSQRT_AVX512] = {[GORSQRT_F32] = rsqrt_f32_avx512, [GORSQRT_F64] = rsqrt_f64_avx512},
#endif
#ifdef __aarch64__
    [GORSQRT_NEON] = {[GORSQRT_F32] = rsqrt_f32_neon, [GORSQRT_F64] = rsqrt_f64_neon},
#endif
};

/* Through a pointer and from another file, so that no arithmetic can be moved across the change of mode. */
void run_in_default_mode(gorsqrt_kernel *kernel, void *dst, const void *src, size_t n) {
    fp_mode const callers = mode_get();
    mode_set(FP_MODE_DEFAULT);
    kernel(dst, src, n);
    mode_set(callers);
}
