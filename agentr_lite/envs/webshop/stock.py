"""The bundled catalogue: seeded code makes it from ``data/stock.txt``, the same everywhere.

Its rows have the original files' schema, so the bundled shop and a user's own files are handled in
the same way. The tests check a digest of the result, because a changed catalogue would change every
task.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, TypeVar

from agentr_lite.core.errors import UsageError

PRODUCTS_A_KIND = 10
ATTRIBUTES_A_PRODUCT = 4
_ASIN_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_LONGEST_GOAL = 3
_WRITTEN = {"And": "and", "In": "in", "Of": "of", "On": "on", "The": "the", "To": "to"}
_WRITTEN |= {"Bpa": "BPA", "Gmo": "GMO", "Led": "LED", "Usb": "USB", "Uv": "UV"}
_RANGE_SHARE = 0.25
"""Share of the products that have a range of prices."""
_WISHES = (
    "Find me {attributes} {query}",
    "I am looking for {query}, {attributes}",
    "I need {attributes} {query}",
    "Show me {query}: {attributes}",
    "I want to buy {query} ({attributes})",
)

_Item = TypeVar("_Item")


@dataclass(slots=True)
class Kind:
    """One kind of product in the stock list."""

    query: str
    """The kind's plural, which is also its search term."""
    title: str
    prices: tuple[int, int]
    """Lowest and highest, in dollars."""
    department: tuple[str, str, str]
    """Category, department, shelf."""
    extras: list[str]
    uses: list[str]
    options: list[tuple[str, str, int, int]]
    """(name, set of values, least number of values, largest number of values)."""
    attributes: list[str]


@dataclass(slots=True)
class Stock:
    """The stock list."""

    brands: list[str] = field(default_factory=list)
    sets: dict[str, list[str]] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)
    """The sentences about attributes, by attribute."""
    kinds: list[Kind] = field(default_factory=list)


class Dice:
    """Draws that depend only on a key.

    Python guarantees the same sequence in all versions only for ``random.Random.random``.
    """

    def __init__(self, key: str) -> None:
        self._next = random.Random(key).random

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit - 1``."""
        return int(self._next() * limit)

    def pick(self, items: Sequence[_Item]) -> _Item:
        """One of ``items``."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[_Item], count: int) -> list[_Item]:
        """``count`` different ones of ``items``, in random order."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest)))]

    def chance(self, share: float) -> bool:
        """True in ``share`` of the cases."""
        return self._next() < share


def read_stock(text: str) -> Stock:
    """Read a stock list in the notation of ``data/stock.txt``.

    Raises:
        UsageError: a line cannot be read; the message has its number.
    """
    stock = Stock()
    category = department = ""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        word, _, rest = line.partition(" ")
        try:
            if not line.strip() or line.startswith("#"):
                continue
            if word == "brands":
                stock.brands = _listed(rest.lstrip("= "), ", ")
            elif word in ("set", "attribute"):
                name, _, value = (part.strip() for part in rest.partition("="))
                if word == "set":
                    stock.sets[name] = _listed(value, ", ")
                else:
                    stock.sentences[name] = value
            elif word == "category":
                category, _, department = (part.strip() for part in rest.partition("="))
            elif word == "kind":
                block = [next(lines)[1] for _ in range(4)]
                stock.kinds.append(_kind(rest, block, (category, department)))
            else:
                raise ValueError(f"{word!r} does not start an entry")
        except (ValueError, StopIteration) as error:
            problem = str(error) or "ends too early"
            raise UsageError(f"stock list, line {number}: {problem}") from error
    return stock


def _kind(head: str, block: Sequence[str], where: tuple[str, str]) -> Kind:
    query, title, prices, shelf = _listed(head, " | ")
    low, _, high = prices.partition("-")
    extras, uses, options, attributes = block
    axes = []
    for axis in _listed(options, ", "):
        *name, values, amount = axis.split()
        least, _, most = amount.partition("-")
        axes.append((" ".join(name), values, int(least), int(most)))
    return Kind(
        query,
        title,
        (int(low), int(high)),
        (*where, shelf),
        _listed(extras, "; "),
        _listed(uses, "; "),
        axes,
        _listed(attributes, ", "),
    )


def _listed(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator)]


@lru_cache(maxsize=1)
def bundled_stock() -> Stock:
    """The bundled stock list."""
    return read_stock(resources.files(__package__).joinpath("data/stock.txt").read_text("utf-8"))


def bundled_rows() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Make the bundled catalogue; see ``made_rows``."""
    return made_rows("webshop")


