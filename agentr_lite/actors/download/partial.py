"""The file beside a download's final place that holds what has come so far.

It is locked while a process writes it: a second process would write between the first one's bytes.
The lock ends with the process. What stands at its place and is no plain file is not touched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from agentr_lite.core.errors import AgentrError, ModelError

SUFFIX = ".part"
_ATTEMPTS = 5


class TooLong(ModelError):
    """More bytes came than the file has."""


class Sink:
    """A file opened for writing that takes no byte beyond the declared size.

    Args:
        stream: the open file.
        size: bytes of the whole file.
        what: who sends which file, for messages.
    """

    def __init__(self, stream: IO[bytes], size: int, what: str) -> None:
        self._stream = stream
        self._size = size
        self._what = what

    def write(self, data: bytes) -> int:
        """Append bytes.

        Raises:
            TooLong: the file would become too long; nothing is written.
        """
        if self._stream.tell() + len(data) > self._size:
            raise TooLong(
                f"{self._what} with more than the declared {self._size:,} bytes; what came was"
                " deleted",
                hint="Try again. If this repeats, a proxy or mirror alters the file.",
            )
        return self._stream.write(data)

    def tell(self) -> int:
        """See ``IO``."""
        return self._stream.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        """See ``IO``."""
        return self._stream.seek(place, whence)

    def truncate(self, size: int | None = None) -> int:
        """See ``IO``."""
        return self._stream.truncate(size)


class Partial:
    """A locked partial file; an empty one is deleted at the end.

    Args:
        path: of the file.
        stream: the file, open for reading and writing.
        keep: after an interruption, keep it even if it is empty.
    """

    def __init__(self, path: Path, stream: IO[bytes], *, keep: bool = False) -> None:
        self.path = path
        self.stream = stream
        self._keep = keep

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Bytes that do not fit on the disk any more were reported when they were written.
            with suppress(OSError):
                self.stream.flush()
            interrupted = self._keep and kind is not None and not issubclass(kind, Exception)
            empty = os.fstat(self.stream.fileno()).st_size == 0
            if empty and not interrupted and self._in_place():
                self.path.unlink()
        finally:
            with suppress(OSError):
                self.stream.close()

    @property
    def size(self) -> int:
        """Bytes so far."""
        self.stream.flush()
        return os.fstat(self.stream.fileno()).st_size

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes; the next byte is written after them."""
        self.stream.seek(size)
        self.stream.truncate()

    def finish(self, target: Path) -> None:
        """Give the file its final name."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.path.replace(target)
        for other in target.parent.iterdir():
            # Parts of other versions, which no call would continue.
            if other.name.startswith(f"{target.name}.") and other.name.endswith(SUFFIX):
                _drop_abandoned(other)

    def _in_place(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(self.path.lstat(), os.fstat(self.stream.fileno()))
        return False


def open_partial(path: Path, *, keep: bool = False) -> Partial:
    """Open and lock a partial file; it is made if there is none.

    Args:
        path: of the file.
        keep: see ``Partial``.

    Raises:
        AgentrError: another process writes it, or something else stands in its place.
        OSError: it cannot be opened.
    """
    for _ in range(_ATTEMPTS):
        partial = Partial(path, os.fdopen(_descriptor(path), "r+b"), keep=keep)
        try:
            _lock(partial)
            if partial._in_place():
                partial.stream.seek(0, os.SEEK_END)
                return partial
        except BaseException:
            partial.stream.close()
            raise
        # The other process has finished it in the meantime.
        partial.stream.close()
    raise _busy(path)


def check_target(target: Path) -> None:
    """Refuse to download to a place where something stands that no file can replace.

    Raises:
        AgentrError: it is a directory, a pipe or the like.
    """
    if target.exists() and not target.is_file():
        raise AgentrError(
            f"{target} is not a file, so no download can take its place",
            hint="Move it away, and try again.",
        )


def _descriptor(path: Path) -> int:
    # Without O_NONBLOCK, a pipe would be waited for without end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _strange(path) from error
        raise
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(handle)
        raise _strange(path)
    return handle


def _lock(partial: Partial) -> None:
    try:
        fcntl.flock(partial.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(partial.path) from error
    except OSError as error:
        # Some network file systems have no locks.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _drop_abandoned(path: Path) -> None:
    """Delete a part that no process writes."""
    try:
        with open_partial(path) as partial:
            partial.cut(0)
    except (AgentrError, OSError):
        # In use, or not a part: it stays.
        return


def _busy(path: Path) -> AgentrError:
    return AgentrError(
        f"another process downloads this file now ({path})",
        hint="Wait until it has finished; the same command then finds the file complete.",
    )


def _strange(path: Path) -> AgentrError:
    return AgentrError(
        f"{path} is a link, a folder or a pipe; a download would write there",
        hint="Remove it, and try again.",
    )
