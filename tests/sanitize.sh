#!/usr/bin/env bash
# sanitize.sh address|threads|counts [quick]: runs tests on an extension that is built aside. The
# one in python/gorsqrt stays.
#
#     address   gcc's address and undefined-behaviour sanitizers, on every tier; they don't see the
#               masked stores of AVX-512
#     threads   gcc's thread sanitizer: the Go tests of cgo and rsqrt, and Python's threads, forks
#               and signals
#     counts    a debug build of CPython, which counts references and checks its arguments:
#               python3.11-dbg, or PYTHON_DEBUG
#
# quick is the part that .ci/run runs.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-} quick=${2:-}
python=.venv/bin/python
aside=$(mktemp -d)
# What the sanitizers report, which pytest would take for the output of a test.
reports=log_path=$aside/report
trap 'cat "$aside"/report.* 2>/dev/null || true; rm -rf "$aside"' EXIT

# build FLAGS…: the extension, built with these flags, in a copy of the package that comes before
# the installed one.
build() {
    cp -r python/gorsqrt "$aside"
    cp python/exports.map python/start.ld "$aside" # from there, since ldflags split at the spaces of a path
    CC=gcc CGO_CFLAGS="-O1 -g -fno-omit-frame-pointer $*" CGO_LDFLAGS="$*" $python python/build.py build -trimpath \
        -buildmode=c-shared -o "$aside/gorsqrt/_gorsqrt.abi3.so" \
        "-ldflags=-extldflags=-Wl,--version-script=$aside/exports.map,-T,$aside/start.ld" ./python/generated
    export PYTHONPATH=$aside
}

# tests LIBRARIES ARGUMENT…: pytest in a Python that loads these libraries of gcc's before
# everything that they look into.
tests() {
    local library preload=
    for library in $1; do preload+="${preload:+:}$(gcc -print-file-name="$library")"; done
    shift
    echo "sanitize.sh $kind: pytest $*"
    $fixed_addresses env LD_PRELOAD="$preload" PYTHONMALLOC=malloc $python -m pytest -q --capture=sys \
        -p no:cacheprovider -p no:faulthandler "$@"
}
fixed_addresses=

has() { grep -qw "$1" /proc/cpuinfo; }
files() { printf 'tests/test_%s.py ' "$@"; }

case $kind in
address)
    build -fsanitize=address,undefined -fno-sanitize-recover=undefined -U_FORTIFY_SOURCE
    # Go and CPython leave memory behind at their end by design, and answer signals themselves.
    export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:use_sigaltstack=0:detect_stack_use_after_return=0:detect_odr_violation=0
    export ASAN_OPTIONS=$ASAN_OPTIONS:allocator_may_return_null=1:$reports UBSAN_OPTIONS=print_stacktrace=1:$reports
    libraries="libasan.so libubsan.so libstdc++.so.6"
    # The first three count the C library's memory, which is not the sanitizer's; its frames are too
    # large for small stacks, and it needs more addresses than resource limits leave, and more
    # memory than a small worker has. It asks the dynamic loader for the frames of every allocation,
    # so that a process that forks beside its threads often has the loader's lock taken.
    possible='not no_leak and not keep_is_counted and not no_growth and not small_stacks and not resource_limits and not dask_worker and not fork_beside_threads'
    each_tier=$(files calls layouts hostile) best=
    if [ -z "$quick" ]; then
        each_tier=$(files calls complex dlpack dtypes hostile layouts threads values)
        # Not among them: what Inductor (torch_compile, inductor, tracers, patch) and bench/ compile
        # is not instrumented; the runtime's double must be preloaded, and so must the sanitizer
        # (gpu, torch_cuda); the sanitizer itself takes more than the limits of memory (limits); the
        # last four build, install, and count.
        best=$(ls tests/test_*.py | grep -Ev '_(torch_(compile|inductor|tracers|patch)|bench|gpu|torch_cuda|torch_cuda_rules|limits|package|build|references|allocation)\.py')
    elif has avx512vl; then
        GORSQRT_ISA=avx512 tests "$libraries" -k "$possible" $each_tier
    fi
    GORSQRT_ISA=scalar tests "$libraries" -k "$possible" $each_tier
    if has avx2; then GORSQRT_ISA=avx2 tests "$libraries" -k "$possible" $each_tier; fi
    if [ -n "$best" ]; then tests "$libraries" -k "$possible" $best; fi
    ;;
threads)
    export TSAN_OPTIONS=halt_on_error=1:report_signal_unsafe=0:die_after_fork=0:$reports
    # gcc's sanitizer wants addresses where it expects them; where the kernel doesn't let it be told
    # so, they mostly are.
    if setarch -R true 2>/dev/null; then fixed_addresses="setarch -R"; fi
    CC=gcc CGO_CFLAGS="-O1 -g -fsanitize=thread" CGO_LDFLAGS=-fsanitize=thread $fixed_addresses $python python/build.py \
        test -count=1 -short -run 'Plan|Threads' ./cgo ./rsqrt
    build -fsanitize=thread
    # Without forks and other libraries' workers: the sanitizer ends a child that starts threads.
    if [ -z "$quick" ]; then
        tests libtsan.so -k 'not no_growth and not small_stacks and not resource_limits and not fork and not worker' $(files threads memory)
    fi
    $fixed_addresses env LD_PRELOAD="$(gcc -print-file-name=libtsan.so)" \
        $python tests/soak.py --no-forks "$([ -n "$quick" ] && echo 0.2 || echo 2)"
    ;;
counts)
    debug=$(command -v "${PYTHON_DEBUG:-python3.11-dbg}") || {
        echo "sanitize.sh counts: there is no ${PYTHON_DEBUG:-python3.11-dbg} (Debian: apt-get install python3.11-dbg)" >&2
        exit 1
    }
    build "-I$($debug -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    .venv/bin/uv venv --quiet --python "$debug" "$aside/venv"
    .venv/bin/uv pip freeze --python $python | grep -E '^(array-api-strict|expecttest|hypothesis|ml-dtypes|numpy|pytest)==' >"$aside/tools"
    .venv/bin/uv pip install --quiet --system-certs --python "$aside/venv/bin/python" --requirements "$aside/tools"
    # Not test_allocation: CPython asserts what it can't keep to when there is no memory for a
    # traceback.
    "$aside/venv/bin/python" -m pytest -q -p no:cacheprovider -k 'not torch' $(files references hostile)
    ;;
*)
    echo "sanitize.sh address|threads|counts [quick]" >&2
    exit 2
    ;;
esac
