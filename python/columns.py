"""Lines of comments, docstrings and prose have at most 100 columns: prints those that have more.

Code beside a comment, tables and code in Markdown, formulas and tables that are indented in C's
comments, and the targets of links don't count.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

COLUMNS = 100
TAB = 4
# Somebody else's, or written by a program.
EXCEPT = ("LICENSE", "bench/results/", "cuda/include/", "cuda/ptx/", "python/generated/")


def marked(lines, mark):
    """The lines that are nothing but a comment that begins with this mark."""
    return [n for n, line in enumerate(lines) if line.lstrip().startswith(mark)]


def blocks(lines):
    """The same of C's comments, which go on to their end."""
    inside = False
    for n, line in enumerate(lines):
        begins = line.lstrip().startswith("/*")
        if (inside or begins) and not re.match(r"\s*\*\s{4}", line):
            yield n
            inside = "*/" not in line


def docstrings(lines):
    for node in ast.walk(ast.parse("\n".join(lines))):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            yield from range(node.body[0].lineno - 1, node.body[0].end_lineno)


def prose(lines):
    code = written = False
    for n, line in enumerate(lines):
        if line.startswith("```"):
            code = not code
        elif line.startswith("<!-- bench/report.py"):  # before and after what the report writes
            written = not written
        elif not code and not written and not line.startswith(("|", "    ")):
            lines[n] = re.sub(r"\]\([^)]*\)|^\[[^]]*\]: .*", "", line)
            yield n


def lines_of_prose(path, lines):
    match path.suffix:
        case ".md":
            return prose(lines)
        case ".go":
            return marked(lines, "//")
        case ".c" | ".h" | ".cu":
            return {*marked(lines, "//"), *blocks(lines)}
        case ".py" | ".pyi":
            return {*marked(lines, "#"), *docstrings(lines)}
        case ".sh" | ".toml" | "":
            return marked(lines, "#")
    return ()


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    failed = False
    for name in listed.stdout.split():
        path = Path(name)
        if name.startswith(EXCEPT) or not path.exists():
            continue
        lines = path.read_text().expandtabs(TAB).split("\n")
        for n in sorted(lines_of_prose(path, lines)):
            if len(lines[n]) > COLUMNS:
                print(f"{name}:{n + 1}: {len(lines[n])} columns, at most {COLUMNS} in comments and prose")
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