def made_rows(key: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Make a catalogue of the stock list's kinds of products.

    Args:
        key: the key of the draws; another key gives other products of the same kinds.

    Returns:
        (rows as in ``items_shuffle*.json``, attributes by ASIN as in ``items_ins_v2*.json``).
    """
    stock = bundled_stock()
    made: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for kind in stock.kinds:
        dice = Dice(f"{key}/{kind.query}")
        for _ in range(PRODUCTS_A_KIND):
            asin = _asin(dice)
            while asin in made:
                asin = _asin(dice)
            made[asin] = _product(stock, kind, dice, asin)
    # Sorted by ASIN, which is as good as shuffled.
    order = sorted(made)
    return [made[asin][0] for asin in order], {asin: made[asin][1] for asin in order}


def _asin(dice: Dice) -> str:
    return "B0" + "".join(dice.pick(_ASIN_LETTERS) for _ in range(8))


def _product(
    stock: Stock, kind: Kind, dice: Dice, asin: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    brand = dice.pick(stock.brands)
    attributes = dice.sample(kind.attributes, ATTRIBUTES_A_PRODUCT)
    options = {
        name: _chosen(stock.sets[values], least, most, dice)
        for name, values, least, most in kind.options
    }
    extra = dice.pick(kind.extras)
    uses = dice.sample(kind.uses, 2)
    category, department, shelf = kind.department
    features = [f"{name.capitalize()}. {stock.sentences[name]}" for name in attributes]
    row = {
        "asin": asin,
        "name": _title(kind, brand, extra, attributes, uses, dice),
        "full_description": _description(kind, brand, extra, uses, dice),
        "small_description": dice.sample([*features, _choice_line(options)], 9),
        "pricing": _pricing(kind, dice),
        "images": [],
        "product_category": f"{department} › {shelf} › {_headline(kind.query)}",
        "customization_options": {
            name: [{"value": value, "image": None} for value in values]
            for name, values in options.items()
        },
        "category": category,
        "query": kind.query,
    }
    wanted = attributes[: 2 + dice.below(_LONGEST_GOAL - 1)]
    wish = dice.pick(_WISHES).format(attributes=", ".join(wanted), query=kind.query)
    known = {
        "attributes": sorted(attributes),
        "instruction": wish,
        "instruction_attributes": wanted,
    }
    return row, known


def _chosen(values: Sequence[str], least: int, most: int, dice: Dice) -> list[str]:
    """Some of the values, in their own order."""
    kept = set(dice.sample(values, least + dice.below(most - least + 1)))
    return [value for value in values if value in kept]


def _title(
    kind: Kind, brand: str, extra: str, attributes: Sequence[str], uses: Sequence[str], dice: Dice
) -> str:
    """A title, which has some of the attributes; the features have all of them."""
    # Extras like "with Glass Lid" follow the noun; extras like "Round" precede it.
    noun = f"{kind.title} {extra}" if extra[0].islower() else f"{extra} {kind.title}"
    first, second, third = (_headline(name) for name in dice.sample(attributes, 3))
    pattern = dice.below(4)
    if pattern == 0:
        return f"{brand} {noun}, {first}, {second}"
    if pattern == 1:
        return f"{first} {noun} for {_headline(uses[0])} by {brand}"
    if pattern == 2:
        return f"{brand} {first} {noun} - {second}, {third}"
    return f"{brand} {noun} for {_headline(uses[0])}, {first}"


def _description(kind: Kind, brand: str, extra: str, uses: Sequence[str], dice: Dice) -> str:
    what = f"{kind.title} {extra}" if extra[0].islower() else f"{extra} {kind.title}"
    first, second = uses
    opening = dice.pick(
        (
            f"{what}, made by {brand} for {first} and {second}.",
            f"Meant for {first}, at home with {second}: {what} of the house of {brand}.",
            f"Whoever thinks of {first} thinks of {kind.query}; this one suits {second}, too.",
            f"{what} with no fear of {second}, drawn up with {first} in mind.",
        )
    )
    closing = dice.pick(
        (
            f"{brand} answers for it for two years.",
            "Sent in plain cardboard, without plastic.",
            "Leaflet in five languages inside the box.",
            f"A small firm stands behind it: {brand}.",
            "If it does not suit you, send it back within a month.",
        )
    )
    return f"{opening} {closing}"


def _headline(text: str) -> str:
    """Capitalise every word but small ones; acronyms keep their usual form."""
    return " ".join(_WRITTEN.get(word, word) for word in string.capwords(text).split())


def _choice_line(options: dict[str, list[str]]) -> str:
    """A feature that lists the numbers of options."""
    counted = " and ".join(f"{len(values)} for {name}" for name, values in options.items())
    return f"To choose from: {counted}." if counted else "Comes in one version."


def _pricing(kind: Kind, dice: Dice) -> str:
    low, high = kind.prices
    dollars = low + dice.below(high - low)
    ending = dice.pick((99, 99, 49, 95, 0))
    if not dice.chance(_RANGE_SHARE):
        return f"${dollars}.{ending:02d}"
    return (
        f"${dollars}.{ending:02d} to ${dollars + 1 + dice.below(max(2, dollars // 3))}.{ending:02d}"
    )
