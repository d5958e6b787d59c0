"""Every page, to the letter, and where each click leads."""

from __future__ import annotations

import pytest

from agentr_lite.envs.webshop import Catalogue
from agentr_lite.envs.webshop.pages import Visit, advance, clickables, page_text, parse_action
from tests.support.webshop_case import ROWS, row, shop

WISH = "Find me a mug"
ITEM = Visit("item", "mug", 1, "B000000MUG")
HEAD = "Instruction: [SEP] Find me a mug [SEP] Back to Search"


def text(visit: Visit, reward: float = 0.0) -> str:
    return page_text(shop(), visit, WISH, reward)


def many(count: int) -> Catalogue:
    return Catalogue([row(f"B{number:09d}", f"Mug {number}") for number in range(count)], {})


def test_the_start_page() -> None:
    assert text(Visit()) == "WebShop [SEP] Instruction: [SEP] Find me a mug [SEP] Search"


def test_the_first_page_of_results() -> None:
    assert text(Visit("results", "mug")) == (
        f"{HEAD} [SEP] Page 1 (Total results: 1) [SEP] Next >"
        " [SEP] B000000MUG [SEP] Tall Stoneware Mug [SEP] $8.5 to $11.0"
    )


def test_no_results() -> None:
    assert text(Visit("results", "boat")) == (
        f"{HEAD} [SEP] Page 1 (Total results: 0) [SEP] Next >"
    )


def test_further_pages_of_results() -> None:
    catalogue = many(60)
    last = page_text(catalogue, Visit("results", "mug", 5), WISH)
    assert last.startswith(f"{HEAD} [SEP] Page 5 (Total results: 50) [SEP] < Prev [SEP] Next > ")
    assert last.count(" [SEP] Mug ") == 10
    beyond = page_text(catalogue, Visit("results", "mug", 6), WISH)
    assert beyond.endswith("Page 6 (Total results: 50) [SEP] < Prev [SEP] Next >")


def test_the_product_page_does_not_show_what_is_chosen() -> None:
    page = (
        f"{HEAD} [SEP] < Prev [SEP] color [SEP] red [SEP] navy | blue [SEP] size [SEP] s [SEP] xl"
        " [SEP] Tall Stoneware Mug [SEP] Price: $8.5 to $11.0 [SEP] Rating: N.A."
        " [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    assert text(ITEM) == text(ITEM._replace(options=(("color", "red"),))) == page


@pytest.mark.parametrize(
    ("page", "rest"),
    [
        ("description", "Keeps tea hot."),
        ("features", "Dishwasher safe glaze [SEP] Holds a pint"),
    ],
)
def test_sub_pages(page: str, rest: str) -> None:
    visit = advance(shop(), ITEM, f"click[{page}]")
    assert visit is not None
    assert text(visit) == f"{HEAD} [SEP] < Prev [SEP] {rest}"


def test_a_product_without_reviews_has_an_empty_page() -> None:
    visit = advance(shop(), ITEM, "click[reviews]")
    assert visit is not None
    assert text(visit) == f"{HEAD} [SEP] < Prev"


def test_an_empty_feature_keeps_its_place() -> None:
    bare = Catalogue([row("B000000MUG", "Mug", small_description=["Holds a pint", "", " "])], {})
    page = page_text(bare, ITEM._replace(page="features"), WISH)
    assert page.endswith("< Prev [SEP] Holds a pint [SEP]  [SEP] ")


def test_a_missing_description_leaves_nothing_behind() -> None:
    visit = Visit("description", "rug", 1, "B000000RUG")
    assert text(visit) == f"{HEAD} [SEP] < Prev"


def test_the_last_page() -> None:
    bought = ITEM._replace(page="end", options=(("size", "xl"), ("color", "<'navy'>")))
    assert text(bought, 0.5) == (
        "Thank you for shopping with us! [SEP] Your code: [SEP] None"
        " [SEP] (Paste it in your MTurk interface.) [SEP] Purchased [SEP] asin [SEP] B000000MUG"
        ' [SEP] options [SEP] {"color": "\\u003c\\u0027navy\\u0027\\u003e", "size": "xl"}'
        " [SEP] attrs [SEP] None [SEP] category [SEP] None [SEP] query [SEP] None"
        " [SEP] product category [SEP] None [SEP] Target [SEP] asin [SEP] options [SEP] attrs"
        " [SEP] price upper [SEP] instuction text [SEP] category [SEP] product category"
        " [SEP] query [SEP] Goal [SEP] None [SEP] Reward"
        " [SEP] Your score (min 0.0, max 1.0) [SEP] 0.5 [SEP] Reward Details [SEP] None"
    )


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("click[< Prev]", ("click", "< prev")),
        ("click[Buy Now] and more", ("click", "buy now")),
        ("search[a[b]]", ("search[a", "b]")),
        ("click[]", None),
        ("search", None),
        ("[x]", None),
        ("search[two\nlines]", None),
        ("", None),
    ],
)
def test_the_form_of_an_action(action: str, parsed: tuple[str, str] | None) -> None:
    assert parse_action(action) == parsed


