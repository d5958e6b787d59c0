"""What purchases are worth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentr_lite.envs.webshop import Catalogue, Goal, score_purchase
from agentr_lite.envs.webshop.nouns import title_nouns
from agentr_lite.envs.webshop.reward import normalized_color, same_option, similar
from tests.support.webshop_case import KNOWN, MUG, ROWS, row

GOAL = Goal(
    asin="B000000MUG",
    instruction="…",
    attributes=("lead free", "heat resistant"),
    options=("red", "xl"),
    price_limit=20.0,
    category="kitchen",
    query="mugs",
    title=MUG["name"],
    product_category=MUG["product_category"],
)
RIGHT = {"color": "red", "size": "xl"}
SHOP = Catalogue(ROWS, KNOWN)
THE_MUG = SHOP.by_asin["B000000MUG"]


def test_the_right_purchase() -> None:
    score = score_purchase(THE_MUG, RIGHT, GOAL)
    assert (score.reward, score.type_factor) == (1.0, 1.0)
    assert (score.attributes, score.options, score.price_ok) == (2, 2, True)


@pytest.mark.parametrize(
    ("chosen", "options"), [({}, 0), ({"size": "xl"}, 1), ({"color": "blue", "size": "s"}, 0)]
)
def test_options_that_are_missing_or_wrong(chosen: dict[str, str], options: int) -> None:
    assert score_purchase(THE_MUG, chosen, GOAL).reward == pytest.approx((3 + options) / 5)


def test_the_price_limit_itself_will_do() -> None:
    at_limit = replace(GOAL, price_limit=THE_MUG.price)
    below = replace(GOAL, price_limit=THE_MUG.price - 0.01)
    assert score_purchase(THE_MUG, RIGHT, at_limit).reward == 1.0
    assert score_purchase(THE_MUG, RIGHT, below).reward == pytest.approx(4 / 5)


def test_attributes_may_stand_in_the_text() -> None:
    product = replace(THE_MUG, attributes=("solid oak",))
    for field in ({"title": "Lead Free Mug"}, {"features": ("x", "LEAD FREE")}):
        assert score_purchase(replace(product, **field), RIGHT, GOAL).attributes == 1
    described = replace(product, description="Both lead free and heat resistant.")
    assert score_purchase(described, RIGHT, GOAL).attributes == 2
    assert score_purchase(product, RIGHT, GOAL).attributes == 0


@pytest.mark.parametrize(
    ("title", "query", "category", "factor"),
    [
        # The same search term, two departments in common, or more than a fifth of the nouns.
        ("Stoneware Bowl", "mugs", "a › b", 1.0),
        ("Stoneware Bowl", "bowls", "Kitchen › Home › Bowls", 1.0),
        ("Stoneware Bowl", "bowls", "a › b", 1.0),
        ("Bowl of Clay", "mugs", "Home › Kitchen › Mugs", 0.0),
    ],
)
def test_the_kind_of_product(title: str, query: str, category: str, factor: float) -> None:
    product = replace(THE_MUG, title=title, query=query, product_category=category)
    assert score_purchase(product, RIGHT, GOAL).type_factor == factor


def test_few_common_nouns_are_worth_little() -> None:
    wanted = "Kettle Mug Plate Bowl Fork Knife Spoon Tray Jug Pan Lid Pot"
    goal = replace(GOAL, title=wanted)

    def factor(title: str, query: str = "x") -> float:
        product = replace(THE_MUG, title=title, query=query, product_category="x")
        return score_purchase(product, RIGHT, goal).type_factor

    assert factor("Kettle Rug") == factor("Kettle Rug", "mugs") == 0.1
    assert factor("Kettle Plate Rug") == 0.5
    assert factor("Kettle Plate Rug", "mugs") == 1.0
    assert factor("Kettle Plate Bowl Rug") == 1.0


def test_a_title_without_nouns_leaves_it_to_the_kind() -> None:
    product = replace(THE_MUG, query="x", product_category="x")
    assert score_purchase(product, RIGHT, replace(GOAL, title="Extra Large")).type_factor == 0.5
    assert score_purchase(THE_MUG, RIGHT, replace(GOAL, title="Extra Large")).type_factor == 1.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("machine wash", "Machine Wash", True),
        ("essential oil", "essential oils", True),
        ("wash", "machine wash", True),
        ("easy clean", "easy assemble", False),
        ("crème", "crme", True),
        ("%", "%", False),
    ],
)
def test_similar_phrases(one: str, other: str, same: bool) -> None:
    assert similar(one, other) is similar(other, one) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("navy blue", "sky blue", True),
        ("navy", "blue", False),
        ("xl", "2xl", False),
        ("titanium", "titanium", True),
        ("pack of 2", "pack of 3", True),
        ("2-pack", "3-pack", False),
    ],
)
def test_same_options(one: str, other: str, same: bool) -> None:
    assert same_option(one, other) is same


def test_colours_are_normalised_by_the_first_of_the_palette() -> None:
    assert normalized_color("navy blue") == "blue"
    assert normalized_color("titanium") == "tan"
    assert normalized_color("xl") == "xl"


@pytest.mark.parametrize(
    ("title", "nouns"),
    [
        ("Tall Stoneware Mug with Lid, 2 Pieces", "stoneware mug lid pieces"),
        ("Fredsted Men's Half-Zip Fleece", "fredsted men half zip fleece"),
        ("Quilted and Padded Bed for the Garden", "quilted bed garden"),
        ("Wooden 4K TV/DVD Stand (Black)", "tv dvd stand"),
        ("T.K.O. Gloves, Gloves", "t.k.o gloves gloves"),
        ("Really Extra Large", "really"),
        ("", ""),
    ],
)
def test_nouns_of_titles(title: str, nouns: str) -> None:
    assert " ".join(title_nouns(title)) == nouns


def test_a_description_that_is_missing_is_no_match() -> None:
    bare = Catalogue([row("B1", "Mug", small_description="", full_description=None)], {})
    assert score_purchase(bare.products[0], {}, GOAL).attributes == 0
