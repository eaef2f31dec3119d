/* The highest speed of an x86-64 processor's units: the arithmetic of a kernel's block in
 * registers, without loads, stores and tests. No instruction waits for another. Each function runs
 * `rounds` blocks. Each needs the instruction set in its target attribute. */
#ifdef __x86_64__
#define MANY                                                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",        \
        "xmm14", "xmm15"

/* Registers 0 to 9 are written. Registers 14 and 15 hold ones and are read. No result is used, and
 * none is subnormal or a nan. */
#define ROOT(r, type, to) "vsqrtp" type " %%" r "15, %%" r to "\n"
#define DIVISION(r, type, to) "vdivp" type " %%" r "15, %%" r "14, %%" r to "\n"
#define SEED(r, seed, to) seed " %%" r "15, %%" r to "\n"
#define PRODUCT(r, type, to) "vmulp" type " %%" r "15, %%" r "14, %%" r to "\n"
#define ON_FIVE(step, r, kind) step(r, kind, "0") step(r, kind, "1") step(r, kind, "2") step(r, kind, "3") step(r, kind, "4")
#define ON_SEVEN(step, r, kind) ON_FIVE(step, r, kind) step(r, kind, "8") step(r, kind, "9")
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

/* One step of a block's vectors, and the parts of the divider's work. */
#define F32_STEP ON_FIVE(PRODUCT, "zmm", "s")
#define F64_STEP ON_FIVE(PRODUCT, "zmm", "d")
#define AVX2_STEP ON_THREE(PRODUCT, "ymm", "s")
#define F32_ROOT ROOT("zmm", "s", "6")
#define F32_DIVISION DIVISION("zmm", "s", "7")
#define F64_ROOT ROOT("zmm", "d", "6")
#define F64_DIVISION DIVISION("zmm", "d", "7")
#define AVX2_ROOT ROOT("ymm", "s", "6")
#define AVX2_DIVISION DIVISION("ymm", "s", "7")

/* avx512's f32: 4 vectors by the divider, 5 by a seed and 8 multiplications each. */
LIMIT(divider_f32_avx512, "avx512f", ONES_F32,
      F32_ROOT F32_ROOT F32_ROOT F32_ROOT F32_DIVISION F32_DIVISION F32_DIVISION F32_DIVISION)
LIMIT(multipliers_f32_avx512, "avx512f", ONES_F32,
      ON_FIVE(SEED, "zmm", "vrsqrt14ps") F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP F32_STEP)
LIMIT(both_f32_avx512, "avx512f", ONES_F32,
      F32_ROOT ON_FIVE(SEED, "zmm", "vrsqrt14ps") F32_ROOT F32_STEP F32_ROOT F32_STEP F32_STEP F32_ROOT F32_STEP F32_DIVISION
          F32_STEP F32_DIVISION F32_STEP F32_DIVISION F32_STEP F32_DIVISION F32_STEP)

/* avx512's f64: 3 vectors by the divider, 5 by a seed and 12 multiplications each. */
LIMIT(divider_f64_avx512, "avx512f", ONES_F64, F64_ROOT F64_ROOT F64_ROOT F64_DIVISION F64_DIVISION F64_DIVISION)
LIMIT(multipliers_f64_avx512, "avx512f", ONES_F64,
      ON_FIVE(SEED, "zmm", "vrsqrt14pd")
          F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP F64_STEP)
LIMIT(both_f64_avx512, "avx512f", ONES_F64,
      F64_ROOT ON_FIVE(SEED, "zmm", "vrsqrt14pd") F64_STEP F64_STEP F64_STEP F64_ROOT F64_STEP F64_STEP F64_STEP F64_ROOT
          F64_STEP F64_STEP F64_DIVISION F64_STEP F64_DIVISION F64_STEP F64_STEP F64_DIVISION F64_STEP)

/* The same for Intel's processors: 2 vectors of f32 and 1 of f64 by the divider, and 7 by a
 * seed. */
#define F32_SEVEN ON_SEVEN(PRODUCT, "zmm", "s")
#define F64_SEVEN ON_SEVEN(PRODUCT, "zmm", "d")
LIMIT(divider_f32_avx512_intel, "avx512f", ONES_F32, F32_ROOT F32_ROOT F32_DIVISION F32_DIVISION)
LIMIT(multipliers_f32_avx512_intel, "avx512f", ONES_F32,
      ON_SEVEN(SEED, "zmm", "vrsqrt14ps") F32_SEVEN F32_SEVEN F32_SEVEN F32_SEVEN F32_SEVEN F32_SEVEN F32_SEVEN F32_SEVEN)
LIMIT(both_f32_avx512_intel, "avx512f", ONES_F32,
      F32_ROOT ON_SEVEN(SEED, "zmm", "vrsqrt14ps")
          F32_SEVEN F32_ROOT F32_SEVEN F32_SEVEN F32_SEVEN F32_DIVISION F32_SEVEN F32_SEVEN F32_DIVISION F32_SEVEN F32_SEVEN)
