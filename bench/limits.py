"""The most that this processor's units can do of the kernels' arithmetic: limits.csv.

limits.c has the arithmetic of a block alone: the divider's part, the multipliers' part, and both at
once. No arrangement of the instructions makes a kernel faster than both at once.

Prediction for Zen 4 (3.7 GHz), a vector of 16 float32: the divider takes 10 cycles for a root and 6
for a division, 3.7 items/ns; a seed and 8 multiplications take 9 cycles, 6.6 items/ns. Each root
and each division also takes two places of the multipliers. So a block of 9 vectors, 4 of them
divided, takes them 64 and 61 cycles, 8.3 items/ns; of float64, 8 with 3 divided, 75 and 77 cycles,
3.05 items/ns. AVX2's float32, 6 vectors of 8 with 3 divided, 24 and 22 cycles, 7.4 items/ns.

Prediction for Intel's Emerald Rapids, where Zen 4's blocks had shown 1.86 and .60 items/ns of the
divider alone and 7.15 and 2.68 of the multipliers: of float32, 9 vectors with 2 divided take them
17.2 and 15.7 ns and some turns more, 8 items/ns; of float64, 8 with 1 divided, 13.4 and 20.9, 2.9
items/ns. AVX2's block is bound by the divider, 1.69 items/ns alone: 3.4.

Kernels without a divider start two 512-bit operations a cycle, of which one may be a
multiplication. bfloat16 by table: 23 operations for 128 items, 11.5 cycles, 41 items/ns. But a copy
in L2 reads two lines for each that it writes, at 32 bytes a cycle, and one goes back at the same
time: 16 cycles, 29.6 items/ns. float16: 49 operations for 128 items, 12 of them multiplications,
24.5 cycles, 19 items/ns. complex64: 35 multiplications and 36 others for a vector of re and one of
im, 35.5 cycles, 1.67 items/ns; complex128: 41 and 36, .72. Some 30 of these wait for each other,
125 cycles in all, and the processor looks about 128 waiting operations ahead, so that one vector at
a time (complex.c) takes 75 cycles; three or four side by side leave it no gaps.

What lies apart must be moved before it is computed (moves.c). A transposing copy reads and writes
each line once, 8 bytes an item at 27 bytes a cycle: 12 items/ns. Less than half of it was found at
best, of blocks of all shapes, since the lines of a column fall into few sets of the caches. Of
lines in the third cache one comes in 2.4 cycles, 1.5 items/ns; of lines a page apart, which fall
into few sets too, one in 14, which was found. A broadcast is written, 32 bytes a cycle in the
second cache and less beyond it.
"""

import ctypes
import math
import sys
from pathlib import Path

from measure import Contender, main, one_core, speeds
from throughput import L1, L2, L3

# (dtype, tier, items of a block's divided part, of its multiplied part).
BLOCKS = (("float32", "avx512", 64, 80), ("float64", "avx512", 24, 40), ("float32", "avx2", 24, 24))
BLOCKS_INTEL = (("float32", "avx512", 32, 112), ("float64", "avx512", 8, 56), BLOCKS[2])
# The docstring's, in items a nanosecond.
PREDICTED = {("float32", "avx512"): 8.3, ("float64", "avx512"): 3.05, ("float32", "avx2"): 7.4}
PREDICTED_INTEL = {("float32", "avx512"): 8, ("float64", "avx512"): 2.9, ("float32", "avx2"): 3.4}
N = 725_760  # a multiple of all items of a block

# Kernels without a divider: (dtype, token, items of a block).
WITHOUT = (("bfloat16", "bf16", 128), ("float16", "f16", 128), ("complex64", "c64", 16), ("complex128", "c128", 8))
UNITS = ("multipliers", "others", "both")
ROUNDS = 20  # of N items a call, which then is much longer than what calling from Python takes
SIDE_BY_SIDE = (1, 2, 3, 4)  # vectors of complex.c
# The layouts that moves.c has the moves of, and their items.
MOVES = {
    "x.T to contiguous 1024": 1 << 20,
    "x.T to contiguous 4096": 1 << 24,
    "x[::16]": 1 << 16,
    "x[:, 0]": 1 << 10,
    "a column, broadcast": 1 << 20,
}
LINES = {"x[::16]": 64, "x[:, 0]": 4096}  # bytes between two items, of which one is read in each line
PREDICTED_WITHOUT = {"bfloat16": 41, "float16": 19, "complex64": 1.67, "complex128": 0.72}


