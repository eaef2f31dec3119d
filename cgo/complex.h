/* The complex reciprocal square root, written once for parts of 32 and of 64 bits. Every tier
 * includes this file for both, so all tiers give the same bits. For finite z = re + i·im other than
 * 0, with m = |z|,
 *
 *     w = m + |re|    r = 1/√(2·w·m²)    A = w·r    B = |im|·r
 *
 *     1/√z = conj(√z) / m = (A, -copysign(B, im)) where re >= 0,  (B, -copysign(A, im)) where re < 0
 *
 * in which nothing cancels. Every rounded quantity x has a correction xl, so each part is within
 * 0.5 + 2^-15 ulp in c64 and within 0.5 + 2^-40 ulp in c128. It uses only + - · and fma of floats,
 * in the order written, and integers: no estimates and no nans that differ between processors. A
 * compiler that contracts a·b + c changes the bits.
 *
 * A tier defines TIER, its functions' attributes. Before each inclusion it defines BITS, the bits
 * of a part; LANES, the number of parts in a vector; and VECTORS, the number of vectors that are
 * computed together, step by step. It also defines the functions that are declared first here. */
#include <stdbool.h>
#include <stdint.h>

#pragma STDC FP_CONTRACT OFF

#define JOIN_ALL(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_ALL(a, b, c)
#define REALS JOIN(f, BITS, s)
#define INTS JOIN(i, BITS, s)
#define UINTS JOIN(u, BITS, s)
#define PARTS JOIN(parts_f, BITS, )
#define MIDWAY JOIN(midway_f, BITS, )
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
#define FAR 0x1p24f /* if both parts are between 1/FAR and FAR, no step of rsqrt leaves the normal numbers */
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
#define ONE ((UINT)1 << MANTISSA) /* one unit of the exponent */
#define SIGN ((UINT)1 << (BITS - 1))
#define INF (SIGN - ONE)

typedef REAL REALS __attribute__((vector_size(BITS / 8 * LANES)));
typedef INT INTS __attribute__((vector_size(BITS / 8 * LANES)));
typedef UINT UINTS __attribute__((vector_size(BITS / 8 * LANES)));

/* The bits of the real and imaginary parts of LANES complex numbers. */
typedef struct {
    INTS re, im;
} PARTS;

TIER static inline REALS OF(fma)(REALS a, REALS b, REALS c);  /* c + a·b, rounded once */
TIER static inline REALS OF(fnma)(REALS a, REALS b, REALS c); /* c - a·b, rounded once */
TIER static inline REALS OF(max)(REALS a, REALS b); /* of numbers that are not negative; unspecified if one is a nan */
TIER static inline REALS OF(min)(REALS a, REALS b);
TIER static inline bool OF(any)(INTS where); /* whether a lane is below 0 */

/* where ? a : b, for a mask of whole lanes. */
INLINE_TIER INTS OF(select)(INTS where, INTS a, INTS b) {
    return (a & where) | (b & ~where);
}

/* Masks of whole lanes, for numbers that are not negative. They use arithmetic because gcc 12
 * compares vectors of one lane wrongly on aarch64. */
INLINE_TIER INTS OF(less)(INTS a, INTS b) {
    return (a - b) >> (BITS - 1);
}

INLINE_TIER INTS OF(equal)(INTS a, INTS b) {
    return ((a ^ b) - 1) >> (BITS - 1);
}

/* y ≈ 1/√(2x) for n vectors of x > 0, n up to 2·VECTORS, within 2^-21 for 32 bits and 2^-50 for 64.
 * The first y halves the exponent and takes straight lines for the mantissa: it is within 7 %. Then
 * it is multiplied by p(v) with v = x·y². p has degree 4 and is 1/√(2v) within 2^-26 for the v that
 * occur. It is a product of two factors with leading coefficient 1. */
INLINE_TIER void OF(near)(REALS *y, const REALS *x, int n) {
    REALS const none = {0};
    REALS v[2 * VECTORS], p[2 * VECTORS], q[2 * VECTORS];
    for (int i = 0; i < n; i++) y[i] = (REALS)((UINT)SEED - ((UINTS)x[i] >> 1));
    for (int i = 0; i < n; i++) v[i] = x[i] * y[i];
    for (int i = 0; i < n; i++) v[i] = v[i] * y[i];
    for (int i = 0; i < n; i++) p[i] = OF(fma)(v[i] - (REAL)2.9453529196767256, v[i], none + (REAL)2.5385939747436974);
    for (int i = 0; i < n; i++) q[i] = OF(fma)(v[i] - (REAL)0.6272139453562405, v[i], none + (REAL)0.8231842650835213);
    for (int i = 0; i < n; i++) y[i] = y[i] * p[i];
    for (int i = 0; i < n; i++) y[i] = y[i] * q[i];
#if BITS == 64
    for (int i = 0; i < n; i++) v[i] = x[i] * y[i];
    for (int i = 0; i < n; i++) v[i] = OF(fnma)(v[i], y[i], none + 1.5);
    for (int i = 0; i < n; i++) y[i] = y[i] * v[i];
#endif
}

