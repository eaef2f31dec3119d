"""float64 inputs that random tests would miss and a wrong kernel fails on, with exact results.

The results are computed by integers.

f64_hard_divisions.txt lists the 535 integers S of 53 bits for which 1/S lies next to the middle of
two float64s, that is S·M = 2^106 + k for an odd M of 54 bits and 0 < |k| <= 256. PARI/GP wrote it
in half a second:

    for(k=-256,256, if(k, N=2^106+k; fordiv(N, d, m=N/d;
        if(d>=2^52 && d<2^53 && m%2 && m>2^53 && m<=2^54, print(d)))))
"""

from math import isqrt
from pathlib import Path

import numpy as np

ONE = 0x3FF0000000000000  # the bits of 1.0; 2^52 more are those of 2.0


def near_square(s):
    """The bits of the float64s around (s / 2^52)², for 2^52 <= s < 2^53."""
    square = s * s
    shift, base = (52, ONE) if square < 1 << 105 else (53, ONE + (1 << 52))
    middle = base + (square >> shift) - (1 << 52)
    return range(middle - 3, middle + 4)


def hard_roots():
    """The bits of x whose √x is next to the middle of s and s + 1.

    x = s² + s + j is divisible by 2^52 or 2^53, and |j| <= 4096.
    """
    for m, base in ((52, ONE), (53, ONE + (1 << 52))):
        for j in range(-4096, 4097, 2):
            for root in (0, 1):
                s = root
                for _ in range(6):  # Newton's iteration in the integers modulo 2^m: 2s + 1 is odd
                    s = (s - (s * s + s + j) * pow(2 * s + 1, -1, 1 << m)) % (1 << m)
                s |= 1 << 52
                x, rest = divmod(s * s + s + j, 1 << m)
                if rest == 0 and 1 << 52 <= x < 1 << 53:
                    yield base + x - (1 << 52)


def f64_hard_bits():
    """All of them, as the bits of positive float64s."""
    divisions = map(int, Path(__file__).with_name("f64_hard_divisions.txt").read_text().split())
    found = {bits for s in divisions for bits in near_square(s)}
    found.update(hard_roots())
    for exponent in range(1, 2047):
        found.update(range((exponent << 52) - 4, (exponent << 52) + 5))
    return np.array(sorted(b for b in found if 0 < b < 0x7FF << 52), np.uint64)


def round_to_53(numerator, denominator):
    """(m, e) with m of 53 bits and m·2^e the positive fraction rounded to nearest even."""
    e = numerator.bit_length() - denominator.bit_length() - 54
    while True:
        n, d = (numerator << -e, denominator) if e < 0 else (numerator, denominator << e)
        m, rest = divmod(n, d)
        if m.bit_length() == 53:
            break
        e += 1 if m.bit_length() > 53 else -1
    if 2 * rest > d or (2 * rest == d and m & 1):
        m += 1
    return (m, e) if m < 1 << 53 else (m >> 1, e + 1)


def exact_rsqrt_bits(bits):
    """The bits of RN(1 / RN(√x)) for the bits of a positive finite x."""
    bits = int(bits)
    exponent, mantissa = bits >> 52, bits & ((1 << 52) - 1)
    m, e = (mantissa, -1074) if exponent == 0 else (mantissa | 1 << 52, exponent - 1075)
    if e & 1:
        m, e = 2 * m, e - 1
    m <<= 120  # √(m·2^e) = √m·2^(e/2), with 60 more places and a bit for whatever is beyond
    root = isqrt(m)
    s, shift = round_to_53(2 * root + (root * root != m), 2)
    y, place = round_to_53(1, s)
    place -= shift + (e >> 1) - 60
    return (place + 1075 << 52) | (y & ((1 << 52) - 1))
