"""Whole episodes of an evaluation, and two of them side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.layout.beside import Side, lay_out_beside
from agentr_lite_tui.layout.episodes import episode_views
from agentr_lite_tui.screens.beside import BesideScreen
from agentr_lite_tui.screens.compare import CompareScreen
from agentr_lite_tui.screens.episodes import EpisodesScreen
from agentr_lite_tui.screens.step import StepScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from textual.pilot import Pilot

from agentr_lite.console.outcomes import CUT_EPISODE, FATAL, SOLVED
from agentr_lite.core.openings import Example
from agentr_lite.core.steps import Step
from agentr_lite.metrics.episode_pairs import same_steps
from agentr_lite.report.model.episodes import episode_mark
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, evals, runs
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode
from tests.support.corridor import Corridor
from tests.support.inspector_cases import RECIPE, drive, picture, press
from tests.support.inspector_keys import covers, table


def step(action: str, answer: str, **more: object) -> Step:
    return dataclasses.replace(
        Step(f"Thought: {action} it is.\nAction: {action}", action, answer), **more
    )


WALK = step("forward", "You are at 1.")
LEAVE = step("leave", "You left.", terminated=True, disaster=True)
OPEN = step("open", "It opens.", terminated=True, reward=1.0)
WAIT = step("wait", "Nothing happens.", truncated=True)
PLAYED: dict[int, Sequence[Sequence[Step]]] = {
    0: [[WALK, LEAVE], [WALK, OPEN], [WALK, OPEN], [WALK, WAIT]],
    1: [[WALK, WALK, OPEN], [WALK, WAIT], [WALK, OPEN], [WALK, LEAVE]],
    2: [[WALK, WALK, OPEN], [WALK, OPEN], [WALK, WALK, OPEN], [WALK, WAIT]],
}
"""Round to the episodes of four tasks: gained, lost for a time, kept, never solved."""


def save(
    store: Store, run_id: str, number: int, mode: EvalMode, played: Sequence[Sequence[Step]]
) -> None:
    tasks = Corridor().tasks("test")[: len(played)]
    ids = runs.task_ids(store, "corridor", tasks)
    eval_id = evals.open_eval(store, run_id, number, mode, "test")
    items = []
    for task, steps in zip(tasks, played, strict=True):
        row = EvalItemRow(
            task=None,  # type: ignore[arg-type]  # not read
            sample=0,
            reward=steps[-1].reward,
            success=steps[-1].reward >= 1,
            steps=len(steps),
            invalid_actions=0,
            repeated_actions=0,
            reflections=0,
            episode=[
                EpisodeStep(one, given=mode == "recovery" and at == 0)
                for at, one in enumerate(steps)
            ],
            instructions="Open the door, with the key.",
            observation=f"You are at 0. The task is {task.name}.",
        )
        items.append((ids[task.name], row))
    evals.save_eval_items(store, eval_id, items)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        run_id = create_run(store, RECIPE)
        for number, played in PLAYED.items():
            save(store, run_id, number, "greedy", played)
            save(store, run_id, number, "recovery", played[:1])
    return path, run_id


def document(app: Inspector, name: str) -> str:
    lines = app.screen.query_one(f"#{name}", DocumentView)._lines
    return "\n".join("".join(text for text, _ in line) for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_an_episode_shows_what_the_model_saw_first(
    made: tuple[Path, str], size: tuple[int, int]
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "enter", "enter")
        assert isinstance(app.screen, StepScreen)
        shown = " ".join(document(app, "step").replace("▎", "").split())
        assert "Open the door, with the key." in shown
        assert "You are at 0. The task is corridor" in shown
        await press(pilot, "right")
        assert "You are at 0." in document(app, "step"), "the first turn saw it, too"
        await press(pilot, "end")
        assert "ends ☠ fatal mistake" in picture(app)
        assert "☠ leave" in document(app, "step")

    drive(made[0], script, run_id=made[1], size=size)


def test_the_beginning_that_recovery_was_given_is_marked(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "down", "enter", "enter")
        assert isinstance(app.screen, StepScreen)
        assert "1 of 2 steps given" in picture(app)
        assert "the first 1 of 2 steps were given" in document(app, "step")
        await press(pilot, "right")
        assert "given: part of the failed episode" in document(app, "step")

    drive(made[0], script, run_id=made[1])


def test_an_older_release_has_not_stored_the_beginning(made: tuple[Path, str]) -> None:
    with Store.open(made[0]) as store:
        store.execute("UPDATE eval_items SET instructions_id = NULL, observation_id = NULL")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "enter", "enter")
        shown = " ".join(document(app, "step").split())
        assert "an older release has not stored what the model saw first" in shown
        assert "open the door" in shown

    drive(made[0], script, run_id=made[1])


def test_examples_stand_between_the_instructions_and_the_task() -> None:
    row = EvalItemRow(None, 0, 1.0, True, 1, 0, 0, 0, [EpisodeStep(OPEN)], None, "Do.", "At 0.")  # type: ignore[arg-type]
    shown = Example("other", "At 9.", (OPEN,))
    views, end = episode_views(row, examples=(shown,))
    assert views[0].saw == f"Do.\n\n[example 1: other]\nAt 9.\n\n{OPEN.text}"
    assert (views[0].answer, end) == ("At 0.", SOLVED)


def test_lists_mark_cut_and_fatal_episodes(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "enter")
        assert isinstance(app.screen, EpisodesScreen)
        assert [row.cells[0] for row in table(app).rows] == [
            (FATAL.glyph, FATAL.style),
            (SOLVED.glyph, SOLVED.style),
            (SOLVED.glyph, SOLVED.style),
            (CUT_EPISODE.glyph, CUT_EPISODE.style),
        ]
        await press(pilot, "escape", "t")
        assert "☠ 0.00" in picture(app) and "… 0.00" in picture(app)

    drive(made[0], script, run_id=made[1])


@covers(
    "episodes.beside",
    "beside.next",
    "beside.previous",
    "beside.shared",
    "beside.open",
    "beside.right_previous",
    "beside.right_next",
    "beside.left_next",
    "beside.left_previous",
)
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_two_episodes_from_their_first_difference_on(
    made: tuple[Path, str], size: tuple[int, int]
) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", *["down"] * 4, "enter")
        assert "round 2, greedy" in picture(app)
        await press(pilot, "b")
        assert isinstance(app.screen, BesideScreen)
        shown = document(app, "beside")
        assert "They differ from step 2 on: leave against forward." in " ".join(shown.split())
        assert "⋯ 1 step the same" in shown
        assert "▲ gained" in picture(app) and "[base]" in picture(app)
        rows = [line.split(" │ ") for line in shown.splitlines() if " │ " in line]
        [first] = [row for row in rows if "☠ leave" in row[0]]
        assert first[1].startswith("2 · forward"), "the second steps stand beside each other"
        await press(pilot, "c")
        assert "⋯" not in document(app, "beside")
        assert document(app, "beside").count("You are at 0.") == 2, "what both saw first"
        await press(pilot, "c", "right")
        assert "The two episodes are the same." in document(app, "beside")
        assert "1 · forward" in document(app, "beside")
        assert "✓ kept" in picture(app)
        await press(pilot, "left_square_bracket")
        assert "▼ lost" in picture(app) and "[round 1]" in picture(app)
        await press(pilot, "right_square_bracket", "right_curly_bracket")
        assert "[round 1][round 2]" in picture(app) and "▲ gained" in picture(app)
        await press(pilot, "left_curly_bracket", "left", "enter")
        assert isinstance(app.screen, StepScreen)
        assert "round 2" in picture(app).splitlines()[0]

    drive(made[0], script, run_id=made[1], size=size)


@covers("compare.beside", "compare.previous", "compare.next")
def test_every_round_can_be_compared_not_only_the_last(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "t")
        assert isinstance(app.screen, CompareScreen)
        assert "▲ 1 ▼ 0" in picture(app) and "[2]" in picture(app)
        await press(pilot, "left_square_bracket")
        assert "▲ 1 ▼ 1" in picture(app) and "[1]" in picture(app)
        names = {}
        for _ in range(5):
            names[app.screen._which] = [row.key for row in table(app).rows]
            await press(pilot, "u")
        first, second, third, fourth = names["all"]
        assert names["gained"] == [first] and names["lost"] == [second]
        assert names["kept"] == [third] and fourth not in names["changed"]
        await press(pilot, "u", "u", "u", "b")
        assert isinstance(app.screen, BesideScreen)
        assert "▼ lost" in picture(app) and "1 of 1" in picture(app)
        await press(pilot, "escape", "right_square_bracket", "u", "u")
        assert "▲ 1 ▼ 0" in picture(app)

    drive(made[0], script, run_id=made[1])


def test_the_filters_of_the_episodes(made: tuple[Path, str]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "down", "down", "enter")
        assert isinstance(app.screen, EpisodesScreen)
        assert "round 1, greedy" in picture(app)
        counts = {}
        for _ in range(5):
            counts[app.screen._which] = table(app).count
            await press(pilot, "u")
        assert counts == {"all": 4, "gained": 1, "lost": 1, "failed": 2, "kept": 1}

    drive(made[0], script, run_id=made[1])


def test_one_round_alone_has_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        run_id = create_run(store, RECIPE)
        save(store, run_id, 0, "greedy", PLAYED[0])

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "enter", "b")
        assert isinstance(app.screen, EpisodesScreen)
        assert "No other round has played these tasks yet." in picture(app)
        await press(pilot, "escape", "t", "b")
        assert isinstance(app.screen, CompareScreen)

    drive(path, script, run_id=run_id, notifications=True)


def test_what_counts_as_the_same_step() -> None:
    said = [EpisodeStep(WALK), EpisodeStep(WALK)]
    otherwise = [EpisodeStep(dataclasses.replace(WALK, text="Action: forward")), said[1]]
    answered = [said[0], EpisodeStep(dataclasses.replace(WALK, observation="A wall."))]
    assert same_steps(said, otherwise) == 2, "a thought may differ"
    assert same_steps(said, answered) == 1
    assert same_steps(said, said[:1]) == 1
    assert same_steps([], said) == 0
    assert episode_mark(EvalItemRow(None, 0, 1.0, True, 1, 0, 0, 0)) == SOLVED  # type: ignore[arg-type]


def test_a_task_that_one_round_has_not_played() -> None:
    lines = lay_out_beside(Side("base"), Side("round 1"), "Open it.", 0, 60)
    text = ["".join(text for text, _ in line) for line in lines]
    assert " base has not played this task." in text
