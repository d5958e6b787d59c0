"""The critic against the oracle: TextCraft's solver shows which step was the first error."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import PLAIN, reflection_turn
from agentr_lite.core.tasks import Task
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.world import custom_task
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.report.model.splices import splice_rounds
from agentr_lite.report.tables.splices import failure_section, recovery_section
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store
from agentr_lite.study.outcomes.critic_accuracy import (
    CriticRound,
    JudgedPath,
    JudgedStep,
    critic_rounds,
)
from agentr_lite.study.outcomes.oracle import first_error, has_step_oracle, judge_steps
from agentr_lite.study.writeup.critic_tables import path_section, step_section
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, plant, turn
from tests.support.stages import splice_stage

LOGS = "get 1 oak logs"
PLANKS = "craft 4 oak planks using 1 oak logs"
STICKS = "craft 4 stick using 2 oak planks"
BUTTON = "craft 1 oak button using 1 oak planks"
LADDER = "craft 3 ladder using 7 stick"
PLAN = [LOGS, PLANKS, STICKS, STICKS, LADDER]
TASK = custom_task("ladder", "ladder", [PLANKS, STICKS, BUTTON, LADDER])
NONSENSE = "get 1 thing that is not there"


def verdicts(*actions: str, task: Task = TASK) -> list[str]:
    env = TextCraft()
    env.reset(task)
    steps = [take_step(env, action if "\n" in action else turn(action)) for action in actions]
    return list(judge_steps(env, task, steps, PLAIN))


def test_an_oracles_plan_is_good_throughout() -> None:
    assert verdicts(*PLAN) == ["good"] * 5
    assert first_error(["good"] * 5) is None


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        # Looking and turning round cost a step and nothing else.
        (["inventory", LOGS, reflection_turn("Hm.")], ["neutral", "good", "neutral"]),
        # Impossible, without an action, of no use.
        ([LADDER, "no idea\nat all", "get 1 oak planks"], ["bad", "bad", "bad"]),
        ([LOGS, LOGS], ["good", "bad"]),
        # A plank is wasted: one more log is needed than before.
        ([LOGS, PLANKS, BUTTON, STICKS], ["good", "good", "bad", "good"]),
        # The same get in two parts: the first brings the goal no nearer, but is not wasted.
        (["get 2 oak logs"], ["good"]),
    ],
)
def test_verdicts(actions: list[str], expected: list[str]) -> None:
    assert verdicts(*actions) == expected


def test_verdicts_do_not_read_the_old_observations() -> None:
    env = TextCraft()
    env.reset(TASK)
    step = take_step(env, turn(LOGS))
    assert judge_steps(env, TASK, [step, step, step], PLAIN) == ["good", "bad", "bad"]


@pytest.mark.parametrize(("start", "error"), [(0, 1), (1, 1), (2, 3), (4, None)])
def test_the_first_error_is_looked_for_after_the_parting(start: int, error: int | None) -> None:
    assert first_error(["good", "bad", "neutral", "bad"], start) == error


def test_only_an_oracle_that_can_judge_every_step_is_used() -> None:
    assert has_step_oracle(TextCraft())
    assert not has_step_oracle(Corridor())
    with pytest.raises(TypeError, match="corridor has no oracle"):
        judge_steps(Corridor(), TASK, [], PLAIN)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "truth.db")


def judged(store: Store, wrong: list[str]) -> dict[int, CriticRound]:
    """A run whose critic calls ``wrong`` actions bad; its bad path: look, err, err again."""
    env = TextCraft()
    recipe = Recipe(search=SearchSettings(depth=20), splice=SpliceSettings(alpha=(1.0,)))
    run = create_run(store, recipe)
    for index in (0, 7):
        task = env.tasks("train")[index]
        good = env.solve(task)
        bad = [good[0], "inventory", NONSENSE, NONSENSE, "inventory"]
        plant(store, run, env, task, [good, bad], wave=index)  # type: ignore[list-item]
    splice_stage(store, run, 1, recipe, env, RuleActor(wrong))
    return critic_rounds(store, run, TextCraft())


def test_a_critic_that_is_right(store: Store) -> None:
    [judged_round] = judged(store, [NONSENSE]).values()
    assert [(p.cut, p.error, p.called_bad) for p in judged_round.paths] == [(2, 2, True)] * 2
    assert {(s.critic, s.oracle) for s in judged_round.steps} >= {("bad", "bad")}
    assert all((s.critic == "bad") == (s.oracle == "bad") for s in judged_round.steps)


def test_a_verdict_holds_for_every_path_through_its_step(store: Store) -> None:
    """Two bad paths with the same error: the second pair is a duplicate, and found as well."""
    env = TextCraft()
    recipe = Recipe(search=SearchSettings(depth=20), splice=SpliceSettings(alpha=(1.0,)))
    run, task = create_run(store, recipe), env.tasks("train")[0]
    good = env.solve(task)
    bad = [good[0], "inventory", NONSENSE, "inventory"]
    plant(store, run, env, task, [good, bad, [*bad, NONSENSE]])  # type: ignore[list-item]
    splice_stage(store, run, 1, recipe, env, RuleActor([NONSENSE]))
    [judged_round] = critic_rounds(store, run, env).values()
    assert [(p.cut, p.error, p.called_bad) for p in judged_round.paths] == [(2, 2, True)] * 2


def test_a_critic_that_is_early_and_one_that_is_blind(store: Store) -> None:
    [early] = judged(store, ["inventory"]).values()
    assert [(p.cut, p.error, p.called_bad) for p in early.paths] == [(1, 2, True)] * 2
    [blind] = judged(store, []).values()
    assert [(p.cut, p.error, p.called_bad) for p in blind.paths] == [(4, 2, False)] * 2


def test_without_judgements_there_is_nothing_to_compare(store: Store) -> None:
    run = create_run(store, Recipe())
    assert critic_rounds(store, run, TextCraft()) == {}
    assert critic_rounds(store, run, Corridor()) == {}


def test_figures_of_a_critic() -> None:
    judged_round = CriticRound(
        steps=[
            *[JudgedStep(task, "bad", "bad") for task in range(6)],
            *[JudgedStep(task, "good", "bad") for task in range(2)],
            *[JudgedStep(task, "good", "good") for task in range(4)],
            *[JudgedStep(task, "bad", "good") for task in range(4)],
            *[JudgedStep(task, "bad", "neutral") for task in range(9)],
        ],
        paths=[JudgedPath(1, 2, 2, True), JudgedPath(2, 1, 2, True), JudgedPath(3, 5, 2, False)],
        without_error=1,
    )
    [row] = step_section([("score", 1, [judged_round])], "textcraft").rows
    cells = [str(cell) for cell in row]
    assert cells[:4] == ["score, round 1", "16", "6 of 8", "75.0 %"]
    assert cells[5:7] == ["4 of 8", "50.0 %"]
    assert cells[8] == "62.5 %"
    [row] = path_section([("score", 1, [judged_round])], "textcraft").rows
    cells = [str(cell) for cell in row]
    assert cells[:3] == ["score, round 1", "3", "33.3 %"]
    assert cells[4:] == ["33.3 %", "33.3 %", "+0.7", "33.3 %", "1"]


def test_a_coin_has_half(store: Store) -> None:
    steps = [
        JudgedStep(task, critic, oracle)  # type: ignore[arg-type]
        for task in range(10)
        for critic in ("good", "bad")
        for oracle in ("good", "bad")
    ]
    [row] = step_section([("coin", 1, [CriticRound(steps)])], "textcraft").rows
    assert str(row[8]) == "50.0 %"


def test_naive_failures_and_what_is_recovered(store: Store) -> None:
    env = Corridor()
    recipe = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=12),
        splice=SpliceSettings(alpha=(1.0,), recovery_attempts=1),
    )
    run = create_run(store, recipe)
    # The key thrown back to the entrance can be fetched again, one that is smashed cannot.
    good = "forward, take, forward, open"
    bad = "forward, take, throw, back", "forward, take, smash, back"
    task = env.tasks("train")[0]
    plant(store, run, env, task, [good, *bad])  # type: ignore[list-item]

    def fetch(messages: list[dict[str, str]], seed: int) -> str:
        last = messages[-1]["content"]
        if "You hold the key" in last:
            return "open" if "door is here" in last else "forward"
        if "The key is here" in last:
            return "take"
        return "back"

    splice_stage(store, run, 1, recipe, env, RuleActor(["throw", "smash"], fetch))  # type: ignore[arg-type]
    spliced = splice_rounds(store, run)[1]
    assert sorted((p.failed, p.searched, p.recovered) for p in spliced.pairs) == [
        (True, True, False),
        (True, True, True),
    ]
    assert spliced.calls > 2
    [row] = failure_section([("corridor", 1, [spliced])]).rows
    assert [str(cell) for cell in row][:5] == ["corridor, round 1", "1", "2", "2", "100.0 %"]
    [row] = recovery_section([("corridor", 1, [spliced])]).rows
    assert [str(cell) for cell in row][:5] == ["corridor, round 1", "1", "2", "1", "50.0 %"]
    assert not recovery_section([]).rows


def test_a_splice_may_hold_and_yet_lie(store: Store) -> None:
    env = Corridor()
    recipe = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=12),
        splice=SpliceSettings(alpha=(1.0,), recovery_attempts=0),
    )
    run = create_run(store, recipe)
    # A step further back, the good path's way into the wall is just the way to the door.
    good = "take, forward, forward, forward, open"
    plant(store, run, env, env.tasks("train")[2], [good, "take, forward, back, leave"])
    # Nothing that the bad path did shows in what comes after it.
    good = "forward, take, forward, open"
    plant(store, run, env, env.tasks("train")[0], [good, "forward, throw, leave"])
    splice_stage(store, run, 1, recipe, env, RuleActor(["back", "throw"]))
    spliced = splice_rounds(store, run)[1]
    assert [(pair.failed, pair.untrue) for pair in spliced.pairs] == [(False, True), (False, False)]
    [row] = failure_section([("corridor", 1, [spliced])]).rows
    assert str(row[-1]) == "1"
