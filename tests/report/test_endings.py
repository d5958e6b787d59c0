"""Episodes that were cut, and disasters: shown where the stored episodes say so, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import EvalSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report import render_run
from agentr_lite.report.model.run import gather
from agentr_lite.report.render.page import render_page
from agentr_lite.report.tables.run import run_sections
from agentr_lite.runs.creation import create_run
from agentr_lite.store.database import Store
from tests.support.stages import eval_stage
from tests.support.stairs import Scripted, Stairs, act, always

RECIPE = Recipe(env=(EnvironmentSettings("stairs"),), eval=EvalSettings(max_steps=4, batch=8))
CUT = "Episodes that were cut at a step limit: 2 (base), 0 (round 1)."
DISASTERS = "Episodes that ended in a disaster: 2 (base), 0 (round 1)."


def mixed(messages: Sequence[Message], seed: int) -> str:
    """Of six tasks two are solved, two cut at the step limit, and two end in a disaster."""
    number = int(messages[1]["content"].partition(":")[0].removeprefix("task"))
    return act(("up", "rest", "dive")[number % 3])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs.db")


@pytest.fixture
def run(store: Store) -> str:
    """The base solves, is cut and dies; round 1 solves everything."""
    run = create_run(store, RECIPE)
    for number, policy in enumerate([mixed, always("up")]):
        eval_stage(store, run, number, RECIPE, Stairs(), Scripted(policy))
    return run


def notes(store: Store, run: str, title: str) -> list[str]:
    """How episodes ended, as a table's notes say."""
    found = next(s for s in run_sections(gather(store, run)) if s.title.startswith(title))
    return [str(note) for note in found.notes if str(note).startswith("Episodes that")]


def test_both_are_counted_by_round(store: Store, run: str) -> None:
    assert notes(store, run, "Behaviour on test, greedy") == [CUT, DISASTERS]
    assert notes(store, run, "Recovery on test") == [CUT, DISASTERS]


def test_every_form_of_the_report_shows_them(store: Store, run: str) -> None:
    page = re.sub(r"<[^>]+>", " ", render_page([(store, run)]))
    markdown, terminal = render_run(store, run, "markdown"), render_run(store, run)
    for text in (markdown, terminal, page):
        text = " ".join(text.split())
        assert CUT in text and DISASTERS in text
    base = json.loads(render_run(store, run, "json"))["evals"][0]
    assert (base["mode"], base["cut"], base["disasters"]) == ("greedy", 2, 2)


def test_a_line_comes_only_with_what_it_counts(store: Store) -> None:
    run = create_run(store, RECIPE)
    eval_stage(store, run, 0, RECIPE, Stairs(), Scripted(always("rest")))
    assert notes(store, run, "Behaviour") == ["Episodes that were cut at a step limit: 6 (base)."]
    assert "isaster" not in render_run(store, run, "markdown")


def test_databases_of_earlier_versions_are_shown_as_before(store: Store, run: str) -> None:
    """They hold no such marks."""
    store.execute(
        "UPDATE eval_items SET steps_json = replace(replace(steps_json, ',\"truncated\":true', ''),"
        " '\"disaster\":true,', '')"
    )
    assert notes(store, run, "Behaviour") == notes(store, run, "Recovery") == []
    text = render_run(store, run, "json") + render_run(store, run, "markdown")
    # `late_cuts` is a key of the recipe.
    assert not re.search(r"\bcut\b", text.lower()) and "disaster" not in text.lower()


def test_broken_episodes_are_left_out(store: Store) -> None:
    class Breaks(Stairs):
        def snapshot(self) -> object:
            assert self.state is not None
            if self.state[1] == 1:
                raise OSError("no more planks")
            return super().snapshot()

    run = create_run(store, RECIPE)
    eval_stage(store, run, 0, RECIPE, Breaks(), Scripted(always("up")))
    figures = gather(store, run).evals[0].figures
    assert figures.faulty == 4
    assert notes(store, run, "Behaviour") == []
