/* The complex reciprocal square root, written once, for parts of 32 bits and of 64: every tier includes this file for both, and so
 * all give the same bits. For finite z = re + i·im other than 0, with m = |z|,
 *
 *     w = m + |re|    r = 1/√(2·w·m²)    A = w·r    B = |im|·r
 *
 *     1/√z = conj(√z) / m = (A, -copysign(B, im)) where re >= 0,  (B, -copysign(A, im)) where re < 0
 *
 * in which nothing cancels. Every rounded quantity x has a correction xl, so that each part is within 0.5 + 2^-15 ulp in c64, and
 * within 0.5 + 2^-40 in c128. Only + - · and fma of floats, in the order written, and integers: no processor's own estimates and
 * no processor's own nans. A compiler that contracts a·b + c changes the bits.
 *
 * A tier defines TIER, its functions' attributes, and then, before each time it includes this file, BITS, those of a part,
 * LANES, how many parts a vector holds, and VECTORS, how many vectors are computed together, step by step; and somewhere
 * the functions that are declared first here. */
#include <stdbool.h>
#include <stdint.h>

#pragma STDC FP_CONTRACT OFF

#define JOIN_ALL(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_ALL(a, b, c)
#define REALS JOIN(f, BITS, s)
#define INTS JOIN(i, BITS, s)
#define UINTS JOIN(u, BITS, s)
#define PARTS JOIN(parts_f, BITS, )
#define OF(name) JOIN(name##_f, BITS, s)
#define INT JOIN(int, BITS, _t)
#define UINT JOIN(uint, BITS, _t)
#define INLINE_TIER TIER static inline __attribute__((always_inline))
#define EACH for (int i = 0; i < VECTORS; i++)

#if BITS == 32
#define REAL float
#define MANTISSA 23
#define BIAS 127
#define SEED 0x5f136aa8
#define FAR 0x1p24f /* no step of rsqrt leaves the range of normal numbers where both parts lie between this and 1/this */
#define LIFT 32
#define LIFTED 0x1p32f
#else
#define REAL double
#define MANTISSA 52
#define BIAS 1023
#define SEED 0x5fe26d5500000000
#define FAR 0x1p200
#define LIFT 200
#define LIFTED 0x1p200
#endif
#define ONE ((UINT)1 << MANTISSA) /* of an exponent */
#define SIGN ((UINT)1 << (BITS - 1))
#define INF (SIGN - ONE)

typedef REAL REALS __attribute__((vector_size(BITS / 8 * LANES)));
typedef INT INTS __attribute__((vector_size(BITS / 8 * LANES)));
typedef UINT UINTS __attribute__((vector_size(BITS / 8 * LANES)));

/* The real and imaginary parts of LANES complex numbers: their bits. */
typedef struct {
    INTS re, im;
} PARTS;

TIER static inline REALS OF(fma)(REALS a, REALS b, REALS c);  /* c + a·b, rounded once */
TIER static inline REALS OF(fnma)(REALS a, REALS b, REALS c); /* c - a·b, rounded once */
TIER static inline REALS OF(max)(REALS a, REALS b); /* of numbers that are not negative; anything where one is a nan */
TIER static inline REALS OF(min)(REALS a, REALS b);
TIER static inline bool OF(any)(INTS where); /* whether a lane is below 0 */

/* where ? a : b, for a mask of whole lanes. */
INLINE_TIER INTS OF(select)(INTS where, INTS a, INTS b) {
    return (a & where) | (b & ~where);
}

/* Masks of whole lanes, for numbers that are not negative. By arithmetic: gcc 12 compares vectors of one lane wrongly on aarch64. */
INLINE_TIER INTS OF(less)(INTS a, INTS b) {
    return (a - b) >> (BITS - 1);
}

INLINE_TIER INTS OF(equal)(INTS a, INTS b) {
    return ((a ^ b) - 1) >> (BITS - 1);
}

/* y ≈ 1/√(2x) for x > 0, within 2^-21, or 2^-50. First half of the exponent and straight lines for the mantissa, within 7 %; then
 * y·p(x·y²), where p of degree 4 is near 1/√(2v), for the v that come up within 2^-26, and has two factors with a leading 1. */
INLINE_TIER void OF(near)(REALS *y, const REALS *x) {
    REALS const none = {0};
    REALS v[VECTORS], p[VECTORS], q[VECTORS];
    EACH y[i] = (REALS)((UINT)SEED - ((UINTS)x[i] >> 1));
    EACH v[i] = x[i] * y[i];
    EACH v[i] = v[i] * y[i];
    EACH p[i] = OF(fma)(v[i] - (REAL)2.9453529196767256, v[i], none + (REAL)2.5385939747436974);
    EACH q[i] = OF(fma)(v[i] - (REAL)0.6272139453562405, v[i], none + (REAL)0.8231842650835213);
    EACH y[i] = y[i] * p[i];
    EACH y[i] = y[i] * q[i];
#if BITS == 64
    EACH v[i] = x[i] * y[i];
    EACH v[i] = OF(fnma)(v[i], y[i], none + 1.5);
    EACH y[i] = y[i] * v[i];
#endif
}

