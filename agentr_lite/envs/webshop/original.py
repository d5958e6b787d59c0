"""Reads WebShop's own data from a user's files.

The directory has ``items_shuffle*.json`` (products), ``items_ins_v2*.json`` (attributes and
instructions) and, for goals written by people, ``items_human_ins.json``. Upstream's ``setup.sh``
downloads these files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from agentr_lite.core.errors import UsageError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.text_files import read_text

GoalKind = Literal["synthetic", "human"]

_PRODUCTS, _ATTRIBUTES, _HUMAN = "items_shuffle", "items_ins_v2", "items_human_ins"
_NO_PICTURE = "none"
"""In place of a picture's address, for products that have none."""


def load_products(products: Path, limit: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Products and their attributes.

    Args:
        products: the file, from ``products_file``.
        limit: number of products, from the start; 0 = all.

    Returns:
        (rows of products, attributes by ASIN).

    Raises:
        UsageError: a file is missing or has another form.
    """
    suffix = products.stem.removeprefix(_PRODUCTS)
    known = products.with_name(f"{_ATTRIBUTES}{suffix}.json")
    if not known.exists():
        # The full attribute file has the attributes of every selection of products.
        known = products.with_name(f"{_ATTRIBUTES}.json")
    rows = _read(products, list)
    return rows[:limit] if limit else rows, _read(known, dict)


def load_human_goals(products: Path) -> dict[str, Any]:
    """The goals that were written by people, by ASIN.

    Args:
        products: the file of products, which is in the same directory.

    Raises:
        UsageError: see ``load_products``.
    """
    return _read(products.with_name(f"{_HUMAN}.json"), dict)


def write_original(
    directory: Path, rows: Sequence[Mapping[str, Any]], known: Mapping[str, Any]
) -> None:
    """Write a catalogue as the files that ``load_products`` reads.

    Args:
        directory: the directory; it is made if it does not exist.
        rows: as in ``items_shuffle.json``.
        known: as in ``items_ins_v2.json``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # The original shop shows the first picture of each product, and fails where there is none.
    rows = [{**row, "images": row.get("images") or [_NO_PICTURE]} for row in rows]
    for name, data in ((_PRODUCTS, rows), (_ATTRIBUTES, known)):
        text = json.dumps(data, ensure_ascii=False, indent=1)
        (directory / f"{name}.json").write_text(text + "\n", "utf-8")


def products_file(place: Path) -> Path:
    """The file of products for a path.

    Args:
        place: the directory, or an ``items_shuffle*.json`` in it.

    Raises:
        UsageError: there is no such file, or several.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise UsageError(
            f"webshop: no directory {place}",
            hint="data_dir must contain items_shuffle*.json and items_ins_v2*.json.",
        )
    files = sorted(place.glob(f"{_PRODUCTS}*.json"))
    if not files:
        raise UsageError(
            f"webshop: no {_PRODUCTS}*.json in {place}",
            hint="The original WebShop's setup.sh downloads it into data/.",
        )
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise UsageError(
            f"webshop: several catalogues in {place}: {names}",
            hint="Name one of these files instead of the directory.",
        )
    return files[0]


def _read(path: Path, kind: type) -> Any:
    try:
        data = load_json(read_text(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"webshop: cannot read {path}: {error}",
            hint=f"{_PRODUCTS}*.json and {_ATTRIBUTES}*.json must be in the same directory, and"
            f" {_HUMAN}.json for goals=human.",
        ) from error
    if not isinstance(data, kind):
        raise UsageError(f"webshop: {path} holds a {type(data).__name__}, not a {kind.__name__}")
    return data
