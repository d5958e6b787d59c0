"""Unknown model files are opened in a child process first: llama.cpp aborts on some damaged ones.

The header's check refuses what is known to be wrong. What it overlooks ends a child, and not the
program. A file that was opened is remembered by its SHA-256, together with the library's version.
"""

from __future__ import annotations

from pathlib import Path

from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp.gguf_header import read_header
from agentr_lite.actors.llamacpp.library import library_version
from agentr_lite.actors.llamacpp.remembered import remember, remembered
from agentr_lite.core.child import Child, ChildLost
from agentr_lite.core.config import home
from agentr_lite.core.errors import ModelError

_OWN_FILES = Path(__file__).parents[2]
"""Whoever can change a file in there can change our code as well."""
_LIMIT_S = 120.0
_LEAST_BYTES_PER_S = 20_000_000
"""A file is read once; slow disks are not faster than this."""
_MEMORY_BYTES = 3_000_000_000
"""Beside the file itself: the vocabulary, two small caches, scratch memory."""
_CHILD = "agentr_lite.actors.llamacpp.trial_child"
_MOST_FILES = 1_000

_opened: set[str] = set()
_made: set[str] = set()


def opened_files() -> Path:
    """The list of files that were opened without an accident, one a line."""
    return home() / "opened-models.txt"


def check_opens(path: Path, adapter: Path | None = None) -> None:
    """Open a model in a child process, unless that was done before.

    Args:
        path: a GGUF file whose header was checked.
        adapter: one for it, of which the same holds.

    Raises:
        ModelError: llama.cpp refuses one of the files, or crashes, hangs or grows over it.
    """
    subject = adapter or path
    if subject.resolve().is_relative_to(_OWN_FILES) or file_sha256(subject) in _made:
        return
    names = [file_sha256(file) for file in (path, adapter) if file is not None]
    line = " ".join([*names, library_version()])
    if line in _opened or line in remembered(opened_files()):
        _opened.add(line)
        return
    with_adapter = f" with {path}" if adapter else ""
    try:
        _try(path, adapter)
    except ChildLost as error:
        raise ModelError(
            f"{subject} cannot be used{with_adapter}: llama.cpp {error} when it was opened",
            hint="It is damaged, or made for another llama.cpp. Download or convert it again.",
        ) from error
    _opened.add(line)
    remember(opened_files(), line)


def note_made(path: Path) -> None:
    """Note that this process itself has just written a file, so that it is no unknown one."""
    _made.add(file_sha256(path))


def _try(path: Path, adapter: Path | None) -> None:
    files = read_header(path).metadata.get("split.count", 1)
    # llama.cpp reads the others, too; they are about as large as the first.
    size = path.stat().st_size * (min(max(files, 1), _MOST_FILES) if isinstance(files, int) else 1)
    size += adapter.stat().st_size if adapter is not None else 0
    child = Child(_CHILD, memory_bytes=_MEMORY_BYTES + 2 * size)
    try:
        question = (str(path), str(adapter) if adapter else "")
        refusal: tuple[str, str] | None = child.ask(question, _LIMIT_S + size / _LEAST_BYTES_PER_S)
    finally:
        child.close()
    if refusal is not None:
        message, hint = refusal
        raise ModelError(message, hint=hint)
