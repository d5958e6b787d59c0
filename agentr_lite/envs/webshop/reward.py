"""The reward of a purchase.

    reward = r_type * (matched attributes + matched options + [price within the limit])
                    / (wanted attributes + wanted options + 1)

There are two differences from upstream. ``nouns.title_nouns`` finds the nouns of titles. The
options of synthetic goals are compared by their values; upstream's main branch compares pairs of
name and value, so that a colour such as "titanium", which it normalises to "tan", never matches
itself.

Source: WebShop (arXiv 2207.01206) section 3 and ``engine/goal.py`` in its repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz, utils

from agentr_lite.envs.webshop.catalogue import Product
from agentr_lite.envs.webshop.nouns import title_nouns
from agentr_lite.envs.webshop.words import word_list

MATCH = 85
"""Texts with a token set ratio above this count as the same."""

# Source: WebShop's engine/normalize.py.
_PALETTE = word_list("palette")
# thefuzz removes these before it compares texts.
_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a purchase."""

    asin: str
    """The product from which the goal was made; other products may earn as much."""
    instruction: str
    """The instruction on the shop's pages."""
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    """Option values, e.g. ``("red", "xl")``."""
    price_limit: float
    """The price limit in dollars."""
    category: str
    query: str
    title: str
    product_category: str


@dataclass(frozen=True, slots=True)
class Score:
    """A purchase's reward and its parts."""

    reward: float
    """In [0, 1]."""
    type_factor: float
    """1, 0.5, 0.1 or 0: the similarity of the product's kind."""
    attributes: int
    """Number of matched attributes."""
    options: int
    """Number of matched options."""
    price_ok: bool


def score_purchase(product: Product, chosen: Mapping[str, str], goal: Goal) -> Score:
    """The reward of buying a product.

    Args:
        product: the product.
        chosen: the chosen options, by name.
        goal: the customer's goal.
    """
    type_factor = _type_factor(product, goal)
    attributes = _attributes_matched(product, goal.attributes)
    options = _options_matched(chosen.values(), goal.options)
    price_ok = product.price <= goal.price_limit
    wanted = len(goal.attributes) + len(goal.options) + 1
    reward = type_factor * (attributes + options + price_ok) / wanted
    return Score(reward, type_factor, attributes, options, price_ok)


def similar(left: str, right: str) -> bool:
    """Whether two phrases count as the same."""
    return round(fuzz.token_set_ratio(_processed(left), _processed(right))) > MATCH


def same_option(left: str, right: str) -> bool:
    """Whether two option values count as the same; colours are compared by their family."""
    return similar(normalized_color(left), normalized_color(right))


@lru_cache(maxsize=1 << 14)
def normalized_color(text: str) -> str:
    """The first colour of the palette that the text contains, or else the text."""
    return next((color for color in _PALETTE if color in text), text)


@lru_cache(maxsize=1 << 14)
def _processed(text: str) -> str:
    return utils.default_process(text.translate(_LATIN_1))


def _type_factor(product: Product, goal: Goal) -> float:
    wanted = title_nouns(goal.title)
    shared = len(set(wanted) & set(title_nouns(product.title)))
    title_score = shared / len(wanted) if wanted else 0.2
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    alike = (
        product.query == goal.query
        or len(_departments(product.product_category) & _departments(goal.product_category)) >= 2
        or title_score > 0.2
    )
    return 1.0 if alike else 0.5


def _departments(path: str) -> set[str]:
    return {part.strip() for part in path.split("›")}


def _attributes_matched(product: Product, wanted: Iterable[str]) -> int:
    return sum(
        any(similar(own, attribute) for own in product.attributes)
        or any(attribute in text for text in product.details)
        for attribute in wanted
    )


def _options_matched(chosen: Iterable[str], wanted: Iterable[str]) -> int:
    values = list(chosen)
    return sum(any(same_option(value, option) for value in values) for option in wanted)
