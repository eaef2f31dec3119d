#!/usr/bin/env bash
# smoke.sh WHEEL: installs the wheel, and nothing else, into an empty environment of every CPython >= 3.11 of this machine.
set -euo pipefail
wheel=$(realpath "$1")
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tried=" "
for python in $(compgen -c python3 | sort -u | xargs -n1 which -a 2>/dev/null) "$HOME"/.pyenv/versions/*/bin/python3 /opt/python/*/bin/python3; do
    test -x "$python" || continue
    real=$("$python" -c '
import os, sys, sysconfig
fits = sys.version_info >= (3, 11) and sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
print(os.path.realpath(sys.executable) if fits and sys.prefix == sys.base_prefix else "")' 2>/dev/null) || continue
    case "$tried" in *" $real "*) continue ;; esac
    tried="$tried$real "
    "$real" -m venv "$scratch/$$" 2>/dev/null || "$real" -m venv --without-pip "$scratch/$$"
    "${PIP_PYTHON:-../.venv/bin/uv}" pip install --quiet --offline --no-index --python "$scratch/$$/bin/python" "$wheel"
    "$scratch/$$/bin/python" -W error smoke.py
    rm -rf "${scratch:?}/$$"
done
test "$tried" != " " || { echo "no CPython >= 3.11 found" >&2; exit 1; }
