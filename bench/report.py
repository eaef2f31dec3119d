"""Writes the tables of README.md and bench/README.md, and the plots, from bench/results/*.csv.

    python bench/report.py

It measures nothing. Each table stands between two lines `<!-- bench/report.py: name -->`. The plots
need matplotlib, and stay as they are without it. The same CSVs give the same tables: a test
compares them.

bench/results/xeon has the results of another machine, for comparison. They were written there by
`python bench --results bench/results/xeon`.
"""

import argparse
import csv
from pathlib import Path

import limits
from throughput import L1, L2, L3, MEMORY, PREDICTED

HERE = Path(__file__).resolve().parent
PAGES = (HERE.parent / "README.md", HERE / "README.md")
FORMS = ("in place", "out=", "fresh")
BEST = ""  # in a table of targets: the machine's best
SIZE_NAMES = {L1: "L1", L2: "L2", L3: "L3", MEMORY: "memory"}

# What is asked of gorsqrt's speed over torch's in the same form, and what is hoped for: (dtype,
# tier, form, sizes, at least, stretch). They come from Zen 5.
THROUGHPUT = (
    ("float32", BEST, "out=", (L1, L2), 3.5, 4.2),
    ("float32", BEST, "out=", (L3,), 2.8, 3.6),
    ("float32", BEST, "in place", (L3,), 3.5, 4.1),
    ("float32", "avx2", "out=", (L1, L2), 1.55, 1.8),
    ("float64", "avx2", "out=", (L1, L2), 1.6, 1.85),
    ("float64", BEST, "out=", (L1, L2), 4.0, 4.8),
    ("bfloat16", BEST, "out=", (L2,), 8, 10.5),
    ("bfloat16", "avx2", "out=", (L2,), None, None),
    ("float16", BEST, "out=", (L2,), 4, 5.5),
    ("float16", "avx2", "out=", (L2,), None, None),
    ("int32", BEST, "out=", (L2,), 3.5, 4.7),
    ("int64", BEST, "out=", (L2,), 3.5, 4.7),
    ("complex64", BEST, "out=", (L2,), 40, 55),
    ("complex128", BEST, "out=", (L2,), 14, 20),
    ("complex64", "avx2", "out=", (L2,), None, None),
    ("complex128", "avx2", "out=", (L2,), None, None),
    ("float32", BEST, "out=", (MEMORY,), 1.3, 1.5),
    ("float32", BEST, "in place", (MEMORY,), 1.25, 1.4),
    ("float64", BEST, "out=", (MEMORY,), 1.5, 1.7),
    ("float32", BEST, "any data", (L2, L3), 1.8, 2.0),
    ("float32", "avx2", "any data", (L2, L3), 1.0, 1.1),
    *((dtype, "scalar", "out=", (L2,), None, None) for dtype in ("float32", "float64", "bfloat16", "float16", "complex64")),
)
# The same of layouts of float32.
LAYOUTS = (
    ("x.T to contiguous 1024", 20, 35),
    ("x.T to contiguous 4096", 8, 12),
    ("x[::2]", 3.5, 5),
    ("x[::3]", 2, 2.7),
)
# And of the slowest of all others, of every dtype, beside torch and beside np.sqrt.
SLOWEST_LAYOUT = (0.95, 1)


class Results:
    """The CSVs of a folder, and of another machine's within it; one that is missing is empty."""

    def __init__(self, folder, other="xeon"):
        def rows(name):
            path = folder / f"{name}.csv"
            return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []

        self.calls, self.throughput, self.fresh = rows("calls"), rows("throughput"), rows("fresh")
        self.layouts, self.threads, self.limits = rows("layouts"), rows("threads"), rows("limits")
        self.neon, self.gpu = rows("neon"), rows("gpu")
        self.torch_paths, self.torch_compiled = rows("torch_paths"), rows("torch_compiled")
        for row in self.layouts:
            row.setdefault("dtype", "float32")  # as in results from before there were others
        self.xeon = Results(folder / other, None) if other else None
        self.tiers = list(dict.fromkeys(row["tier"] for row in self.throughput if row["tier"]))  # the best first

    def speed(self, rows, **about):
        """Items a nanosecond of the row that is about this; nan where there is none."""
        about = {name: str(value) for name, value in about.items()}
        found = (float(row["per_ns"]) for row in rows if about.items() <= row.items())
        return next(found, float("nan"))


