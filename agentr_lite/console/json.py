"""JSON on stdout: valid everywhere and harmless in a terminal."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from agentr_lite.console.text import UNSAFE


def plain(value: Any) -> Any:
    """A value in JSON types: dataclasses as objects, paths as text, NaN and infinity as null.

    Raises:
        TypeError: something that has no JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dump_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON text that is valid everywhere and harmless in a terminal."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else _json_escape(m[0]), text)


def _json_escape(character: str) -> str:
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))
