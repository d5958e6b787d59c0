"""The bundled catalogue: frozen, sound, and really asking for a choice."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.envs.webshop import WebShop
from agentr_lite.envs.webshop.reward import same_option, similar
from agentr_lite.envs.webshop.stock import (
    ATTRIBUTES_A_PRODUCT,
    Dice,
    bundled_rows,
    bundled_stock,
    read_stock,
)

CATALOGUE_SHA256 = "3b3a30dbe7056793ec3d50a6c5a807c58e388a8acc70ff7a3e957d96994b81f2"
TASKS_SHA256 = "31f74f9b9796c9180189062e76f7d2b3f48eef42948e6325d00c6d873ca279ec"
"""Frozen: results on other catalogues or tasks cannot be compared."""


def digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def test_the_catalogue_is_frozen() -> None:
    assert digest(bundled_rows()) == CATALOGUE_SHA256


def test_the_tasks_are_frozen() -> None:
    env = WebShop()
    tasks = [
        (task.name, task.split, task.level, dict(task.payload))
        for split in ("train", "dev", "test")
        for task in env.tasks(split)
    ]
    assert digest(tasks) == TASKS_SHA256


def test_it_does_not_depend_on_the_process() -> None:
    program = (
        "import hashlib, json\n"
        "from agentr_lite.envs.webshop.stock import bundled_rows\n"
        "print(hashlib.sha256(json.dumps(bundled_rows(), sort_keys=True).encode()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == CATALOGUE_SHA256


def test_sizes() -> None:
    env = WebShop()
    products = env.catalogue.products
    assert len(products) == 1260
    assert len({product.category for product in products}) == 21
    assert len({product.query for product in products}) == 126
    assert len({product.title for product in products}) > 1250
    sizes = {split: len(env.tasks(split)) for split in ("train", "dev", "test")}
    assert sizes == {"train": 882, "dev": 126, "test": 252}


def test_every_kind_of_product_is_in_every_split_but_no_product_in_two() -> None:
    env = WebShop()
    kinds = {product.asin: product.query for product in env.catalogue.products}
    owners: Counter[str] = Counter()
    for split in ("train", "dev", "test"):
        asins = {str(task.payload["asin"]) for task in env.tasks(split)}
        owners.update(asins)
        assert {kinds[asin] for asin in asins} == set(kinds.values())
    assert set(owners) == set(kinds) and set(owners.values()) == {1}


def test_the_first_tasks_are_of_many_kinds() -> None:
    names = [task.name.rpartition("-")[0] for task in WebShop().tasks("train")[:50]]
    assert len(set(names)) > 35


def test_products_have_what_a_shop_shows() -> None:
    ranges = 0
    for product in WebShop().catalogue.products:
        assert len(product.attributes) == ATTRIBUTES_A_PRODUCT
        assert len(product.features) == ATTRIBUTES_A_PRODUCT + 1
        features = " ".join(product.features).lower()
        assert all(attribute in features for attribute in product.attributes)
        assert product.description and product.product_category.count("›") >= 2
        assert 4 <= product.price <= 550
        ranges += " to " in product.price_tag
    assert 250 <= ranges <= 380


def test_attributes_of_a_kind_are_told_apart() -> None:
    """No attribute counts as another, nor stands in words that another product may have."""
    stock = bundled_stock()
    for kind in stock.kinds:
        words = " ".join([kind.query, kind.title, *kind.extras, *kind.uses]).lower()
        for one, other in itertools.permutations(kind.attributes, 2):
            assert not similar(one, other), (kind.query, one, other)
            assert one not in stock.sentences[other].lower(), (one, other)
        assert not [name for name in kind.attributes if name in words], kind.query


def test_options_of_a_kind_are_told_apart() -> None:
    """No value passes for another one that the same product may offer."""
    stock = bundled_stock()
    for kind in stock.kinds:
        values = [value for _, name, _, _ in kind.options for value in stock.sets[name]]
        for one, other in itertools.combinations(values, 2):
            assert not same_option(one, other), (kind.query, one, other)


def test_nothing_in_the_stock_list_is_left_over() -> None:
    stock = bundled_stock()
    assert set(stock.sentences) == {name for kind in stock.kinds for name in kind.attributes}
    assert set(stock.sets) == {option[1] for kind in stock.kinds for option in kind.options}
    assert len(set(stock.brands)) == len(stock.brands)


def test_wishes_are_seldom_met_by_many_products() -> None:
    """The right kind alone does not do: a goal asks for one or two in ten."""
    env = WebShop()
    by_kind: dict[str, list[frozenset[str]]] = {}
    for product in env.catalogue.products:
        by_kind.setdefault(product.query, []).append(frozenset(product.attributes))
    fitting = []
    for task in env.tasks("test"):
        kind = env.catalogue.by_asin[str(task.payload["asin"])].query
        wanted = frozenset(task.payload["attributes"])
        fitting.append(sum(wanted <= have for have in by_kind[kind]))
    assert min(fitting) >= 1
    assert sum(fitting) / len(fitting) < 3.5


def test_dice_depend_on_their_key_alone() -> None:
    first, again, other = Dice("a"), Dice("a"), Dice("b")
    drawn = [first.below(1000) for _ in range(20)]
    assert drawn == [again.below(1000) for _ in range(20)]
    assert drawn != [other.below(1000) for _ in range(20)]
    assert sorted(Dice("c").sample("abc", 5)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("wheels = 4", "line 1: 'wheels' does not start an entry"),
        ("# fine\nkind mugs | Mug | 5-9 | Cups\n  with Lid", "line 2: ends too early"),
        ("kind mugs | Mug | cheap | Cups\n a\n b\n c d 1-2\n e", "line 1: invalid literal"),
        ("kind mugs | Mug\n a\n b\n c d 1-2\n e", "line 1: not enough values"),
    ],
)
def test_a_stock_list_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read_stock(text)
