/* What the units of an x86-64 processor can do at best: the arithmetic of a kernel's block by itself, in registers, no instruction
 * waiting for another, with no loads, stores and tests. Each function does `rounds` blocks. */
#ifdef __x86_64__
#define MANY                                                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",        \
        "xmm14", "xmm15"

/* The registers 0 to 7 are written, 14 and 15 are ones and read: no result is used, and none is subnormal or a nan. */
#define ROOT(r, type, to) "vsqrtp" type " %%" r "15, %%" r to "\n"
#define DIVISION(r, type, to) "vdivp" type " %%" r "15, %%" r "14, %%" r to "\n"
#define SEED(r, seed, to) seed " %%" r "15, %%" r to "\n"
#define PRODUCT(r, type, to) "vmulp" type " %%" r "15, %%" r "14, %%" r to "\n"
#define ON_FIVE(step, r, kind) step(r, kind, "0") step(r, kind, "1") step(r, kind, "2") step(r, kind, "3") step(r, kind, "4")
#define ON_THREE(step, r, kind) step(r, kind, "0") step(r, kind, "1") step(r, kind, "2")

#define LIMIT(name, isa, ones, text)                                                                                           \
    __attribute__((target(isa))) void name(long rounds) {                                                                      \
        __asm__ volatile(ones::: MANY);                                                                                        \
        for (long i = 0; i < rounds; i++) __asm__ volatile(text::: MANY);                                                      \
    }

#define ONES_F32                                                                                                               \
    "vpcmpeqd %%xmm15, %%xmm15, %%xmm15\n vpslld $25, %%xmm15, %%xmm15\n vpsrld $2, %%xmm15, %%xmm15\n"                        \
    "vbroadcastss %%xmm15, %%zmm15\n vmovaps %%zmm15, %%zmm14\n"
#define ONES_F64                                                                                                               \
    "vpcmpeqd %%xmm15, %%xmm15, %%xmm15\n vpsllq $54, %%xmm15, %%xmm15\n vpsrlq $2, %%xmm15, %%xmm15\n"                        \
    "vbroadcastsd %%xmm15, %%zmm15\n vmovapd %%zmm15, %%zmm14\n"
#define ONES_AVX2                                                                                                              \
    "vpcmpeqd %%xmm15, %%xmm15, %%xmm15\n vpslld $25, %%xmm15, %%xmm15\n vpsrld $2, %%xmm15, %%xmm15\n"                        \
    "vbroadcastss %%xmm15, %%ymm15\n vmovaps %%ymm15, %%ymm14\n"

/* One step of a block's vectors, with nothing or a part of the divider's work before it. */
#define F32_STEP ON_FIVE(PRODUCT, "zmm", "s")
#define F64_STEP ON_FIVE(PRODUCT, "zmm", "d")
#define AVX2_STEP ON_THREE(PRODUCT, "ymm", "s")
#define F32_ROOT ROOT("zmm", "s", "6")
#define F32_DIVISION DIVISION("zmm", "s", "7")
#define F64_ROOT ROOT("zmm", "d", "6")
#define F64_DIVISION DIVISION("zmm", "d", "7")
#define AVX2_ROOT ROOT("ymm", "s", "6")
#define AVX2_DIVISION DIVISION("ymm", "s", "7")

/* avx512's f32: 4 vectors divided, 5 by a seed and 8 multiplications each. */
LIMIT(divider_f32_avx512, "avx512f", ONES_F32,
      F32_ROOT F32_ROOT F32_ROOT F32_ROOT F32_DIVISION F32_DIVISION F32_DIVISION F32_DIVISION)
LIMIT(multipliers_f32_avx512, "avx512f", ONES_F32,
      ON_FIVE(SEED, "zmm", "vrsqrt14ps") F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP)
LIMIT(both_f32_avx512, "avx512f", ONES_F32,
      F32_ROOT ON_FIVE(SEED, "zmm", "vrsqrt14ps") F32_ROOT F32_STEP F32_ROOT F32_STEP F32_STEP F32_ROOT F32_STEP F32_DIVISION
          F32_STEP F32_DIVISION F32_STEP F32_DIVISION F32_STEP F32_DIVISION F32_STEP)

/* avx512's f64: 3 divided, 5 by a seed and 11 multiplications. */
LIMIT(divider_f64_avx512, "avx512f", ONES_F64, F64_ROOT F64_ROOT F64_ROOT F64_DIVISION F64_DIVISION F64_DIVISION)
LIMIT(multipliers_f64_avx512, "avx512f", ONES_F64,
      ON_FIVE(SEED, "zmm", "vrsqrt14pd")
          F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP)
LIMIT(both_f64_avx512, "avx512f", ONES_F64,
      F64_ROOT ON_FIVE(SEED, "zmm", "vrsqrt14pd") F64_STEP F64_STEP F64_ROOT F64_STEP F64_STEP F64_STEP F64_ROOT F64_STEP
          F64_STEP F64_DIVISION F64_STEP F64_DIVISION F64_STEP F64_STEP F64_DIVISION F64_STEP)

/* avx2's f32: 3 divided, 3 by a seed and 10 multiplications. */
LIMIT(divider_f32_avx2, "avx2", ONES_AVX2, AVX2_ROOT AVX2_ROOT AVX2_ROOT AVX2_DIVISION AVX2_DIVISION AVX2_DIVISION)
LIMIT(multipliers_f32_avx2, "avx2", ONES_AVX2,
      ON_THREE(SEED, "ymm", "vrsqrtps")
          AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP)
LIMIT(both_f32_avx2, "avx2", ONES_AVX2,
      AVX2_ROOT ON_THREE(SEED, "ymm", "vrsqrtps") AVX2_STEP AVX2_ROOT AVX2_STEP AVX2_STEP AVX2_ROOT AVX2_STEP AVX2_STEP
          AVX2_DIVISION AVX2_STEP AVX2_STEP AVX2_DIVISION AVX2_STEP AVX2_DIVISION AVX2_STEP AVX2_STEP)
#endif
