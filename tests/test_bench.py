"""bench: the committed tables show the committed results, and the benchmarks run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_double
import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import report

    return report


@pytest.mark.parametrize("page", [BENCH.parent / "README.md", BENCH / "README.md"], ids=["README.md", "bench/README.md"])
def test_tables_are_the_results(report, page):
    text = page.read_text()
    assert text.count("<!-- bench/report.py: ") == (22 if page.parent == BENCH else 4)
    results = report.Results(BENCH / "results")
    assert all((results.calls, results.throughput, results.fresh, results.layouts, results.threads, results.limits))
    assert results.torch_paths
    assert results.torch_compiled
    assert report.rewritten(text, results) == text, "python bench/report.py has not been run since the last measurement"


def test_other_results_give_other_tables(report, tmp_path):
    """The tables are read from the CSVs: with one number changed there, one changes in them."""
    text = (BENCH / "results/calls.csv").read_text()
    line = next(line for line in text.splitlines() if line.startswith("np.sqrt,out=,float32,1,"))
    *about, _, low, high, rest = line.split(",", 7)
    (tmp_path / "calls.csv").write_text(text.replace(line, ",".join([*about, "777.0", low, high, rest])))
    before, after = (list(report.calls(report.Results(folder))) for folder in (BENCH / "results", tmp_path))
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0].startswith("| np.sqrt | ")
    assert "| 777 |" in changed[0]


@pytest.mark.parametrize(("peer", "over"), [("torch", ""), ("np.sqrt", " over np.sqrt")])
def test_the_slowest_layout_is_of_any_dtype(report, tmp_path, peer, over):
    """Against any contender, without the layouts of float32 that have a line of their own."""
    (tmp_path / "layouts.csv").write_text(
        "layout,dtype,provider,per_ns\n"
        f"x[::2],float32,gorsqrt,1\nx[::2],float32,{peer},9\n"
        f"x[::2],float16,gorsqrt,3\nx[::2],float16,{peer},4\n"
        f'"x[:, 0]",float32,gorsqrt,5\n"x[:, 0]",float32,{peer},5\n'
    )
    lines = {line[0]: line[3:7] for line in report.target_lines(report.Results(tmp_path)) if "slowest" in line[0]}
    assert lines.pop(f"the slowest of 2 other layouts{over}: float16 x[::2]") == ["**0.75**", "no", "3", "4"]
    assert [measured for measured, *_ in lines.values()] == ["**-**"]


def test_results_without_a_dtype_are_of_float32(report, tmp_path):
    (tmp_path / "layouts.csv").write_text("layout,provider,per_ns\nx[::2],gorsqrt,6\nx[::2],torch,2\n")
    lines = [line for line in report.target_lines(report.Results(tmp_path)) if line[0] == "x[::2]"]
    assert [line[3:7] for line in lines] == [["**3**", "no", "6", "2"]]


def test_every_result_names_its_machine_and_versions(report):
    ours = report.Results(BENCH / "results")
    for results in (ours, ours.xeon):
        for rows in (results.calls, results.throughput, results.fresh, results.layouts, results.threads, results.limits):
            assert len({row["machine"] for row in rows}) == 1
            assert all(row["machine"] and row["versions"].startswith("gorsqrt ") for row in rows)


# The C programs beside neon.c, which is for aarch64 alone, and the options that they want: moves.c
# calls the kernels.
PROGRAMS = {"complex.c": ["-DSIDE_BY_SIDE=2"], "limits.c": [], "moves.c": None, "streaming_copy.c": []}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_builds(program, report):
    """With all of its symbols, as a library that can be loaded."""
    import contenders

    assert sorted([*PROGRAMS, "neon.c"]) == sorted(path.name for path in BENCH.glob("*.c"))
    options = PROGRAMS[program]
    assert contenders.compiled(program, *(contenders.KERNELS if options is None else options))


@pytest.mark.parametrize("compiler", [cc for cc in ("aarch64-linux-gnu-gcc",) if shutil.which(cc)])
def test_the_program_for_neon_builds(compiler, report, tmp_path):
    import neon

    neon.compiled(str(tmp_path / "neon"))
    assert (tmp_path / "neon").stat().st_mode & 0o100


def test_quick_benchmarks_run(tmp_path):
    """Each gives results, whose times mean nothing here."""
    quick = ["calls", "fresh", "layouts", "limits", "threads", "torch_paths"]  # torch_compiled compiles for minutes
    command = [sys.executable, BENCH, "--quick", "--results", tmp_path, *quick]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "has given no result" not in done.stdout, done.stderr
    assert {path.stem for path in tmp_path.glob("*.csv")} == set(quick)


def test_every_plot_is_referenced_and_there():
    pages = "".join(page.read_text() for page in (BENCH.parent / "README.md", BENCH / "README.md"))
    plots = sorted(path.name for path in (BENCH / "results").glob("*.svg"))
    assert plots == ["calls.svg", "fresh.svg", "layouts.svg", "threads.svg", "throughput.svg", "torch_paths.svg"]
    for name in plots:
        assert f"results/{name})" in pages


def test_gpu_on_the_doubles(report, tmp_path):
    """The code of bench/gpu.py, on small arrays and without torch's kernels. Its times mean
    nothing."""
    code = "import json, gpu; print(json.dumps([*gpu.rows(True, 1 << 14, False)]))"
    environment = cuda_double.torch_environment()
    environment["PYTHONPATH"] += f":{BENCH}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = report.Results(tmp_path)
    assert list(report.gpu(results)) == ["Not measured yet: no GPU was there."]
    results.gpu = [row | {"machine": "none", "versions": "none"} for row in json.loads(done.stdout)]
    assert {row["device"] for row in results.gpu} == {"Test double 0"}
    assert all(0 < float(row["p20"]) <= float(row["median"]) <= float(row["p80"]) for row in results.gpu)
    table = list(report.gpu(results))
    for dtype in ("float16", "bfloat16", "float32", "float64", "complex64", "complex128"):
        assert sum(line.startswith(f"| {dtype} | ") and "| - |" not in line for line in table) == 1
    for form in ("out=", "in place", "fresh"):
        assert sum(line.startswith(f"| gorsqrt, torch tensors, {form} | ") for line in table) == 1
    assert sum(line.startswith("| gorsqrt, replay of a graph | ") for line in table) == 1
    assert not (BENCH / "results/gpu.csv").exists() or "Test double" not in (BENCH / "results/gpu.csv").read_text()


def test_gpu_without_a_device(tmp_path):
    (tmp_path / "libcuda.so.1").touch()  # found before the machine's, if it has one
    environment = {**cuda_double.build(), "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, BENCH / "gpu.py"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gpu: left out, since there is no CUDA device: NVIDIA's driver could not be loaded (")
    assert done.stdout.count("\n") == 1
