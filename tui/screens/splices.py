"""The revisions of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.store import Store
from agentr_lite.store.inspection import RevisionOverview, revision_overviews
from agentr_lite.store.runs import get_run

from ..layout.figures import percent
from ..layout.lines import Line, Span, one_line
from ..layout.marks import REVISION_STATUS
from ..widgets.table import Column, Row, Table
from .base import ASK, SORT, FilterScreen
from .splice import SpliceScreen

_WHICH = ("all", "accepted", "rejected")


class SplicesScreen(FilterScreen):
    """A table of pairs and what became of them; enter opens one side by side."""

    HINT = (
        "Pairs of a bad and a good trajectory: ✓ the naive splice held in the environment,"
        " ↺ a recovery search found a true way on, ✗ rejected with its reason, ○ never executed."
    )
    PROMPT = "show splices whose task or reason contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Side by side", id="splices.open"),
        Binding("u", "which", "Filter", id="splices.which"),
        *SORT,
        ASK,
    ]

    COLUMNS = (
        Column("status", "status"),
        Column("round", "rnd", right=True, drop=4),
        Column("goal", "goal", flex=True, least=22),
        Column("parting", "parting", right=True, drop=3),
        Column("cut", "t′", right=True),
        Column("length", "length", right=True, drop=2),
        Column("naive", "naive", right=True),
        Column("reason", "reason", flex=True, least=16, drop=1),
    )

    def __init__(self, store: Store, run_id: str, *, tree_id: int | None = None) -> None:
        """
        Args:
            store: the database.
            run_id: the run.
            tree_id: only this tree's splices.
        """
        super().__init__(store)
        self.run_id = run_id
        self.tree_id = tree_id
        self._which = "all"

    def body(self) -> Iterable[Widget]:
        table = Table(self.COLUMNS, id="splices")
        table.empty = (("No splices yet: they come after a round's search.", "dim"),)
        yield table

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        everything = revision_overviews(self.store, run.id, tree_id=self.tree_id)
        shown = [
            one
            for one in everything
            if self.matches(one.task, one.goal, one.reason)
            and self._which in ("all", "rejected" if one.status == "rejected" else "accepted")
        ]
        self.query_one(Table).fill([Row(one.id, _cells(one), _sort_values(one)) for one in shown])
        parts = [run.id, "splices"]
        if self.tree_id is not None and everything:
            parts.append(everything[0].goal)
        self.crumbs(parts)
        self.caption(self._counts(everything, len(shown)))

    def _counts(self, everything: Sequence[RevisionOverview], shown: int) -> Line:
        counts = Counter(str(one.status) for one in everything)
        spans: list[Span] = [(f"{len(everything)} pairs", "dim")]
        for status, mark in REVISION_STATUS.items():
            if counts[status]:
                spans += [(" · ", "dim"), (f"{counts[status]} {mark.word}", mark.style)]
        replayed = [one for one in everything if one.naive_reward is not None]
        if replayed:
            failed = sum(one.status != "replayed" for one in replayed) / len(replayed)
            spans.append((f" · {percent(failed)} of naive splices failed", "dim"))
        if shown < len(everything):
            spans.append((f" · {shown} shown", "dim"))
        return (*spans, *self.needle_note())

    def follow(self) -> None:
        """Go to the pair that was looked at last."""
        table = self.query_one(Table)
        newest = max((int(str(row.key)) for row in table.rows), default=None)
        table.go_to(newest)

    def action_open(self) -> None:
        """Open the splice under the cursor."""
        table = self.query_one(Table)
        if table.current is not None:
            ids = [int(str(row.key)) for row in table.rows]
            self.app.push_screen(SpliceScreen(self.store, ids, table.cursor))

    def action_which(self) -> None:
        """All, accepted or rejected ones."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()


def _cells(one: RevisionOverview) -> list[Span]:
    mark = REVISION_STATUS[one.status]
    naive: Span = ("–", "dim")
    if one.naive_reward is not None:
        naive = (f"{one.naive_reward:.2f}", "good" if one.status == "replayed" else "bad")
    return [
        (f"{mark.glyph} {mark.word}", mark.style),
        (str(one.round), "plain"),
        (one_line(one.goal), "plain"),
        (str(one.parting_step), "plain"),
        (str(one.cut_step), "plain"),
        (str(one.revision_length), "plain"),
        naive,
        (one_line(one.reason), "dim"),
    ]


def _sort_values(one: RevisionOverview) -> dict[str, float | str | None]:
    return {
        "status": one.status,
        "round": one.round,
        "goal": one.goal,
        "parting": one.parting_step,
        "cut": one.cut_step,
        "length": one.revision_length,
        "naive": one.naive_reward,
        "reason": one.reason,
    }
