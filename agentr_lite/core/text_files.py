"""Files that a person names, read whole: never a device, which may have no end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def check_ends(path: Path) -> None:
    """Refuse what is no file or pipe.

    Raises:
        OSError: there is nothing, or a device.
    """
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a device, not a file", str(path))


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file.

    Args:
        path: the file.
        encoding: as in ``open``.

    Raises:
        OSError: it cannot be read, or is a device.
        UnicodeDecodeError: it is another text, or none.
    """
    check_ends(path)
    return path.read_text(encoding)
