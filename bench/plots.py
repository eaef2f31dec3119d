"""Draws the plots of bench/results from the CSVs, for report.py.

Speeds by size are lines over logarithmic axes, with the 20th to 80th percentile shaded. Bars begin
at zero; bars of ratios on a logarithmic axis begin at 1.
"""

import itertools
import textwrap

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "gorsqrt", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})

from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)

# Ours by tier, the best first, in one hue.
TIER_STYLES = (
    {"color": "#08519c", "marker": "o", "linewidth": 2},
    {"color": "#4292c6", "marker": "s"},
    {"color": "#9ecae1", "marker": "^"},
    {"color": "#c6dbef", "marker": "d"},
)

# One colour a provider, in every plot.
STYLES = {
    "gorsqrt": {"color": "#08519c", "marker": "o", "linewidth": 2},
    "gorsqrt, array.array": {"color": "#4292c6", "marker": "s"},
    "gorsqrt, memoryview": {"color": "#9ecae1", "marker": "^"},
    "gorsqrt, torch tensors": {"color": "#6a51a3", "marker": "D"},
    "torch": {"color": "#d94801", "marker": "v"},
    "torch.rsqrt": {"color": "#d94801", "marker": "v"},
    "np.sqrt": {"color": "#74c476", "marker": "<"},
    "1 / np.sqrt": {"color": "#238b45", "marker": "P"},
    "np.reciprocal(np.sqrt)": {"color": "#a1d99b", "marker": "X"},
    "jax.jit(lax.rsqrt)": {"color": "#e7298a", "marker": "p"},
    "numexpr": {"color": "#a6761d", "marker": "*"},
    "numba": {"color": "#e6ab02", "marker": "h"},
    "streaming copy": {"color": "#555555", "linestyle": "--"},
}


def name(row):
    return f"{row['provider']} {row.get('tier', '')}".strip()


def styles(rows):
    """The providers' in these rows, ours by tier before the others."""
    names = dict.fromkeys(name(row) for row in rows)
    tiers = [who for who in names if who.startswith("gorsqrt ")]
    return dict(zip(tiers, itertools.cycle(TIER_STYLES))) | {who: style for who, style in STYLES.items() if who in names}


