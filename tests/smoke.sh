#!/usr/bin/env bash
# smoke.sh WHEEL: installs the wheel, and nothing else, into an empty environment of every CPython
# of this machine from 3.11 on, and tests it.
set -euo pipefail
wheel=$(realpath "$1")
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tried=" "
for python in "$(command -v python3)" /usr/bin/python3.[0-9]* /usr/local/bin/python3.[0-9]* "$HOME"/.pyenv/versions/*/bin/python3; do
    test -x "$python" || continue
    real=$("$python" -c '
import os, sys, sysconfig
if sys.version_info >= (3, 11) and sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print(os.path.realpath(sys.executable))' 2>/dev/null) || continue
    case "$real$tried" in "$tried" | *" $real "*) continue ;; esac
    tried="$tried$real "
    "$real" -m venv --without-pip "$scratch/venv"
    ../.venv/bin/uv pip install --quiet --offline --no-index --python "$scratch/venv/bin/python" "$wheel"
    "$scratch/venv/bin/python" -W error smoke.py
    rm -rf "$scratch/venv"
done
test "$tried" != " " || { echo "no CPython >= 3.11 found" >&2; exit 1; }
