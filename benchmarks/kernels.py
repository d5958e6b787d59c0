"""The llama.cpp that the Python sides of a comparison use; a part of ``benchmarks.engine``."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.amx import repacks
from agentr_lite.actors.llamacpp.library import load_library
from benchmarks import tables

_VARIABLE = "LLAMA_CPP_LIB_PATH"
_LIBRARIES = ("llama", "mtmd")
"""The libraries that llama-cpp-python loads."""


def use_library(folder: Path | None) -> None:
    """Let llama-cpp-python load its libraries from a folder; call this before importing it.

    Args:
        folder: a folder with ``libllama`` and ``libmtmd`` of the same llama.cpp; None: use those
            of the package, or of LLAMA_CPP_LIB_PATH if the user has set it.
    """
    if folder is None or os.environ.get(_VARIABLE):
        return
    # The names have llama.cpp's version, because other versions have other structures.
    missing = _library_names(_package_libraries()) - _library_names(folder)
    if missing:
        names = ", ".join(sorted(missing))
        tables.warn(f"{folder} has no {names}: Python uses llama-cpp-python's own llama.cpp")
        return
    os.environ[_VARIABLE] = str(folder.resolve())


def _package_libraries() -> Path:
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("llama-cpp-python is not installed")
    return Path(spec.submodule_search_locations[0]) / "lib"


def _library_names(folder: Path) -> set[str]:
    return {path.name for stem in _LIBRARIES for path in folder.glob(f"lib{stem}.*")}


def python_kernels() -> str:
    """The instructions for which the Python sides' llama.cpp was compiled."""
    text = str(load_library().llama_print_system_info().decode("utf-8", "replace")).strip()
    # A GPU's part comes first; the programs' logs are read from the processor's on.
    return text[max(0, text.find("CPU :")) :]


def let_the_class_agree() -> None:
    """Make llama-cpp-python's class avoid kernels that crash, too."""
    library: Any = load_library()
    default = library.llama_model_default_params
    if not repacks():

        def without_extra_buffers() -> Any:
            params = default()
            params.use_extra_bufts = False
            return params

        library.llama_model_default_params = without_extra_buffers


def describe() -> str:
    """A line about the kernels for the output."""
    whose = "llama-cpp-python's own" if not os.environ.get(_VARIABLE) else "the tools'"
    return (
        f"Python uses {whose} llama.cpp, weights {'' if repacks() else 'not '}repacked;"
        f" {python_kernels()}"
    )


def compare(name: str, kernels: str) -> None:
    """Warn if another side's llama.cpp was compiled for other instructions.

    Args:
        name: of the other side.
        kernels: the other side's description; empty: there is none.
    """
    if not kernels:
        tables.warn(f"{name} does not say which instructions it was compiled for")
        return
    here, there = _features(python_kernels()), _features(kernels)
    if not repacks():
        # AMX is used only for repacked weights.
        here, there = here - {"AMX_INT8"}, there - {"AMX_INT8"}
    if here != there:
        tables.warn(
            f"{name} runs other kernels: only there {sorted(there - here)},"
            f" only here {sorted(here - there)}"
        )


def _features(kernels: str) -> set[str]:
    return set(re.findall(r"([A-Z0-9_]+) = 1", kernels))
