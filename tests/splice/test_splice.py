"""Splicing: which steps are kept, which of them carry loss, which signal."""

from __future__ import annotations

import pytest

from agentr_lite.agent.turns import REFLECT_REPLY, REFLECTIONS, parse_action
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.splice.splice import (
    flag_executed,
    last_cut,
    reflection,
    splice,
)
from agentr_lite.splice.trajectories import FlaggedStep, flagged, flagged_messages


def steps(words: str) -> list[Step]:
    """``a`` an action, ``a!`` an impossible one, ``-`` none, ``r`` a reflection, ``a.`` the end."""
    made = []
    for word in words.split():
        kind = {"-": "none", "r": "reflect"}.get(word, "act")
        made.append(
            Step(
                f"Action: {word}",
                None if kind == "none" else word,
                f"saw {word}",
                invalid=word.endswith("!") or kind == "none",
                terminated=word.endswith("."),
                kind=kind,
            )
        )
    return made


def shown(spliced: list[FlaggedStep]) -> list[tuple[str, bool]]:
    return [(item.step.action or "-", item.loss) for item in spliced]


def test_prefix_bad_signal_good() -> None:
    spliced = splice(steps("a b"), steps("x y z"), 4, "Oh.", steps("c d."))

    assert shown(spliced) == [
        ("a", False),
        ("b", False),
        ("x", False),
        ("y", False),
        ("reflect", True),
        ("c", True),
        ("d.", True),
    ]


def test_the_signal_is_a_turn_that_the_agent_loop_understands() -> None:
    [_, signal, _] = splice([], steps("x"), 1, "I was wrong.", steps("c."))

    assert parse_action(signal.step.text) == "reflect"
    assert "I was wrong." in signal.step.text
    assert signal.step.observation == REFLECT_REPLY


def test_at_least_one_bad_step_and_no_more_than_there_are() -> None:
    for cut in (2, 6):
        with pytest.raises(ValueError, match="cut_step"):
            splice(steps("a b"), steps("x y z"), cut, "Oh.", steps("c"))


@pytest.mark.parametrize(
    ("bad", "kept"),
    [("x y z", 3), ("x y z.", 2), ("x.", 0), ("x y r", 2), ("x r z.", 1), ("r", 0)],
)
def test_an_ended_episode_cannot_be_revised(bad: str, kept: int) -> None:
    assert last_cut(2, steps(bad)) == 2 + kept


@pytest.mark.parametrize(
    ("words", "learnt"),
    [
        ("a b c.", "a b c."),
        ("a b! c.", "c."),
        ("a - c.", "c."),
        ("a x r c.", "r c."),
        ("a x r r c.", "r c."),
        ("a r b! c.", "r c."),
        ("r c.", "r c."),
    ],
)
def test_what_comes_before_a_flaw_on_a_good_path_is_not_learnt(words: str, learnt: str) -> None:
    made = steps(words)

    kept = [item.step.action for item in flagged(made) if item.loss]

    assert kept == learnt.split()


def test_a_second_reflection_right_after_the_signal_is_not_learnt() -> None:
    spliced = splice([], steps("x"), 1, "Oh.", steps("r c."))

    assert shown(spliced)[-2:] == [("r", False), ("c.", True)]


def test_executed_steps_get_the_same_marks() -> None:
    planned = splice(steps("a b"), steps("x y z"), 4, "Oh.", steps("c! d."))

    executed = flag_executed([item.step for item in planned], 4)

    assert shown(executed) == shown(planned)


def test_messages_have_one_flag_each_and_end_with_the_agent() -> None:
    spliced = splice(steps("a"), steps("x"), 2, "Oh.", steps("c."))

    messages, loss = flagged_messages(Opening("Rules", "Goal"), spliced)

    assert [m["role"] for m in messages] == ["system", "user"] + ["assistant", "user"] * 3 + [
        "assistant"
    ]
    assert len(loss) == len(messages)
    learnt = [m["content"] for m, flag in zip(messages, loss, strict=True) if flag]
    assert learnt == [spliced[2].step.text, "Action: c."]
    assert messages[5]["content"] == "saw x"


def test_no_user_turn_ever_carries_loss() -> None:
    messages, loss = flagged_messages(
        Opening("R", "G"), splice(steps("a"), steps("x"), 2, "O", steps("c d e."))
    )

    assert not any(f for m, f in zip(messages, loss, strict=True) if m["role"] != "assistant")


def test_signals_vary_and_repeat_with_the_seed() -> None:
    drawn = [reflection(1, 1, "stick", leaf, 9) for leaf in range(60)]

    assert drawn == [reflection(1, 1, "stick", leaf, 9) for leaf in range(60)]
    assert drawn != [reflection(2, 1, "stick", leaf, 9) for leaf in range(60)]
    assert set(drawn) == set(REFLECTIONS)
