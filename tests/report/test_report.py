"""The report says what was measured, and says plainly what is noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.console.text import clean, display_width
from agentr_lite.core.errors import UsageError
from agentr_lite.core.messages import Message
from agentr_lite.core.tasks import Task
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report import render_run
from agentr_lite.report.model.run import gather
from agentr_lite.report.render.markdown import escape_markdown
from agentr_lite.report.render.terminal import render_terminal
from agentr_lite.report.tables.run import run_sections
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import comparison_sentence
from agentr_lite.runs.creation import create_run
from agentr_lite.store.database import Store
from agentr_lite.store.records import DatasetItemRow, JudgementRow, NodeRow
from agentr_lite.store.runs import set_run_status, stage_finished, stage_started
from agentr_lite.store.splices import (
    save_adapter,
    save_dataset,
    save_judgements,
    save_revision,
    save_trajectory,
)
from agentr_lite.store.trees import save_tree
from tests.support.stages import eval_stage
from tests.support.stairs import Policy, Scripted, Stairs, act, always, noisy

RECIPE = Recipe(
    name="tiny",
    env=(EnvironmentSettings("stairs"),),
    eval=EvalSettings(max_steps=4, batch=8),
    seed=3,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


def played(store: Store, policies: Sequence[Policy], recipe: Recipe = RECIPE) -> str:
    """A run whose rounds were evaluated with these policies."""
    run = create_run(store, recipe, model={"sha256": "ab" * 32, "path": "m.gguf"})
    for number, policy in enumerate(policies):
        eval_stage(store, run, number, recipe, Stairs(per_split=60), Scripted(policy))
    return run


def spliced(store: Store, run: str) -> None:
    """One tree with a good and three bad leaves; pairs that were replayed, recovered, rejected."""

    def node(idx: int, parent: int | None, reward: float = 0.0) -> NodeRow:
        return NodeRow(
            tree_id=0,
            idx=idx,
            parent_idx=parent,
            depth=0 if parent is None else 1,
            kind="root" if parent is None else "act",
            action=None if parent is None else "up",
            text="" if parent is None else act("up"),
            observation="o",
            reward=reward,
            terminated=parent is not None,
            truncated=False,
            invalid=False,
            disaster=False,
            visits=1,
            value_sum=reward,
            merged=1,
        )

    stage_started(store, run, 1, "search")
    tree = save_tree(
        store,
        run_id=run,
        round_index=1,
        wave=0,
        env="stairs",
        task=Task("task0", "train", "climb"),
        instructions="Climb.",
        nodes=[node(0, None), node(1, 0, 1.0), node(2, 0), node(3, 0), node(4, 0)],
        calls=[],
        simulations=4,
    )
    stage_finished(store, run, 1, "search", wall_s=65.0)
    good = save_trajectory(store, tree, 1, kind="good", reward=1.0, steps=1)
    fates: list[tuple[Any, float, str]] = [
        ("replayed", 1.0, "judged"),
        ("recovered", 0.0, "judged"),
        ("rejected", 0.0, "no way back: of 4 attempts none earned alpha"),
    ]
    for leaf, (status, naive, reason) in enumerate(fates, start=2):
        bad = save_trajectory(store, tree, leaf, kind="bad", reward=0.0, steps=1)
        save_judgements(store, [JudgementRow(bad, 0, leaf, "bad", "score")])
        save_revision(
            store,
            run_id=run,
            round_index=1,
            good_id=good,
            bad_id=bad,
            parting_step=0,
            cut_step=1,
            reflection="Oh.",
            revision_length=leaf,
            naive_reward=naive,
            status=status,
            reason=reason,
            messages=None if status == "rejected" else [{"role": "user", "content": "x"}],
            loss=None if status == "rejected" else [False],
        )
    items = [
        DatasetItemRow(0, "revision", "train", revision_id=1),
        DatasetItemRow(1, "good", "valid", trajectory_id=good),
        DatasetItemRow(2, "general", "train", general_line=1),
    ]
    dataset = save_dataset(store, run, 1, settings={}, items=items)
    save_adapter(
        store,
        run_id=run,
        round_index=1,
        dataset_id=dataset,
        mlx_dir="a",
        gguf_path="b",
        gguf_sha256="c",
        summary={"steps": 12, "tokens": 3456, "valid_loss_first": 1.5, "valid_loss": 0.9},
    )


def half(messages: Sequence[Message], seed: int) -> str:
    """Solves the tasks with even numbers."""
    number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
    return act("up" if number % 2 == 0 else "rest")


def section(store: Store, run: str, title: str) -> Section:
    found = [s for s in run_sections(gather(store, run)) if s.title.startswith(title)]
    assert len(found) == 1
    return found[0]


def cells(row: Sequence[Any]) -> list[str | None]:
    return [None if cell is None else str(cell) for cell in row]


def test_outcome_with_intervals_and_difference(store: Store) -> None:
    run = played(store, [half, always("up")])
    table = section(store, run, "Held-out test tasks (60), greedy")
    base, later = table.rows
    # Wilson's interval of 30 in 60.
    assert cells(base) == ["base", "50.0 %", "37.7 to 62.3", None, None, None]
    assert cells(later)[:4] == ["round 1", "100.0 %", "94.0 to 100.0", "+50.0"]
    assert cells(later)[5] == "<0.001"
    assert str(table.notes[0]).startswith("round 1 solves 50.0 points more than base (95 %")


def test_a_difference_inside_the_noise_is_called_so(store: Store) -> None:
    def nearly(messages: Sequence[Message], seed: int) -> str:
        name = messages[1]["content"].partition(":")[0]
        return act("up") if name == "task1" else half(messages, seed)

    run = played(store, [half, nearly])
    note = str(section(store, run, "Held-out").notes[0])
    assert note.startswith("round 1: the difference from base in success is inside the noise")


def test_a_loss_is_called_a_loss() -> None:
    words = comparison_sentence("round 1", "solves", Estimate(-0.2, -0.3, -0.1, 10))
    assert str(words) == (
        "round 1 solves 20.0 points fewer than base (95 % interval −30.0 to −10.0)."
    )
    assert words.fg == "red"


def test_levels_recovery_and_behaviour(store: Store) -> None:
    run = played(store, [half, always("up")])
    levels = section(store, run, "Success on test by level")
    assert list(levels.columns) == ["", "level 1 (20)", "level 2 (20)", "level 3 (20)"]
    recovery = section(store, run, "Recovery on test: from the beginnings of the base's 30")
    assert cells(recovery.rows[0])[:2] == ["base", "0.0 %"]
    assert cells(recovery.rows[1])[:2] == ["round 1", "100.0 %"]
    behaviour = section(store, run, "Behaviour on test, greedy")
    assert cells(behaviour.rows[1])[1] == "100.0 %"


def test_splices_training_and_cost(store: Store) -> None:
    run = played(store, [half])
    spliced(store, run)
    splices = section(store, run, "Revision data")
    assert cells(splices.rows[0]) == [*["round 1", "1", "3", "3", "66.7 %", "1", "1", "1", "2.5"]]
    notes = [str(note) for note in splices.notes]
    # One task only: no more certain than one trial.
    assert notes[0].startswith("round 1: 2 of 3 naive splices (20.7 to 100.0) failed")
    assert notes[1] == "round 1: the critic judged steps: 0 good, 3 bad, 0 uncertain."
    assert notes[2] == "round 1: rejected: no way back 1."
    training = section(store, run, "Training")
    assert cells(training.rows[0]) == [
        *["round 1", "1", "1", "1", "1", "12", "3,456", "1.500 to 0.900"]
    ]
    cost = section(store, run, "Cost by stage")
    search = next(row for row in cost.rows if row[0] == "round 1 search")
    assert cells(search)[1] == "1m 05s"
    assert cells(search)[-2:] == ["1", "5"]


def test_an_unfinished_evaluation_is_shown_as_such(store: Store) -> None:
    run = create_run(store, RECIPE)
    recipe = Recipe(env=(EnvironmentSettings("stairs"),), eval=EvalSettings(max_steps=4, batch=1))
    with pytest.raises(KeyboardInterrupt):
        eval_stage(store, run, 0, recipe, Stairs(), Scripted(always("up"), fail_after=9))
    set_run_status(store, run, "interrupted")
    text = render_run(store, run, "markdown")
    assert "base: unfinished, 4 episodes so far." in text
    assert "base eval (open)" in text
    assert "status interrupted" in text


def test_terminal_report_fits_the_width(store: Store) -> None:
    run = played(store, [noisy, half, always("up")])
    spliced(store, run)
    import click

    text = click.unstyle(render_run(store, run, width=80))
    assert max(map(display_width, text.split("\n"))) <= 80
    assert "…" not in text
    assert text.startswith(f"Run {run}\nenvironment stairs, recipe tiny, 3 rounds, seed 3\n")
    assert clean(text) == text


def test_markdown_tables_are_well_formed(store: Store) -> None:
    run = played(store, [noisy, half])
    spliced(store, run)
    lines = render_run(store, run, "markdown").split("\n")
    tables = [i for i, line in enumerate(lines) if line.startswith("| --- |")]
    assert len(tables) >= 6
    for at in tables:
        rows = [lines[at - 1], lines[at]]
        while lines[at + 1].startswith("|"):
            at += 1
            rows.append(lines[at])
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_json_report_is_json(store: Store) -> None:
    run = played(store, [half, always("up")])
    found = json.loads(render_run(store, run, "json"))
    assert found["run"]["id"] == run
    greedy = [line for line in found["evals"] if line["mode"] == "greedy"]
    assert greedy[1]["figures"]["versus_base"]["gained"] == 30


def test_latest_and_unknown_runs(store: Store) -> None:
    run = played(store, [half])
    assert f"Run {run}" in render_run(store, "latest")
    with pytest.raises(UsageError, match="no run 'nope'"):
        render_run(store, "nope")


def test_foreign_text_is_neither_markup_nor_escape() -> None:
    nasty = "a|b <img> `x` \x1b[2J [l](u)\n# h"
    assert escape_markdown(nasty) == ("a\\|b \\<img\\> \\`x\\` \\\\x1b\\[2J \\[l\\](u)\\\\n\\# h")
    text = render_terminal([nasty], [Section(nasty, ["", nasty], [[nasty, nasty]], [nasty])])
    assert "\x1b[2J" not in text


def test_dense_rewards_get_columns_of_their_own(store: Store) -> None:
    class Dense(Stairs):
        """Half a reward for a fall."""

        def step(self, action: str) -> Any:
            result = super().step(action)
            return result._replace(reward=0.5) if action == "jump" else result

    run = create_run(store, RECIPE)
    for number, policy in enumerate([always("jump"), always("up")]):
        eval_stage(store, run, number, RECIPE, Dense(per_split=30), Scripted(policy))
    table = section(store, run, "Held-out")
    assert cells(table.rows[0])[6:8] == ["0.500", "0.500 to 0.500"]
    assert cells(table.rows[1])[8:] == ["+0.500", "+0.500 to +0.500"]
