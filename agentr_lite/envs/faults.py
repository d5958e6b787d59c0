"""Where in an environment's own code an error was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentr_lite.envs.base import Environment
from agentr_lite.envs.wrappers import ReplayEnvironment


def raised_at(error: BaseException, source: object) -> str:
    """`` (jugs.py:41, in step)``: the innermost line of an environment's own code.

    Its own code is what lies in the folders of its classes, without packages installed there. What
    raised the error may be deeper, in a library that this line called.

    Args:
        error: as caught.
        source: the environment, or the class or function that makes it.

    Returns:
        A text to be added to a message; empty if the error did not come through such a line.
    """
    if isinstance(source, ReplayEnvironment):
        source = source.inner
    folders = {Path(file).resolve().parent for file in _files(source)}
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename).resolve()
        if any(_is_own(file, folder) for folder in folders):
            place = f" ({file.name}:{line}, in {frame.f_code.co_name})"
    return place


def _is_own(file: Path, folder: Path) -> bool:
    if not file.is_relative_to(folder):
        return False
    return not {"site-packages", "dist-packages"} & {*file.relative_to(folder).parts}


def _files(source: object) -> Iterator[str]:
    """The files that define an environment's classes, or the function that makes it."""
    if hasattr(source, "__code__"):
        yield source.__code__.co_filename
        return
    kind = source if isinstance(source, type) else type(source)
    for each in kind.__mro__:
        if each is Environment:
            continue
        for member in vars(each).values():
            function: Any = member.fget if isinstance(member, property) else member
            code = getattr(function, "__code__", None)
            if code is not None:
                yield code.co_filename
                break
