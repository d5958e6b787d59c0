"""Finds out whether llama.cpp's AMX kernels, which multiply quantized matrices, are right here.

Builds by GCC 12 crash in them: its ``_tile_loadconfig`` declares only the first 8 of the 64 bytes
as read, so the optimizer drops the rest of the tile configuration. Builds by other compilers are
sound, and so are those by GCC with ``amx_tileconfig.h``. A library does not say how it was built.
So the kernels are tried once, in a child process, against the plain ones.
"""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp.library import library_files, system_info
from agentr_lite.core.child import Child, ChildLost
from agentr_lite.core.config import home

_CHILD = "agentr_lite.actors.llamacpp.amx_child"
_LIMIT_S = 60.0
_MEMORY_BYTES = 2_000_000_000
_RIGHT, _WRONG = "right", "wrong"


def has_amx() -> bool:
    """Whether llama.cpp was compiled with kernels for AMX, which only AMX processors have."""
    return system_info().get("AMX_INT8", False)


@cache
def repacks() -> bool:
    """Whether llama.cpp may rearrange quantized weights for its faster kernels, AMX among them."""
    if not has_amx():
        return True
    digest = "".join(file_sha256(file) for file in library_files("ggml-cpu"))
    known = {f"{digest[:16]} {word}": word == _RIGHT for word in (_RIGHT, _WRONG)}
    with contextlib.suppress(OSError):
        for line in tried_libraries().read_text("utf-8", "replace").splitlines():
            if line in known:
                return known[line]
    right = _try()
    with contextlib.suppress(OSError):
        # A home that cannot be written costs another trial, no more.
        home().mkdir(parents=True, exist_ok=True)
        # Appending less than a page is one step, whoever else does it.
        with tried_libraries().open("a", encoding="utf-8") as file:
            file.write(f"{digest[:16]} {_RIGHT if right else _WRONG}\n")
    return right


def tried_libraries() -> Path:
    """The list of the libraries whose kernels were tried, with the outcome, one a line."""
    return home() / "tried-libraries.txt"


def _try() -> bool:
    starter = Path(__file__).parents[2] / "starter" / "model" / "starter.gguf"
    child = Child(_CHILD, memory_bytes=_MEMORY_BYTES)
    try:
        return bool(child.ask(str(starter), _LIMIT_S))
    except ChildLost:
        return False
    finally:
        child.close()
