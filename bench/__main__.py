"""All benchmarks, each in a process of its own, and then the report.

    python bench                        all of them, some minutes
    python bench --quick calls fresh    these two, for less than a minute

A benchmark is a file of this folder with the name.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALL = ("calls", "throughput", "limits", "fresh", "layouts", "threads", "torch_paths", "torch_compiled", "gpu")


def main():
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", metavar="|".join(ALL), help="only these")
    parser.add_argument("--quick", action="store_true", help="a minute instead of some; tables are printed, nothing is written")
    parser.add_argument("--results", type=Path, help="another folder for the CSVs and plots; README stays as it is")
    options = parser.parse_args()
    if unknown := set(options.which) - set(ALL):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.results or (scratch if options.quick else None)
        arguments = ["--results", str(folder)] if folder else []
        for number, name in enumerate(which := options.which or ALL, 1):
            print(f"== {name} ({number} of {len(which)})", flush=True)
            command = [sys.executable, HERE / f"{name}.py", *arguments, *(["--quick"] if options.quick else [])]
            start = time.monotonic()
            if subprocess.run(command).returncode:
                print(f"== {name} has given no result", flush=True)
            print(f"== {time.monotonic() - start:.0f} s", flush=True)
        subprocess.run([sys.executable, HERE / "report.py", *arguments], check=True)


if __name__ == "__main__":
    main()
