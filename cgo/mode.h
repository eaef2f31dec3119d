/* The floating-point mode of the calling thread. Kernels assume round-to-nearest without
 * flush-to-zero. A caller may have set another mode (torch.set_flush_denormal, -ffast-math
 * libraries). A kernel begins with
 *
 *     if (mode_is_foreign()) {
 *         gorsqrt_run_in_default_mode(rsqrt_f32_avx2, dst, src, n);
 *         return;
 *     }
 *
 * which costs one read of the control register. If the mode is another, it calls the kernel again
 * under the default mode. */
#ifndef GORSQRT_MODE_H
#define GORSQRT_MODE_H

#include "kernels.h"

#include <stdbool.h>

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int fp_mode;
#define FP_MODE_DEFAULT 0x1f80u /* MXCSR: exceptions masked, nearest even, no DAZ, no FTZ */
#define FP_MODE_MASK 0xffc0u    /* without the sticky exception flags */
static inline fp_mode mode_get(void) {
    return _mm_getcsr();
}
static inline void mode_set(fp_mode mode) {
    _mm_setcsr(mode);
}
#elif defined(__aarch64__)
typedef uint64_t fp_mode;
#define FP_MODE_DEFAULT 0u       /* FPCR: traps off, nearest even, no FZ, no FZ16, no default-nan */
#define FP_MODE_MASK 0x07ffff07u /* all of its fields; the sticky flags are in FPSR */
static inline fp_mode mode_get(void) {
    fp_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void mode_set(fp_mode mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#error "gorsqrt runs on x86-64 and aarch64"
#endif

/* The sticky flags of the calling thread's exceptions, and setting them back to what they were. */
#if defined(__x86_64__)
typedef unsigned int fp_flags;
static inline fp_flags flags_get(void) {
    return _mm_getcsr();
}
static inline void flags_restore(fp_flags before) {
    _mm_setcsr(before); /* the mode shares the register, and is the same */
}
enum { FP_FLAGS_NOTED = 0x1d }; /* all but denormal and inexact, which nearly every operation raises */
#else
typedef uint64_t fp_flags;
static inline fp_flags flags_get(void) {
    fp_flags flags;
    __asm__ volatile("mrs %0, fpsr" : "=r"(flags));
    return flags;
}
static inline void flags_restore(fp_flags before) {
    __asm__ volatile("msr fpsr, %0" : : "r"(before));
}
enum { FP_FLAGS_NOTED = 0x0f }; /* all but input denormal and inexact */
#endif

static inline bool mode_is_foreign(void) {
    return __builtin_expect((mode_get() & FP_MODE_MASK) != FP_MODE_DEFAULT, 0);
}

/* Runs the kernel under the default mode and restores the caller's mode; on x86-64 this restores
 * the sticky flags too, which share the register. */
void gorsqrt_run_in_default_mode(gorsqrt_kernel *kernel, void *dst, const void *src, size_t n);

#endif