LIMIT(divider_f64_avx512_intel, "avx512f", ONES_F64, F64_ROOT F64_DIVISION)
LIMIT(multipliers_f64_avx512_intel, "avx512f", ONES_F64,
      ON_SEVEN(SEED, "zmm", "vrsqrt14pd") F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN
          F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN)
LIMIT(both_f64_avx512_intel, "avx512f", ONES_F64,
      F64_ROOT ON_SEVEN(SEED, "zmm", "vrsqrt14pd") F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_DIVISION
          F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN F64_SEVEN)

/* avx2's f32: 3 vectors by the divider, 3 by a seed and 10 multiplications each. */
LIMIT(divider_f32_avx2, "avx2", ONES_AVX2, AVX2_ROOT AVX2_ROOT AVX2_ROOT AVX2_DIVISION AVX2_DIVISION AVX2_DIVISION)
LIMIT(multipliers_f32_avx2, "avx2", ONES_AVX2,
      ON_THREE(SEED, "ymm", "vrsqrtps")
          AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP AVX2_STEP)
LIMIT(both_f32_avx2, "avx2", ONES_AVX2,
      AVX2_ROOT ON_THREE(SEED, "ymm", "vrsqrtps") AVX2_STEP AVX2_ROOT AVX2_STEP AVX2_STEP AVX2_ROOT AVX2_STEP AVX2_STEP
          AVX2_DIVISION AVX2_STEP AVX2_STEP AVX2_DIVISION AVX2_STEP AVX2_DIVISION AVX2_STEP AVX2_STEP)

/* Kernels that don't use the divider: the multiplications of a block, its other operations, and
 * both. Registers 0 to 13 are written. A lookup also reads the register that it writes, so a copy
 * comes before it, as in the kernels; the copy takes no unit's time. */
#define THREE(name, to) name " %%zmm15, %%zmm14, %%zmm" to "\n"
#define FOUR(name, by, to) name " $" by ", %%zmm15, %%zmm14, %%zmm" to "\n"
#define LOOKUP(name, to) "vmovdqa64 %%zmm15, %%zmm" to "\n" THREE(name, to)
#define SHIFT(name, to) name " $1, %%zmm15, %%zmm" to "\n"
#define ASK "vpcmpuw $6, %%zmm15, %%zmm14, %%k1\n kortestd %%k1, %%k1\n"

/* avx512's f16 by tables, 4 vectors; vpmaxuw is needed once less. */
#define F16_MULTIPLIERS THREE("vpmulhuw", "0") THREE("vpmullw", "1") THREE("vpmulhrsw", "2")
#define F16_OTHERS                                                                                                             \
    THREE("vpsubw", "3")                                                                                                       \
    LOOKUP("vpermt2w", "10")                                                                                                   \
    THREE("vpmaxuw", "4")                                                                                                      \
    LOOKUP("vpermt2w", "11")                                                                                                   \
    FOUR("vpternlogd", "0xea", "12") LOOKUP("vpermt2w", "13") THREE("vpaddw", "5") THREE("vpaddw", "6") THREE("vpavgw", "7")
#define F16_BOTH                                                                                                               \
    THREE("vpsubw", "3")                                                                                                       \
    LOOKUP("vpermt2w", "10")                                                                                                   \
    THREE("vpmulhuw", "0")                                                                                                     \
    THREE("vpmaxuw", "4")                                                                                                      \
    LOOKUP("vpermt2w", "11")                                                                                                   \
    THREE("vpmullw", "1")                                                                                                      \
    FOUR("vpternlogd", "0xea", "12")                                                                                           \
    LOOKUP("vpermt2w", "13") THREE("vpmulhrsw", "2") THREE("vpaddw", "5") THREE("vpaddw", "6") THREE("vpavgw", "7")
LIMIT(multipliers_f16_avx512, "avx512bw", ONES_F32, F16_MULTIPLIERS F16_MULTIPLIERS F16_MULTIPLIERS F16_MULTIPLIERS)
LIMIT(others_f16_avx512, "avx512bw", ONES_F32, F16_OTHERS F16_OTHERS F16_OTHERS F16_OTHERS ASK)
LIMIT(both_f16_avx512, "avx512bw", ONES_F32, F16_BOTH F16_BOTH F16_BOTH F16_BOTH ASK)

/* avx512's bf16 by a table, 4 vectors. */
#define BF16_PAIR                                                                                                              \
    THREE("vpsubw", "0")                                                                                                       \
    THREE("vpsubw", "1")                                                                                                       \
    THREE("vpmaxuw", "2")                                                                                                      \
    SHIFT("vpsrlw", "3")                                                                                                       \
    THREE("vpmultishiftqb", "4")                                                                                               \
    LOOKUP("vpermt2b", "10")                                                                                                   \
    FOUR("vpternlogd", "0xea", "11") FOUR("vpshrdw", "8", "5") THREE("vpavgw", "6") THREE("vpavgw", "7")
