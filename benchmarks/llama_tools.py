"""Builds llama.cpp's own programs from the source of the installed llama-cpp-python.

    python -m benchmarks.llama_tools        # or: make llama-tools

This builds ``llama-server`` and ``llama-batched-bench`` into ``.work/llama-tools/bin``, with shared
libraries that llama-cpp-python can load instead of its own. So every side of a comparison runs the
same kernels. It takes about 10 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from agentr_lite.actors.llamacpp import amx

PACKAGE = "llama-cpp-python"
FOLDER = Path(__file__).parent.parent / ".work" / "llama-tools"
PROGRAMS = ("llama-server", "llama-batched-bench")
_VENDORED = "vendor/llama.cpp/"
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_BUILD_RPATH_USE_ORIGIN": "ON",  # the programs can be moved together with their libraries
    "BUILD_SHARED_LIBS": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # a prebuilt one would be downloaded
    "LLAMA_OPENSSL": "OFF",
}
_HEADER = Path(amx.__file__).with_name("amx_tileconfig.h")
"""Without it, GCC 12 compiles ggml's AMX tiles wrongly."""


def find_tools() -> Path | None:
    """The folder that ``make llama-tools`` wrote, if its programs fit the installed package."""
    if _built_version() != importlib.metadata.version(PACKAGE):
        return None
    folder = FOLDER / "bin"
    return folder if all((folder / name).exists() for name in PROGRAMS) else None


def find_server() -> Path | None:
    """A llama-server: from AGENTR_LITE_LLAMA_SERVER, from ``make llama-tools``, or from PATH."""
    named = os.environ.get("AGENTR_LITE_LLAMA_SERVER")
    if named:
        return Path(named)
    built = find_tools()
    if built is not None:
        return built / "llama-server"
    on_path = shutil.which("llama-server")
    return Path(on_path) if on_path else None


def main() -> None:
    """Build the programs, unless they exist."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.llama_tools",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", type=Path, help=f"{PACKAGE}'s source archive; default: downloaded with pip"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="build even if the programs exist")
    options = parser.parse_args()
    folder = find_tools()
    if folder is None or options.again:
        _build(options.source, options.jobs)
        folder = find_tools()
    print(folder)


def _build(source: Path | None, jobs: int) -> None:
    for program in ("cmake", "cc", "c++"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing: apt install cmake build-essential")
    version = importlib.metadata.version(PACKAGE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch, tempfile.TemporaryDirectory() as plain:
        archive = source or _download(version, Path(scratch))
        tree = _unpack(archive, Path(scratch) / "source")
        build = Path(scratch) / "build"
        settings = dict(_OPTIONS)
        # A space in the repository's path would divide the flags.
        header = shutil.copy(_HEADER, Path(plain) / _HEADER.name)
        flags = ("-include", str(header))
        if _accepts(flags):
            settings |= {f"CMAKE_{language}_FLAGS": " ".join(flags) for language in ("C", "CXX")}
        configured = [f"-D{name}={value}" for name, value in settings.items()]
        _run(["cmake", "-S", str(tree), "-B", str(build), *configured])
        _run(["cmake", "--build", str(build), "-j", str(jobs), "--target", *PROGRAMS])
        target = FOLDER / "bin"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(build / "bin", target, symlinks=True)
    (FOLDER / "version").write_text(version)


def _download(version: str, folder: Path) -> Path:
    """The source archive of the installed version, from pip's package index."""
    # Only this package comes from source; what pip needs to read the archive comes as wheels.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE]
    _run([*command, "--dest", str(folder), f"{PACKAGE}=={version}"])
    return next(folder.glob("*.tar.gz"))


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack llama.cpp from the archive."""
    with tarfile.open(archive) as packed:
        members = [
            member
            for member in packed.getmembers()
            if member.name.partition("/")[2].startswith(_VENDORED)
        ]
        packed.extractall(folder, members, filter="data")
    return next(folder.iterdir()) / _VENDORED


def _accepts(flags: tuple[str, ...]) -> bool:
    """Whether the compiler supports the flags."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    command = ["cc", *flags, "-x", "c", "-E", os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


def _run(command: list[str]) -> None:
    print("+", *command, file=sys.stderr, flush=True)
    # stdout is only for the resulting folder.
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}")


def _built_version() -> str | None:
    try:
        return (FOLDER / "version").read_text()
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