def rows(quick):
    one_core()
    from contenders import compiled

    import gorsqrt

    library = compiled("limits.c")
    tiers = gorsqrt.show_config("dicts")["tiers"]
    cpu = Path("/proc/cpuinfo").read_text()
    intel = "GenuineIntel" in cpu
    blocks = [block for block in (BLOCKS_INTEL if intel else BLOCKS) if block[1] in tiers]
    if not library or not blocks:
        sys.exit("limits: left out, since it needs a C compiler and AVX2")

    def work(function, rounds):
        return lambda: function(rounds)

    for dtype, tier, divided, multiplied in blocks:
        name = {"float32": "f32", "float64": "f64"}[dtype] + f"_{tier}" + "_intel" * (intel and tier == "avx512")
        parts = {"divider": divided, "multipliers": multiplied, "both": divided + multiplied}
        contenders = [
            Contender({"dtype": dtype, "tier": tier, "unit": unit}, work(getattr(library, f"{unit}_{name}"), N // items))
            for unit, items in parts.items()
        ]
        yield from speeds(contenders, N, 5 if quick else 31)
    if "avx512_vbmi2" in cpu:
        yield from rows_without(library, 5 if quick else 31)
    if "avx512" in tiers:
        yield from rows_of_moves(5 if quick else 31)


def rows_of_moves(rounds):
    """The layouts' moves without arithmetic."""
    import numpy as np
    from contenders import KERNELS, aligned, compiled

    moves = compiled("moves.c", *KERNELS)
    copy, read, fill = moves.transposing_copy_avx512, moves.reading_lines, moves.filling_avx512
    copy.argtypes, copy.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_int), None
    read.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
    fill.argtypes, fill.restype = (ctypes.c_void_p, ctypes.c_long), None
    for layout, n in MOVES.items():
        apart = LINES.get(layout, 4)
        x = aligned(n * apart // 4, np.dtype(np.float32))
        x[...] = 1
        out = aligned(n, x.dtype)
        if layout in LINES:
            move, of = read, (x.ctypes.data, n, apart)
        elif "broadcast" in layout:
            move, of = fill, (out.ctypes.data, out.nbytes)
        else:
            move, of = copy, (out.ctypes.data, x.ctypes.data, math.isqrt(n), n > L3)
        about = {"dtype": "float32", "tier": "avx512", "unit": layout}
        yield from speeds([Contender(about, lambda move=move, of=of: move(*of))], n, rounds)


def rows_without(library, rounds):
    """Those of avx512's kernels without a divider, and a copy by the same loads and stores."""
    import numpy as np
    from contenders import aligned, compiled

    def contender(dtype, unit, function, blocks):
        return Contender({"dtype": dtype, "tier": "avx512", "unit": unit}, lambda: function(ROUNDS * blocks))

    for dtype, token, items in WITHOUT:
        units = UNITS if token != "bf16" else ("both",)
        contenders = [contender(dtype, unit, getattr(library, f"{unit}_{token}_avx512"), N // items) for unit in units]
        for vectors in SIDE_BY_SIDE if dtype.startswith("complex") else ():
            loop = getattr(compiled("complex.c", f"-DSIDE_BY_SIDE={vectors}"), f"{token}_side_by_side")
            contenders.append(contender(dtype, f"{vectors} side by side", loop, N // items // vectors))
        yield from speeds(contenders, N, rounds, ROUNDS)
    copy = library.copy_avx512
    copy.argtypes, copy.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_long), None
    for n in (L1, L2):
        x, out = (aligned(n, np.dtype(np.uint16)) for _ in range(2))
        of = out.ctypes.data, x.ctypes.data, x.nbytes, ROUNDS
        about = {"dtype": "16 bits", "tier": "avx512", "unit": "copy"}
        yield from speeds([Contender(about, lambda of=of: copy(*of))], n, rounds, ROUNDS)


if __name__ == "__main__":
    main("limits", __doc__, rows)
