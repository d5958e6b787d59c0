"""Asking the critic about a task that was never solved, from its tree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agentr_lite_tui.app import Inspector
from agentr_lite_tui.critic_desk import problem_text
from agentr_lite_tui.screens.tree import TreeScreen
from agentr_lite_tui.widgets.document_view import DocumentView
from textual.pilot import Pilot

from agentr_lite.core.errors import ModelError
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs, splices
from agentr_lite.store.records import JudgementRow
from tests.support.inspector_cases import RECIPE, Script, drive, picture, press
from tests.support.inspector_keys import covers, tree
from tests.support.planted_trees import node, plant_nodes

FAILED = [
    node(0, None, 0, visits=2),
    node(1, 0, 1, action="go wrong", visits=1),
    node(2, 1, 2, action="go on", truncated=True),
    node(3, 0, 1, action="go lost", truncated=True),
]
SOLVED = [
    node(0, None, 0),
    node(1, 0, 1, terminated=True, reward=1.0),
    node(2, 0, 1, truncated=True),
]
SIZES = [(80, 24), (120, 40), (200, 60)]


@dataclass
class Answered:
    judgements: list[JudgementRow]
    note: str = ""


@dataclass
class Critic:
    """Waits in the middle until the test lets it go on; stores its verdicts if it has a path."""

    path: Path
    note: str = ""
    problem: Exception | None = None
    asked: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    go_on: threading.Event = field(default_factory=threading.Event)
    half: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(
        self, tree_id: int, say: Callable[[str], None], is_cancelled: Callable[[], bool]
    ) -> Answered | None:
        self.asked.append(tree_id)
        self.threads.add(threading.get_ident())
        say("2 of at most 3 steps judged")
        self.half.set()
        assert self.go_on.wait(300)
        self.ended.set()
        if is_cancelled():
            return None
        if self.problem is not None:
            raise self.problem
        rows = [JudgementRow(0, 0, 1, "bad", "score", scores=(-3.0, -0.1, -4.0))]
        if self.note:
            return Answered(rows, self.note)
        with Store.open(self.path) as store:
            [path] = [it.id for it in self._paths(store, tree_id) if it.leaf_idx == 2]
            rows = [JudgementRow(path, 0, 1, "bad", "score", scores=(-3.0, -0.1, -4.0))]
            splices.save_judgements(store, rows)
        return Answered(rows)

    def _paths(self, store: Store, tree_id: int) -> list[splices.TrajectoryRow]:
        [run] = runs.list_runs(store)
        return splices.list_trajectories(store, run.id, tree_id=tree_id)


@pytest.fixture
def critic(tmp_path: Path) -> Critic:
    """Two trees: the first was never solved, the second was."""
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        run_id = create_run(store, RECIPE)
        failed = plant_nodes(store, run_id, FAILED)
        for leaf in (2, 3):
            splices.save_trajectory(store, failed, leaf, kind="bad", reward=0.0, steps=2)
        plant_nodes(store, run_id, SOLVED, task_index=1)
        runs.stage_started(store, run_id, 1, "splice")
        runs.stage_finished(store, run_id, 1, "splice", summary={}, wall_s=1.0)
    return Critic(path)


def look(critic: Critic, script: Script, *, size: tuple[int, int] = (120, 40)) -> None:
    """Run a script that begins at the first task's tree."""

    async def begin(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "enter", "enter")
        assert isinstance(app.screen, TreeScreen)
        await script(app, pilot)

    try:
        app = drive(critic.path, begin, size=size, ask=critic.ask, notifications=True)
    finally:
        critic.go_on.set()
    assert app.critic is not None
    thread = app.critic.close()
    if thread is not None:
        thread.join(300)
        assert not thread.is_alive()


async def answer(critic: Critic, pilot: Pilot[None]) -> None:
    """Let the critic end, and wait until the screen knows."""
    critic.go_on.set()
    assert critic.ended.wait(300)
    assert pilot.app.critic is not None  # type: ignore[attr-defined]
    while pilot.app.critic.asking is not None:  # type: ignore[attr-defined]
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


def told(app: Inspector) -> str:
    return " ".join(notification.message for notification in app._notifications)