/* The result from A and B, which may be anything where z is special:
 *
 *     a part infinite → (+0, ∓0)    else a part nan → (nan, nan)    (±0, ±0) → (+inf, nan)
 *
 * z: without its signs; left: where re's sign bit was set; sign: the sign bit opposite to im's. */
INLINE_TIER PARTS OF(result)(PARTS z, INTS left, INTS sign, INTS a, INTS b, bool ordinary) {
    INTS const re = OF(select)(left, b, a), im = OF(select)(left, a, b) | sign;
    if (ordinary) return (PARTS){re, im};
    INTS const none = {0}, inf = none + (INT)INF, nan = inf | (INT)(ONE >> 1);
    INTS const infinite = OF(equal)(z.re, inf) | OF(equal)(z.im, inf);
    INTS const unknown = (OF(less)(inf, z.re) | OF(less)(inf, z.im)) & ~infinite;
    INTS const zero = OF(equal)(z.re | z.im, none);
    INTS const finite = ~(infinite | unknown | zero);
    return (PARTS){
        (re & finite) | (unknown & nan) | (zero & inf),
        (im & finite) | (sign & infinite) | ((unknown | zero) & nan),
    };
}

/* VECTORS vectors in place. `ordinary`, where all parts are between 1/FAR and FAR or one of an item is 0, leaves out what changes no
 * bit of these. */
INLINE_TIER void OF(rsqrt_items)(PARTS *item, bool ordinary) {
    REALS const none = {0};
    PARTS z[VECTORS];
    REALS a[VECTORS], k[VECTORS], hi[VECTORS], lo[VECTORS], s[VECTORS];
    UINTS even[VECTORS];
    EACH z[i] = (PARTS){item[i].re & (INT)(SIGN - 1), item[i].im & (INT)(SIGN - 1)};
    if (ordinary) {
        EACH a[i] = (REALS)z[i].re;
        EACH k[i] = (REALS)z[i].im;
        EACH hi[i] = OF(max)(a[i], k[i]);
        EACH lo[i] = OF(min)(a[i], k[i]);
    } else {
        /* s = 2^-e brings the greater part to [1, 4), subnormals to not much less: 1/√z = s·(1/√(s²·z)). What underflows on the way
         * is too small to matter, but for |im|, which therefore goes on as k, with a factor of 2^LIFT. */
        EACH even[i] = ((UINTS)OF(max)((REALS)z[i].re, (REALS)z[i].im) + ONE) & -(2 * ONE);
        EACH s[i] = (REALS)((BIAS + (BIAS + 1) / 2) * ONE - (even[i] >> 1));
        EACH a[i] = (REALS)z[i].re * s[i] * s[i];
        EACH k[i] = (REALS)z[i].im * (s[i] * LIFTED) * s[i];
        EACH hi[i] = OF(max)(a[i], k[i] * (1 / LIFTED));
        EACH lo[i] = OF(min)(a[i], k[i] * (1 / LIFTED));
    }

    /* h + hl = m² */
    REALS q[VECTORS], h[VECTORS], hl[VECTORS];
    EACH q[i] = hi[i] * hi[i];
    EACH h[i] = OF(fma)(lo[i], lo[i], q[i]);
    EACH hl[i] = OF(fma)(lo[i], lo[i], q[i] - h[i]);
    EACH hl[i] = hl[i] - OF(fnma)(hi[i], hi[i], q[i]);

    /* m + (h + hl - m²)·g is √(h + hl), with g = 1/(2m), and w + wl that and a. m is at least a, so that a - (w - m) is exact. */
    REALS x[VECTORS], g[VECTORS], m[VECTORS], w[VECTORS], wl[VECTORS];
    EACH x[i] = h[i] + h[i];
    OF(near)(g, x);
    EACH m[i] = OF(max)(x[i] * g[i], a[i]);
    EACH w[i] = m[i] + a[i];
    EACH x[i] = OF(fnma)(m[i], m[i], h[i]) + hl[i];
    EACH wl[i] = OF(fma)(x[i], g[i], a[i] - (w[i] - m[i]));

    /* r + rl = r + r·e is 1/√(2·w·h), with e = 1/2 - r²·w·h, where d + dl is w·h and v + vl is r² */
    REALS r[VECTORS], rl[VECTORS], d[VECTORS], dl[VECTORS], e[VECTORS], v[VECTORS];
    EACH g[i] = g[i] + g[i];
    OF(near)(r, w);
    EACH r[i] = r[i] * g[i];
    EACH d[i] = w[i] * h[i];
    EACH dl[i] = OF(fnma)(w[i], h[i], d[i]); /* here -dl, and so with v */
    EACH dl[i] = OF(fnma)(w[i], hl[i], dl[i]);
    EACH dl[i] = OF(fnma)(wl[i], h[i], dl[i]);
    EACH v[i] = r[i] * r[i];
    EACH e[i] = OF(fnma)(d[i], v[i], none + (REAL)0.5);
    EACH e[i] = OF(fma)(dl[i], v[i], e[i]);
    EACH e[i] = OF(fma)(d[i], OF(fnma)(r[i], r[i], v[i]), e[i]);
    EACH rl[i] = r[i] * e[i];

    REALS y[VECTORS];
    EACH y[i] = OF(fma)(w[i], r[i], OF(fma)(w[i], rl[i], wl[i] * r[i]));
    EACH e[i] = k[i] * rl[i];
    EACH x[i] = OF(fma)(k[i], r[i], e[i]);
    if (!ordinary) {
        /* Where B is subnormal, x has more digits than it, and is rounded again from x + xl: to the last digit of `least`, the
         * least number that x may be where B is normal. */
        UINTS least[VECTORS];
        INTS subnormal[VECTORS];
        EACH e[i] = e[i] - OF(fnma)(k[i], r[i], x[i]);
        EACH least[i] = (even[i] >> 1) - ((BIAS + 1) / 2 - LIFT - 1) * ONE;
        EACH subnormal[i] = (INTS)((UINTS)x[i] - least[i]) >> (BITS - 1); /* in a nan the difference may wrap */
        EACH d[i] = (REALS)((INTS)least[i] & subnormal[i]);
        EACH v[i] = x[i] + d[i];
        EACH v[i] = v[i] + ((x[i] - (v[i] - d[i])) + e[i]);
        EACH x[i] = (REALS)OF(select)(subnormal[i], (INTS)(v[i] - d[i]), (INTS)x[i]);
        EACH x[i] = x[i] * (s[i] * (1 / LIFTED));
        EACH y[i] = y[i] * s[i];
    }
    EACH item[i] = OF(result)(z[i], item[i].re >> (BITS - 1), ~item[i].im & (INT)SIGN, (INTS)y[i], (INTS)x[i], ordinary);
}

