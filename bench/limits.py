"""What this processor's units can do of the kernels' arithmetic, beside what the kernels do: limits.csv.

The work of a block by itself (limits.c): what the divider does of it, what the multipliers do, and both at once. A kernel can
be no faster than the last, however its instructions are arranged.

Prediction for Zen 4 (3.7 GHz), a vector of 16 float32: the divider takes 10 cycles for a root and 6 for a division, 3.7
items/ns; a seed and 8 multiplications take 9 cycles, 6.6 items/ns. Each root and each division also takes two places of the
multipliers. So a block of 9 vectors, 4 of them divided, takes them 64 and 61 cycles, 8.3 items/ns; of float64, 8 with 3
divided, 75 and 72 cycles, 3.15 items/ns. AVX2's float32, 6 vectors of 8 with 3 divided, 24 and 22 cycles, 7.4 items/ns.
"""

import sys

from measure import Contender, main, one_core, speeds

# (dtype, tier, items of a block's divided part, of its multiplied part).
BLOCKS = (("float32", "avx512", 64, 80), ("float64", "avx512", 24, 40), ("float32", "avx2", 24, 24))
# The docstring's, in items a nanosecond.
PREDICTED = {("float32", "avx512"): 8.3, ("float64", "avx512"): 3.15, ("float32", "avx2"): 7.4}
N = 103_680  # a multiple of all items of a block


def rows(quick):
    one_core()
    from contenders import compiled

    import gorsqrt

    library = compiled("limits.c")
    tiers = gorsqrt.show_config("dicts")["tiers"]
    blocks = [block for block in BLOCKS if block[1] in tiers]
    if not library or not blocks:
        sys.exit("limits: left out, since it needs a C compiler and AVX2")

    def work(function, rounds):
        return lambda: function(rounds)

    for dtype, tier, divided, multiplied in blocks:
        token = {"float32": "f32", "float64": "f64"}[dtype]
        parts = {"divider": divided, "multipliers": multiplied, "both": divided + multiplied}
        contenders = [
            Contender(
                {"dtype": dtype, "tier": tier, "unit": unit}, work(getattr(library, f"{unit}_{token}_{tier}"), N // items)
            )
            for unit, items in parts.items()
        ]
        yield from speeds(contenders, N, 5 if quick else 31)


if __name__ == "__main__":
    main("limits", __doc__, rows)
