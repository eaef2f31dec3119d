/* The complex reciprocal square root, written once: every tier includes this file with its own number of lanes, and so all give
 * the same bits. For finite z = re + i·im other than 0, with m = |z|,
 *
 *     u = (m + |re|) / 2    t = √u    A = u / (t·m)    B = (|im| / 2) / (t·m)
 *
 *     1/√z = conj(√z) / m = (A, -copysign(B, im)) where re >= 0,  (B, -copysign(A, im)) where re < 0
 *
 * in which nothing cancels. Only + - · / √ and fma of f64, in the order written, and integers; no branches: special values are
 * blended in at the end, as integers, so that no processor's own nans show. A compiler that contracts a·b + c changes the bits.
 *
 * A tier defines, before this file, LANES, how many f64 one of its vectors holds, and TIER, its functions' attributes; and
 * somewhere the four functions that are declared first here. */
#ifndef GORSQRT_COMPLEX_H
#define GORSQRT_COMPLEX_H

#include <stdint.h>

#pragma STDC FP_CONTRACT OFF

typedef double f64s __attribute__((vector_size(8 * LANES)));
typedef int64_t i64s __attribute__((vector_size(8 * LANES)));
typedef uint64_t u64s __attribute__((vector_size(8 * LANES)));

/* The real and imaginary parts of LANES complex numbers: their bits, those of f32 in the lanes' low halves. */
typedef struct {
    i64s re, im;
} parts;

TIER static inline f64s fma_f64s(f64s a, f64s b, f64s c); /* a·b + c, rounded once */
TIER static inline f64s sqrt_f64s(f64s x);
TIER static inline f64s widen_f64s(i64s x);  /* the f32 in each lane's low half; the high half is ignored */
TIER static inline i64s narrow_i64s(f64s x); /* rounded to an f32 in each lane's low half; the high half is 0 */

/* where ? a : b, for a mask of whole lanes. */
TIER static inline i64s select_i64s(i64s where, i64s a, i64s b) {
    return (a & where) | (b & ~where);
}

/* Masks of whole lanes, for numbers that are not negative. By arithmetic: gcc 12 compares vectors of one lane wrongly on aarch64. */
TIER static inline i64s less_i64s(i64s a, i64s b) {
    return (a - b) >> 63;
}

TIER static inline i64s equal_i64s(i64s a, i64s b) {
    return ((a ^ b) - 1) >> 63;
}

/* The result from A and B, which may be anything where z is special:
 *
 *     a part infinite → (+0, ∓0)    else a part nan → (nan, nan)    (±0, ±0) → (+inf, nan)
 *
 * z: without its signs; left: where re's sign bit was set; sign: the sign bit opposite to im's; inf: the format's, and nan. */
TIER static inline parts complex_result(parts z, i64s left, i64s sign, i64s a, i64s b, int64_t inf, int64_t nan) {
    i64s const none = {0}, infinity = none + inf;
    i64s const infinite = equal_i64s(z.re, infinity) | equal_i64s(z.im, infinity);
    i64s const unknown = (less_i64s(infinity, z.re) | less_i64s(infinity, z.im)) & ~infinite;
    i64s const zero = equal_i64s(z.re | z.im, none);
    i64s const finite = ~(infinite | unknown | zero);
    i64s const re = select_i64s(left, b, a), im = select_i64s(left, a, b);
    return (parts){
        (re & finite) | (unknown & nan) | (zero & inf),
        (((im & finite) | sign) & ~(unknown | zero)) | ((unknown | zero) & nan),
    };
}

/* Each lane is an item: re in the low half, im in the high one. No scaling is needed, since the squares, the products and
 * all between them lie far inside f64's range. The roundings to f64, less than ten, leave each part within 0.5 + 2^-25 ulp. */
TIER static inline i64s rsqrt_c64_items(i64s item) {
    i64s const high = (i64s)((u64s)item >> 32);
    parts const z = {item & 0x7fffffff, high & 0x7fffffff};
    f64s const re = widen_f64s(z.re), im = widen_f64s(z.im);
    f64s const m = sqrt_f64s(re * re + im * im); /* exact squares: the same contracted and not */
    f64s const u = (m + re) * 0.5;
    f64s const r = 1.0 / (sqrt_f64s(u) * m);
    i64s const a = narrow_i64s(u * r), b = narrow_i64s(im * 0.5 * r);
    parts const y = complex_result(z, (i64s)((u64s)item << 32) >> 63, ~high & 0x80000000, a, b, 0x7f800000, 0x7fc00000);
    return y.re | (i64s)((u64s)y.im << 32);
}

/* Every rounded quantity x has a correction xl, so that each part is within 0.5 + 2^-40 ulp; where it is subnormal within 0.75,
 * since that is rounded twice. */
TIER static inline parts rsqrt_c128_items(parts item) {
    parts const z = {item.re & INT64_MAX, item.im & INT64_MAX};

    /* s = 2^-e brings the greater part to [1, 4), subnormals to [2^-50, 4): 1/√z = s·(1/√(s²·z)). What underflows on the way
     * is too small to matter, but for k, half of |im|, which therefore goes with a factor of 2^200. */
    i64s const taller = less_i64s(z.re, z.im);
    u64s const half = ((u64s)select_i64s(taller, z.im, z.re) + (UINT64_C(1) << 52)) >> 53; /* (biased exponent + 1) / 2 */
    f64s const s = (f64s)((1535 - half) << 52);
    f64s const k = (f64s)z.im * (s * 0x1p199) * s;
    f64s const a = (f64s)z.re * s * s, b = k * 0x1p-199;
    f64s const hi = (f64s)select_i64s(taller, (i64s)b, (i64s)a), lo = (f64s)select_i64s(taller, (i64s)a, (i64s)b);

    /* h + hl = |z|² */
    f64s const p = hi * hi, q = lo * lo;
    f64s const h = p + q;
    f64s const hl = ((q - (h - p)) + fma_f64s(hi, hi, -p)) + fma_f64s(lo, lo, -q);

    f64s const m = sqrt_f64s(h);
    f64s const w = m + a;
    f64s const u = w * 0.5;
    f64s const t = sqrt_f64s(u);
    f64s const d = t * m;
    f64s const r = 1.0 / d;

    /* r also serves for 1/m = t·r and 1/t = m·r. */
    f64s const ml = (fma_f64s(-m, m, h) + hl) * 0.5 * (t * r);
    f64s const ul = ((a - (w - m)) + ml) * 0.5;
    f64s const tl = (fma_f64s(-t, t, u) + ul) * 0.5 * (m * r);
    f64s const dl = fma_f64s(tl, m, fma_f64s(t, ml, fma_f64s(t, m, -d)));
    f64s const rl = r * fma_f64s(-dl, r, fma_f64s(-d, r, (f64s){0} + 1.0));

    f64s const y = fma_f64s(u, r, fma_f64s(u, rl, ul * r)) * s;
    f64s const x = fma_f64s(k, r, k * rl) * (s * 0x1p-200);
    return complex_result(z, item.re >> 63, ~item.im & INT64_MIN, (i64s)y, (i64s)x, 0x7ff0000000000000, 0x7ff8000000000000);
}
#endif
