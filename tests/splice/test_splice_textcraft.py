"""Verification in a real environment: in TextCraft, a wrong craft can eat what the goal needs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.tasks import Task
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.world import custom_task
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.judging import TreeInput
from agentr_lite.splice.wave import Revision, splice_wave
from tests.support.splice_cases import RuleActor, actions, walk

LOGS = "get 1 oak logs"
PLANKS = "craft 4 oak planks using 1 oak logs"
STICKS = "craft 4 stick using 2 oak planks"
BUTTON = "craft 1 oak button using 1 oak planks"
LADDER = "craft 3 ladder using 7 stick"
PLAN = [LOGS, PLANKS, STICKS, STICKS, LADDER]

TASK = custom_task("ladder", "ladder", [PLANKS, STICKS, BUTTON, LADDER])


def revise(task: Task, plan: Sequence[str], bad: Sequence[str], actor: RuleActor) -> Revision:
    env = TextCraft()
    nodes = walk(env, task, [plan, bad])
    [result] = splice_wave(
        [TreeInput(1, task, Opening(env.instructions(brief=True), nodes[0].observation), nodes)],
        recipe=Recipe(search=SearchSettings(depth=20), splice=SpliceSettings(alpha=(1.0,))),
        round_index=1,
        env=env,
        actor=actor,
    )
    [revision] = result.revisions
    return revision


def test_a_needless_item_does_no_harm() -> None:
    bad = [LOGS, PLANKS, LOGS, "inventory", "inventory"]

    revision = revise(TASK, PLAN, bad, RuleActor([LOGS]))

    assert (revision.status, revision.naive_reward) == ("replayed", 1.0)
    assert revision.messages is not None
    assert actions(revision.messages) == [LOGS, PLANKS, LOGS, "reflect", *PLAN[2:]]


def test_a_wasted_plank_breaks_the_naive_splice_and_is_made_good() -> None:
    rest = [LOGS, PLANKS, STICKS, STICKS, LADDER]

    def policy(messages: Sequence[Message], seed: int) -> str:
        done = actions(messages)
        return rest[len(done) - 1 - done.index("reflect")]

    revision = revise(TASK, PLAN, [LOGS, PLANKS, BUTTON, "inventory"], RuleActor([BUTTON], policy))

    assert (revision.status, revision.naive_reward) == ("recovered", 0.0)
    assert revision.messages is not None
    assert actions(revision.messages) == [LOGS, PLANKS, BUTTON, "reflect", *rest]


def test_a_wasted_plank_without_a_way_back_is_rejected() -> None:
    actor = RuleActor([BUTTON], lambda messages, seed: "inventory")

    revision = revise(TASK, PLAN, [LOGS, PLANKS, BUTTON, "inventory"], actor)

    assert revision.status == "rejected"
    assert revision.reason.startswith("no way back")


@pytest.mark.parametrize("index", [0, 7, 19])
def test_bundled_tasks_replay_to_full_reward(index: int) -> None:
    task = TextCraft().tasks("train")[index]
    plan = TextCraft().solve(task)
    bad = ["inventory", "get 1 thing that is not there", "inventory"]

    revision = revise(task, plan, bad, RuleActor(bad[1:2]))

    assert (revision.status, revision.naive_reward) == ("replayed", 1.0)
    assert revision.messages is not None
    assert actions(revision.messages) == [*bad[:2], "reflect", *plan]
