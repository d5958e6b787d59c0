"""A small shop of two kinds of products, written out, for the WebShop tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentr_lite.envs.webshop import Catalogue


def row(asin: str, name: str, **fields: Any) -> dict[str, Any]:
    """A product as the original files have it."""
    return {
        "asin": asin,
        "name": name,
        "full_description": "",
        "small_description": ["Plain."],
        "pricing": "$12.99",
        "images": ["none"],
        "product_category": "Home › Kitchen › Mugs",
        "customization_options": "",
        "category": "kitchen",
        "query": "Mugs ",
        **fields,
    }


def options(**values: list[str]) -> dict[str, Any]:
    """Customization options as the original files have them."""
    return {name: [{"value": value, "image": None} for value in of] for name, of in values.items()}


MUG = row(
    "B000000MUG",
    "Tall Stoneware Mug",
    full_description="Keeps tea hot.",
    small_description=["Dishwasher safe glaze", "Holds a pint"],
    customization_options=options(Color=["Red", "navy/blue"], size=["S ", "XL"]),
    pricing="$8.50 to $11.00",
)
CUP = row("B000000CUP", "Enamel Camping Cup", full_description="Light.", pricing="$1,020.00")
RUG = row(
    "B000000RUG",
    "Woven Wool Rug",
    product_category="Home › Floor › Rugs",
    category="decor",
    query="rugs",
    pricing=None,
    customization_options={"size": None},
)
ROWS = [MUG, CUP, RUG]
KNOWN: dict[str, Any] = {
    "B000000MUG": {
        "attributes": ["lead free", "heat resistant"],
        "instruction": "Find me lead free mugs",
        "instruction_attributes": ["lead free"],
    },
    "B000000CUP": {
        "attributes": ["shatter proof"],
        "instruction": "Find me shatter proof cups",
        "instruction_attributes": ["shatter proof"],
    },
}
WRITTEN: dict[str, Any] = {
    "B000000MUG": [
        {
            "instruction": "i want a red mug without lead.",
            "instruction_attributes": ["lead free"],
            "instruction_options": ["red"],
        },
        {"instruction": "any mug", "instruction_attributes": [], "instruction_options": []},
    ]
}


def shop() -> Catalogue:
    """The catalogue of these products."""
    return Catalogue(ROWS, KNOWN)


def write_files(directory: Path, suffix: str = "_1000") -> Path:
    """These products as the files that the original comes as."""
    for name, data in (
        (f"items_shuffle{suffix}", ROWS),
        (f"items_ins_v2{suffix}", KNOWN),
        ("items_human_ins", WRITTEN),
    ):
        (directory / f"{name}.json").write_text(json.dumps(data), "utf-8")
    return directory
