"""The revisions of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.console.outcomes import REVISION_STATUS, revision_reason
from agentr_lite.store import Store
from agentr_lite.store.inspection import RevisionOverview, revision_overviews
from agentr_lite.store.runs import get_run

from ..error_reader import read_splice
from ..layout.columns import Column, Row
from ..layout.figures import counted, percent
from ..layout.lines import Line, Span, one_line
from ..layout.side_by_side import lay_out_cut
from ..navigation import ToPreferences, ToSplice
from ..widgets.document_view import Layout
from ..widgets.table import Table
from .base import SORT
from .filter import ASK, FilterScreen
from .preview import PreviewScreen

_WHICH = ("all", "accepted", "rejected")


class SplicesScreen(PreviewScreen, FilterScreen):
    """A table of pairs and their outcomes; enter opens a pair side by side."""

    HINT = (
        "Pairs of a bad and a good trajectory: ✓ the naive splice held in the environment,"
        " ↺ a recovery search found a continuation that earns the reward, ✗ the pair was rejected,"
        " ○ the splice was accepted unverified."
    )
    PROMPT = "show splices whose task or reason contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Side by side", id="splices.open"),
        Binding("u", "which", "Filter", id="splices.which"),
        Binding("p", "preferences", "Preferences", show=False, id="splices.preferences"),
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
        yield from self.with_preview(table)

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        pairs = revision_overviews(self.store, run.id, tree_id=self.tree_id)
        shown = [
            pair
            for pair in pairs
            if self.matches(pair.task, pair.goal, pair.reason)
            and self._which in ("all", "rejected" if pair.status == "rejected" else "accepted")
        ]
        rows = [Row(pair.id, _cells(pair), _sort_values(pair)) for pair in shown]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(
            len(pairs), "No splices yet: they come after a round's search."
        )
        table.fill(rows)
        self.show_preview()
        parts = [run.id, "splices"]
        if self.tree_id is not None and pairs:
            parts.append(pairs[0].goal)
        self.crumbs(parts)
        self.show_live(run)
        self.caption(self._counts(pairs, len(shown)))

    def _counts(self, pairs: Sequence[RevisionOverview], shown: int) -> Line:
        counts = Counter(str(pair.status) for pair in pairs)
        spans: list[Span] = [(counted(len(pairs), "pair"), "dim")]
        for status, mark in REVISION_STATUS.items():
            if counts[status]:
                spans += [(" · ", "dim"), (f"{counts[status]} {mark.word}", mark.style)]
        replayed = [pair for pair in pairs if pair.naive_reward is not None]
        if replayed:
            failed = sum(pair.status != "replayed" for pair in replayed) / len(replayed)
            spans.append((f" · {percent(failed)} of naive splices failed", "dim"))
        if shown < len(pairs):
            spans.append((f" · {shown} shown", "dim"))
        if self._which != "all":
            spans += [(" · ", "dim"), (f"{self._which} only", "match")]
        return (*spans, *self.needle_note())

    def preview_of(self, key: object) -> Layout:
        """The last bad step that is kept, t′, with the critic's verdict and the pair's outcome."""
        splice = read_splice(self.store, int(str(key)))
        return lambda width: lay_out_cut(splice, width)

    def follow(self) -> None:
        """Go to the pair that was written last."""
        table = self.query_one(Table)
        newest = max((int(str(row.key)) for row in table.rows), default=None)
        table.go_to(newest)

    def action_open(self) -> None:
        """Open the splice under the cursor."""
        table = self.query_one(Table)
        if table.current is not None:
            ids = [int(str(row.key)) for row in table.rows]
            self.go_to(ToSplice(ids, table.cursor))

    def action_preferences(self) -> None:
        """Open the pairs of a better and a worse continuation from the same trees."""
        self.go_to(ToPreferences(self.run_id, self.tree_id))

    def action_which(self) -> None:
        """Show all, accepted or rejected pairs in turn."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()


def _cells(pair: RevisionOverview) -> list[Span]:
    mark = REVISION_STATUS[pair.status]
    naive: Span = ("–", "dim")
    if pair.naive_reward is not None:
        naive = (f"{pair.naive_reward:.2f}", "good" if pair.status == "replayed" else "bad")
    return [
        (f"{mark.glyph} {mark.word}", mark.style),
        (str(pair.round), "plain"),
        (one_line(pair.goal), "plain"),
        (str(pair.parting_step), "plain"),
        (str(pair.cut_step), "plain"),
        (str(pair.revision_length), "plain"),
        naive,
        (one_line(revision_reason(pair.reason)), "dim"),
    ]


def _sort_values(pair: RevisionOverview) -> dict[str, float | str | None]:
    return {
        "status": pair.status,
        "round": pair.round,
        "goal": pair.goal,
        "parting": pair.parting_step,
        "cut": pair.cut_step,
        "length": pair.revision_length,
        "naive": pair.naive_reward,
        "reason": pair.reason,
    }
