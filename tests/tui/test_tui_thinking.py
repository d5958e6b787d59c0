"""What a reasoning model thought is shown, apart from what it said."""

from __future__ import annotations

from agentr_lite_tui.layout.documents import lay_out_step, view_of_step

from agentr_lite.core.steps import Step


def test_thoughts_stand_before_the_turn() -> None:
    step = Step("Action: look", "look", "A drawer.", thinking="the drawer may hold it")
    lines = ["".join(text for text, _ in line) for line in lay_out_step(_view(step), 60)]
    thought = next(i for i, line in enumerate(lines) if "thought" in line)
    said = next(i for i, line in enumerate(lines) if "said" in line)
    assert thought < said and any("may hold it" in line for line in lines[thought:said])


def test_without_thoughts_there_is_no_heading() -> None:
    lines = lay_out_step(_view(Step("Action: look", "look", "A drawer.")), 60)
    assert not any("thought" in text for line in lines for text, _ in line)


def _view(step: Step):  # type: ignore[no-untyped-def]
    return view_of_step(1, step, saw="A room.")