#ifdef __CUDA__
INLINE_TIER void OF(rsqrt_unusual)(PARTS *item) {
    OF(rsqrt_items)(item, false);
    __asm__ volatile(""); /* or clang would do this always, to save the branch */
}
#else
/* Where a part is not between 1/FAR and FAR. Numbers on an axis are ordinary all the same. */
TIER static __attribute__((noinline)) void OF(rsqrt_unusual)(PARTS *item) {
    REALS const none = {0};
    INTS const far = (INTS)(none + FAR), near = (INTS)(none + 1 / FAR);
    INTS outside = {0};
    for (int i = 0; i < VECTORS; i++) {
        INTS const re = item[i].re & (INT)(SIGN - 1), im = item[i].im & (INT)(SIGN - 1);
        INTS const lo = (INTS)OF(min)((REALS)re, (REALS)im), hi = (INTS)OF(max)((REALS)re, (REALS)im);
        outside |= ((lo - near) & -lo) | (hi - near) | (far - re) | (far - im);
    }
    if (OF(any)(outside)) {
        OF(rsqrt_items)(item, false);
    } else {
        OF(rsqrt_items)(item, true);
    }
}
#endif

/* 1/√item of VECTORS vectors, in place. */
INLINE_TIER void OF(rsqrt)(PARTS *item) {
    REALS const none = {0};
    INTS outside = {0};
    for (int i = 0; i < VECTORS; i++) {
        INTS const re = item[i].re & (INT)(SIGN - 1), im = item[i].im & (INT)(SIGN - 1);
        INTS const least = (INTS)OF(min)((REALS)re, (REALS)im);
        outside |= (least - (INTS)(none + 1 / FAR)) | ((INTS)(none + FAR) - re) | ((INTS)(none + FAR) - im);
    }
    if (__builtin_expect(OF(any)(outside), 0)) {
        OF(rsqrt_unusual)(item);
    } else {
        OF(rsqrt_items)(item, true);
    }
}

#undef JOIN_ALL
#undef JOIN
#undef REALS
#undef INTS
#undef UINTS
#undef PARTS
#undef OF
#undef INT
#undef UINT
#undef INLINE_TIER
#undef EACH
#undef REAL
#undef MANTISSA
#undef BIAS
#undef SEED
#undef FAR
#undef LIFT
#undef LIFTED
#undef ONE
#undef SIGN
#undef INF
#undef BITS
#undef LANES
#undef VECTORS
