"""One wave of trees in the corridor: transition points, replay, recovery, rejection."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentr_lite.actors.base import Completion, GenerateRequest, GenerateResult
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.envs.base import StepResult
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.splice.judging import TreeInput
from agentr_lite.splice.wave import Revision, TreeResult, splice_wave
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, actions, walk

GOOD = "forward, take, forward, open"
"""Solves the task used here: three places, the key in the middle."""


def recipe(depth: int = 8, **splice: Any) -> Recipe:
    return Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=depth),
        splice=SpliceSettings(**{"alpha": (1.0,), **splice}),
    )


def run(
    paths: Sequence[str],
    actor: RuleActor,
    settings: Recipe | None = None,
    env: Corridor | None = None,
) -> TreeResult:
    env = env or Corridor()
    task = env.tasks("train")[0]
    nodes = walk(Corridor(), task, paths)
    opening = Opening(env.instructions(), nodes[0].observation)
    [result] = splice_wave(
        [TreeInput(7, task, opening, nodes)],
        recipe=settings or recipe(),
        round_index=1,
        env=env,
        actor=actor,
    )
    return result


def follow(plan: str) -> Callable[[Sequence[Message], int], str]:
    """A policy that carries out ``plan`` after the revision turn."""

    def policy(messages: Sequence[Message], seed: int) -> str:
        done = actions(messages)
        after = len(done) - 1 - done.index("reflect")
        return plan.split(", ")[after]

    return policy


def acts(revision: Revision) -> list[str]:
    assert revision.messages is not None
    return actions(revision.messages)


def test_a_harmless_error_is_replayed_and_accepted() -> None:
    actor = RuleActor(["jump high"])

    [revision] = run([GOOD, "forward, take, jump high, back, back"], actor).revisions

    assert revision.pair.parting_step == 2
    assert revision.cut.step == 3
    assert revision.length == 1
    assert (revision.status, revision.naive_reward) == ("replayed", 1.0)
    assert acts(revision) == ["forward", "take", "jump high", "reflect", "forward", "open"]
    assert revision.reason.startswith("judged: step 3")


def test_observations_are_those_of_the_execution() -> None:
    # The bad path walks to the door; the good suffix was seen one place further back.
    good = "forward, take, back, forward, forward, open"
    actor = RuleActor(["forward"])

    [revision] = run([good, "forward, take, forward, leave"], actor).revisions

    assert revision.status == "replayed"
    assert acts(revision)[3:] == ["reflect", "back", "forward", "forward", "open"]
    assert revision.messages is not None
    after_back = revision.messages[2 + 2 * 4 + 1]["content"]
    assert after_back == "You are at 1 of 2. You hold the key."
    # In the good episode the same action was answered from place 0.
    naive = run([good, "forward, take, forward, leave"], actor, recipe(verify="off"))
    [unverified] = naive.revisions
    assert unverified.messages is not None
    assert unverified.messages[2 + 2 * 4 + 1]["content"] == "You are at 0 of 2. You hold the key."
    assert (unverified.status, unverified.naive_reward) == ("naive", None)


def test_a_replay_that_gets_there_early_ends_there() -> None:
    good = "forward, take, open, forward, open"
    actor = RuleActor(["forward"])

    [revision] = run([good, "forward, take, forward, leave"], actor).revisions

    assert revision.status == "replayed"
    assert acts(revision) == ["forward", "take", "forward", "reflect", "open"]


def test_a_spoilt_state_is_recovered() -> None:
    # throw: the key lands at the entrance; the good suffix runs to the door without it.
    actor = RuleActor(["throw"], follow("back, take, forward, forward, open"))

    [revision] = run([GOOD, "forward, take, throw, forward, forward"], actor).revisions

    assert (revision.status, revision.naive_reward) == ("recovered", 0.0)
    assert acts(revision)[2:] == [
        *("throw", "reflect", "back", "take", "forward", "forward", "open")
    ]
    assert revision.loss is not None
    # Rules, goal, then agent and observation in turn: learnt from the signal on.
    assert revision.loss[2::2] == [False, False, False, True, True, True, True, True, True]
    assert not any(revision.loss[1::2])


def test_where_alpha_is_0_an_episode_must_earn_something_all_the_same() -> None:
    paths = [GOOD, "forward, take, throw, forward"]
    settings = recipe(alpha=(0.0,), recovery_attempts=0)
    [revision] = run(paths, RuleActor(["throw"]), settings).revisions
    assert (revision.status, revision.naive_reward) == ("rejected", 0.0)


def test_recovery_attempts_share_their_batches() -> None:
    actor = RuleActor(["throw"], follow("back, take, forward, forward, open"))

    result = run([GOOD, "forward, take, throw, forward"], actor, recipe(recovery_attempts=4))

    # One batch of judgements, then one of continuations a step; equal conversations share one.
    assert actor.batches == [2, 1, 1, 1, 1, 1]
    assert [len(call.seeds) for call in result.recovery_calls] == [4] * 5
    assert len({seed for call in result.recovery_calls for seed in call.seeds}) == 20


def test_the_best_then_shortest_recovery_is_taken() -> None:
    plans: dict[int, str] = {}

    def policy(messages: Sequence[Message], seed: int) -> str:
        done = actions(messages)
        after = done[done.index("reflect") + 1 :]
        # The first tick hands out a plan for each seed: slow, leave, quick.
        if not after:
            plans[seed] = ["forward", "leave", "back"][len(plans) % 3]
            return plans[seed]
        rest = {"forward": ["back", "back"], "back": []}[after[0]]
        return [*rest, "take", "forward", "forward", "open"][len(after) - 1]

    actor = RuleActor(["throw"], policy)

    [revision] = run([GOOD, "forward, take, throw, forward"], actor, recipe(12)).revisions

    assert acts(revision)[4:] == ["back", "take", "forward", "forward", "open"]


def test_what_cannot_be_mended_is_rejected_with_its_reason() -> None:
    actor = RuleActor(["smash"], lambda messages, seed: "back")

    [revision] = run([GOOD, "forward, take, smash, forward"], actor).revisions

    assert revision.status == "rejected"
    assert revision.naive_reward == 0.0
    assert revision.messages is None
    assert revision.reason.startswith("no way back: none of 4 recovery attempts succeeded")


def test_without_recovery_a_failed_replay_is_rejected() -> None:
    [revision] = run(
        [GOOD, "forward, take, throw, forward"], RuleActor(["throw"]), recipe(recovery_attempts=0)
    ).revisions

    assert revision.reason == "replay failed: reward 0, needed 1"


def test_recovery_may_take_as_many_steps_as_the_good_path_might() -> None:
    actor = RuleActor(["throw"], follow("back, take, forward, forward, open"))

    [cut_off] = run([GOOD, "forward, take, throw"], actor, recipe(6)).revisions
    [in_time] = run([GOOD, "forward, take, throw"], actor, recipe(7)).revisions

    assert (cut_off.status, in_time.status) == ("rejected", "recovered")


def test_where_only_reflections_follow_the_parting_nothing_is_revised() -> None:
    actor = RuleActor(["jump"])

    [revision] = run([GOOD, "forward, take, reflect, jump"], actor).revisions

    assert revision.reason.startswith("nothing to revise")
    assert actor.judged == []


def test_an_error_that_ends_the_episode_makes_no_pair() -> None:
    assert run([GOOD, "forward, take, jump"], RuleActor(["jump"])).revisions == []


def test_the_last_step_of_an_ended_episode_is_left_out() -> None:
    [revision] = run(
        [GOOD, "forward, take, take, jump"], RuleActor(), recipe(critic="none")
    ).revisions

    assert acts(revision) == ["forward", "take", "take", "reflect", "forward", "open"]
    assert revision.reason.startswith("direct: ")


def test_the_error_is_never_before_the_parting() -> None:
    # The critic condemns what the good path does too; only what follows the parting counts.
    actor = RuleActor(["forward", "take"])

    [revision] = run(
        [GOOD, "forward, take, back, take, back"], actor, recipe(verify="off")
    ).revisions

    assert revision.pair.parting_step == 2
    assert revision.cut.step == 4
    assert min(len(done) for done in actor.judged) == 3


def test_where_no_step_is_judged_bad_the_whole_path_is_kept() -> None:
    [revision] = run([GOOD, "forward, take, take, take"], RuleActor()).revisions

    assert revision.cut.kind == "none judged bad"
    assert revision.cut.step == 4
    assert revision.reason.startswith("none judged bad: ")


def test_where_no_step_is_judged_bad_the_pair_may_be_dropped() -> None:
    paths = [GOOD, "forward, take, jump high, jump high"]

    [revision] = run(paths, RuleActor([]), recipe(unseen="drop")).revisions
    [seen] = run(paths, RuleActor(["jump high"]), recipe(unseen="drop")).revisions
    [direct] = run(paths, RuleActor([]), recipe(unseen="drop", critic="none")).revisions

    assert revision.status == "rejected"
    assert revision.reason.startswith("no error seen: ")
    assert revision.messages is None
    assert (seen.status, direct.status) == ("replayed", "replayed")


def test_reflections_of_the_bad_path_are_not_judged() -> None:
    actor = RuleActor(["reflect", "back"])

    [revision] = run(
        [GOOD, "forward, take, reflect, back, back"], actor, recipe(verify="off")
    ).revisions

    assert revision.cut.step == 4
    assert all(done[-1] != "reflect" for done in actor.judged)


def test_a_step_that_two_bad_paths_share_is_judged_once() -> None:
    actor = RuleActor(["leave it"])

    result = run(
        [GOOD, "forward, take, back, back, leave it", "forward, take, back, take, leave it"],
        actor,
        recipe(verify="off"),
    )

    assert len(actor.judged) == len(set(actor.judged)) == 5
    assert len(result.judged) == 5
    assert len({item.node_idx for item in result.judged}) == 5


def test_what_follows_the_error_is_not_judged_in_vain() -> None:
    actor = RuleActor(["throw"])
    bad = "forward, take, throw, " + ", ".join(["forward", "back"] * 10)

    run([GOOD, bad], actor, recipe(30, verify="off"))

    assert len(actor.judged) == 4


def test_the_same_revision_is_made_once() -> None:
    actor = RuleActor(["take"])

    result = run([GOOD, "forward, take, take, back", "forward, take, take, throw"], actor)

    kept, dropped = result.revisions
    assert kept.status == "replayed"
    assert dropped.reason.startswith("duplicate: ")
    assert dropped.status == "rejected"


def test_tasks_that_were_never_solved_are_judged_where_the_recipe_says_so() -> None:
    failed = ["forward, back, leave it", "back, back", "forward, back, throw"]

    unasked = run(failed, RuleActor(["leave it", "back"]))
    asked = run(failed, actor := RuleActor(["back"]), recipe(judge_failures=True))

    assert not unasked.judged and not unasked.revisions
    assert not asked.revisions
    bad = [item for item in asked.judged if item.judged.verdict == "bad"]
    assert {item.step for item in bad} == {0, 1}
    assert len(actor.judged) == len(set(actor.judged)), "a shared step is judged once"
    assert {path.leaf_idx for path in asked.trajectories} >= {item.bad_leaf for item in bad}


def test_judging_failures_leaves_the_pairs_as_they_are() -> None:
    paths = [GOOD, "forward, take, back, leave it"]

    without = run(paths, RuleActor(["back"]), recipe(verify="off"))
    own = recipe(verify="off", judge_failures=True)
    asked = run(paths, actor := RuleActor(["back"]), own)

    assert asked.judged == without.judged and len(asked.revisions) == 1
    assert len(actor.judged) == len(asked.judged), "a tree with a good end has its pairs only"


class Broken(Corridor):
    def step(self, action: str) -> StepResult:
        if action == "throw":
            raise RuntimeError("socket closed")
        return super().step(action)


def test_an_environment_fault_costs_its_pair_only() -> None:
    actor = RuleActor(["throw", "take"])
    paths = [GOOD, "forward, take, throw, forward", "forward, take, take, back"]

    result = run(paths, actor, env=Broken())

    by_status = {revision.status: revision for revision in result.revisions}
    assert re.fullmatch(
        r"environment fault: environment 'corridor': step\('throw'\) raised RuntimeError:"
        r" socket closed \(test_splice_wave\.py:\d+, in step\)",
        by_status["rejected"].reason,
    )
    assert by_status["replayed"].pair.bad.actions[2] == "take"


def test_a_fault_in_one_recovery_attempt_leaves_the_others() -> None:
    def policy(messages: Sequence[Message], seed: int) -> str:
        plan = follow("back, take, forward, forward, open")(messages, seed)
        return "crash" if seed % 4 == 0 else plan

    class Crashing(Corridor):
        def step(self, action: str) -> StepResult:
            if action == "crash":
                raise RuntimeError("boom")
            return super().step(action)

    settings = recipe(recovery_attempts=24)

    [revision] = run(
        [GOOD, "forward, take, throw"], RuleActor(["throw"], policy), settings, Crashing()
    ).revisions

    assert revision.status == "recovered"


class Forgetful(RuleActor):
    """Whose context is full as soon as it has gone back."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        full = actions(requests[0].messages)[-1] == "back"
        results = super().generate(requests)
        if not full:
            return results
        overflow = Completion("", 0, "overflow")
        return [replace(r, completions=(overflow,) * len(r.completions)) for r in results]


