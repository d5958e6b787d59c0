"""What a purchase is worth.

    reward = r_type * (attributes matched + options matched + [price within the limit])
                    / (attributes wanted + options wanted + 1)

Source: WebShop (arXiv 2207.01206) section 3 and ``engine/goal.py`` in its repository. Two
differences: nouns of titles are found by ``nouns.title_nouns``, and the options of synthetic goals
are compared by their values (upstream's main branch compares the pair of name and value, so that a
colour such as "titanium", which it normalises to "tan", never matches itself).
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
"""Token set ratios above this count as the same."""

# Source: WebShop's engine/normalize.py.
_PALETTE = word_list("palette")
# thefuzz drops these before comparing.
_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be bought."""

    asin: str
    """The product that the goal was made from; others may do as well."""
    instruction: str
    """The whole wish, as the shop's pages show it."""
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    """Option values, e.g. ``("red", "xl")``."""
    price_limit: float
    """In dollars."""
    category: str
    query: str
    title: str
    product_category: str


@dataclass(frozen=True, slots=True)
class Score:
    """A purchase's reward and where it comes from."""

    reward: float
    """In [0, 1]."""
    type_factor: float
    """1, 0.5, 0.1 or 0: how near the product is in kind."""
    attributes: int
    """Attributes matched."""
    options: int
    """Options matched."""
    price_ok: bool


def score_purchase(product: Product, chosen: Mapping[str, str], goal: Goal) -> Score:
    """What buying a product earns.

    Args:
        product: what is bought.
        chosen: the options chosen, by name.
        goal: what was wanted.
    """
    type_factor = _type_factor(product, goal)
    attributes = _attributes_matched(product, goal.attributes)
    options = _options_matched(chosen.values(), goal.options)
    price_ok = product.price <= goal.price_limit
    wanted = len(goal.attributes) + len(goal.options) + 1
    reward = type_factor * (attributes + options + price_ok) / wanted
    return Score(reward, type_factor, attributes, options, price_ok)


def similar(one: str, other: str) -> bool:
    """Whether two phrases count as the same."""
    return round(fuzz.token_set_ratio(_processed(one), _processed(other))) > MATCH


def same_option(one: str, other: str) -> bool:
    """Whether two option values count as the same: colours by their family."""
    return similar(normalized_color(one), normalized_color(other))


@lru_cache(maxsize=1 << 14)
def normalized_color(text: str) -> str:
    """The first colour of the palette that the text contains, or the text."""
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