def by_size(axes, rows, value):
    """A line a provider; value is the column."""
    for who, style in styles(rows).items():
        mine = sorted((row for row in rows if name(row) == who), key=lambda row: int(row["n"]))
        sizes = [int(row["n"]) for row in mine]
        low, middle, high = ([float(row[value + end]) for row in mine] for end in ("_p20", "", "_p80"))
        axes.plot(sizes, middle, label=who, markersize=4, **style)
        axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, linewidth=0)
    powers(axes, rows)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def powers(axes, rows):
    """Sizes as powers of two."""
    sizes = sorted({int(row["n"]) for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"$2^{{{n.bit_length() - 1}}}$" for n in sizes])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def finish(figure, rows, path, note, legend=None):
    """Adds a common legend and a line with the measurement and the machine, and writes the file."""
    width, height = figure.get_size_inches()
    said = textwrap.fill(f"{note} {rows[0]['machine']}; {rows[0]['versions']}.", int(width * 17))
    figure.text(0.5, 0.05 / height, said, fontsize=7, color="#444444", ha="center", va="bottom")
    bottom = 0.15 + 0.13 * (said.count("\n") + 1)  # inches
    if legend:
        handles, labels = legend
        columns = min(len(labels), int(width / 2.1))
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, bottom / height)}
        figure.legend(handles, labels, ncols=columns, frameon=False, **place)
        bottom += 0.15 + 0.2 * -(-len(labels) // columns)
    figure.get_layout_engine().set(rect=(0, bottom / height, 1, 1 - bottom / height))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def labels_of(all_axes):
    found = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    ordered = sorted(found, key=lambda who: list(STYLES).index(who) if who in STYLES else -1)  # our tiers come first
    return [found[label] for label in ordered], ordered


def throughput(rows, path):
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    figure, grid = plt.subplots(2, -(-len(dtypes) // 2), figsize=(14, 8), layout="constrained", squeeze=False)
    for axes, dtype in zip(grid.flat, dtypes, strict=False):
        by_size(axes, [row for row in rows if row["dtype"] == dtype and row["form"] == "out="], "per_ns")
        axes.set_title(dtype + (" → float32" if dtype.startswith("int") else ""))
        axes.set_xlabel("items")
        axes.set_ylabel("items a nanosecond")
    figure.suptitle("1/√x into out=, one thread: more is better")
    note = "Whole calls from Python: medians, 20th to 80th percentile shaded; both axes logarithmic. jax makes fresh results."
    return finish(figure, rows, path, note, labels_of(grid.flat))


def calls(rows, path):
    forms = ("in place", "out=", "fresh")
    figure, grid = plt.subplots(1, 3, figsize=(13, 5), layout="constrained", sharey=True)
    for axes, form in zip(grid, forms, strict=True):
        by_size(axes, [row for row in rows if row["form"] == form], "ns")
        axes.set_title(form)
        axes.set_xlabel("items of float32")
    grid[0].set_ylabel("nanoseconds a call")
    figure.suptitle("What one call from Python costs: less is better")
    return finish(figure, rows, path, "Medians, 20th to 80th percentile shaded; both axes logarithmic.", labels_of(grid))


def bars(axes, places, rows, color, label, hatch=None, width=0.2):
    """Bars from zero with their spread."""
    middle = [float(row["per_ns"]) for row in rows]
    # A median lies between its percentiles, but for the digits that are written.
    low = [max(0, m - float(row["per_ns_p20"])) for m, row in zip(middle, rows, strict=True)]
    high = [max(0, float(row["per_ns_p80"]) - m) for m, row in zip(middle, rows, strict=True)]
    axes.bar(
        places,
        middle,
        width,
        color=color,
        label=label,
        hatch=hatch,
        edgecolor="white",
        yerr=(low, high),
        ecolor="#333333",
        capsize=2,
    )
    for place, m, above in zip(places, middle, high, strict=True):
        axes.annotate(
            f"{m:.2f}", (place, m + above), ha="center", va="bottom", fontsize=7, xytext=(0, 1), textcoords="offset points"
        )


def fresh(rows, path):
    series = {
        ("gorsqrt", "repeated"): ("#08519c", None),
        ("gorsqrt", "first touch"): ("#6baed6", None),
        ("torch", "repeated"): ("#d94801", None),
        ("1 / np.sqrt", "repeated"): ("#238b45", None),
        ("gorsqrt", "out="): ("#08519c", "///"),
        ("torch", "out="): ("#d94801", "///"),
    }
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    sizes = sorted({int(row["mib"]) for row in rows})
    for i, ((provider, form), (color, hatch)) in enumerate(series.items()):
        mine = [
            row for mib in sizes for row in rows if (row["provider"], row["form"], int(row["mib"])) == (provider, form, mib)
        ]
        if mine:
            kind = "" if provider != "gorsqrt" and form == "repeated" else f", {form}"
            kind = kind.replace("out=", "into out=, for comparison")
            bars(axes, [k + 0.14 * (i - 2.5) for k in range(len(mine))], mine, color, provider + kind, hatch, 0.13)
    axes.set_xticks(range(len(sizes)), [f"{mib} MiB" for mib in sizes])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("items of float32 a nanosecond")
    axes.set_title("Results in fresh memory, one thread: more is better")
    note = (
        "Medians with 20th and 80th percentile. First touch: the kept memory is given back before each call, as torch's and "
        "numpy's always is."
    )
    return finish(figure, rows, path, note, axes.get_legend_handles_labels())


# Of the layouts' dtypes but float32.
DTYPES = {
    "float64": {"color": "#6a51a3", "marker": "o"},
    "float16": {"color": "#238b45", "marker": "s"},
    "bfloat16": {"color": "#e6ab02", "marker": "D"},
    "complex64": {"color": "#e7298a", "marker": "^"},
    "complex128": {"color": "#a6761d", "marker": "v"},
}


def over_torch(axes, layouts):
    """A logarithmic axis of ratios, and a line a layout."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_ylim(-0.7, len(layouts) - 0.3)
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_xlabel("gorsqrt's speed over torch's (logarithmic)")


def layouts(rows, path):
    speed = {(row["provider"], row["dtype"], row["layout"]): float(row["per_ns"]) for row in rows}
    ratios = {
        (dtype, layout): speed["gorsqrt", dtype, layout] / theirs
        for (provider, dtype, layout), theirs in speed.items()
        if provider == "torch"
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 10), layout="constrained", width_ratios=(3, 2))
    ordered = sorted((layout for dtype, layout in ratios if dtype == "float32"), key=lambda layout: ratios["float32", layout])
    values = [ratios["float32", layout] for layout in ordered]
    left.barh(
        ordered, [value - 1 for value in values], left=1, color=["#08519c" if value >= 1 else "#d94801" for value in values]
    )
    for layout, value in zip(ordered, values, strict=True):
        said = f"{value:.2f}   ({speed['gorsqrt', 'float32', layout]:.2f} : {speed['torch', 'float32', layout]:.2f})"
        left.annotate(said, (max(value, 1), layout), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    over_torch(left, ordered)
    left.set_xlim(min(0.5, *values), max(values) * 2.5)
    left.grid(axis="y", visible=False)
    left.set_title("float32")
    others = list(dict.fromkeys(layout for dtype, layout in ratios if dtype != "float32"))[::-1]
    for dtype, style in DTYPES.items():
        mine = [layout for layout in others if (dtype, layout) in ratios]
        if mine:
            right.plot([ratios[dtype, layout] for layout in mine], mine, linestyle="", label=dtype, **style)
            right.set_title("The other dtypes")
            right.legend(loc="upper left", bbox_to_anchor=(1, 1))  # beside the marks
    over_torch(right, others)
    figure.suptitle("Input and output of many layouts, one thread: right of 1 is faster")
    more = {layout for provider, dtype, layout in speed if dtype == "float32"} - set(ordered)
    note = (
        f"Medians; in brackets items a nanosecond, gorsqrt : torch. {len(more)} more have negative strides, which torch hasn't."
    )
    return finish(figure, rows, path, note)


def threads(rows, path):
    rows = [row for row in rows if row["form"] == "hot"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    sizes = sorted({int(row["n"]) for row in rows})
    for provider, color in (("gorsqrt", "#08519c"), ("torch", "#d94801")):
        mine = {int(row["threads"]): [] for row in rows if row["provider"] == provider}
        for count in mine:
            mine[count] = [
                r for n in sizes for r in rows if (r["provider"], int(r["threads"]), int(r["n"])) == (provider, count, n)
            ]
            low, middle, high = ([float(row["per_ns" + end]) for row in mine[count]] for end in ("_p20", "", "_p80"))
            style = {"linestyle": "-" if count == 2 else "--", "marker": "o" if count == 2 else "s"}
            left.plot(sizes, middle, color=color, markersize=4, label=f"{provider}, {count} thread{'s' * (count > 1)}", **style)
            left.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
        if mine:
            scaling = [float(two["per_ns"]) / float(one["per_ns"]) for one, two in zip(mine[1], mine[2], strict=True)]
            right.plot(sizes, scaling, color=color, marker="o", markersize=4, label=provider)
    for axes in (left, right):
        powers(axes, rows)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("items of float32")
        axes.legend()
    right.axhline(1, color="#333333", linewidth=1)
    right.set_ylim(top=max(2.2, right.get_ylim()[1]))
    left.set_ylabel("items a nanosecond")
    right.set_ylabel("two threads over one")
    left.set_title("Speed into out=, helpers awake")
    right.set_title("Scaling")
    return finish(
        figure, rows, path, "Medians, 20th to 80th percentile shaded on the left; sizes logarithmic, speeds from zero."
    )


DTYPE_COLORS = {
    "float32": "#08519c",
    "float64": "#6baed6",
    "float16": "#d94801",
    "bfloat16": "#fd8d3c",
    "complex64": "#238b45",
    "complex128": "#a1d99b",
}


def torch_paths(rows, path):
    """A path a line, a dot a dtype: torch's time over ours."""
    sizes = sorted({int(row["n"]) for row in rows})
    names = list(dict.fromkeys(row["path"] for row in rows))[::-1]
    figure, grid = plt.subplots(1, len(sizes), figsize=(11, 6), layout="constrained", sharey=True, squeeze=False)
    for axes, n in zip(grid[0], sizes, strict=True):
        for dtype, color in DTYPE_COLORS.items():
            ns = {
                (row["path"], row["provider"]): float(row["ns"]) for row in rows if (row["dtype"], int(row["n"])) == (dtype, n)
            }
            ratios = {name: ns[name, "torch"] / ns[name, "gorsqrt"] for name in names if (name, "torch") in ns}
            axes.scatter(ratios.values(), [names.index(name) for name in ratios], 22, color=color, label=dtype, zorder=2)
        axes.axvline(1, color="#333333", linewidth=1, zorder=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.set_title(f"{n} items" if n < 1000 else f"$2^{{{n.bit_length() - 1}}}$ items")
        axes.set_xlabel("gorsqrt's speed over torch's (logarithmic)")
    grid[0][0].set_yticks(range(len(names)), names)
    figure.suptitle("A model's tensors, one thread: right of 1 is faster")
    handles, labels = grid[0][0].get_legend_handles_labels()
    return finish(figure, rows, path, "Medians of calls in turn.", (handles, labels))


def draw(results, folder):
    """Draws what was measured; the paths."""
    for plot in (throughput, calls, fresh, layouts, threads, torch_paths):
        rows = getattr(results, plot.__name__)
        if rows:
            yield plot(rows, folder / f"{plot.__name__}.svg")
