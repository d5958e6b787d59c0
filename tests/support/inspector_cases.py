"""A small database for the inspector's tests, made by the real stages, and ways to look at it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agentr_lite_tui.app import Inspector
from textual.pilot import Pilot

from agentr_lite.actors.base import Capabilities, ScoreRequest, ScoreResult
from agentr_lite.agent.turns import parse_action
from agentr_lite.core.messages import Message
from agentr_lite.recipe.groups import EvalSettings, SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs
from tests.support.corridor import Corridor
from tests.support.policy_actor import PolicyActor
from tests.support.stages import eval_stage, search_stage, splice_stage

RECIPE = Recipe(
    env=(EnvironmentSettings("corridor"),),
    model="mock",
    rounds=2,
    search=SearchSettings(tasks=6, simulations=4, width=3, depth=7, wave=3),
    splice=SpliceSettings((0.5, 1.0), recovery_attempts=2),
    eval=EvalSettings(max_steps=8, batch=4, recovery=False),
)
MISTAKES = ("back", "open", "leave", "jump", "smash", "reflect", "dither")
STANDARD = (100, 24)
SMALL = (80, 24)

Script = Callable[[Inspector, Pilot[None]], Awaitable[None]]


class Player(PolicyActor):
    """Does the right thing with a probability, and judges what never helps bad."""

    def __init__(self, *, skill: float) -> None:
        super().__init__(self._choose)
        self.skill = skill
        self.capabilities = Capabilities(scoring=True)

    def _choose(self, messages: Sequence[Message], seed: int) -> str:
        seen, draw = messages[-1]["content"], random.Random(seed)
        right = "forward"
        if "key is here" in seen:
            right = "take"
        elif "hold the key" in seen and "door is here" in seen:
            right = "open"
        action = right if draw.random() < self.skill else draw.choice(MISTAKES)
        if action == "dither":
            return "I do not know what to do."
        return f"Thought: turn {len(messages) // 2}, I try to {action}.\nAction: {action}"

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        results = []
        for request in requests:
            turns = [m["content"] for m in request.messages if m["role"] == "assistant"]
            bad = parse_action(turns[-1]) in MISTAKES
            results.append(ScoreResult((-2.0, -0.1, -3.0) if bad else (-0.1, -2.0, -3.0), 20, 10))
        return results


def make_run(store: Store) -> str:
    """A finished run of two rounds, its times made the same on every machine."""
    run_id = create_run(store, RECIPE)
    env = Corridor()
    for round_index in range(RECIPE.rounds + 1):
        player = Player(skill=0.45 + 0.15 * round_index)
        if round_index:
            search_stage(store, run_id, round_index, RECIPE, env, player)
            splice_stage(store, run_id, round_index, RECIPE, env, player)
            losses = [("train_loss", step, 2 / (step + 1)) for step in range(40)]
            runs.add_metrics(store, run_id, round_index, losses)
        eval_stage(store, run_id, round_index, RECIPE, env, player)
    runs.set_run_status(store, run_id, "finished")
    # The pictures shall not change with the wording of a prompt.
    store.execute(
        "UPDATE rounds SET wall_s = 12.5, model_ms = 9000, prompt_tokens = 9000,"
        " decoded_prompt_tokens = 4000, output_tokens = 1000"
    )
    store.execute(
        "UPDATE model_calls SET prompt_tokens = 120, output_tokens = 27, batch_ms = 41.5"
        " WHERE batch_size IS NOT NULL"
    )
    return run_id


def drive(
    path: Path,
    script: Script,
    *,
    size: tuple[int, int] = STANDARD,
    run_id: str | None = None,
    notifications: bool = False,
    **more: object,
) -> Inspector:
    """Run the inspector without a terminal and let a script press its keys.

    The database is looked at when the script calls ``app.poll``, never by the clock.
    """

    async def session() -> Inspector:
        with Store.open(path, read_only=True) as store:
            app = Inspector(store, run_id=run_id, poll_s=0, **more)  # type: ignore[arg-type]
            async with app.run_test(size=size, notifications=notifications) as pilot:
                await pilot.pause()
                await script(app, pilot)
            return app

    return asyncio.run(session())


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys and wait until all that follows from them is done."""
    await pilot.press(*keys)
    await pilot.pause()
    await pilot.pause()


def picture(app: Inspector) -> str:
    """What is on the screen, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