/* The result from A and B, which may have any value if z is special:
 *
 *     a part infinite → (+0, ∓0)    else a part nan → (nan, nan)    (±0, ±0) → (+inf, nan)
 *
 * z: z without its signs; left: the lanes in which re's sign bit was set; sign: the sign bit
 * opposite to that of im. */
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

/* The intermediate values of VECTORS vectors, by the formula's names: z without its signs; a and k,
 * its parts in the form used for computing; even and s, their scaling; x = 2·m²; g = 1/m or half of
 * it. */
typedef struct {
    PARTS z[VECTORS];
    UINTS even[VECTORS];
    REALS s[VECTORS], a[VECTORS], k[VECTORS], h[VECTORS], hl[VECTORS], x[VECTORS], g[VECTORS], w[VECTORS], wl[VECTORS],
        r[VECTORS];
} MIDWAY;

/* The first of three parts, up to x; then near makes g of x. `ordinary` means that all parts are
 * between 1/FAR and FAR, or one part of an item is 0. It leaves out steps that change no bit for
 * such items. */
INLINE_TIER void OF(begin)(MIDWAY *of, const PARTS *item, bool ordinary) {
    REALS hi[VECTORS], lo[VECTORS], q[VECTORS];
    EACH of->z[i] = (PARTS){item[i].re & (INT)(SIGN - 1), item[i].im & (INT)(SIGN - 1)};
    if (ordinary) {
        EACH of->a[i] = (REALS)of->z[i].re;
        EACH of->k[i] = (REALS)of->z[i].im;
        EACH hi[i] = OF(max)(of->a[i], of->k[i]);
        EACH lo[i] = OF(min)(of->a[i], of->k[i]);
    } else {
        /* s = 2^-e brings the greater part to [1, 4), or if it is subnormal to not much less: 1/√z
         * = s·(1/√(s²·z)). Values that underflow on the way are too small to matter, except |im|:
         * so it continues as k, with a factor of 2^LIFT. */
        EACH of->even[i] = ((UINTS)OF(max)((REALS)of->z[i].re, (REALS)of->z[i].im) + ONE) & -(2 * ONE);
        EACH of->s[i] = (REALS)((BIAS + (BIAS + 1) / 2) * ONE - (of->even[i] >> 1));
        EACH of->a[i] = (REALS)of->z[i].re * of->s[i] * of->s[i];
        EACH of->k[i] = (REALS)of->z[i].im * (of->s[i] * LIFTED) * of->s[i];
        EACH hi[i] = OF(max)(of->a[i], of->k[i] * (1 / LIFTED));
        EACH lo[i] = OF(min)(of->a[i], of->k[i] * (1 / LIFTED));
    }

    /* h + hl = m² */
    EACH q[i] = hi[i] * hi[i];
    EACH of->h[i] = OF(fma)(lo[i], lo[i], q[i]);
    EACH of->hl[i] = OF(fma)(lo[i], lo[i], q[i] - of->h[i]);
    EACH of->hl[i] = of->hl[i] - OF(fnma)(hi[i], hi[i], q[i]);
    EACH of->x[i] = of->h[i] + of->h[i];
}

/* The second part, up to w; then near makes r of w. With g = 1/(2m), √(h + hl) is m + (h + hl -
 * m²)·g, and w + wl is that plus a. m is at least a, so a - (w - m) is exact. */
INLINE_TIER void OF(go_on)(MIDWAY *of) {
    REALS m[VECTORS];
    EACH m[i] = OF(max)(of->x[i] * of->g[i], of->a[i]);
    EACH of->w[i] = m[i] + of->a[i];
    EACH of->x[i] = OF(fnma)(m[i], m[i], of->h[i]) + of->hl[i];
    EACH of->wl[i] = OF(fma)(of->x[i], of->g[i], of->a[i] - (of->w[i] - m[i]));
    EACH of->g[i] = of->g[i] + of->g[i];
}

