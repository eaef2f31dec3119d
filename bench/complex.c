/* The arithmetic of the complex kernels (complex.h) on data in the first-level cache, with n
 * vectors of re and of im computed together: -DSIDE_BY_SIDE=n. Needs an x86-64 processor with
 * AVX-512. */
#ifdef __x86_64__
#include <immintrin.h>

#define TIER __attribute__((target("avx512f,avx512dq")))
#define VECTORS SIDE_BY_SIDE
#define BITS 32
#define LANES 16
#include "../cgo/complex.h"
#define VECTORS SIDE_BY_SIDE
#define BITS 64
#define LANES 8
#include "../cgo/complex.h"

TIER static inline f32s fma_f32s(f32s a, f32s b, f32s c) {
    return _mm512_fmadd_ps(a, b, c);
}

TIER static inline f32s fnma_f32s(f32s a, f32s b, f32s c) {
    return _mm512_fnmadd_ps(a, b, c);
}

TIER static inline f32s max_f32s(f32s a, f32s b) {
    return _mm512_max_ps(a, b);
}

TIER static inline f32s min_f32s(f32s a, f32s b) {
    return _mm512_min_ps(a, b);
}

TIER static inline bool any_f32s(i32s where) {
    return _mm512_movepi32_mask((__m512i)where) != 0;
}

TIER static inline f64s fma_f64s(f64s a, f64s b, f64s c) {
    return _mm512_fmadd_pd(a, b, c);
}

TIER static inline f64s fnma_f64s(f64s a, f64s b, f64s c) {
    return _mm512_fnmadd_pd(a, b, c);
}

TIER static inline f64s max_f64s(f64s a, f64s b) {
    return _mm512_max_pd(a, b);
}

TIER static inline f64s min_f64s(f64s a, f64s b) {
    return _mm512_min_pd(a, b);
}

TIER static inline bool any_f64s(i64s where) {
    return _mm512_movepi64_mask((__m512i)where) != 0;
}

/* Blocks of SIDE_BY_SIDE vectors. Nothing of one depends on another. */
TIER void c64_side_by_side(long blocks) {
    static parts_f32 one, results[SIDE_BY_SIDE];
    one.re = one.im = (i32s)(f32s){0} | (i32s)((f32s){0} + 1.0f);
    for (long i = 0; i < blocks; i++) {
        parts_f32 z[SIDE_BY_SIDE];
        for (int j = 0; j < SIDE_BY_SIDE; j++) z[j] = one;
        rsqrt_f32s(z);
        for (int j = 0; j < SIDE_BY_SIDE; j++) results[j] = z[j];
        __asm__ volatile("" : "+m"(one), "+m"(results));
    }
}

/* Blocks of SIDE_BY_SIDE vectors. Nothing of one depends on another. */
TIER void c128_side_by_side(long blocks) {
    static parts_f64 one, results[SIDE_BY_SIDE];
    one.re = one.im = (i64s)(f64s){0} | (i64s)((f64s){0} + 1.0);
    for (long i = 0; i < blocks; i++) {
        parts_f64 z[SIDE_BY_SIDE];
        for (int j = 0; j < SIDE_BY_SIDE; j++) z[j] = one;
        rsqrt_f64s(z);
        for (int j = 0; j < SIDE_BY_SIDE; j++) results[j] = z[j];
        __asm__ volatile("" : "+m"(one), "+m"(results));
    }
}
#endif