def test_a_recovery_that_outgrows_the_context_is_given_up() -> None:
    actor = Forgetful(["throw"], follow("back, take, forward, forward, open"))

    [revision] = run([GOOD, "forward, take, throw, forward"], actor).revisions

    assert revision.status == "rejected"
    assert "no longer fits the context" in revision.reason


def test_the_reasoning_critic_is_asked_step_by_step() -> None:
    def policy(messages: Sequence[Message], seed: int) -> str:
        return "x\nJudgement: " + ("bad" if actions(messages)[-1] == "take" else "not bad")

    actor = RuleActor((), policy)

    result = run(
        [GOOD, "forward, take, back, take, back"], actor, recipe(critic="reason", verify="off")
    )

    assert result.revisions[0].cut.step == 4
    assert [item.judged.verdict for item in result.judged] == ["uncertain", "bad"]
    assert actor.batches == [1, 1]


@pytest.mark.parametrize(("own", "tokens"), [({}, 192), ({"critic_tokens": 7}, 7)])
def test_the_recipe_says_how_long_the_critic_may_reason(own: dict[str, int], tokens: int) -> None:
    lengths: list[int] = []

    class Noted(RuleActor):
        def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
            lengths.extend(request.sampling.max_tokens for request in requests)
            return super().generate(requests)

    actor = Noted((), lambda messages, seed: "Judgement: bad")
    run([GOOD, "forward, take, back"], actor, recipe(critic="reason", verify="off", **own))

    assert lengths == [tokens]


