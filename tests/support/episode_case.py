"""A run with planted held-out episodes, one of each kind that a page tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentr_lite.core.steps import Step, turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs
from agentr_lite.store.evals import open_eval, save_eval_items
from agentr_lite.store.records import EpisodeStep, EvalItemRow, EvalMode, TaskRow

INSTRUCTIONS = "Craft what the goal says. Each turn holds one action."
SEEN = "Crafting commands: craft 1 stick using 2 planks. Goal: craft a thing."
REFUSED = "Could not find the item that you named anywhere."


def step(action: str | None, answer: str = "Done.", **values: object) -> Step:
    """A turn with a thought of its own."""
    text = turn_text(f"I try {action}", action) if action else "I do not know."
    return Step(text, action, answer, **values)  # type: ignore[arg-type]


WON = {"reward": 1.0, "terminated": True}
CUT = {"truncated": True}
LOOP = [step("get 1 log"), step("get 9 suns", REFUSED, invalid=True)]

EPISODES: Mapping[str, Sequence[Sequence[Step]]] = {
    # Gained: the base repeats a refused action.
    "gained": [
        [*LOOP, LOOP[1], step("look", **CUT)],
        [LOOP[0], step("craft thing", **WON)],
        [LOOP[0], step("get 2 log"), step("craft thing", **WON)],
    ],
    "lost": [
        [step("craft thing", **WON)],
        [step("craft thing", **WON)],
        [step(None, invalid=True, kind="none"), step("look", **CUT)],
    ],
    "kept": [[step("get 1 log"), step("craft thing", **WON)]] * 3,
    "failed": [[*LOOP, step("look", "Nothing.", **CUT)], [step("look", **CUT)], [*LOOP]],
}
"""Task to the episodes of the base and two rounds."""


def plant_episodes(
    path: Path,
    episodes: Mapping[str, Sequence[Sequence[Step] | None]] = EPISODES,
    *,
    mode: EvalMode = "greedy",
    given: int = 0,
    observation: str | None = SEEN,
    goal: str = "craft a thing",
    seed: int = 1,
) -> str:
    """Evaluate tasks in a new run; its id.

    Args:
        path: the database.
        episodes: task to one episode for each round; None: not played.
        mode: how they are said to be played.
        given: steps of each episode that the model did not choose.
        observation: the first one; None as of an older release.
        goal: every task's, its name behind it.
        seed: the run's.
    """
    with Store.open(path) as store:
        run_id = create_run(store, Recipe(seed=seed))
        tasks = [Task(name, "test", f"{goal}: {name}") for name in episodes]
        ids = runs.task_ids(store, "textcraft", tasks)
        for number in range(max(map(len, episodes.values()))):
            items = []
            for task in tasks:
                steps = episodes[task.name][number]
                if steps is None:
                    continue
                reward = steps[-1].reward if steps else 0.0
                row = EvalItemRow(
                    TaskRow(ids[task.name], "textcraft", task.name, "test", task.goal, 1),
                    0,
                    reward,
                    reward == 1,
                    len(steps) - given,
                    sum(each.invalid for each in steps[given:]),
                    0,
                    0,
                    [EpisodeStep(each, given=at < given) for at, each in enumerate(steps)],
                    instructions=None if observation is None else INSTRUCTIONS,
                    observation=observation,
                )
                items.append((ids[task.name], row))
            save_eval_items(store, open_eval(store, run_id, number, mode, "test"), items)
        return run_id
