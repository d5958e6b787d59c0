"""Finds out whether llama.cpp's AMX kernels, which multiply quantized matrices, are right here.

Builds by GCC 12 crash in them: its ``_tile_loadconfig`` declares only the first 8 of the 64 bytes
as read, so the optimizer drops the rest of the tile configuration. Builds by other compilers are
sound, and so are those by GCC with ``amx_tileconfig.h``. A library does not say how it was built.
So the kernels are tried once, in a child process, against the plain ones.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp.library import library_files, system_info
from agentr_lite.actors.llamacpp.remembered import remember, remembered
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
    libraries = " ".join(dict.fromkeys(map(file_sha256, library_files("ggml-cpu"))))
    known = remembered(tried_libraries())
    for word in (_RIGHT, _WRONG):
        if f"{libraries} {word}" in known:
            return word == _RIGHT
    right = _try()
    remember(tried_libraries(), f"{libraries} {_RIGHT if right else _WRONG}")
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
