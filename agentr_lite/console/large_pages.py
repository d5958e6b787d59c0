"""Large pages of memory for the commands that compute.

A processor looks up where each page of memory lies. With pages of 4 KiB, a training step and a step
of the attention spend much of their time on that, in a virtual machine above all. Linux has pages
of 2 MiB, which most distributions give to programs that ask for them. glibc asks for all that it
allocates if a setting says so when a process begins. So the process begins once more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.console.interrupts import requests_held

_SETTING = "glibc.malloc.hugetlb"
# Source: glibc's manual, "Memory Allocation Tunables"; 1: ask with madvise.
_ASK = f"{_SETTING}=1"
_FIRST_GLIBC = (2, 35)
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Who gets large pages: ``always``, ``madvise`` (who asks) or ``never``; the present one stands in
square brackets."""

_COMPUTING = frozenset({"run", "study", "imitate", "search", "splice", "train", "eval"})


def computes(arguments: Sequence[str]) -> bool:
    """Whether a command line, the command first, is one that gains by large pages."""
    return bool(arguments) and arguments[0] in _COMPUTING and not {"-h", "--help"} & {*arguments}


def begin_with_large_pages() -> None:
    """Replace this process by one whose memory has large pages, if that needs a setting here.

    It does nothing if the system gives large pages to everybody or to nobody, if glibc is too old
    or missing, or if ``GLIBC_TUNABLES`` already says something about it:
    ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` switches it off.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _SETTING in tunables or not _knows_the_setting() or large_pages() != "madvise":
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{_ASK}" if tunables else _ASK
    # One that comes now must find the handlers of the process that begins.
    requests_held(held=True)
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:
        requests_held(held=False)
        # The command works without them, only more slowly.
        return


def large_pages() -> str:
    """Who gets large pages on this system, see ``MODE``; empty where Linux does not say."""
    try:
        return MODE.read_text("ascii").partition("[")[2].partition("]")[0]
    except OSError:
        return ""


def _knows_the_setting() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return name == "glibc" and tuple(map(int, version.split("."))) >= _FIRST_GLIBC
    except (ValueError, OSError):  # another C library
        return False
