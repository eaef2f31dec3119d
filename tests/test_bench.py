"""bench: the committed tables are the committed results'."""

from pathlib import Path

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
    assert text.count("<!-- bench/report.py: ") == (8 if page.parent == BENCH else 4)
    results = report.Results(BENCH / "results")
    assert all((results.calls, results.throughput, results.fresh, results.layouts, results.threads, results.limits))
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


def test_every_result_names_its_machine_and_versions(report):
    results = report.Results(BENCH / "results")
    for rows in (results.calls, results.throughput, results.fresh, results.layouts, results.threads, results.limits):
        assert all(row["machine"] and row["versions"].startswith("gorsqrt ") for row in rows)


def test_every_plot_is_referenced_and_there():
    pages = "".join(page.read_text() for page in (BENCH.parent / "README.md", BENCH / "README.md"))
    plots = sorted(path.name for path in (BENCH / "results").glob("*.svg"))
    assert plots == ["calls.svg", "fresh.svg", "layouts.svg", "threads.svg", "throughput.svg"]
    for name in plots:
        assert f"results/{name})" in pages
