"""Rounds that learn from further demonstrations instead of searching."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.runs.pipeline import planned_stages
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.demonstrations import list_demonstrations
from agentr_lite.store.splices import list_adapters
from tests.support import loop_case
from tests.support.command_line import Call

FURTHER = "imitation: {tasks: 3, further: [2, 1]}\n"


def demonstrated(db: Path) -> dict[int, list[str]]:
    """Round to the tasks whose demonstrations the latest run trained on."""
    with Store.open(db, create=False, read_only=True) as store:
        run = runs.get_run(store, "latest")
        names = {row.id: row.task.name for row in list_demonstrations(store)}
        return {
            dataset.round: [
                names[item.demonstration_id or 0]
                for item in splices.list_dataset_items(store, dataset.id)
            ]
            for dataset in splices.list_datasets(store, run.id)
        }


@pytest.mark.parametrize("accumulate", [False, True])
def test_every_round_takes_tasks_that_were_not_demonstrated(
    loop: Call, tmp_path: Path, db: Path, accumulate: bool
) -> None:
    recipe = loop_case.write_recipe(tmp_path / "case", FURTHER)
    more = ["--set", f"train.accumulate={accumulate}", "--set", "train.start=previous"]
    code, _, err = loop("run", recipe, "-d", db, *more)
    assert code == 0, err
    by_round = demonstrated(db)
    first, second, third = (set(by_round[number]) for number in (0, 1, 2))
    assert (len(first), len(second)) == (3, 2)
    assert not first & second and not first & third
    assert len(third) == (3 if accumulate else 1)
    assert (second <= third) == accumulate
    with Store.open(db, create=False, read_only=True) as store:
        run = runs.get_run(store, "latest")
        stages = [(row.round, row.stage) for row in runs.list_stages(store, run.id)]
        assert not list(store.rows("SELECT id FROM trees"))
        trained = {
            row.round: Path(row.gguf_path).read_text() for row in list_adapters(store, run.id)
        }
    plan = planned_stages(2, imitates=True, searches=False)
    assert stages == [(number, stage.name) for number, stage in plan]
    assert [name for number, name in stages if number == 2] == ["train", "eval"]
    # The chain of adapters goes on from the imitation.
    assert trained[2].endswith(f" after {trained[1]}") and trained[1].endswith(
        f" after {trained[0]}"
    )
    # The same command finds nothing left to do, and every page of the run can be made.
    assert loop("run", "--resume", "latest", "-d", db)[0] == 0
    assert loop("report", "latest", "-d", db, "--html", tmp_path / "page.html")[0] == 0
    code, out, _ = loop("report", "latest", "-d", db)
    assert code == 0 and "round 2" in out
    # The stages of a search are not for it.
    for command in ("search", "splice", "train"):
        code, _, err = loop(command, "latest", "-d", db)
        assert code == 2 and "do not search" in err, command


def test_a_round_without_further_demonstrations_goes_on_with_what_is_there(
    loop: Call, tmp_path: Path, db: Path
) -> None:
    recipe = loop_case.write_recipe(tmp_path / "case", "imitation: {tasks: 3, further: [0, 2]}\n")
    code, _, err = loop("run", recipe, "-d", db, "--set", "train.accumulate=false")
    assert code == 0, err
    by_round = demonstrated(db)
    assert set(by_round) == {0, 2} and len(by_round[2]) == 2


def test_too_few_tasks_are_said(loop: Call, tmp_path: Path, db: Path) -> None:
    recipe = loop_case.write_recipe(tmp_path / "case", "imitation: {tasks: 999, further: [2, 2]}\n")
    code, _, err = loop("run", recipe, "-d", db)
    assert code == 1
    assert "no further training task has a demonstration" in err


def test_the_plan_shows_what_the_rounds_take(loop: Call, tmp_path: Path, db: Path) -> None:
    recipe = loop_case.write_recipe(tmp_path / "case", FURTHER)
    code, out, err = loop("run", recipe, "-d", db, "--plan")
    assert code == 0, err
    assert "round 1  2 further demonstrations" in out
    assert "round 1  train" in out and "round 1  search" not in out


def test_each_round_has_its_number() -> None:
    with pytest.raises(RecipeError, match="has 1 numbers, but the recipe has 2 rounds"):
        recipe_from_dict({"rounds": 2, "imitation": {"further": [3]}})


def test_several_environments_share_the_numbers() -> None:
    recipe = recipe_from_dict(
        {"rounds": 1, "env": ["textcraft", "webshop"], "imitation": {"tasks": 4, "further": [6]}}
    )
    assert [own.imitation.further for own in recipe.by_environment()] == [(3,), (3,)]
