"""stdout is for data: only ``data_stream`` leads there, and all else that is printed is narration.

An environment's code prints: when it is imported, in its threads, in ``__del__``, when Python ends,
to ``sys.__stdout__``, to file descriptor 1, and in processes that it starts.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

_data: TextIO | None = None
_narration: TextIO | None = None
_has_data = False


def data_stream() -> TextIO:
    """Where a command writes its data."""
    return sys.stdout if _data is None else _data


def note_data() -> None:
    """Remember that data has been printed: ``--json`` promises a single document."""
    global _has_data
    _has_data = True


def has_data() -> bool:
    """Whether this command has printed data."""
    return _has_data


def keep_stdout_for_data() -> None:
    """Let file descriptor 1, and with it ``sys.__stdout__``, lead to stderr.

    ``sys.stdout`` follows when a command begins (``command_begins``); until then, click prints help
    there. A terminal shows both streams, and there line editing needs the real one.
    """
    global _data, _narration, _has_data
    _has_data = False
    stream = sys.stdout
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return
    try:
        if stream.fileno() != 1:
            return
        stream.flush()
        # Processes that are started do not inherit it.
        data = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return  # one of them is closed
    stream.reconfigure(line_buffering=True)
    _narration = stream
    _data = sys.stdout = io.TextIOWrapper(
        os.fdopen(data, "wb"), encoding=stream.encoding, errors=stream.errors
    )


def command_begins() -> None:
    """From now on, environments may be at work, and what is printed is not data."""
    if _narration is not None:
        sys.stdout = _narration


def release_streams() -> None:
    """Drop what can no longer be written; otherwise the interpreter complains as it ends."""
    for stream in (data_stream(), sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:
            continue  # closed