@pytest.mark.parametrize(("margin", "verdict"), [(1.8, "bad"), (2.0, "uncertain")])
def test_the_recipe_says_by_how_much_a_verdict_must_lead(margin: float, verdict: str) -> None:
    """``RuleActor`` gives the likeliest verdict a lead of 1.9 nats."""
    actor = RuleActor(["back"])

    result = run([GOOD, "forward, take, back"], actor, recipe(critic_margin=margin, verify="off"))

    assert [item.judged.verdict for item in result.judged] == [verdict]
    kind = "judged" if verdict == "bad" else "none judged bad"
    assert result.revisions[0].cut.kind == kind


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_at_most_so_many_pairs(limit: int) -> None:
    paths = [GOOD, "forward, take, take", "forward, back, back", "back, back"]

    result = run(paths, RuleActor(), recipe(pairs_per_task=limit, verify="off"))

    assert len(result.revisions) == limit
    assert len(result.trajectories) == 4


def test_settings_do_not_leak_between_calls() -> None:
    # Two runs with one actor and environment give the same rows: nothing is remembered.
    env, paths = Corridor(), [GOOD, "forward, take, throw, forward"]
    actor = RuleActor(["throw"], follow("back, take, forward, forward, open"))

    first, second = (run(paths, actor, env=env).revisions[0] for _ in range(2))

    assert dataclasses.asdict(first) == dataclasses.asdict(second)
