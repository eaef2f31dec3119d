"""Estimates the cost of the CUDA kernels from their machine code, without a GPU.

    make budget       writes bench/results/cuda.csv, which CI compares

Two releases of NVIDIA's ptxas assemble cuda/ptx/*.ptx for every generation of GPU. It is an error
if a kernel spills registers or takes more than 64.

For the contiguous kernels the instructions on the usual path (no subnormals, no nans) are counted.
For sm_90 the busiest pipe's time for an item is divided by the time in which the memory of an H100
or H200 reads and writes it: below 1 the kernel is bound by memory.
"""

import csv
import heapq
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results/cuda.csv"
TARGETS = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
DTYPES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16}  # bytes of an item
MOST_REGISTERS = 64
VECTOR, FLIGHT, LANES = 16, 4, 32

# Cycles for which an instruction of a warp occupies its pipe in one of a multiprocessor's four
# quarters: 32 lanes by a quarter of the results per clock of compute capability 9.0 in the CUDA C++
# Programming Guide's table of arithmetic throughput. The first pattern counts. Every instruction
# also takes one cycle of "issue".
PIPES = [
    (r"D(ADD|MUL|FMA|SETP)", "fp64", 2),
    (r"MUFU", "special", 8),
    (r"(F2F|I2F|F2I)", "convert", 8),
    (r"(FADD|FMUL|FFMA|HADD2|HFMA2)", "fp32", 1),
    (r"IMAD", "fp32", 2),
    (r"(LDG|STG)", "memory", 16),
    (r"(U[A-Z]|BRA|BSSY|BSYNC|NOP|EXIT|S2R|LDC|CALL|WARPSYNC)", "control", 1),
    (r".", "integer", 2),
]
QUARTERS, HERTZ = 132 * 4, 1.755e9
BYTES_A_SECOND = {"h100": 3.35e12, "h200": 4.8e12}


def tool(package: str, name: str) -> Path:
    for file in importlib.metadata.files(package) or []:
        if file.name == name:
            return Path(file.locate())
    sys.exit(f"{package} has no {name}")


def assemble(ptxas: Path, ptx: Path, target: str, cubin: Path) -> dict[str, tuple[int, int]]:
    """Registers and spilled bytes by kernel."""
    done = subprocess.run([ptxas, "-v", f"-arch={target}", ptx, "-o", cubin], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{ptxas} -arch={target} {ptx}:\n{done.stderr}")
    pattern = r"Function properties for (rsqrt\w+).*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    found = re.findall(pattern, done.stderr, re.DOTALL)
    return {name: (int(registers), int(stores) + int(loads)) for name, stores, loads, registers in found}


def usual_path(code: list[tuple[str, str]], labels: dict[str, int]) -> list[str]:
    """The fewest instructions from entry to exit that move all vectors and call no slow path."""
    queue, seen, came = [(0, (0, 0, 0))], set(), {}
    while queue:
        steps, state = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        at, loads, stores = state
        guard, text = code[at]
        if text.startswith("CALL"):
            continue
        if text.startswith("EXIT") and loads == stores == 2 * FLIGHT:
            path = [text]
            while state in came:
                state = came[state]
                path.append(code[state[0]][1])
            return path[::-1]
        loads += 2 * text.startswith("LDG.E.128") + text.startswith("LDG.E.64")
        stores += 2 * text.startswith("STG.E.128") + text.startswith("STG.E.64")
        if max(loads, stores) > 2 * FLIGHT:
            continue
        targets = []
        jump = re.match(r"BRA.*`\((\S+)\)", text)
        if jump:
            targets.append(labels[jump[1]])
        if not (text.startswith(("BRA", "EXIT", "RET")) and not guard):
            targets.append(at + 1)
        for target in targets:
            if target < len(code):
                following = (target, loads, stores)
                if following not in seen:
                    came.setdefault(following, state)
                    heapq.heappush(queue, (steps + 1, following))
    return []


def disassemble(nvdisasm: Path, cubin: Path, kernel: str) -> list[str]:
    text = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
    section = re.search(rf"\n\.text\.{kernel}:\n(.*?)(?=\n\t\.section|\Z)", text, re.DOTALL)[1]
    code, labels = [], {}
    for line in section.splitlines():
        if label := re.match(r"(\S+):", line):
            labels[label[1]] = len(code)
        elif instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(@\S+\s+)?(\S.*?)\s*;", line):
            code.append((instruction[1] or "", instruction[2]))
    return usual_path(code, labels) or sys.exit(f"{kernel}: no path through the kernel moves {FLIGHT} vectors")


def cost(path: list[str], dtype: str) -> dict[str, object]:
    items = FLIGHT * VECTOR // DTYPES[dtype] * LANES  # of a warp
    cycles = {"issue": len(path)}
    for text in path:
        _, pipe, taken = next(row for row in PIPES if re.match(row[0], text))
        cycles[pipe] = cycles.get(pipe, 0) + taken
    pipe = max(cycles, key=cycles.__getitem__)
    seconds = cycles[pipe] / items / QUARTERS / HERTZ
    shares = {name: f"{seconds / (2 * DTYPES[dtype] / rate):.2f}" for name, rate in BYTES_A_SECOND.items()}
    return {"busiest": pipe, **shares}


def main() -> None:
    releases = {p: tool(p, "ptxas") for p in ("nvidia-cuda-nvcc", "nvidia-cuda-nvcc-cu12")}
    nvdisasm = tool("nvidia-cuda-nvdisasm", "nvdisasm")
    columns = ["kernel", "target", *(f"registers {importlib.metadata.version(p)}" for p in releases), "spilled bytes"]
    columns += ["instructions an item", "busiest", *BYTES_A_SECOND]
    rows, bad = [], []
    with tempfile.TemporaryDirectory() as scratch:
        cubin = Path(scratch, "cubin")
        for dtype in DTYPES:
            ptx = ROOT / f"cuda/ptx/{dtype}.ptx"
            for target in TARGETS:
                used = [assemble(ptxas, ptx, target, cubin) for ptxas in reversed(releases.values())][::-1]
                for kernel in sorted(used[0]):
                    spilled = sum(one[kernel][1] for one in used)
                    row = dict(zip(columns, [kernel, target, *(one[kernel][0] for one in used), spilled], strict=False))
                    if kernel.endswith("_cuda"):
                        path = disassemble(nvdisasm, cubin, kernel)
                        row["instructions an item"] = f"{len(path) / (FLIGHT * VECTOR // DTYPES[dtype]):.1f}"
                        if target == "sm_90":
                            row |= cost(path, dtype)
                    if spilled or max(one[kernel][0] for one in used) > MOST_REGISTERS:
                        bad.append(f"{kernel} on {target}: {row}")
                    rows.append(row)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        if row.get("busiest"):
            print(*(f"{key} {row[key]}" for key in ("kernel", "target", *columns[5:])), sep="  ")
    if bad:
        sys.exit("registers or spills:\n" + "\n".join(bad))


if __name__ == "__main__":
    main()
