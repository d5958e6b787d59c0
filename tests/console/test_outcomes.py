"""Every outcome has one sign and one word."""

from __future__ import annotations

from typing import get_args

import pytest
from click.testing import CliRunner

from agentr_lite.cli import cli
from agentr_lite.console import outcomes
from agentr_lite.console.outcomes import (
    CUT,
    FAILED,
    FATAL,
    INVALID,
    LEGEND,
    NO_ACTION,
    PARTIAL,
    REFLECTED,
    SOLVED,
    STEP,
    UNVISITED,
    Mark,
    Segment,
    Style,
    naive_outcome,
    revision_outcome,
    segment_of,
    terminal_style,
    turn_mark,
    verdict_shares,
    verdict_words,
)
from agentr_lite.core.steps import Step
from agentr_lite.core.verdicts import VERDICTS
from agentr_lite.store.records import RevisionStatus, RunStatus


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({"terminated": True, "reward": 1.0}, SOLVED),
        ({"terminated": True, "reward": 0.5}, PARTIAL),
        ({"terminated": True}, FAILED),
        ({"terminated": True, "disaster": True, "reward": 1.0}, FATAL),
        ({"truncated": True, "invalid": True}, CUT),
        ({"kind": "reflect"}, REFLECTED),
        ({"kind": "none", "invalid": True}, NO_ACTION),
        ({"invalid": True}, INVALID),
        ({"reward": 0.5}, STEP),
    ],
)
def test_how_a_turn_ended_outweighs_how_it_came_about(
    fields: dict[str, object], mark: Mark
) -> None:
    assert turn_mark(Step("Action: a", "a", "b", **fields)) == mark  # type: ignore[arg-type]


def test_only_an_ordinary_node_is_shown_as_unvisited() -> None:
    assert turn_mark(Step("Action: a", "a", "b"), visits=0) == UNVISITED
    assert turn_mark(Step("Action: a", "a", "b", invalid=True), visits=0) == INVALID


def test_every_state_of_the_store_has_a_mark_and_words() -> None:
    assert set(outcomes.RUN_STATUS) == set(get_args(RunStatus))
    assert set(outcomes.REVISION_STATUS) == set(get_args(RevisionStatus))
    assert all(revision_outcome(status) for status in get_args(RevisionStatus))
    assert tuple(outcomes.VERDICT) == VERDICTS
    segments = set(get_args(Segment))
    assert set(outcomes.SEGMENT_WORDS) == set(outcomes.SEGMENT_STYLES) == segments


def test_every_mark_is_one_column_and_has_terminal_colours() -> None:
    marks = [value for value in vars(outcomes).values() if isinstance(value, Mark)]
    assert all(len(mark.glyph) == 1 and mark.word for mark in marks)
    for style in get_args(Style):
        terminal_style(Mark("x", style, "x"))


def test_the_command_explains_the_same_signs() -> None:
    shown = CliRunner().invoke(cli, ["trees", "--help"]).output
    assert [mark for mark in LEGEND if f"{mark.glyph} {mark.word}" not in shown] == []


def test_verdicts() -> None:
    scores = (-3.0, -0.1, -4.0)
    shares = verdict_shares(scores)
    assert shares is not None and sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda verdict: shares[verdict]) == "bad"
    assert verdict_words("bad", scores) == "bad, probability 0.93"
    assert verdict_words("bad", None) == verdict_words("bad", (0.0, float("-inf"), 0.0)) == "bad"
    assert verdict_words("uncertain", None, asked=False) == "uncertain (no critic asked)"


def test_the_replay_of_a_naive_splice() -> None:
    assert "was not replayed" in naive_outcome(None, 1.0)
    assert "earned 0.25 where the good trajectory earned 1" in naive_outcome(0.25, 1.0)


def test_segments_of_a_revision() -> None:
    segments = [segment_of(at, parting_step=1, cut_step=3) for at in range(6)]
    assert segments == ["shared", "bad", "bad", "signal", "continuation", "continuation"]
