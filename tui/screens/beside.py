"""Two rounds' episodes of a task, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import round_name
from agentr_lite.metrics.episode_pairs import same_steps
from agentr_lite.report.model.episodes import Key
from agentr_lite.store import Store
from agentr_lite.store.evals import get_eval_item
from agentr_lite.store.records import EvalItemRow, EvalRow
from agentr_lite.store.runs import get_run

from ..episode_reader import read_episode
from ..layout.beside import Side, lay_out_beside
from ..layout.episodes import outcome_span
from ..layout.lines import Line, Span, one_line
from ..navigation import ToEpisode
from ..widgets.document_view import DocumentView
from .pages import PagesScreen


class BesideScreen(PagesScreen):
    """The earlier round's episode on the left, the later one's on the right."""

    DOCUMENT = "beside"
    HINT = (
        "Two episodes of the same task, by two rounds. They are aligned to their first difference:"
        " the first step whose action or answer is not the same. Left and right go through the"
        " tasks of the list; [ and ] choose the round on the right, { and } the one on the left."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "other(-1)", "Previous", id="beside.previous", key_display="←"),
        Binding("right", "other(1)", "Next", id="beside.next", key_display="→"),
        Binding(
            "left_square_bracket",
            "round(1, -1)",
            "Round",
            id="beside.right_previous",
            key_display="[ ]",
        ),
        Binding(
            "right_square_bracket",
            "round(1, 1)",
            "Next round on the right",
            show=False,
            id="beside.right_next",
        ),
        Binding(
            "left_curly_bracket",
            "round(0, -1)",
            "Previous round on the left",
            show=False,
            id="beside.left_previous",
        ),
        Binding(
            "right_curly_bracket",
            "round(0, 1)",
            "Next round on the left",
            show=False,
            id="beside.left_next",
        ),
        Binding("c", "everything", "Same steps", id="beside.shared"),
        Binding("enter", "open", "Step through", id="beside.open"),
    ]

    def __init__(
        self,
        store: Store,
        evals: Sequence[EvalRow],
        rounds: tuple[int, int],
        keys: Sequence[Key],
        at: int,
    ) -> None:
        """
        Args:
            store: the database.
            evals: the evaluations of one mode and split, by round.
            rounds: the places of the left and of the right one among them.
            keys: (task id, sample) of the tasks that left and right go through.
            at: the place of the first one to show.
        """
        super().__init__(store, keys, at)
        self._evals = evals
        self._rounds = list(rounds)
        self._keys = keys
        self._drawn: object = None

    def refresh_data(self) -> None:
        key = self._keys[self._at]
        items = [get_eval_item(self.store, self._evals[at].id, *key) for at in self._rounds]
        if items == [None, None]:
            raise UsageError("these episodes no longer exist: their rounds were evaluated again")
        task = next(item.task for item in items if item is not None)
        shown = (items, self._rounds[:], self._with_shared)
        if self._drawn != shown:
            self._drawn = shown
            self._draw(items, key, task.goal)
        run_id = self._evals[0].run_id
        self.crumbs(
            [run_id, task.name, "side by side"],
            self.place,
        )
        self.caption(self._outcome(items), self._tabs())

    def _draw(self, items: Sequence[EvalItemRow | None], key: Key, goal: str) -> None:
        left, right = (
            self._side(self._evals[at], item, key)
            for at, item in zip(self._rounds, items, strict=True)
        )
        first, second = items
        shared = same_steps(first.episode, second.episode) if first and second else 0
        with_shared = self._with_shared
        self.query_one(DocumentView).show(
            lambda width: lay_out_beside(left, right, goal, shared, width, with_shared=with_shared)
        )

    def _side(self, evaluation: EvalRow, item: EvalItemRow | None, key: Key) -> Side:
        if item is None:
            return Side(self._round_name(evaluation))
        episode = read_episode(self.store, evaluation, key)
        return Side(episode.round, episode.views, episode.end, item.reward)

    def _round_name(self, evaluation: EvalRow) -> str:
        imitates = get_run(self.store, evaluation.run_id).imitates
        return round_name(evaluation.round, imitates=imitates)

    def _outcome(self, items: Sequence[EvalItemRow | None]) -> Line:
        """What the right round made of the left one's outcome."""
        return (outcome_span(*items),)

    def _tabs(self) -> Line:
        """The rounds, those that are shown in brackets."""
        spans: list[Span] = []
        for at, evaluation in enumerate(self._evals):
            here = at in self._rounds
            name = one_line(self._round_name(evaluation))
            spans.append((f"[{name}]" if here else f" {name} ", "strong" if here else "dim"))
        return (*spans, (" ", "plain"))

    def action_round(self, side: int, by: int) -> None:
        """Choose another round for one side; the two sides never show the same one."""
        at = self._rounds[side] + by
        if at == self._rounds[1 - side]:
            at += by
        if 0 <= at < len(self._evals):
            self._rounds[side] = at
            self.reread()

    def action_open(self) -> None:
        """Step through the later episode; through the earlier one where there is none."""
        key = self._keys[self._at]
        for at in reversed(self._rounds):
            if get_eval_item(self.store, self._evals[at].id, *key) is not None:
                self.go_to(ToEpisode(self._evals[at].run_id, self._evals[at], key))
                return