def caption(rows):
    return f"{rows[0]['machine']}; {rows[0]['versions']}." if rows else "Not measured."


def number(value, unit=""):
    """Three digits."""
    if value != value:
        return "-"
    return (f"{value:.0f}" if value >= 99.5 else f"{value:.3g}") + unit


def lines(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---" * len(header) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def calls(results):
    """README's table: the smallest array, a provider a line."""
    smallest = min((int(row["n"]) for row in results.calls), default=1)
    chosen = [row for row in results.calls if int(row["n"]) == smallest]
    providers = dict.fromkeys(row["provider"] for row in chosen)
    cell = {(row["provider"], row["form"]): number(float(row["ns"])) for row in chosen}
    yield from lines((f"ns a call, n={smallest}", *FORMS), ([p, *(cell[p, form] for form in FORMS)] for p in providers))
    yield ""
    yield caption(results.calls)


def throughput(results):
    """README's table: a dtype a line, in L2, and float32 and float64 in memory too."""
    best = results.tiers[0] if results.tiers else ""
    peers = ("torch", "1 / np.sqrt", "jax.jit(lax.rsqrt)", "numexpr", "numba", "streaming copy")
    peers = [peer for peer in peers if any(row["provider"] == peer for row in results.throughput)]
    columns = [("gorsqrt", tier) for tier in results.tiers] + [(peer, "") for peer in peers]
    asked = dict.fromkeys((row["dtype"], L2) for row in results.throughput)
    asked |= dict.fromkeys([("float32", MEMORY), ("float64", MEMORY)])

    nan = float("nan")

    def row(dtype, n):
        speeds = {
            column: results.speed(results.throughput, provider=column[0], tier=column[1], dtype=dtype, n=n, form="out=")
            for column in columns
        }
        yield f"{dtype}, 2^{n.bit_length() - 1}"
        yield from (number(speed) for speed in speeds.values())
        yield number(speeds.get(("gorsqrt", best), nan) / speeds.get(("torch", ""), nan))

    header = ("items a ns, one thread", *(f"gorsqrt {tier}" for tier in results.tiers), *peers, "gorsqrt / torch")
    yield from lines(header, (list(row(*one)) for one in asked))
    yield ""
    yield caption(results.throughput)


def targets(results):
    """All that was asked for, with what was measured, here and on a Xeon."""
    header = ["work", "at least", "stretch", "measured", "reached", "gorsqrt", "the other", "in"]
    table = list(target_lines(results))
    if results.xeon.throughput:
        header += ["on a Xeon", "reached"]
        table = [[*row, *other[3:5]] for row, other in zip(table, target_lines(results.xeon), strict=True)]
    yield from lines(header, table)
    yield ""
    yield caption(results.throughput)
    if results.xeon.throughput:
        yield ""
        yield caption(results.xeon.throughput)


def target_lines(results):
    """The lines of that table for one machine."""
    best = results.tiers[0] if results.tiers else ""

    def line(work, asked, mine, theirs, unit="items/ns", ratio=None):
        ratio = mine / theirs if ratio is None else ratio
        least, stretch = asked
        met = "-" if least is None or ratio != ratio else "stretch" if ratio >= stretch else "yes" if ratio >= least else "no"
        goals = ("-" if goal is None else number(goal) for goal in asked)
        return [work, *goals, f"**{number(ratio)}**", met, number(mine), number(theirs), unit]

    def all_lines():
        of = results.throughput
        for dtype, tier, form, sizes, *asked in THROUGHPUT:
            for n in sizes:
                about = {"dtype": dtype, "form": form, "n": n}
                mine = results.speed(of, provider="gorsqrt", tier=tier or best, **about)
                yield line(
                    f"{dtype} {form} {SIZE_NAMES[n]}, {tier or best}", asked, mine, results.speed(of, provider="torch", **about)
                )
        about = {"dtype": "float16", "form": "out=", "n": L2}
        mine = results.speed(of, provider="gorsqrt", tier=best, **about)
        yield line(
            f"float16 out= L2, {best}, over 1 / np.sqrt", (50, 50), mine, results.speed(of, provider="1 / np.sqrt", **about)
        )
        for dtype in ("float32", "float64"):
            about = {"dtype": dtype, "form": "out=", "n": MEMORY}
            mine = results.speed(of, provider="gorsqrt", tier=best, **about)
            copy = results.speed(of, provider="streaming copy", **about)
            yield line(f"{dtype} out= memory, {best}, over a streaming copy", (0.85, 1), mine, copy)
        for mib in sorted({int(row["mib"]) for row in results.fresh}):
            theirs = results.speed(results.fresh, provider="torch", form="repeated", mib=mib)
            for form, *asked in (("repeated", 5, 8), ("first touch", 3, 4)):
                mine = results.speed(results.fresh, provider="gorsqrt", form=form, mib=mib)
                yield line(f"fresh, {form}, {mib} MiB", asked if mib >= 64 else (None, None), mine, theirs)
        yield from layout_lines()
        for n in sorted({int(row["n"]) for row in results.threads}):
            one, two, torchs = (
                results.speed(results.threads, provider=provider, form="hot", threads=threads, n=n)
                for provider, threads in (("gorsqrt", 1), ("gorsqrt", 2), ("torch", 2))
            )
            if n in (1 << 19, L3, 1 << 21):
                yield line(f"two threads, 2^{n.bit_length() - 1} float32, over one", (1.6, 1.9), two, one)
                yield line(f"two threads, 2^{n.bit_length() - 1} float32, over torch's two", (1, 1), two, torchs)
        yield from call_lines()

    def layout_lines():
        speed = {(row["provider"], row["dtype"], row["layout"]): float(row["per_ns"]) for row in results.layouts}
        nan = float("nan")

        def pair(peer, dtype, layout):
            return [speed.get((provider, dtype, layout), nan) for provider in ("gorsqrt", peer)]

        for layout, *asked in LAYOUTS:
            yield line(layout, asked, *pair("torch", "float32", layout))
        named = {("float32", layout) for layout, *_ in LAYOUTS}
        for peer in ("torch", "np.sqrt"):
            others = [about for provider, *about in speed if provider == peer and tuple(about) not in named]
            slowest = min(others, key=lambda about: speed["gorsqrt", *about] / speed[peer, *about], default=("", "none"))
            over = "" if peer == "torch" else f" over {peer}"
            work = f"the slowest of {len(others)} other layouts{over}: {' '.join(slowest).strip()}"
            yield line(work, SLOWEST_LAYOUT, *pair(peer, *slowest))

    def call_lines():
        ns = {(row["provider"], row["form"]): float(row["ns"]) for row in results.calls if row["n"] == "1"}
        nan = float("nan")
        for provider, peer, stretch in (
            ("gorsqrt", "np.sqrt", {"in place": 25, "out=": 25, "fresh": 55}),
            ("gorsqrt, array.array", "np.sqrt", {"in place": 25, "out=": 25, "fresh": 55}),
            ("gorsqrt, memoryview", "np.sqrt", {"in place": 25, "out=": 25, "fresh": 55}),
            ("gorsqrt, torch tensors", "torch.rsqrt", {}),
        ):
            for form in FORMS:
                # np.sqrt has no better way in place than with out=.
                mine, theirs = (
                    ns.get((provider, form), nan),
                    ns.get((peer, "out=" if (peer, form) == ("np.sqrt", "in place") else form), nan),
                )
                goal = theirs / stretch[form] if form in stretch else 1 / 0.6
                yield line(f"a call, n=1: {provider}, {form}, over {peer}", (1, goal), mine, theirs, "ns", theirs / mine)

    return all_lines()


def threads(results):
    """Everything that threads.py measures but the calls in the caches, which are drawn."""

    def row(form, n):
        def speed(provider, threads):
            return results.speed(results.threads, provider=provider, form=form, threads=threads, n=n)

        ours, torchs = ([speed(provider, count) for count in (1, 2)] for provider in ("gorsqrt", "torch"))
        copies = [speed("streaming copy", count) for count in (1, 2)]
        best = max((one for one in torchs if one == one), default=float("nan"))
        yield f"{form}, 2^{n.bit_length() - 1}"
        yield from map(number, (*ours, ours[1] / ours[0], *torchs, ours[1] / best, *copies))

    found = dict.fromkeys((row["form"], int(row["n"])) for row in results.threads)
    header = (
        "float32 out=, items a ns",
        "gorsqrt, one",
        "two",
        "two / one",
        "torch, one",
        "two",
        "gorsqrt's two / torch's better",
    )
    forms = list(dict.fromkeys(form for form, _ in found))
    asked = sorted(
        (one for one in found if one[0] != "hot" or one[1] >= 1 << 22), key=lambda one: (forms.index(one[0]), one[1])
    )
    yield from lines((*header, "streaming copy, one", "two"), (list(row(*one)) for one in asked))
    yield ""
    yield caption(results.threads)


def times(rows, *about):
    """By what the columns of these names say: a time of gorsqrt's over torch's."""
    ns = {}
    for row in rows:
        ns.setdefault(tuple(row[name] for name in about), {})[row["provider"]] = float(row["ns"])
    return {key: both["gorsqrt"] / both["torch"] for key, both in ns.items()}


def torch_paths(results):
    """A path a line, a dtype and size a column."""
    ratio = times(results.torch_paths, "path", "dtype", "n")
    dtypes, sizes = (list(dict.fromkeys(key[i] for key in ratio)) for i in (1, 2))
    columns = [(dtype, n) for n in sizes for dtype in dtypes]
    cells = (
        [path, *(number(ratio.get((path, *column), float("nan"))) for column in columns)]
        for path in dict.fromkeys(k[0] for k in ratio)
    )
    yield from lines(("gorsqrt's time / torch's", *(f"{dtype}, 2^{int(n).bit_length() - 1}" for dtype, n in columns)), cells)
    yield ""
    yield caption(results.torch_paths)


def torch_compiled(results):
    """A function and shape a line, a dtype a column."""
    ratio = times(results.torch_compiled, "path", "shape", "dtype")
    dtypes = list(dict.fromkeys(key[2] for key in ratio))
    asked = dict.fromkeys(key[:2] for key in ratio)
    cells = ([", ".join(about), *(number(ratio.get((*about, dtype), float("nan"))) for dtype in dtypes)] for about in asked)
    yield from lines(("compiled, gorsqrt's time / torch's", *dtypes), cells)
    yield ""
    yield caption(results.torch_compiled)


def gpu(results):
    """A dtype a line, in gigabytes a second, and then the calls' costs."""
    if not results.gpu:
        yield "Not measured yet: no GPU was there."
        return
    value = {(r["what"], r["dtype"], r["provider"], r["form"]): float(r["median"]) for r in results.gpu}
    copy, nan = ("device copy", "out="), float("nan")
    columns = list(dict.fromkeys((r["provider"], r["form"]) for r in results.gpu if r["what"] == "bandwidth"))

    def bandwidth(dtype):
        speeds = [value.get(("bandwidth", dtype, *about), nan) for about in columns]
        return [dtype, *map(number, speeds), number(speeds[0] / speeds[columns.index(copy)])]

    header = ("GB/s", *(", ".join(about) for about in columns), "the first / a copy")
    yield from lines(header, map(bandwidth, dict.fromkeys(r["dtype"] for r in results.gpu if r["what"] == "bandwidth")))
    yield ""
    costs = [r for r in results.gpu if r["what"] == "call"]
    yield from lines(("a call", "ns"), ([f"{r['provider']}, {r['form']}", number(float(r["median"]))] for r in costs))
    yield ""
    yield f"{results.gpu[0]['device']}; {caption(results.gpu)}"


def predictions(results):
    best = results.tiers[0] if results.tiers else ""

    def row(dtype, n, predicted):
        measured = results.speed(results.throughput, provider="gorsqrt", tier=best, dtype=dtype, form="out=", n=n)
        return f"{dtype}, {SIZE_NAMES[n]}", number(predicted), number(measured)

    yield from lines((f"items a ns, one thread, {best}", "predicted", "measured"), (row(*one) for one in PREDICTED))


def limited(results):
    """What the units do at best of the kernels' arithmetic, beside the kernels."""

    def row(dtype, tier):
        units = [
            results.speed(results.limits, dtype=dtype, tier=tier, unit=unit) for unit in ("divider", "multipliers", "both")
        ]
        mine = results.speed(results.throughput, provider="gorsqrt", dtype=dtype, tier=tier, form="out=", n=L2)
        torch = results.speed(results.throughput, provider="torch", dtype=dtype, form="out=", n=L2)
        predicted = limits.PREDICTED_INTEL if "Intel" in caption(results.limits) else limits.PREDICTED
        yield f"{dtype}, {tier}"
        yield from map(number, (*units, predicted[dtype, tier], mine, mine / units[-1], units[-1] / torch))

    header = ("items a ns", "divider", "multipliers", "both", "predicted", "gorsqrt, L2", "gorsqrt / both", "both / torch")
    asked = dict.fromkeys((row["dtype"], row["tier"]) for row in results.limits if row["unit"] == "divider")
    yield from lines(header, (list(row(*one)) for one in asked))
    yield ""
    yield caption(results.limits)


def without_divider(results):
    """The same of the kernels that use no divider."""
    sides = [f"{vectors} side by side" for vectors in limits.SIDE_BY_SIDE]
    copy = results.speed(results.limits, unit="copy", n=L2)

    def row(dtype):
        about = {"dtype": dtype, "tier": "avx512"}
        units = [results.speed(results.limits, unit=unit, **about) for unit in (*limits.UNITS, *sides)]
        mine = results.speed(results.throughput, provider="gorsqrt", form="out=", n=L2, **about)
        torch = results.speed(results.throughput, provider="torch", dtype=dtype, form="out=", n=L2)
        limit = min(units[2], copy) if dtype in ("bfloat16", "float16") else units[2]
        yield dtype
        yield from map(number, (*units[:3], limits.PREDICTED_WITHOUT[dtype], *units[3:]))
        yield number(copy if dtype in ("bfloat16", "float16") else float("nan"))
        yield from map(number, (mine, mine / limit, limit / torch))

    header = ("items a ns, avx512", "multipliers", "others", "both", "predicted", *sides, "copy, L2", "gorsqrt, L2")
    asked = [dtype for dtype, *_ in limits.WITHOUT if any(row["dtype"] == dtype for row in results.limits)]
    yield from lines((*header, "gorsqrt / limit", "limit / torch"), (list(row(dtype)) for dtype in asked))


def moved(results):
    """What moving takes at best where an array's items lie apart, beside the whole."""

    def row(layout):
        most = results.speed(results.limits, unit=layout)
        about = {"layout": layout, "dtype": "float32"}
        mine, torch = (results.speed(results.layouts, provider=provider, **about) for provider in ("gorsqrt", "torch"))
        yield layout
        yield from map(number, (most, mine, mine / most, most / torch))

    asked = [layout for layout in limits.MOVES if any(row["unit"] == layout for row in results.limits)]
    header = ("float32, items a ns", "moved only", "gorsqrt", "gorsqrt / moved only", "moved only / torch")
    yield from lines(header, (list(row(layout)) for layout in asked))


def neon(results):
    """What was counted, not measured."""
    columns = ("instructions", "vector", "divider", "memory", "other")
    yield from lines(
        ("instructions an item, neon", "all", *columns[1:]), ([row["dtype"], *map(row.get, columns)] for row in results.neon)
    )


TABLES = {
    "calls": calls,
    "throughput": throughput,
    "targets": targets,
    "predictions": predictions,
    "limits": limited,
    "limits on a Xeon": lambda results: limited(results.xeon),
    "limits without a divider": without_divider,
    "limits of moves": moved,
    "threads": threads,
    "torch paths": torch_paths,
    "torch compiled": torch_compiled,
    "gpu": gpu,
    "neon": neon,
}


def rewritten(text, results):
    """A page with its tables anew."""
    for name, table in TABLES.items():
        mark = f"<!-- bench/report.py: {name} -->\n"
        if mark in text:
            before, _, after = text.split(mark)
            text = before + mark + "\n".join(table(results)) + "\n" + mark + after
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--results", type=Path, help="another folder with CSVs; its tables are printed, its plots drawn into it"
    )
    options = parser.parse_args()
    folder = options.results or HERE / "results"
    results = Results(folder)
    if options.results:
        for name, table in TABLES.items():
            if {"calls": results.calls, "limits on a Xeon": results.xeon.limits}.get(name, results.throughput):
                print(f"\n{name}\n", *table(results), sep="\n")
    else:
        print(*targets(results), sep="\n")
        for page in PAGES:
            page.write_text(rewritten(page.read_text(), results))
    try:
        import plots
    except ImportError as missing:
        print(f"The plots are left as they are: {missing}.")
        return
    for path in plots.draw(results, folder):
        print(f"{path} drawn")


if __name__ == "__main__":
    main()
