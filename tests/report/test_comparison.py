"""Several runs in one report: pooled figures, methods compared, the noise called noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report.model.comparison import (
    Compared,
    distinct_labels,
    gather_compared,
    method_names,
)
from agentr_lite.report.tables.comparison import comparison_sections
from agentr_lite.report.tables.headline import pooled_tiles, run_tiles
from agentr_lite.report.tables.section import Section
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.store.database import to_json
from agentr_lite.store.runs import get_run, set_run_status
from tests.support.stages import eval_stage
from tests.support.stairs import Policy, Scripted, Stairs, act

RECIPE = Recipe(
    env=(EnvironmentSettings("stairs"),), rounds=1, eval=EvalSettings(max_steps=4, batch=8)
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def solves(share: int, of: int = 10) -> Policy:
    """Climbs to the top in ``share`` of every ``of`` tasks; elsewhere one stair, then it rests."""

    def policy(messages: Sequence[Message], seed: int) -> str:
        number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
        return act("up" if number % of < share or len(messages) == 2 else "rest")

    return policy


def played(
    store: Store, name: str, seed: int, *shares: int, graded: bool = False, **changes: Any
) -> str:
    """A run whose rounds solve so many of ten tasks."""
    settings = {**RECIPE.__dict__, "name": name, "seed": seed, "rounds": len(shares) - 1}
    run = create_run(store, Recipe(**{**settings, **changes}))
    for number, share in enumerate(shares):
        env = Stairs(per_split=60, graded=graded)
        eval_stage(store, run, number, RECIPE, env, Scripted(solves(share)))
    set_run_status(store, run, "finished")
    return run


def compared(store: Store, *runs: str) -> list[Compared]:
    return gather_compared([(store, run) for run in runs])


def sections_of(store: Store, *runs: str) -> dict[str, Section]:
    return {section.title: section for section in comparison_sections(compared(store, *runs))}


def cells(row: Sequence[Any]) -> list[str]:
    return [str(cell) for cell in row]


def test_runs_that_differ_in_their_seed_are_one_method(store: Store) -> None:
    runs = [
        played(store, name, seed, 1, after)
        for name, after in (("verified", 7), ("good", 5))
        for seed in (1, 2, 3)
    ]
    sections = sections_of(store, *runs)
    assert len(sections["The runs"].rows) == 6
    success = sections["Success"]
    assert [str(row[0]) for row in success.rows] == ["base", "verified, round 1", "good, round 1"]
    assert cells(success.rows[1][1:4]) == ["3", "60", "80.0 %"]
    # A third of the tasks has one stair, which everyone climbs.
    assert str(success.rows[1][-1]) == "+40.0, +40.0, +40.0"
    assert str(success.notes[0]).startswith("verified solves 40.0 points more than base")
    between = sections["Between the methods"]
    assert str(between.notes[0]).startswith("verified solves 13.3 points more than good")
    assert len(sections["Seed by seed"].rows) == 6
    assert "Mean reward" not in sections


def test_methods_that_solve_the_same_do_not_differ(store: Store) -> None:
    sections = sections_of(store, *(played(store, name, 1, 4, 6) for name in ("verified", "good")))
    for title in ("Run against run", "Between the methods"):
        assert "no difference" in str(sections[title].notes[0])


def test_a_run_like_an_earlier_one_is_told_by_its_id(store: Store) -> None:
    one, again = played(store, "loop", 1, 4, 6), played(store, "loop", 1, 4, 7)
    success = sections_of(store, one, again)["Success"]
    names = [str(row[0]) for row in success.rows]
    assert names == ["base", "loop, round 1", f"loop ({again}), round 1"]


def test_graded_environments_are_told_by_their_rewards(store: Store) -> None:
    runs = [played(store, "loop", seed, 0, 9, graded=True) for seed in (1, 2)]
    sections = sections_of(store, *runs)
    reward = sections["Mean reward"]
    # One stair of one, of two and of three.
    assert str(reward.rows[0][3]) == f"{(1 + 1 / 2 + 1 / 3) / 3:.3f}"
    assert str(reward.notes[0]).startswith("loop earns 0.")
    assert "Success" in sections
    overview = sections["The runs"].rows[0]
    assert cells(overview[1:3]) == ["reward", str(reward.rows[0][3])]
    names = [tile.name for tile in pooled_tiles(compared(store, *runs))]
    assert names[:2] == ["Mean reward on held-out tasks", "Held-out tasks solved"]
    tile = run_tiles(compared(store, runs[0])[0])[0]
    assert tile.tone == "good"
    assert tile.before == str(reward.rows[0][3])
    assert "n = 60 tasks; more than base (95 % interval +0." in tile.note


def test_other_models_are_compared_task_by_task(store: Store) -> None:
    one = played(store, "loop", 1, 4, 6)
    other = played(store, "loop", 1, 4, 9, model="other.gguf")
    sections = sections_of(store, one, other)
    [row] = sections["Run against run"].rows
    assert cells(row[1:3]) == ["success", "+20.0"]
    assert "Success" not in sections


def test_a_run_from_before_a_key_existed_is_of_the_same_method(store: Store) -> None:
    ids = [played(store, "mine", seed, 4, 7) for seed in (1, 2)]
    old = Recipe(**{**RECIPE.__dict__, "name": "mine", "seed": 1}).to_dict()
    del old["train"]["validations"], old["splice"]["critic_tokens"]
    del old["splice"]["critic_margin"]
    store.execute("UPDATE runs SET recipe = ? WHERE id = ?", (to_json(old), ids[0]))
    assert method_names([get_run(store, run) for run in ids]) == ["mine", "mine"]


def test_environments_and_their_options_tell_methods_apart(store: Store) -> None:
    ids = [
        played(store, "mine", 1, 4, env=(EnvironmentSettings("stairs", options={"size": size}),))
        for size in (3, 5)
    ]
    assert method_names([get_run(store, run) for run in ids]) == ["mine, size 3", "mine, size 5"]
    several = [
        played(store, "mine", 1, 4, env=(EnvironmentSettings("a"), b))
        for b in (EnvironmentSettings("b", search={"depth": depth}) for depth in (3, 5))
    ]
    names = method_names([get_run(store, run) for run in several])
    assert names == ["mine, depth 3", "mine, depth 5"]


def test_a_setting_of_two_groups_is_named_with_its_group(store: Store) -> None:
    ids = [
        played(store, "mine", 1, 4, eval=EvalSettings(max_steps=4, batch=8, tasks=tasks))
        for tasks in (10, 20)
    ]
    rows = [get_run(store, run) for run in ids]
    # search.tasks has another meaning.
    assert method_names(rows) == ["mine, eval tasks 10", "mine, eval tasks 20"]


def test_groups_of_runs_that_were_evaluated_differently_have_different_titles(
    store: Store,
) -> None:
    runs = [
        played(store, "mine", seed, 4, 6, eval=EvalSettings(max_steps=4, batch=8, tasks=tasks))
        for tasks in (20, 40)
        for seed in (1, 2)
    ]
    titles = [section.title for section in comparison_sections(compared(store, *runs))]
    assert len(set(titles)) == len(titles)
    assert sum(title.endswith(": Success") for title in titles) == 2


def test_methods_without_a_common_seed_have_no_row_of_dashes(store: Store) -> None:
    first, second = played(store, "verified", 1, 1, 7), played(store, "good", 2, 1, 5)
    sections = sections_of(store, first, second)
    # Each run has its own seed; only the runs' own table pairs them, by task.
    assert "Between the methods" not in sections
    [row] = sections["Run against run"].rows
    assert cells(row)[1] == "success" and "–" not in cells(row)
    both = sections_of(store, first, second, played(store, "good", 1, 1, 5))
    assert len(both["Between the methods"].rows) == 1


def test_the_runs_have_their_results_before_their_ids(store: Store) -> None:
    runs = [played(store, "verified", seed, 1, 7) for seed in (1, 2)]
    section = sections_of(store, *runs)["The runs"]
    first, *others = section.columns
    assert first == "" and all(others)
    # A phone shows the first columns.
    assert others[:5] == ["measure", "base", "last", "last round", "vs base"]
    at = others.index("run") + 1
    assert [str(row[at]) for row in section.rows] == runs


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["", ""], ["seed 1", "seed 2"]),
        (["mine", "mine"], ["seed 1", "seed 2"]),
        (["seed 2", ""], ["seed 2 (1)", "seed 2 (2)"]),
        # A number that is taken is passed over.
        (["seed 2", "", "seed 2 (1)"], ["seed 2 (2)", "seed 2 (3)", "seed 2 (1)"]),
    ],
)
def test_labels_differ_whatever_people_call_their_runs(
    names: list[str], expected: list[str]
) -> None:
    labels = [f"seed {number}" for number in range(1, len(names) + 1)]
    assert distinct_labels(names, labels) == expected
