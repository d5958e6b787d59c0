"""How an evaluated episode ended, from planted rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from agentr_lite_tui.layout.episodes import episode_views
from agentr_lite_tui.screens.step import StepScreen
from textual.pilot import Pilot

from agentr_lite.console.outcomes import BROKEN, CUT_EPISODE, FATAL, OVERFLOWED, SOLVED
from agentr_lite.core.steps import Step, step_to_json
from agentr_lite.metrics.episodes import OVERFLOW
from agentr_lite.report.model.episodes import episode_end
from agentr_lite.store import Store
from agentr_lite.store.records import EpisodeStep, EvalItemRow, TaskRow
from tests.support.inspector_cases import drive, make_run, picture, press

FORWARD = Step("Action: forward", "forward", "You are at 1.")


def item(*steps: Step, error: str | None = None, reward: float = 0.0) -> EvalItemRow:
    return EvalItemRow(
        task=TaskRow(1, "corridor", "test", "long", "Open the door.", 1),
        sample=0,
        reward=reward,
        success=reward >= 1,
        steps=len(steps),
        invalid_actions=0,
        repeated_actions=0,
        reflections=0,
        episode=[EpisodeStep(step) for step in steps],
        error=error,
    )


def test_an_episode_ends_at_an_end_a_limit_or_a_failure() -> None:
    solved = dataclasses.replace(FORWARD, terminated=True, reward=1.0)
    fatal = dataclasses.replace(FORWARD, terminated=True, disaster=True)
    cut = dataclasses.replace(FORWARD, truncated=True)
    for row, expected in [
        (item(FORWARD, solved, reward=1.0), SOLVED),
        (item(FORWARD, fatal), FATAL),
        (item(FORWARD, cut), CUT_EPISODE),
        (item(FORWARD, FORWARD), CUT_EPISODE),
        (item(FORWARD, error=OVERFLOW), OVERFLOWED),
        (item(FORWARD, cut, error="boom"), BROKEN),
    ]:
        views, end = episode_views(row)
        assert end == expected
        assert len(views) == len(row.episode) + 1
        # The last step shows a limit or a mistake itself; a failure came after it.
        if end in (SOLVED, FATAL, CUT_EPISODE):
            assert views[-1].mark == expected
    assert episode_end(item(), ()) == CUT_EPISODE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("episodes") / "runs.db"
    with Store.open(path) as store:
        return path, make_run(store)


@pytest.mark.parametrize(
    ("last", "sign"),
    [
        ({"truncated": True}, "ends … cut at the step limit"),
        ({"terminated": True, "disaster": True}, "ends ☠ fatal mistake"),
    ],
)
def test_the_screen_shows_how_an_episode_ended(
    made: tuple[Path, str], last: Mapping[str, Any], sign: str
) -> None:
    path, run_id = made
    steps = [FORWARD, dataclasses.replace(FORWARD, **last)]
    with Store.open(path) as store:
        store.execute(
            "UPDATE eval_items"
            " SET reward = 0, success = 0, steps = 2, error = NULL, steps_json = ?",
            (json.dumps([step_to_json(step) for step in steps]),),
        )

    async def script(app: Any, pilot: Pilot[None]) -> None:
        await press(pilot, "e", "end", "enter", "enter")
        assert isinstance(app.screen, StepScreen)
        assert sign in picture(app)
        await press(pilot, "end")
        assert sign.removeprefix("ends ")[2:] in picture(app).splitlines()[3]

    drive(path, script, run_id=run_id)