/* The third part, up to the result. */
INLINE_TIER void OF(end)(PARTS *item, const MIDWAY *of, bool ordinary) {
    REALS const none = {0};
    /* r + rl = r + r·e is 1/√(2·w·h), with e = 1/2 - r²·w·h, where d + dl is w·h and v + vl is
     * r² */
    REALS x[VECTORS], r[VECTORS], rl[VECTORS], d[VECTORS], dl[VECTORS], e[VECTORS], v[VECTORS];
    EACH r[i] = of->r[i] * of->g[i];
    EACH d[i] = of->w[i] * of->h[i];
    EACH dl[i] = OF(fnma)(of->w[i], of->h[i], d[i]); /* -dl here; v likewise */
    EACH dl[i] = OF(fnma)(of->w[i], of->hl[i], dl[i]);
    EACH dl[i] = OF(fnma)(of->wl[i], of->h[i], dl[i]);
    EACH v[i] = r[i] * r[i];
    EACH e[i] = OF(fnma)(d[i], v[i], none + (REAL)0.5);
    EACH e[i] = OF(fma)(dl[i], v[i], e[i]);
    EACH e[i] = OF(fma)(d[i], OF(fnma)(r[i], r[i], v[i]), e[i]);
    EACH rl[i] = r[i] * e[i];

    REALS y[VECTORS];
    EACH y[i] = OF(fma)(of->w[i], r[i], OF(fma)(of->w[i], rl[i], of->wl[i] * r[i]));
    EACH e[i] = of->k[i] * rl[i];
    EACH x[i] = OF(fma)(of->k[i], r[i], e[i]);
    if (!ordinary) {
        /* If B is subnormal, x has more digits than B. So x + xl is rounded again, to the last
         * digit of `least`, the least x for which B is normal. */
        UINTS least[VECTORS];
        INTS subnormal[VECTORS];
        EACH e[i] = e[i] - OF(fnma)(of->k[i], r[i], x[i]);
        EACH least[i] = (of->even[i] >> 1) - ((BIAS + 1) / 2 - LIFT - 1) * ONE;
        EACH subnormal[i] = (INTS)((UINTS)x[i] - least[i]) >> (BITS - 1); /* for a nan the difference may wrap */
        EACH d[i] = (REALS)((INTS)least[i] & subnormal[i]);
        EACH v[i] = x[i] + d[i];
        EACH v[i] = v[i] + ((x[i] - (v[i] - d[i])) + e[i]);
        EACH x[i] = (REALS)OF(select)(subnormal[i], (INTS)(v[i] - d[i]), (INTS)x[i]);
        EACH x[i] = x[i] * (of->s[i] * (1 / LIFTED));
        EACH y[i] = y[i] * of->s[i];
    }
    EACH item[i] = OF(result)(of->z[i], item[i].re >> (BITS - 1), ~item[i].im & (INT)SIGN, (INTS)y[i], (INTS)x[i], ordinary);
}

/* 1/√item of VECTORS vectors, in place; `ordinary` as in begin. */
INLINE_TIER void OF(rsqrt_items)(PARTS *item, bool ordinary) {
    MIDWAY of;
    OF(begin)(&of, item, ordinary);
    OF(near)(of.g, of.x, VECTORS);
    OF(go_on)(&of);
    OF(near)(of.r, of.w, VECTORS);
    OF(end)(item, &of, ordinary);
}

#ifdef __CUDA__
INLINE_TIER void OF(rsqrt_unusual)(PARTS *item) {
    OF(rsqrt_items)(item, false);
    __asm__ volatile(""); /* otherwise clang would always compute this, to save the branch */
}
#else
/* 1/√item of vectors with a part that is not between 1/FAR and FAR. Numbers on an axis are ordinary
 * nevertheless. */
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

/* Whether a part of these vectors is not between 1/FAR and FAR. */
INLINE_TIER bool OF(are_unusual)(const PARTS *item) {
    REALS const none = {0};
    INTS outside = {0};
    for (int i = 0; i < VECTORS; i++) {
        INTS const re = item[i].re & (INT)(SIGN - 1), im = item[i].im & (INT)(SIGN - 1);
        INTS const least = (INTS)OF(min)((REALS)re, (REALS)im);
        outside |= (least - (INTS)(none + 1 / FAR)) | ((INTS)(none + FAR) - re) | ((INTS)(none + FAR) - im);
    }
    return OF(any)(outside);
}

/* 1/√item of VECTORS vectors, in place. */
INLINE_TIER void OF(rsqrt)(PARTS *item) {
    if (__builtin_expect(OF(are_unusual)(item), 0)) {
        OF(rsqrt_unusual)(item);
    } else {
        OF(rsqrt_items)(item, true);
    }
}

/* rsqrt in two halves, for vectors that are not unusual. */
INLINE_TIER void OF(start)(MIDWAY *of, const PARTS *item) {
    OF(begin)(of, item, true);
    OF(near)(of->g, of->x, VECTORS);
    OF(go_on)(of);
}

INLINE_TIER void OF(finish)(PARTS *item, MIDWAY *of) {
    OF(near)(of->r, of->w, VECTORS);
    OF(end)(item, of, true);
}

/* finish(item, of) and start(of_next, next) at once: each of near's steps waits for the one before,
 * so the two run side by side. */
INLINE_TIER void OF(finish_and_start)(PARTS *item, const MIDWAY *of, MIDWAY *of_next, const PARTS *next) {
    REALS x[2 * VECTORS], y[2 * VECTORS];
    MIDWAY last = *of;
    OF(begin)(of_next, next, true);
    EACH x[VECTORS + i] = of_next->x[i];
    EACH x[i] = last.w[i];
    OF(near)(y, x, 2 * VECTORS);
    EACH of_next->g[i] = y[VECTORS + i];
    EACH last.r[i] = y[i];
    EACH last.k[i] = (REALS)(item[i].im & (INT)(SIGN - 1)); /* cheaper than keeping it */
    OF(end)(item, &last, true);
    OF(go_on)(of_next);
}

#undef JOIN_ALL
#undef JOIN
#undef REALS
#undef INTS
#undef UINTS
#undef PARTS
#undef MIDWAY
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
