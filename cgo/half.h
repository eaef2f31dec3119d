/* Conversions of the 16-bit floats by integer arithmetic, for processors without instructions for
 * them. Results are rounded to nearest even. Nans keep their sign and the top of their payload and
 * are quieted, like in the x86 conversions. f16_from_f32 needs the default floating-point mode. */
#ifndef GORSQRT_HALF_H
#define GORSQRT_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float bf16_to_f32(uint16_t h) {
    uint32_t const bits = (uint32_t)h << 16;
    return f32_of_bits((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x00400000 : bits);
}

static inline uint16_t bf16_from_f32(float x) {
    uint32_t const bits = bits_of_f32(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x0040);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float f16_to_f32(uint16_t h) {
    uint32_t const sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff;
    if (magnitude > 0x7c00) return f32_of_bits(sign | 0x7fc00000 | magnitude << 13);
    if (magnitude == 0x7c00) return f32_of_bits(sign | 0x7f800000);
    if (magnitude >= 0x0400) return f32_of_bits(sign | ((magnitude << 13) + ((127 - 15) << 23)));
    float const value = (float)magnitude * 0x1p-24f; /* zero or subnormal: exact */
    return f32_of_bits(sign | bits_of_f32(value));
}

static inline uint16_t f16_from_f32(float x) {
    uint32_t const bits = bits_of_f32(x), magnitude = bits & 0x7fffffff;
    uint16_t const sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x03ff));
    if (magnitude >= 0x477ff000) return sign | 0x7c00; /* from halfway between the largest f16 and 2^16 on */
    if (magnitude < 0x38800000) {                      /* below 2^-14: the sum's last place is the subnormals' unit */
        float const sum = f32_of_bits(magnitude) + 0x1p-1f;
        return (uint16_t)(sign | (bits_of_f32(sum) - 0x3f000000));
    }
    return (uint16_t)(sign | (magnitude - ((127 - 15) << 23) + 0x0fff + (magnitude >> 13 & 1)) >> 13);
}

#endif
