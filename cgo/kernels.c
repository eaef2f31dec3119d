/* The parts that all tiers share: the dtypes' sizes, the table of tiers, and the change of the
 * floating-point mode. Needs the file of each tier. */
#include "kernels.h"

#include "mode.h"

const int64_t gorsqrt_item_size[GORSQRT_DTYPES] = {
    [GORSQRT_F16] = 2,   [GORSQRT_BF16] = 2, [GORSQRT_F32] = 4, [GORSQRT_F64] = 8, [GORSQRT_C64] = 8,
    [GORSQRT_C128] = 16, [GORSQRT_BOOL] = 1, [GORSQRT_I8] = 1,  [GORSQRT_U8] = 1,  [GORSQRT_I16] = 2,
    [GORSQRT_U16] = 2,   [GORSQRT_I32] = 4,  [GORSQRT_U32] = 4, [GORSQRT_I64] = 8, [GORSQRT_U64] = 8,
};

#define ADDRESS(tier) &gorsqrt_##tier,
const gorsqrt_tier *const gorsqrt_tiers[GORSQRT_TIER_COUNT] = {GORSQRT_TIERS(ADDRESS)};

bool gorsqrt_intel = false;

bool gorsqrt_is_intel(void) {
#ifdef __x86_64__
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

void gorsqrt_streamed(void) {
#ifdef __x86_64__
    _mm_sfence();
#endif
}

/* The kernel is called through a pointer, from another file than its own, so that the compiler
 * can't move arithmetic across the change of mode. */
void gorsqrt_run_in_default_mode(gorsqrt_kernel *kernel, void *dst, const void *src, size_t n) {
    fp_mode const callers = mode_get();
    mode_set(FP_MODE_DEFAULT);
    kernel(dst, src, n);
    mode_set(callers);
}
