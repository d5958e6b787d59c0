"""A trajectory, one step at a time, with the environment's state and the critic's verdicts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from agentr_lite.agent.states import Origin, States, stored_episode
from agentr_lite.console.outcomes import VERDICT, Mark
from agentr_lite.report.model.episodes import Key
from agentr_lite.store import Store
from agentr_lite.store.records import EvalRow
from agentr_lite.store.runs import get_run

from ..episode_reader import read_episode
from ..layout.documents import StepView, lay_out_conversation, lay_out_step, plain_text
from ..layout.lines import Line, Span, fold, one_line, paragraphs, rule
from ..widgets.bars import Bar
from ..widgets.document_view import DocumentView
from .base import InspectorScreen


class StepScreen(InspectorScreen):
    """Left and right go back and forward; shows one step, or the conversation up to it."""

    HINT = (
        "One step of a trajectory at a time: what the agent saw, what it said, and what the"
        " environment answered. The critic's verdicts are below the row of steps. The state is the"
        " environment's state after the step; the steps are repeated to find it."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Previous", id="step.previous", key_display="←"),
        Binding("right,l,space", "step(1)", "Next", id="step.next", key_display="→"),
        Binding("home", "jump(0)", "Start", show=False, id="step.start", priority=True),
        Binding("end", "jump(-1)", "End", show=False, id="step.end", priority=True),
        Binding("c", "conversation", "Conversation", id="step.conversation"),
        Binding("i", "state", "State", id="step.state"),
        Binding("y", "copy", "Copy", id="step.copy"),
        Binding("Y", "copy(True)", "Copy the conversation", show=False, id="step.copy_all"),
    ]

    class StatesRead(Message):
        """The steps were repeated, or need not be."""

        def __init__(self, states: States | None) -> None:
            super().__init__()
            self.states = states

    def __init__(
        self,
        store: Store,
        crumbs: Sequence[str],
        views: Sequence[StepView],
        at: int,
        *,
        origin: Origin,
        end: Mark | None = None,
    ) -> None:
        """
        Args:
            store: the database.
            crumbs: where the trajectory comes from.
            views: the start and the steps in order.
            at: the step to begin with.
            origin: the episode, for repeating its steps.
            end: how the trajectory ended; default: the mark of its last step.
        """
        super().__init__(store)
        self._origin = origin
        self._states: States | None = None
        self._reading = False
        self.reader: threading.Thread | None = None
        """Repeats the steps."""
        self._crumbs = crumbs
        self._views = views
        self._at = max(0, min(at, len(views) - 1))
        self._end = end or views[-1].mark
        self._whole = False

    def body(self) -> Iterable[Widget]:
        yield Bar(id="ribbon")
        yield Bar(id="verdicts")
        with Container(id="stepping"):
            yield DocumentView(id="step")
            yield DocumentView(id="state")

    def on_mount(self) -> None:
        self.query_one("#verdicts").display = any(view.verdict for view in self._views)
        self._show()
        self._read(requested=False)

    def _read(self, *, requested: bool) -> None:
        self._reading = True
        turns = [(view.turn, view.answer) for view in self._views[1:]]
        self.reader = self.navigator.states.start(
            self._origin, turns, self._post_states, requested=requested
        )

    def _post_states(self, states: States | None) -> None:
        self.post_message(self.StatesRead(states))

    def on_step_screen_states_read(self, event: StatesRead) -> None:
        self._reading, self._states = False, event.states
        self._show_state()

    def refresh_data(self) -> None:
        """Nothing to do: a stored trajectory does not change."""

    def _show(self) -> None:
        view = self._views[self._at]
        document = self.query_one(DocumentView)
        if self._whole:
            views = self._views[: self._at + 1]
            document.show(lambda width: lay_out_conversation(views, width), at_end=True)
        else:
            document.show(lambda width: lay_out_step(view, width))
        last = len(self._views) - 1
        self.crumbs(self._crumbs, ((f"step {self._at} of {last} ", "strong"),))
        self.query_one("#ribbon", Bar).show(self._ribbon())
        self.query_one("#verdicts", Bar).show(self._verdicts())
        self._show_state()
        end = self._end
        given = sum(view.is_given for view in self._views)
        note: Line = ((f" · {given} of {last} steps given", "signal"),) if given else ()
        self.caption((("ends ", "dim"), (f"{end.glyph} {end.word}", end.style), *note))

    def _show_state(self) -> None:
        self.query_one("#state", DocumentView).show(self._lay_out_state)

    def _lay_out_state(self, width: int) -> list[Line]:
        """The environment's state after the step and, if the step changed it, before."""
        lines: list[Line] = [rule(("state", "saw"), width)]
        if self._reading:
            return [*lines, (("repeating the steps …", "dim"),)]
        if self._states is None:
            env = one_line(self._origin.env)
            text = f"Press i to repeat the steps in '{env}' and show its state."
            return [*lines, *fold([(text, "dim")], width)]
        texts = self._states.texts
        if self._at >= len(texts):
            problem = self._states.problem or "unknown"
            return [*lines, *fold([(f"unknown: {one_line(problem)}", "odd")], width)]
        text = texts[self._at]
        if not text:
            return [*lines, (("This environment does not describe its state.", "dim"),)]
        changed = self._at > 0 and text != texts[self._at - 1]
        lines += [((part, "plain"),) for part in paragraphs(text, width)]
        if changed:
            lines += [rule(("before", "dim"), width)]
            lines += [((part, "dim"),) for part in paragraphs(texts[self._at - 1], width)]
        return lines

    def _window(self) -> tuple[int, int]:
        """The first step in the ribbon, and the number of steps that it has room for."""
        room = max(8, (self.app.size.width - 8) // 2)
        return max(0, min(self._at - room // 2, len(self._views) - room)), room

    def _ribbon(self) -> Line:
        """All steps as glyphs, the current one in brackets; of many steps, those near it."""
        first, room = self._window()
        spans: list[Span] = [("‹" if first else " ", "dim"), (" ", "plain")]
        for at, view in enumerate(self._views[first : first + room], first):
            # A step takes two columns: the bracket before it, and its sign.
            lead = "[" if at == self._at else "]" if at == self._at + 1 else " "
            style = "guide" if view.is_given else view.mark.style
            spans += [(lead, "strong"), (view.mark.glyph, style)]
        if self._at == min(first + room, len(self._views)) - 1:
            spans.append(("]", "strong"))
        if first + room < len(self._views):
            spans.append((" ›", "dim"))
        return tuple(spans)

    def _verdicts(self) -> Line:
        """The critic's verdicts, each below its step."""
        first, room = self._window()
        spans: list[Span] = [("  ", "plain")]
        for view in self._views[first : first + room]:
            mark = VERDICT[view.verdict] if view.verdict else None
            spans.append((f" {mark.glyph}" if mark else "  ", mark.style if mark else "plain"))
        return (*spans, ("  critic", "dim"))

    def action_step(self, by: int) -> None:
        """Go back or forward."""
        self.action_jump(max(0, min(self._at + by, len(self._views) - 1)))

    def action_jump(self, to: int) -> None:
        """Go to a step; -1 is the last one."""
        self._at = to if to >= 0 else len(self._views) - 1
        self._show()

    def action_conversation(self) -> None:
        """Show the whole conversation up to the step, or the step alone."""
        self._whole = not self._whole
        self._show()

    def action_state(self) -> None:
        """Find the state if that has not been done; then hide it, or show it again."""
        if self._states is None and not self._reading:
            self._read(requested=True)
            self._show_state()
            return
        pane = self.query_one("#state")
        pane.display = not pane.display

    def action_copy(self, whole: bool = False) -> None:
        """Copy the step's turn and answer to the clipboard, or the conversation up to them."""
        view = self._views[self._at]
        views = self._views[: self._at + 1] if whole else [view]
        self.copy(plain_text(views), f"step {view.number}")


def episode_screen(store: Store, run_id: str, evaluation: EvalRow, key: Key) -> StepScreen:
    """One episode of an evaluation, step by step.

    Args:
        store: the database.
        run_id: the run.
        evaluation: the evaluation.
        key: (task id, sample).

    Raises:
        UsageError: the episode no longer exists: its round was evaluated again.
    """
    episode = read_episode(store, evaluation, key)
    run, task = get_run(store, run_id), episode.item.task
    origin = stored_episode(run.recipe, task.env, task.split, task.name)
    crumbs = [run.id, episode.round, task.name]
    return StepScreen(store, crumbs, episode.views, 0, origin=origin, end=episode.end)
