"""Compiles our own C code where it runs, once for each version of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.core.config import home


def c_source(path: Path) -> str:
    """A C file with the headers of this package in the place of their ``#include``."""
    text = path.read_text("utf-8")
    for header in Path(__file__).parent.glob("*.h"):
        text = text.replace(f'#include "{header.name}"', header.read_text("utf-8"))
    return text


def compiled_library(name: str, source: str, flags: Sequence[str] = ("-O2",)) -> Path:
    """A library of our own C code, from the cache or compiled now.

    Args:
        name: beginning of the file's name.
        source: the code.
        flags: for the compiler; ``-march=native`` is none of them, because the cache may be
            shared with other machines.

    Raises:
        OSError: there is no compiler, or the folder is not writable.
        subprocess.SubprocessError: the compiler fails.
    """
    digest = hashlib.sha256(" ".join([*flags, source]).encode()).hexdigest()[:12]
    folder = Path(os.environ.get("AGENTR_LITE_COMPILED") or home() / "cache")
    library = folder / f"{name}_{sysconfig.get_platform()}_{digest}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / f"{name}.c"
        path.write_text(source)
        made = Path(scratch) / f"{name}.so"
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-shared", "-fPIC", *flags, "-o", str(made), str(path), "-lm"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        # Renaming is atomic, so another process never loads a partial library.
        made.replace(library)
    return library
