"""JSON from a person's or a model's files: what cannot be read is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def load_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: one document; bytes are UTF-8.

    Raises:
        ValueError: no JSON, no UTF-8, nested too deep, or a number of thousands of digits; one
            line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists and objects are nested too deep") from None