LIMIT(both_bf16_avx512, "avx512vbmi,avx512vbmi2", ONES_F32, BF16_PAIR THREE("vpmaxuw", "8") BF16_PAIR ASK)

/* avx512's c64 and c128: a quarter of the work for a vector of re and one of im, without the
 * multiplications in which the two differ. */
#define COMPLEX_OTHERS(t, i)                                                                                                   \
    THREE("vaddp" t, "0")                                                                                                      \
    THREE("vaddp" t, "1")                                                                                                      \
    SHIFT("vpsrl" i, "2")                                                                                                      \
    THREE("vpsub" i, "3")                                                                                                      \
    THREE("vunpcklp" t, "4") THREE("vmaxp" t, "5") THREE("vpand" i, "6") THREE("vsubp" t, "7") FOUR("vpternlog" i, "0xea", "13")
#define COMPLEX_MULTIPLIERS(t)                                                                                                 \
    THREE("vmulp" t, "8")                                                                                                      \
    THREE("vfmadd231p" t, "10")                                                                                                \
    THREE("vmulp" t, "9")                                                                                                      \
    THREE("vfmadd231p" t, "11") THREE("vmulp" t, "8") THREE("vfmadd231p" t, "12") THREE("vmulp" t, "9") THREE("vmulp" t, "8")
#define COMPLEX_BOTH(t, i)                                                                                                     \
    THREE("vmulp" t, "8")                                                                                                      \
    THREE("vaddp" t, "0")                                                                                                      \
    THREE("vfmadd231p" t, "10")                                                                                                \
    THREE("vaddp" t, "1")                                                                                                      \
    THREE("vmulp" t, "9")                                                                                                      \
    SHIFT("vpsrl" i, "2")                                                                                                      \
    THREE("vfmadd231p" t, "11")                                                                                                \
    THREE("vpsub" i, "3")                                                                                                      \
    THREE("vmulp" t, "8")                                                                                                      \
    THREE("vunpcklp" t, "4")                                                                                                   \
    THREE("vfmadd231p" t, "12")                                                                                                \
    THREE("vmaxp" t, "5")                                                                                                      \
    THREE("vmulp" t, "9") THREE("vpand" i, "6") THREE("vmulp" t, "8") THREE("vsubp" t, "7") FOUR("vpternlog" i, "0xea", "13")
#define C64_MORE THREE("vmulps", "8") THREE("vmulps", "9") THREE("vmulps", "8")
#define C128_MORE THREE("vmulpd", "9") THREE("vmulpd", "8")
#define FOUR_TIMES(a, b) a b a b a b a b
LIMIT(multipliers_c64_avx512, "avx512dq", ONES_F32, FOUR_TIMES(COMPLEX_MULTIPLIERS("s"), ) C64_MORE)
LIMIT(others_c64_avx512, "avx512dq", ONES_F32, FOUR_TIMES(COMPLEX_OTHERS("s", "d"), ))
LIMIT(both_c64_avx512, "avx512dq", ONES_F32, FOUR_TIMES(COMPLEX_BOTH("s", "d"), ) C64_MORE)
LIMIT(multipliers_c128_avx512, "avx512dq", ONES_F64, FOUR_TIMES(COMPLEX_MULTIPLIERS("d"), C128_MORE) THREE("vmulpd", "9"))
LIMIT(others_c128_avx512, "avx512dq", ONES_F64, FOUR_TIMES(COMPLEX_OTHERS("d", "q"), ))
LIMIT(both_c128_avx512, "avx512dq", ONES_F64, FOUR_TIMES(COMPLEX_BOTH("d", "q"), C128_MORE) THREE("vmulpd", "9"))

/* The work of a kernel without arithmetic: copies `bytes` bytes, a multiple of 256, by cache lines,
 * `rounds` times. */
__attribute__((target("avx512f"))) void copy_avx512(char *to, const char *from, long bytes, long rounds) {
    for (long i = 0, all = bytes * rounds; all > 0; all -= 256, i = i + 256 < bytes ? i + 256 : 0) {
        __asm__ volatile("vmovdqa64 (%1), %%zmm0\n vmovdqa64 64(%1), %%zmm1\n"
                         "vmovdqa64 128(%1), %%zmm2\n vmovdqa64 192(%1), %%zmm3\n"
                         "vmovdqa64 %%zmm0, (%0)\n vmovdqa64 %%zmm1, 64(%0)\n"
                         "vmovdqa64 %%zmm2, 128(%0)\n vmovdqa64 %%zmm3, 192(%0)\n"
                         :
                         : "r"(to + i), "r"(from + i)
                         : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
    }
}
#endif
