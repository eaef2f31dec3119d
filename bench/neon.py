"""The instructions that the neon kernels execute for an item, counted under emulation: neon.csv.

    python bench/neon.py       writes bench/results/neon.csv

It needs aarch64-linux-gnu-gcc, its objdump and qemu-aarch64.

Two calls of different length are executed one instruction at a time; the difference is the loop's.
A core of 4 SIMD pipes and 8 instructions a cycle (Neoverse V2) takes at least a quarter of a cycle
for each vector instruction, an eighth for each of all, and 3.5 cycles or more for each root or
division. "other" is the loop's own.
"""

import collections
import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results/neon.csv"
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
SHORT, LONG = 640, 1280
# The first pattern counts.
KINDS = (
    ("divider", r"f(sqrt|div)$"),
    ("memory", r"(ld|st)"),
    ("vector", r""),
)


def run(*command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit(f"neon: left out, since there is no {command[0]}")


def compiled(program):
    sources = [ROOT / "bench/neon.c", *(ROOT / "cgo" / name for name in ("neon.c", "kernels.c", "scalar.c"))]
    flags = ("-std=c11", "-O3", "-fno-fast-math", "-static", "-w", f"-I{ROOT / 'cgo'}")
    run("aarch64-linux-gnu-gcc", *flags, *map(str, sources), "-lm", "-o", program)


def executed(program, kinds, log, dtype, n):
    """How many instructions of each kind."""
    run("qemu-aarch64", "-singlestep", "-d", "nochain,exec", "-D", log, program, str(dtype), str(n))
    places = re.findall(r"^Trace .*?\[[0-9a-f]+/([0-9a-f]+)/", Path(log).read_text(), re.MULTILINE)
    return collections.Counter(kinds.get(int(place, 16), "other") for place in places)


def main():
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/neon"
        compiled(program)
        kinds = {}
        for line in run("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", program).splitlines():
            if found := re.match(r"\s+([0-9a-f]+):\s+(\S+)\s*(.*)", line):
                place, name, operands = found.groups()
                kind = next(kind for kind, pattern in KINDS if re.match(pattern, name))
                in_vectors = kind != "vector" or re.search(r"\b[vq]\d+", operands)
                kinds[int(place, 16)] = kind if in_vectors else "other"
        rows = []
        for number, dtype in enumerate(DTYPES):
            short, long = (executed(program, kinds, f"{folder}/log", number, n) for n in (SHORT, LONG))
            counts = {kind: (long[kind] - short[kind]) / (LONG - SHORT) for kind in (*dict(KINDS), "other")}
            rows.append({"dtype": dtype, "instructions": sum(counts.values())} | counts)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: value if key == "dtype" else f"{value:.3g}" for key, value in row.items()} for row in rows)
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