@pytest.mark.parametrize(
    ("visit", "action"),
    [
        (Visit(), "click[search]"),
        (Visit(), "click[b000000mug]"),
        (Visit(), "Search[mug]"),
        (Visit(), " search[mug]"),
        (Visit(), "buy[mug]"),
        (Visit("results", "mug"), "click[< prev]"),
        (Visit("results", "mug"), "click[b000000rug]"),
        (Visit("results", "mug"), "click[buy now]"),
        (ITEM, "click[next >]"),
        (ITEM, "click[green]"),
        (ITEM, "click[color]"),
        (ITEM._replace(page="features"), "click[buy now]"),
        (ITEM._replace(page="features"), "click[red]"),
        (ITEM._replace(page="end"), "click[back to search]"),
        (ITEM._replace(page="end"), "search[mug]"),
    ],
)
def test_what_is_not_possible(visit: Visit, action: str) -> None:
    assert advance(shop(), visit, action) is None


def test_a_walk_through_the_shop() -> None:
    catalogue = shop()
    visit = Visit()
    walk = [
        ("search[Mug]", Visit("results", "mug")),
        ("click[Next >]", Visit("results", "mug", 2)),
        ("click[< Prev]", Visit("results", "mug", 1)),
        ("click[B000000MUG]", ITEM),
        ("click[RED]", ITEM._replace(options=(("color", "red"),))),
        ("click[xl]", ITEM._replace(options=(("color", "red"), ("size", "xl")))),
        ("click[Navy | Blue]", ITEM._replace(options=(("color", "navy | blue"), ("size", "xl")))),
    ]
    for action, expected in walk:
        after = advance(catalogue, visit, action)
        assert after == expected, action
        visit = after
    chosen = visit
    for page in ("Description", "Features", "Reviews"):
        below = advance(catalogue, chosen, f"click[{page}]")
        assert below is not None and below.page == page.lower()
        assert advance(catalogue, below, "click[< Prev]") == chosen
        assert advance(catalogue, below, "click[Back to Search]") == Visit()
    assert advance(catalogue, chosen, "click[Buy Now]") == chosen._replace(page="end")
    # Going back forgets the options; so does a new search, which works on any page.
    assert advance(catalogue, chosen, "click[< Prev]") == Visit("results", "mug")
    assert advance(catalogue, chosen, "search[rug]") == Visit("results", "rug")


def test_everything_clickable_is_on_the_page() -> None:
    catalogue = shop()
    for visit in (Visit("results", "mug", 2), ITEM, ITEM._replace(page="reviews")):
        shown = text(visit).lower().split(" [sep] ")
        assert set(clickables(catalogue, visit)) <= set(shown)


def test_options_that_share_a_value_or_a_button_s_name() -> None:
    options = {
        "lid": [{"value": "red"}],
        "handle": [{"value": "Red"}, {"value": "Features"}],
    }
    catalogue = Catalogue([*ROWS, row("B1", "Odd", customization_options=options)], {})
    visit = Visit("item", "odd", 1, "B1")
    assert advance(catalogue, visit, "click[red]") == visit._replace(options=(("handle", "red"),))
    assert advance(catalogue, visit, "click[features]") == visit._replace(page="features")
