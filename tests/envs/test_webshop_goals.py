"""Goals from products and from people, and the original files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.webshop import Catalogue, WebShop
from agentr_lite.envs.webshop.__main__ import main
from agentr_lite.envs.webshop.goals import (
    goal_of_task,
    human_goals,
    in_upstream_order,
    synthetic_goals,
    upstream_tasks,
)
from tests.support.webshop_case import (
    CUP,
    KNOWN,
    MUG,
    ROWS,
    WRITTEN,
    options,
    row,
    shop,
    write_files,
)


def test_one_synthetic_goal_for_each_combination() -> None:
    goals = synthetic_goals(shop(), KNOWN)
    mugs = [goal for goal in goals if goal.asin == "B000000MUG"]
    assert [goal.options for goal in mugs] == [
        ("red", "s"),
        ("red", "xl"),
        ("navy | blue", "s"),
        ("navy | blue", "xl"),
    ]
    limit = mugs[0].price_limit
    assert mugs[1].instruction == (
        "Find me lead free mugs with color: red, and size: xl,"
        f" and price lower than {limit:.2f} dollars"
    )
    assert mugs[0].attributes == ("lead free",) and mugs[0].query == "mugs"


def test_limits_are_one_of_the_next_steps_above_the_price() -> None:
    prices = {f"B{number}": f"${number}.50" for number in range(1, 200, 7)}
    catalogue = Catalogue([row(asin, "Mug", pricing=text) for asin, text in prices.items()], {})
    known = dict.fromkeys(prices, KNOWN["B000000MUG"])
    goals = synthetic_goals(catalogue, known)
    above = [(goal.price_limit - catalogue.by_asin[goal.asin].price) // 10 for goal in goals]
    # The larger of two of the next four: never the nearest.
    assert set(above) == {1.0, 2.0, 3.0}
    assert goals == synthetic_goals(catalogue, known)


def test_what_costs_too_much_has_no_limit() -> None:
    (cup,) = [goal for goal in synthetic_goals(shop(), KNOWN) if goal.asin == "B000000CUP"]
    assert cup.price_limit == 1_000_000 and cup.instruction == "Find me shatter proof cups"


def test_products_without_an_instruction_give_no_goal() -> None:
    assert {goal.asin for goal in synthetic_goals(shop(), KNOWN)} == {"B000000MUG", "B000000CUP"}
    known: dict[str, Any] = {"B000000MUG": {"attributes": ["x"], "instruction": None}}
    assert synthetic_goals(shop(), known) == []


def test_goals_that_people_wrote() -> None:
    (goal,) = human_goals(shop(), WRITTEN)
    assert goal.instruction.startswith("i want a red mug without lead, and price lower than ")
    assert goal.options == ("red",) and goal.attributes == ("lead free",)
    named = {"B000000MUG": [{**WRITTEN["B000000MUG"][0], "instruction_options": {"color": "red"}}]}
    assert human_goals(shop(), named) == [goal]


def test_the_order_is_that_of_the_original() -> None:
    goals = synthetic_goals(shop(), KNOWN)
    expected = list(range(len(goals)))
    random.Random(233).shuffle(expected)
    assert in_upstream_order(goals) == [goals[number] for number in expected]


def many_goals(count: int) -> dict[str, list[Task]]:
    sizes = options(size=[str(number) for number in range(count)])
    catalogue = Catalogue([{**MUG, "customization_options": sizes}], KNOWN)
    return upstream_tasks(in_upstream_order(synthetic_goals(catalogue, KNOWN)))


def test_splits_of_the_original() -> None:
    tasks = many_goals(3100)
    assert [task.name for task in tasks["test"]] == [f"goal-{n}" for n in range(500)]
    assert [task.name for task in tasks["dev"]] == [f"goal-{n}" for n in range(500, 1500)]
    assert [task.name for task in tasks["train"]] == [f"goal-{n}" for n in range(1500, 3100)]
    small = {split: len(members) for split, members in many_goals(80).items()}
    assert small == {"train": 50, "dev": 10, "test": 20}


@pytest.mark.parametrize("suffix", ["", "_1000"])
def test_original_files(tmp_path: Path, suffix: str) -> None:
    place = write_files(tmp_path, suffix)
    for data_dir in (place, place / f"items_shuffle{suffix}.json"):
        env = WebShop(data_dir=str(data_dir))
        assert len(env.catalogue.products) == 3
        assert sum(len(env.tasks(split)) for split in ("train", "dev", "test")) == 5
    human = WebShop(data_dir=str(place), goals="human")
    assert sum(len(human.tasks(split)) for split in ("train", "dev", "test")) == 1
    assert len(WebShop(data_dir=str(place), products=2).catalogue.products) == 2


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(WebShop(data_dir="~").catalogue.products) == 3


def test_the_full_attribute_file_serves_a_selection(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "items_ins_v2_1000.json").rename(tmp_path / "items_ins_v2.json")
    assert WebShop(data_dir=str(tmp_path)).catalogue.by_asin["B000000CUP"].attributes == (
        "shatter proof",
    )


def test_files_that_are_missing_or_wrong(tmp_path: Path) -> None:
    def problem(**settings: Any) -> str:
        with pytest.raises(UsageError) as caught:
            WebShop(**{"data_dir": str(tmp_path), **settings}).tasks("train")
        return caught.value.message

    assert "no items_shuffle*.json" in problem()
    assert "no directory" in problem(data_dir=str(tmp_path / "nowhere"))
    (tmp_path / "items_shuffle.json").write_text("{}", "utf-8")
    assert "holds a dict, not a list" in problem()
    (tmp_path / "items_shuffle.json").write_text(json.dumps(ROWS), "utf-8")
    assert "cannot read" in problem() and "items_ins_v2.json" in problem()
    (tmp_path / "items_ins_v2.json").write_text("[1, ", "utf-8")
    assert "cannot read" in problem()
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(KNOWN), "utf-8")
    assert "items_human_ins.json" in problem(goals="human")
    (tmp_path / "items_shuffle_1000.json").write_text("[]", "utf-8")
    assert "several catalogues" in problem()
    assert "without products" in problem(data_dir=str(tmp_path / "items_shuffle_1000.json"))


def test_the_bundled_catalogue_written_out_is_the_same_shop(tmp_path: Path) -> None:
    main([str(tmp_path)])
    ours, theirs = WebShop(), WebShop(data_dir=str(tmp_path))
    assert theirs.catalogue.products == ours.catalogue.products
    goals = [task.goal for split in ("train", "dev", "test") for task in theirs.tasks(split)]
    assert {task.goal for task in ours.tasks("test")} < set(goals)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"asin": "B0NOWHERE"},
        {"asin": CUP["asin"]},
        {"asin": CUP["asin"], "instruction": "x", "attributes": []},
        {"asin": CUP["asin"], "instruction": "x", "attributes": ["a"], "price_limit": "low"},
    ],
)
def test_tasks_that_cannot_begin(payload: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="'odd'"):
        goal_of_task(shop(), Task("odd", "train", "x", payload=payload))
