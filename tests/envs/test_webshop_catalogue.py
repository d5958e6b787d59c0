"""What becomes of a product's raw fields."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.envs.webshop import Catalogue
from agentr_lite.envs.webshop.catalogue import parse_options, parse_pricing
from agentr_lite.envs.webshop.original import load_products, write_original
from tests.support.webshop_case import CUP, KNOWN, MUG, ROWS, row, shop


@pytest.mark.parametrize(
    ("text", "tag", "prices"),
    [
        ("$12.99", "$12.99", [12.99]),
        ("$45.00", "$45.0", [45.0]),
        ("$8.50 to $11.00", "$8.5 to $11.0", [8.5, 11.0]),
        ("$1,020.00", "$1020.0", [1020.0]),
        ("$1 - $2 - $3", "$1.0 to $2.0", [1.0, 2.0]),
        (None, "$100.0", [100.0]),
        ("", "$100.0", [100.0]),
    ],
)
def test_pricing(text: str | None, tag: str, prices: list[float]) -> None:
    assert parse_pricing(text) == (tag, prices)


def test_option_values_are_shown_in_lower_case_with_bars_for_slashes() -> None:
    assert shop().by_asin["B000000MUG"].options == {
        "color": ("red", "navy | blue"),
        "size": ("s", "xl"),
    }
    assert parse_options("") == parse_options(None) == parse_options({"size": None}) == {}


def test_the_searched_text_is_title_description_first_feature_and_options() -> None:
    assert shop().by_asin["B000000MUG"].document == (
        "tall stoneware mug keeps tea hot. dishwasher safe glaze"
        " color: red, navy | blue, and size: s, xl"
    )


def test_a_price_within_a_range_is_drawn_once_and_for_all() -> None:
    price = shop().by_asin["B000000MUG"].price
    assert price == shop().by_asin["B000000MUG"].price == random.Random(233).uniform(8.5, 11.0)


def test_what_the_attribute_file_does_not_know() -> None:
    assert shop().by_asin["B000000RUG"].attributes == ("DUMMY_ATTR",)
    assert shop().by_asin["B000000RUG"].query == "rugs"
    assert shop().by_asin["B000000MUG"].query == "mugs"


def test_products_that_come_twice_or_have_no_proper_number_are_left_out() -> None:
    again = row("B000000MUG", "Another")
    odd = [row("nan", "No number"), row("B0000000LONG", "Too long")]
    catalogue = Catalogue([MUG, again, *odd, CUP], KNOWN)
    assert [product.title for product in catalogue.products] == [MUG["name"], CUP["name"]]


@pytest.mark.parametrize("broken", [{"asin": "B1"}, "text", {**MUG, "pricing": "$x"}, None])
def test_a_product_that_cannot_be_read_is_named(broken: Any) -> None:
    with pytest.raises(UsageError, match="product 2") as caught:
        Catalogue([CUP, broken], {})
    assert "small_description" in caught.value.hint


def test_an_empty_catalogue() -> None:
    with pytest.raises(UsageError, match="without products"):
        Catalogue([], KNOWN)


def test_a_search_is_the_same_when_it_is_asked_again() -> None:
    catalogue = Catalogue(ROWS, KNOWN)
    assert [product.asin for product in catalogue.search("mug")] == ["B000000MUG"]
    assert catalogue.search("mug") is catalogue.search("mug")
    assert catalogue.search("the of and") == ()


def test_a_written_catalogue_has_a_picture_of_each_product(tmp_path: Path) -> None:
    # The original shop opens the first one without looking.
    write_original(tmp_path, ROWS, KNOWN)
    products, known = load_products(tmp_path / "items_shuffle.json")
    assert all(product["images"] for product in products)
    assert [product["asin"] for product in products] == [product["asin"] for product in ROWS]
    assert known == KNOWN
