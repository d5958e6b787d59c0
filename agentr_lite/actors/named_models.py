"""The user's own list of models: short names for files, directories and servers.

The list is one JSON file in the configuration directory. A name is looked up each time it is used;
a run compares digests, so it notices if a name has come to mean another model.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Generator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from agentr_lite.core.config import config_dir
from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.core.json_values import load_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One name of the list."""

    name: str
    model: str
    """An absolute path of a GGUF file, or a spec such as ``openai:URL#MODEL``."""
    train_model: str = ""
    """Directory of the same weights for training; empty: not known."""
    source: str = ""
    """Where the program downloaded it from, ``REPOSITORY/FILE`` or ``index:PACKAGE==VERSION/FILE``;
    ``copy:SHA256/TYPE`` for a copy of another file; empty: the program did not write it."""
    revision: str = ""
    """Commit of that repository, or version of that package."""
    sha256: str = ""
    """SHA-256 of the file that the program wrote."""


def list_file() -> Path:
    """The path of the list."""
    return config_dir() / "models.json"


def entries() -> dict[str, NamedModel]:
    """All names, sorted.

    Raises:
        ModelError: the file is damaged.
    """
    path = list_file()
    try:
        data = load_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read the list of models {path}: {error}",
            hint="Repair it or delete it; the models themselves are not in it.",
        ) from error
    known = {field.name for field in fields(NamedModel)}
    rows = data.get("models") if isinstance(data, dict) else None
    models: dict[str, NamedModel] = {}
    for name, row in (rows if isinstance(rows, dict) else {}).items():
        usable = isinstance(row, dict) and all(isinstance(value, str) for value in row.values())
        if not usable or not row.get("model"):
            raise ModelError(
                f"the list of models {path} has a damaged entry '{name}'",
                hint="Repair it or delete it; the models themselves are not in it.",
            )
        values = {key: value for key, value in row.items() if key in known}
        models[name] = NamedModel(**(values | {"name": name}))
    return dict(sorted(models.items()))


def find(name: str) -> NamedModel | None:
    """The entry of that name, or None."""
    # A text that cannot be a name needs no look at the disk.
    return entries().get(name) if _NAME.fullmatch(name) else None


def put(entry: NamedModel) -> None:
    """Add or replace an entry.

    Raises:
        UsageError: the name could be taken for a path or an address.
    """
    check_name(entry.name)
    with _locked():
        _write({**entries(), entry.name: entry})


def drop(name: str) -> None:
    """Remove an entry; the files that it names are not touched.

    Raises:
        ModelError: there is none.
    """
    unknown = ModelError(
        f"no model is called '{name}'", hint="`agentr-lite models list` lists the models."
    )
    # A lock leaves a file, and a refused command leaves nothing.
    if name not in entries():
        raise unknown
    with _locked():
        rest = entries()
        if rest.pop(name, None) is None:
            raise unknown
        _write(rest)


def check_name(name: str) -> None:
    """Refuse names that could be taken for something else.

    Raises:
        UsageError: the name could be taken for a path or an address.
    """
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"'{name}' cannot be a model's name",
            hint="Use letters, digits, '.', '_' and '-'; a file's name is not allowed.",
        )


@contextlib.contextmanager
def _locked() -> Generator[None]:
    """Let one process at a time read the list, change it and write it: no entry gets lost."""
    path = list_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    # Beside the list, which each write replaces by another file.
    with path.with_name(f"{path.name}.lock").open("a", encoding="utf-8") as file:
        # Some network file systems have no locks; the list is as safe as it was without one.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(rows: dict[str, NamedModel]) -> None:
    path = list_file()
    plain: dict[str, Any] = {}
    for name, entry in sorted(rows.items()):
        row = asdict(entry)
        del row["name"]
        plain[name] = {key: value for key, value in row.items() if value}
    # The list is written completely or not at all: a full disk must not destroy it.
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"models": plain}, file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(scratch).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise
