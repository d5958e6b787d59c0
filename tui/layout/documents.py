"""Steps and conversations as lines: records in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agentr_lite.console.outcomes import (
    ROOT,
    VERDICT,
    Mark,
    turn_mark,
    verdict_shares,
)
from agentr_lite.core.steps import Step
from agentr_lite.core.verdicts import VERDICTS, Verdict
from agentr_lite.report.model.episodes import NO_ACTION_TITLE
from agentr_lite.store.records import JudgementRow, ModelCallRow, NodeRow

from .lines import MAX_SHOWN, Line, Span, barred, fold, one_line, rule, spread

MAX_STEPS = 100
"""The number of steps of a conversation that are laid out: the last ones."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a trajectory, ready to be shown."""

    number: int
    """From 1; 0 is the start, before the agent's first turn."""
    mark: Mark
    title: str
    """The action, in one line; foreign text."""
    saw: str
    """The last observation before the turn; at the start, the instructions."""
    turn: str
    """The assistant turn; empty at the start."""
    answer: str
    """The environment's answer; at the start, the task."""
    facts: Sequence[Line] = field(default_factory=tuple)
    """Lines about the step: numbers, the critic's verdict."""
    verdict: Verdict | None = None
    """The critic's verdict, if it was asked."""
    thinking: str = ""
    """What the model thought before the turn."""
    is_given: bool = False
    """Whether the step was given to the model, not chosen by it."""
    verdicts: Sequence[Line] = ()
    """The lines of ``facts`` that hold the critic's verdicts and t′."""
    call: Sequence[Line] = ()
    """Lines about the model call that made the step."""


def view_of_node(
    node: NodeRow,
    *,
    saw: str,
    call: ModelCallRow | None = None,
    judgements: Sequence[JudgementRow] = (),
    is_cut: bool = False,
) -> StepView:
    """A tree's node as a step.

    Args:
        node: the node.
        saw: the parent's observation; at the root, the instructions.
        call: the model call that made the node and its siblings.
        judgements: the critic's verdicts on it, in all trajectories.
        is_cut: whether it is t′ of a revision.
    """
    seen: list[Line] = []
    for judgement in judgements:
        line = verdict_line(judgement)
        if line not in seen:
            seen.append(line)
    if is_cut:
        seen.append((("◀ t′", "bad"), (" the last bad step that a revision keeps", "dim")))
    title = "start" if node.kind == "root" else node.action or NO_ACTION_TITLE
    return StepView(
        node.depth,
        turn_mark(node, visits=node.visits),
        title,
        saw,
        node.text,
        node.observation,
        (_numbers(node), *seen),
        judgements[0].verdict if judgements else None,
        node.thinking,
        verdicts=tuple(seen),
        call=tuple(_call(call)) if call is not None else (),
    )


def view_of_step(
    number: int, step: Step, *, saw: str, facts: Sequence[Line] = (), is_given: bool = False
) -> StepView:
    """A step of an episode that is not in a tree."""
    return StepView(
        number,
        turn_mark(step),
        step.action or NO_ACTION_TITLE,
        saw,
        step.text,
        step.observation,
        facts,
        thinking=step.thinking,
        is_given=is_given,
    )


def view_of_opening(instructions: str, observation: str, facts: Sequence[Line] = ()) -> StepView:
    """The start of an episode."""
    return StepView(0, ROOT, "start", instructions, "", observation, facts)


def verdict_line(judgement: JudgementRow) -> Line:
    """The critic's verdict on a step, with the probability of each verdict and its reason."""
    mark = VERDICT[judgement.verdict]
    spans: list[Span] = [("critic ", "dim"), (f"{mark.glyph} {mark.word}", mark.style)]
    if judgement.critic == "none":
        spans.append((" (no critic asked)", "dim"))
    elif shares := verdict_shares(judgement.scores):
        spans.append((f" {shares[judgement.verdict]:.0%}", mark.style))
        for verdict in VERDICTS:
            if verdict != judgement.verdict:
                spans.append((f"  {VERDICT[verdict].glyph} {shares[verdict]:.0%}", "dim"))
    if judgement.reason:
        spans.append(("  " + one_line(judgement.reason), "dim"))
    return tuple(spans)


