"""The searched tasks of one round of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.store import Store
from agentr_lite.store.inspection import TreeOverview, tree_overviews, tree_rounds
from agentr_lite.store.runs import get_run

from .base_screen import ASK, FilterScreen
from .evals_screen import EvalsScreen
from .figures import reward_span, short
from .lines import Line, Span, one_line
from .marks import FAILED, PART, SOLVED, STATUS, Mark
from .splices_screen import SplicesScreen
from .table import Column, Row, Table
from .tree_screen import TreeScreen

_SORTS = ("order", "level", "best", "nodes")
_BROKEN = Mark("⚠", "odd", "failed")


class TasksScreen(FilterScreen):
    """A table of tasks with their trees; enter opens a tree."""

    HINT = (
        "The tasks that a round searched: ✓ solved, ◐ part of the reward, ✗ nothing earned,"
        " ⚠ the environment failed. Enter opens a task's tree."
    )
    PROMPT = "show tasks whose name or goal contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Tree", id="tasks.open"),
        Binding("v", "splices", "Splices", id="tasks.splices"),
        Binding("e", "evals", "Evals", id="tasks.evals"),
        Binding("u", "unsolved", "Unsolved", id="tasks.unsolved"),
        Binding("s", "sort", "Sort", id="tasks.sort"),
        ASK,
        Binding(
            "left_square_bracket,left", "round(-1)", "Round", id="tasks.previous", key_display="[ ]"
        ),
        Binding(
            "right_square_bracket,right",
            "round(1)",
            "Next round",
            show=False,
            id="tasks.next",
            key_display="]",
        ),
    ]

    COLUMNS = (
        Column("mark", " "),
        Column("goal", "goal", flex=True, least=36),
        Column("task", "task", flex=True, least=16, drop=5),
        Column("split", "split", drop=6),
        Column("level", "level", right=True, drop=1),
        Column("best", "best", right=True),
        Column("nodes", "nodes", right=True),
        Column("sims", "sims", right=True, drop=4),
        Column("splices", "splices", right=True, drop=3),
    )

    def __init__(self, store: Store, run_id: str) -> None:
        super().__init__(store)
        self.run_id = run_id
        self._round = 0
        self._rounds: list[int] = []
        self._unsolved = False
        self._sort = "order"

    def body(self) -> Iterable[Widget]:
        table = Table(self.COLUMNS, id="tasks")
        table.empty = (("No trees yet: they appear when a wave of the search ends.", "dim"),)
        yield table

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        self._rounds = tree_rounds(self.store, run.id)
        if self._round not in self._rounds:
            self._round = self._rounds[-1] if self._rounds else 0
        everything = tree_overviews(self.store, run.id, self._round)
        shown = [
            overview
            for overview in everything
            if self.matches(overview.tree.task.name, overview.tree.task.goal)
            and not (self._unsolved and overview.tree.best_reward >= 1)
        ]
        shown.sort(key=lambda overview: _sort_key(overview, self._sort))
        table = self.query_one(Table)
        table.sorted_by = {"order": ""}.get(self._sort, self._sort)
        table.fill([Row(overview.tree.id, _cells(overview)) for overview in shown])
        status = STATUS[run.status]
        parts = [run.id, *([f"round {self._round}"] if self._round else [])]
        self.crumbs(parts, ((f"{status.glyph} {status.word} ", status.style),))
        self.caption(self._counts(everything, len(shown)), self._round_tabs())

    def _counts(self, everything: list[TreeOverview], shown: int) -> Line:
        solved = sum(overview.tree.best_reward >= 1 for overview in everything)
        nodes = sum(overview.tree.node_count for overview in everything)
        spans: list[Span] = [
            (f"{len(everything)} task{'' if len(everything) == 1 else 's'}", "dim"),
            (" · ", "dim"),
            (f"{solved} solved", "good"),
            (f" · {short(nodes)} nodes", "dim"),
        ]
        if shown < len(everything):
            spans.append((f" · {shown} shown", "dim"))
        if self._unsolved:
            spans += [(" · ", "dim"), ("unsolved only", "match")]
        return (*spans, *self.needle_note())

    def _round_tabs(self) -> Line:
        spans: list[Span] = [("round ", "dim")] if self._rounds else []
        for number in self._rounds:
            here = number == self._round
            spans.append((f"[{number}]" if here else f" {number} ", "strong" if here else "dim"))
        return (*spans, (" ", "plain"))

    def action_open(self) -> None:
        """Open the tree of the task under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.visit(lambda: TreeScreen(self.store, int(str(row.key))))

    def action_splices(self) -> None:
        """Open the run's splices."""
        self.app.push_screen(SplicesScreen(self.store, self.run_id))

    def action_evals(self) -> None:
        """Open the run's evaluations."""
        self.app.push_screen(EvalsScreen(self.store, self.run_id))

    def action_unsolved(self) -> None:
        """Show unsolved tasks only, or all again."""
        self._unsolved = not self._unsolved
        self.reread()

    def action_sort(self) -> None:
        """Next order of the rows."""
        self._sort = _SORTS[(_SORTS.index(self._sort) + 1) % len(_SORTS)]
        self.reread()

    def action_round(self, by: int) -> None:
        """Go to another round."""
        if self._rounds:
            at = self._rounds.index(self._round) + by
            self._round = self._rounds[max(0, min(at, len(self._rounds) - 1))]
            self.reread()


def _cells(overview: TreeOverview) -> list[Span]:
    tree = overview.tree
    mark = SOLVED if tree.best_reward >= 1 else PART if tree.best_reward > 0 else FAILED
    if tree.error:
        mark = _BROKEN
    goal = tree.task.goal if not tree.error else f"{tree.task.goal}  ({tree.error})"
    splices = f"{overview.accepted}/{overview.revisions}" if overview.revisions else ""
    return [
        (mark.glyph, mark.style),
        (one_line(goal), "plain"),
        (one_line(tree.task.name), "dim"),
        (one_line(tree.task.split), "dim"),
        (str(tree.task.level), "plain"),
        reward_span(tree.best_reward, reached=not tree.error),
        (str(tree.node_count), "plain"),
        (str(tree.simulations), "plain"),
        (splices, "signal" if overview.accepted else "dim"),
    ]


def _sort_key(overview: TreeOverview, sort: str) -> float:
    tree = overview.tree
    if sort == "level":
        return -tree.task.level
    if sort == "best":
        return -tree.best_reward
    return -tree.node_count if sort == "nodes" else 0
