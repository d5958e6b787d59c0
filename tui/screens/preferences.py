"""The pairs of a better and a worse continuation of a run or a tree, and one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.core.errors import UsageError
from agentr_lite.core.preferences import PREFERENCE_KINDS
from agentr_lite.store import Store
from agentr_lite.store.preferences import continuations, get_preference, list_preferences
from agentr_lite.store.records import PreferenceRow
from agentr_lite.store.runs import get_run
from agentr_lite.store.trees import get_tree

from ..layout.columns import Column, Row
from ..layout.figures import counted
from ..layout.lines import Span, one_line
from ..layout.preferences import PreferenceView, lay_out_preference
from ..navigation import ToPreference
from ..widgets.document_view import DocumentView
from ..widgets.table import Table
from .base import SORT
from .filter import ASK, FilterScreen
from .pages import PagesScreen


class PreferencesScreen(FilterScreen):
    """A table of pairs with their values; enter opens one."""

    HINT = (
        "Pairs of two continuations of one conversation, of which the first is preferred. step:"
        " two actions in one state, with their values in the search; episode: a successful and a"
        " failed episode from where they part; revision: a revision, and going on as the bad"
        " trajectory did."
    )
    PROMPT = "show pairs whose task or kind contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="preferences.open"),
        *SORT,
        ASK,
    ]

    COLUMNS = (
        Column("kind", "kind"),
        Column("round", "rnd", right=True, drop=2),
        Column("task", "task", flex=True, least=22),
        Column("better", "better", right=True),
        Column("worse", "worse", right=True),
        Column("node", "node", right=True, drop=1),
    )

    def __init__(self, store: Store, run_id: str, *, tree_id: int | None = None) -> None:
        """
        Args:
            store: the database.
            run_id: the run.
            tree_id: only this tree's pairs.
        """
        super().__init__(store)
        self.run_id = run_id
        self.tree_id = tree_id

    def body(self) -> Iterable[Widget]:
        table = Table(self.COLUMNS, id="preferences")
        yield table

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        pairs = list_preferences(self.store, run.id, tree_id=self.tree_id)
        shown = [pair for pair in pairs if self.matches(pair.task, pair.kind)]
        rows = [Row(pair.id, _cells(pair), _sort_values(pair)) for pair in shown]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(
            len(pairs), "No pairs: splice.preferences says which to look for."
        )
        table.fill(rows)
        parts = [run.id, "preferences"]
        if self.tree_id is not None and pairs:
            parts.append(pairs[0].task)
        self.crumbs(parts)
        counts = Counter(pair.kind for pair in pairs)
        kinds = "".join(f" · {counts[kind]} {kind}" for kind in PREFERENCE_KINDS if counts[kind])
        hidden = f" · {len(shown)} shown" if len(shown) < len(pairs) else ""
        text = f"{counted(len(pairs), 'pair')}{kinds}{hidden}"
        self.caption(((text, "dim"), *self.needle_note()))

    def action_open(self) -> None:
        """Open the pair under the cursor."""
        table = self.query_one(Table)
        if table.current is not None:
            ids = [int(str(row.key)) for row in table.rows]
            self.go_to(ToPreference(ids, table.cursor))


class PreferenceScreen(PagesScreen):
    """The shared end, the better continuation, and the worse one below it."""

    DOCUMENT = "preference"
    HINT = (
        "First the step after which the two part, then the better continuation and the worse one,"
        " each with its reward or its value in the search."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left,left_square_bracket",
            "other(-1)",
            "Previous",
            id="preference.previous",
            key_display="←",
        ),
        Binding(
            "right,right_square_bracket", "other(1)", "Next", id="preference.next", key_display="→"
        ),
        Binding("c", "everything", "Shared steps", id="preference.shared"),
    ]

    def __init__(self, store: Store, preference_ids: Sequence[int], at: int) -> None:
        """
        Args:
            store: the database.
            preference_ids: the pairs that left and right go through.
            at: the place of the first one to show.
        """
        super().__init__(store, preference_ids, at)
        self._ids = preference_ids
        self._shown: tuple[int, bool] | None = None

    def refresh_data(self) -> None:
        if self._shown == (self._at, self._with_shared):
            return
        view, with_shared = load_preference(self.store, self._ids[self._at]), self._with_shared
        self.query_one(DocumentView).show(
            lambda width: lay_out_preference(view, width, with_shared=with_shared)
        )
        self._shown = (self._at, self._with_shared)
        self.crumbs(
            [view.row.run_id, f"round {view.row.round}", f"preference {view.row.id}"],
            self.place,
        )


def load_preference(store: Store, preference_id: int) -> PreferenceView:
    """A pair with its turns.

    Raises:
        UsageError: it no longer exists: its round was spliced again.
    """
    try:
        row = get_preference(store, preference_id)
        goal = get_tree(store, row.tree_id).task.goal
    except KeyError as error:
        raise UsageError(f"preference {preference_id} is gone: its round was spliced again") from (
            error
        )
    return PreferenceView(row, goal, continuations(store, row))


def _cells(pair: PreferenceRow) -> list[Span]:
    return [
        (pair.kind, "plain"),
        (str(pair.round), "plain"),
        (one_line(pair.task), "plain"),
        (f"{pair.chosen_value:.2f}", "good"),
        (f"{pair.rejected_value:.2f}", "bad"),
        (str(pair.parting_idx), "dim"),
    ]


def _sort_values(pair: PreferenceRow) -> dict[str, float | str | None]:
    return {
        "kind": pair.kind,
        "round": pair.round,
        "task": pair.task,
        "better": pair.chosen_value,
        "worse": pair.rejected_value,
        "node": pair.parting_idx,
    }