def detail(app: Inspector) -> str:
    lines = app.screen.query_one("#detail", DocumentView)._lines
    return " ".join(" ".join("".join(text for text, _ in line) for line in lines).split())


@covers("tree.ask")
@pytest.mark.parametrize("size", SIZES)
def test_the_verdicts_appear_and_keys_work_meanwhile(critic: Critic, size: tuple[int, int]) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home")
        assert "no pair: never solved" in picture(app) and "Ask critic" in picture(app)
        assert "Press a to ask the critic" in detail(app)
        await press(pilot, "a")
        assert critic.half.wait(300)
        await pilot.pause()
        shown = picture(app)
        assert "critic: 2 of at most 3 steps judged …" in shown and "a cancels" in shown
        await press(pilot, "end")
        assert tree(app).cursor == tree(app).count - 1, "the critic holds up no key"
        await answer(critic, pilot)
        shown = picture(app)
        assert "critic:" not in shown and "✗ 93%" in shown and "Ask critic" not in shown
        await press(pilot, "home", "e")
        assert "critic ✗ bad 93%" in detail(app)
        await press(pilot, "escape")
        assert "step 1 ✗ 93% go wrong" in picture(app)

    look(critic, script, size=size)


def test_what_cannot_be_stored_is_shown_with_the_reason(critic: Critic) -> None:
    critic.note = "the database cannot be written"

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "a")
        await answer(critic, pilot)
        shown = picture(app)
        assert "✗ 93%" in shown
        assert "critic: shown, not stored: the database cannot be written" in shown
        # They are still there after the tree was left.
        await press(pilot, "escape", "enter")
        assert "✗ 93%" in picture(app) and critic.asked == [1]

    look(critic, script)


@pytest.mark.parametrize("size", SIZES)
def test_a_problem_is_told_and_asking_again_is_possible(
    critic: Critic, size: tuple[int, int]
) -> None:
    critic.problem = ModelError("no model 'x.gguf'", hint="Put it back.")

    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "home", "a")
        await answer(critic, pilot)
        assert "critic: no model 'x.gguf'. Put it back." in picture(app)
        assert "no model 'x.gguf'. Put it back." in told(app)
        assert "no model 'x.gguf'. Put it back." in detail(app)
        critic.problem = None
        await press(pilot, "a")
        await answer(critic, pilot)
        assert "✗ 93%" in picture(app) and critic.asked == [1, 1]
        assert len(critic.threads) == 1, "a model stays in its thread"

    look(critic, script, size=size)


def test_an_error_of_the_program_is_not_hidden() -> None:
    assert problem_text(ModelError("gone", hint="Put it back.")) == "gone. Put it back."
    with pytest.raises(ZeroDivisionError, match="a bug"):
        problem_text(ZeroDivisionError("a bug"))


def test_asking_can_be_cancelled(critic: Critic) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "a")
        assert critic.half.wait(300)
        await press(pilot, "a")
        assert "critic: ends after this step …" in picture(app)
        await answer(critic, pilot)
        shown = picture(app)
        assert "critic:" not in shown and "✗ 93%" not in shown and "Ask critic" in shown

    look(critic, script)


def test_it_goes_on_while_another_screen_is_looked_at(critic: Critic) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "a")
        assert critic.half.wait(300)
        await press(pilot, "escape", "down", "enter")
        assert "critic: asked about another tree" in picture(app)
        assert "Ask critic" not in picture(app), "this task was solved"
        await answer(critic, pilot)
        assert "critic:" not in picture(app)
        await press(pilot, "escape")
        assert "step 1 ✗ 93% go wrong" in picture(app)

    look(critic, script)


def test_where_nothing_can_be_asked_the_key_is_not_offered(critic: Critic) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "enter", "enter", "home", "a")
        assert isinstance(app.screen, TreeScreen)
        assert "Ask critic" not in picture(app) and "Press a" not in detail(app)
        assert critic.asked == []

    drive(critic.path, script)


def test_the_end_of_the_program_ends_the_asking(critic: Critic) -> None:
    async def script(app: Inspector, pilot: Pilot[None]) -> None:
        await press(pilot, "a")
        assert critic.half.wait(300)
        await press(pilot, "q")

    look(critic, script)
    assert critic.ended.wait(300)
