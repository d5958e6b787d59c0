"""Revisions that leave the bad trajectory later than at its first error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentr_lite.core.openings import Opening
from agentr_lite.splice.judging import TreeInput
from agentr_lite.splice.wave import Revision, splice_wave
from tests.splice.test_splice_wave import GOOD, acts, recipe, run
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, walk

LONG = "forward, take, jump high, shout, jump high, shout, shout"
"""A bad path on which the third step is the first error, and the seventh the last step."""


def cuts(share: float, *, seeds: int = 60, path: str = LONG) -> list[Revision]:
    """The revision of the same pair with different seeds."""
    found = []
    for seed in range(seeds):
        settings = replace(recipe(12, late_cuts=share, recovery_attempts=0), seed=seed)
        [revision] = run([GOOD, path], RuleActor(["jump high"]), settings).revisions
        found.append(revision)
    return found


def test_a_share_of_the_cuts_is_later_than_the_first_error() -> None:
    late = [revision for revision in cuts(0.5) if revision.cut.kind == "late"]
    assert 15 < len(late) < 45
    # Evenly from the steps after the first error to the end, and nowhere else.
    assert {revision.cut.step for revision in late} == {4, 5, 6, 7}
    assert {revision.cut.first_error for revision in late} == {3}
    for revision in late:
        assert revision.status == "replayed" and revision.reason.startswith("late: left at step")
        assert revision.length == revision.cut.step - 2
        assert acts(revision)[revision.cut.step] == "reflect"
        assert acts(revision)[: revision.cut.step] == LONG.split(", ")[: revision.cut.step]


def test_without_late_cuts_nothing_changes() -> None:
    assert {(item.cut.kind, item.cut.step) for item in cuts(0.0, seeds=5)} == {("judged", 3)}
    assert {item.cut.kind for item in cuts(1.0, seeds=5)} == {"late"}


def test_the_draw_is_the_pairs_own() -> None:
    first, second = cuts(0.5), cuts(0.5)
    assert [item.cut for item in first] == [item.cut for item in second]
    # One more draw shifts no other: the reflections are as without late cuts.
    assert [item.signal for item in first] == [item.signal for item in cuts(0.0)]


@pytest.mark.parametrize(
    "path",
    [
        "forward, take, jump high, leave",  # the episode ends with the step after the error
        "forward, take, jump high",  # the error is the last step
        "forward, take, shout, shout",  # no step is judged bad: the cut is at the end anyway
    ],
)
def test_where_nothing_is_later_the_cut_stays(path: str) -> None:
    plain, late = cuts(0.0, seeds=3, path=path), cuts(1.0, seeds=3, path=path)
    assert [item.cut for item in late] == [item.cut for item in plain]
    assert all(item.cut.first_error is None for item in late)


def test_a_late_cut_is_not_right_after_a_reflection() -> None:
    env = Corridor()
    task = env.tasks("train")[0]
    nodes = walk(Corridor(), task, [GOOD, LONG])
    idx = next(node.idx for node in nodes if node.action == "shout")
    nodes[idx] = replace(nodes[idx], kind="reflect")
    opening = Opening(env.instructions(), nodes[0].observation)
    places = set()
    for seed in range(40):
        settings = replace(recipe(12, late_cuts=1.0, verify="off"), seed=seed)
        [result] = splice_wave(
            [TreeInput(7, task, opening, nodes)],
            recipe=settings,
            round_index=1,
            env=env,
            actor=RuleActor(["jump high"]),
        )
        places |= {revision.cut.step for revision in result.revisions}
    assert places == {5, 6, 7}