def lay_out_step(view: StepView, width: int) -> list[Line]:
    """One step: its facts, what the agent said, and the environment's answer.

    What the agent saw before, and the model call, follow: a small pane has no room for all of it,
    and at the first step the agent saw the whole task.
    """
    heading: list[Span] = [(f" {view.mark.glyph} ", view.mark.style)]
    heading.append((one_line(view.title), "title"))
    where = "start" if view.number == 0 else f"step {view.number} "
    lines: list[Line] = [spread(heading, [(where, "dim")], width)]
    word: Line = ((view.mark.word, view.mark.style),)
    if view.facts:
        word += ((" · ", "dim"), *view.facts[0])
    for fact in (word, *view.facts[1:]):
        lines += [(("   ", "plain"), *part) for part in fold(fact, width - 3)]
    if view.number == 0:
        lines += [rule(("task", "saw"), width), *barred(view.answer, "saw", "plain", width)]
        lines += [rule(("instructions", "dim"), width), *barred(view.saw, "dim", "dim", width)]
        return lines
    if view.thinking:
        lines += [rule(("thought", "dim"), width), *barred(view.thinking, "dim", "dim", width)]
    lines += [rule(("said", "said"), width), *lay_out_turn(view.turn, width)]
    lines += [rule(("answer", "saw"), width), *barred(view.answer, "saw", "plain", width)]
    lines += [rule(("saw before", "dim"), width), *barred(view.saw, "saw", "dim", width)]
    if view.call:
        lines.append(rule(("model call", "dim"), width))
        lines += [(("  ", "plain"), *part) for line in view.call for part in fold(line, width - 2)]
    return lines


def lay_out_conversation(views: Sequence[StepView], width: int, *, earlier: int = 0) -> list[Line]:
    """A whole path, from the start or from ``MAX_STEPS`` before its end.

    Args:
        views: the start and the steps in order, or the last ``MAX_STEPS`` steps at least.
        width: terminal columns.
        earlier: steps before the views.
    """
    lines: list[Line] = []
    shown = views
    if earlier or len(views) > MAX_STEPS + 1:
        shown = views[-MAX_STEPS:]
        hidden = earlier + sum(view.number > 0 for view in views[:-MAX_STEPS])
        lines.append(((f"… {hidden:,} earlier steps", "dim"),))
    for view in shown:
        if view.number == 0:
            lines += [rule(("instructions", "dim"), width), *barred(view.saw, "dim", "dim", width)]
            lines += [rule(("task", "saw"), width), *barred(view.answer, "saw", "plain", width)]
            continue
        lines.append(rule((f"{view.number} {view.mark.glyph}", view.mark.style), width))
        for verdict in view.verdicts:
            lines += [(("  ", "plain"), *part) for part in fold(verdict, width - 2)]
        lines += lay_out_turn(view.turn, width)
        lines += barred(view.answer, "saw", "dim", width)
    return lines


def plain_text(views: Sequence[StepView]) -> str:
    """Steps as plain text for the clipboard: turns and answers, unchanged."""
    parts: list[str] = []
    for view in views:
        first = (view.saw, view.answer) if view.number == 0 else (view.turn, view.answer)
        parts += [part for part in first if part]
    return "\n\n".join(parts)


def lay_out_turn(text: str, width: int, *, bar: str = "said") -> list[Line]:
    """An assistant turn behind a bar, its action in bold."""
    if len(text) > MAX_SHOWN:
        return barred(text, bar, "plain", width)
    lines: list[Line] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        style = "strong" if line.lstrip().startswith("Action:") else "plain"
        lines += barred(line, bar, style, width)
    return lines


def _numbers(node: NodeRow) -> Line:
    parts = [f"node {node.idx}", f"{node.visits} visit{'' if node.visits == 1 else 's'}"]
    if node.visits:
        parts.append(f"value {node.value:.2f}")
    if node.ended:
        parts.append(f"reward {node.reward:.3g}")
    if node.merged > 1:
        parts.append(f"{node.merged} candidates merged")
    return ((" · ".join(parts), "dim"),)


def _call(call: ModelCallRow) -> list[Line]:
    """The model call: number of tokens, time and seeds."""
    parts = [
        f"{len(call.seeds)} candidate{'' if len(call.seeds) == 1 else 's'}",
        f"{call.prompt_tokens} tokens in ({call.cached_tokens} cached)",
        f"{call.output_tokens} out",
    ]
    if call.batch_ms is not None:
        # The model works on a batch as a whole: there is no time per call.
        parts.append(f"{call.batch_ms:,.0f} ms in a batch of {call.batch_size}")
    if call.dropped_turns:
        parts.append(f"{call.dropped_turns} turns dropped")
    lines: list[Line] = [((" · ".join(parts), "dim"),)]
    if call.seeds:
        noun = "seed " if len(call.seeds) == 1 else "seeds "
        lines.append(((noun, "dim"), (" ".join(map(str, call.seeds)), "dim")))
    return lines
