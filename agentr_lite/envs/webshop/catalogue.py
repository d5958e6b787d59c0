"""Products, and what is derived from their raw rows: prices, options, searchable text.

The bundled catalogue and a user's own files have rows of the same schema, which ``Catalogue``
reads.

Source: WebShop's ``engine.load_products`` (github.com/princeton-nlp/WebShop) for the schema and the
meaning of each field.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.envs.webshop.search import SearchIndex

Row = Mapping[str, Any]
"""A product as a row of the files."""

MAX_HITS = 50
PAGE_SIZE = 10
NO_PRICE = 100.0
"""The price of a product without a price."""
NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""The attributes of a product that is not in the attribute file."""
LONGEST_ASIN = 10
_PRICE_SEED = 233
_NOT_PRICE = re.compile(r"[^\d.]")
_HITS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Product:
    """One product, with the texts that the shop shows and the facts that the reward uses."""

    asin: str
    """Its number, ``B0`` and eight more characters."""
    title: str
    description: str
    features: tuple[str, ...]
    """The bullet points."""
    price_tag: str
    """As shown: ``$12.99`` or ``$45.0 to $60.0``."""
    price: float
    """The price to pay, in dollars; for a range, a seeded draw that the shop does not show."""
    options: Mapping[str, tuple[str, ...]]
    """The options by name, e.g. ``{"color": ("navy", "red")}``."""
    attributes: tuple[str, ...]
    """The properties that the reward uses, e.g. ``machine washable``."""
    category: str
    query: str
    """The search term for its kind, e.g. ``water bottles``."""
    product_category: str
    """The path through the departments, joined by ``›``."""
    rating: str = "N.A."

    @property
    def document(self) -> str:
        """The text for the search engine: title, description, first feature, options."""
        options = ", and ".join(f"{name}: {', '.join(of)}" for name, of in self.options.items())
        first = self.features[0] if self.features else ""
        return f"{self.title} {self.description} {first} {options}".lower()

    @property
    def details(self) -> tuple[str, str, str]:
        """Title, features and description in lower case, in which attributes are looked for."""
        return self.title.lower(), " ".join(self.features).lower(), self.description.lower()


class Catalogue:
    """All products of a shop, in their order, and the search engine over them.

    Args:
        rows: the products.
        attributes: by ASIN, ``{"attributes": [...]}`` and more, as in ``items_ins_v2*.json``.
        page_size: number of products on a page of results.

    Raises:
        UsageError: a row lacks one of the required fields.
    """

    def __init__(
        self, rows: Iterable[Row], attributes: Mapping[str, Row], page_size: int = PAGE_SIZE
    ) -> None:
        self.page_size = page_size
        self.products: list[Product] = []
        self.by_asin: dict[str, Product] = {}
        # Upstream draws the price within a range again in each process; here the seed is fixed.
        draw = random.Random(_PRICE_SEED)
        for number, row in enumerate(rows, 1):
            try:
                asin = str(row["asin"])
                if asin == "nan" or len(asin) > LONGEST_ASIN or asin in self.by_asin:
                    continue
                product = _product(row, attributes.get(asin, {}), draw)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise UsageError(
                    f"webshop: product {number} cannot be read:"
                    f" {type(error).__name__} {error} ({str(row)[:60]})",
                    hint="Each product needs asin, name, full_description, small_description,"
                    " pricing, product_category, customization_options, category and query.",
                ) from error
            self.products.append(product)
            self.by_asin[asin] = product
        if not self.products:
            raise UsageError("webshop: a catalogue without products")
        self._hits: dict[str, tuple[Product, ...]] = {}

    @cached_property
    def index(self) -> SearchIndex:
        """The search engine; it is made when it is first used."""
        return SearchIndex([product.document for product in self.products])

    def search(self, query: str) -> tuple[Product, ...]:
        """The best products for a query, at most ``MAX_HITS``, best first."""
        hits = self._hits.get(query)
        if hits is None:
            hits = tuple(self.products[number] for number in self.index.search(query, MAX_HITS))
            if len(self._hits) >= _HITS_KEPT:
                self._hits.clear()
            self._hits[query] = hits
        return hits

    def page(self, query: str, number: int) -> Sequence[Product]:
        """The products on a page of results, counted from 1."""
        return self.search(query)[(number - 1) * self.page_size : number * self.page_size]

    def forget_searches(self) -> None:
        """Forget cached results, so that every query is searched again."""
        self._hits.clear()


def _product(row: Row, known: Row, draw: random.Random) -> Product:
    tag, prices = parse_pricing(row.get("pricing"))
    features = row["small_description"]
    return Product(
        asin=str(row["asin"]),
        title=str(row["name"]),
        description=str(row["full_description"] or ""),
        features=tuple(map(str, features if isinstance(features, list | tuple) else [features])),
        price_tag=tag,
        price=prices[0] if len(prices) == 1 else draw.uniform(prices[0], prices[1]),
        options=parse_options(row["customization_options"]),
        attributes=tuple(known["attributes"]) if "attributes" in known else NO_ATTRIBUTES,
        category=str(row["category"]),
        query=str(row["query"]).lower().strip(),
        product_category=str(row["product_category"]),
    )


def parse_pricing(text: str | None) -> tuple[str, list[float]]:
    """Parse a price or a range of prices.

    Args:
        text: e.g. ``"$12.99"`` or ``"$1,045.00 to $1,060.00"``; an empty text means ``NO_PRICE``.

    Returns:
        (price tag, one price or the range's two ends), in dollars.

    Raises:
        ValueError: the text is not a price.
    """
    numbers = [float(_NOT_PRICE.sub("", part)) for part in (text or "").split("$")[1:]]
    prices = numbers[:2] or [NO_PRICE]
    return " to ".join(f"${price}" for price in prices), prices


def parse_options(raw: Any) -> dict[str, tuple[str, ...]]:
    """Option values by lower-case name, as the shop shows them.

    Args:
        raw: ``{name: [{"value": text}, ...] or None}``, or ``""``, or None.
    """
    options: dict[str, tuple[str, ...]] = {}
    for name, contents in (raw or {}).items():
        if contents is not None:
            options[name.lower()] = tuple(
                choice["value"].strip().replace("/", " | ").lower() for choice in contents
            )
    return options
