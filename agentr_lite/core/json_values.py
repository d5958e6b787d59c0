"""JSON from outside, read with limits: a server's answers and the files of a model.

JSON may be nested as deep as the text is long, and a number may have any number of digits; Python
also reads ``NaN`` and ``Infinity``, which JSON does not have. Such values are refused here, before
anything counts with them or stores them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentr_lite.core.unicode import without_surrogates

MAX_DEPTH = 100
"""Arrays and objects within each other. Tokenizers' files have about ten."""
MAX_VALUES = 20_000_000
"""Values in one text. A vocabulary and its merges have about two million."""
MAX_FILE_BYTES = 256_000_000
"""Of a model's JSON file. The largest tokenizers have 35 MB."""
_MAX_DIGITS = 64
_MAX_INT = 2**63
"""SQLite and GGUF have no larger whole numbers."""


class JsonError(ValueError):
    """A text that is no JSON, or that holds more than any sender has to say; one line."""


def load_json(
    data: str | bytes,
    *,
    most_values: int = MAX_VALUES,
    clean: Callable[[str], str] = without_surrogates,
) -> Any:
    """The value of a JSON text.

    Of several fields with the same name, the last one counts.

    Args:
        data: the text; bytes are UTF-8, with or without a byte order mark.
        most_values: values that it may hold.
        clean: applied to every text and to every name of a field.

    Raises:
        JsonError: no JSON, too many values, too deep, or a number that is too large.
    """
    # Each value but the first one comes after one of these. In texts, they count as well.
    if isinstance(data, str):
        separators = sum(map(data.count, ",[{"))
    else:
        separators = sum(map(data.count, (b",", b"[", b"{")))
    if separators > most_values:
        raise JsonError(f"it holds more than {most_values:,} values")
    try:
        value = json.loads(
            data if isinstance(data, str) else data.decode("utf-8-sig"),
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_constant,
        )
    except JsonError:
        raise
    except RecursionError:
        raise JsonError(f"it is nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not UTF-8 (at byte {error.start:,})") from error
    except ValueError as error:
        raise JsonError(" ".join(str(error).split())) from error
    return _cleaned(value, clean, 0)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: the file cannot be read.
        JsonError: see ``load_json``; or it is too large, or holds something else.
    """
    if path.exists() and not path.is_file():
        # A pipe would be waited for without end.
        raise JsonError("it is not a file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise JsonError(f"it is larger than {MAX_FILE_BYTES:,} bytes")
    value = load_json(data)
    if not isinstance(value, dict):
        raise JsonError("it does not hold a JSON object")
    return value


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise JsonError(f"it holds a number of {len(text):,} digits")
    value = int(text)
    if not -_MAX_INT <= value < _MAX_INT:
        raise JsonError(f"the number {text} has more than 64 bits")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"the number {text[:_MAX_DIGITS]} is too large")
    return value


def _constant(text: str) -> float:
    raise JsonError(f"{text} is not a JSON value")


def _cleaned(value: Any, clean: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        raise JsonError(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list):
        return [_cleaned(item, clean, depth + 1) for item in value]
    return {clean(key): _cleaned(item, clean, depth + 1) for key, item in value.items()}
