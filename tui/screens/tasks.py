"""The searched tasks of one round of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.console.outcomes import BROKEN, RUN_STATUS, reward_mark
from agentr_lite.core.rounds import round_name
from agentr_lite.store import Store
from agentr_lite.store.first_errors import TreeSplicing, splicing_of_trees
from agentr_lite.store.inspection import TreeOverview, newest_tree, tree_overviews, tree_rounds
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import get_run, list_stages
from agentr_lite.store.trees import get_tree

from ..error_reader import read_first_error
from ..layout.columns import Column, Row, put_env, with_env
from ..layout.documents import lay_out_step
from ..layout.figures import reward_span, short
from ..layout.first_errors import NO_PAIR, splicing_span, why_no_pair
from ..layout.lines import Line, Span, fold, one_line
from ..navigation import ToEvals, ToSplices, ToTree
from ..widgets.document_view import Layout
from ..widgets.table import Table
from .base import SORT
from .env_filter import ENV, EnvFilterScreen, has_several
from .filter import ASK
from .preview import PreviewScreen

_WHICH = ("all", "unsolved", "has revision")


class TasksScreen(PreviewScreen, EnvFilterScreen):
    """A table of tasks with their trees; enter opens a tree."""

    HINT = (
        "The tasks that a round searched: ✓ solved, ◐ part of the reward, ✗ no reward,"
        " ⚠ the environment failed. u shows all tasks, the unsolved ones, or those with an accepted"
        " revision. Enter opens a task's tree."
    )
    PROMPT = "show tasks whose name or goal contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Tree", id="tasks.open"),
        Binding("v", "splices", "Splices", id="tasks.splices"),
        Binding("e", "evals", "Evals", id="tasks.evals"),
        Binding("u", "which", "Filter", id="tasks.which"),
        *SORT,
        ASK,
        ENV,
        Binding("y", "copy", "Copy the task's name", show=False, id="tasks.copy"),
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
        Column("goal", "goal", flex=True, least=24),
        Column("task", "task", flex=True, least=40, drop=5),
        Column("split", "split", drop=6),
        Column("level", "level", right=True, drop=4),
        Column("best", "best", right=True),
        Column("nodes", "nodes", right=True),
        Column("error", "first error", flex=True, least=34),
        Column("sims", "sims", right=True, drop=7),
        Column("tokens", "tokens", right=True, drop=3),
        Column("splices", "splices", right=True, drop=2),
    )

    def __init__(self, store: Store, run_id: str) -> None:
        super().__init__(store, run_id)
        self._columns = with_env(self.COLUMNS, several=has_several(store, run_id))
        self._round = 0
        self._rounds: list[int] = []
        self._which = "all"
        self._splicing: Mapping[int, TreeSplicing] = {}

    def body(self) -> Iterable[Widget]:
        table = Table(self._columns, id="tasks")
        yield from self.with_preview(table)

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        self._rounds = tree_rounds(self.store, run.id)
        if self._round not in self._rounds:
            self._round = self._rounds[-1] if self._rounds else 0
        searched = tree_overviews(self.store, run.id, self._round)
        splicing = splicing_of_trees(self.store, run.id, self._round)
        self.set_envs(overview.tree.task.env for overview in searched)
        overviews = [overview for overview in searched if self.in_env(overview.tree.task.env)]
        shown = [
            overview
            for overview in overviews
            if self.matches(overview.tree.task.name, overview.tree.task.goal)
            and (self._which != "unsolved" or overview.tree.best_reward < 1)
            and (self._which != "has revision" or overview.accepted)
        ]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(
            len(searched), "No trees yet: they appear when a wave of the search ends."
        )
        table.fill(
            [
                Row(
                    overview.tree.id,
                    put_env(
                        _cells(overview, splicing.get(overview.tree.id)),
                        self._columns,
                        overview.tree.task.env,
                    ),
                    _sort_values(overview, splicing.get(overview.tree.id)),
                )
                for overview in shown
            ]
        )
        self._splicing = splicing
        self.show_preview()
        parts = [run.id, *([round_name(self._round)] if self._round else [])]
        self.crumbs(parts, self._status(run))
        self.show_live(run)
        self.caption(self._counts(overviews, len(shown)), self._round_tabs())

    def preview_of(self, key: object) -> Layout:
        """The first error of a task's tree, or why there is none."""
        tree_id = int(str(key))
        splicing = self._splicing.get(tree_id)
        notes: list[Line] = []
        if splicing is not None:
            if not splicing.pairs:
                notes.append(((NO_PAIR[why_no_pair(splicing.good, splicing.bad)], "partial"),))
            elif splicing.first_error is None:
                notes.append((splicing_span(splicing),))
        view = read_first_error(self.store, tree_id, splicing)

        def lay_out(width: int) -> list[Line]:
            top = [part for note in notes for part in fold(note, width)]
            return [*top, *(lay_out_step(view, width) if view is not None else ())]

        return lay_out

    def _status(self, run: RunRow) -> Line:
        """The run's status; while it runs, its stage."""
        mark = RUN_STATUS[run.status]
        word = mark.word
        if run.status == "running":
            running = [stage for stage in list_stages(self.store, run.id) if not stage.finished]
            word = f"{running[-1].stage} {running[-1].round}" if running else word
        return ((f"{mark.glyph} {word} ", mark.style),)

    def _counts(self, overviews: list[TreeOverview], shown: int) -> Line:
        solved = sum(overview.tree.best_reward >= 1 for overview in overviews)
        nodes = sum(overview.tree.node_count for overview in overviews)
        spans: list[Span] = [
            (f"{len(overviews)} task{'' if len(overviews) == 1 else 's'}", "dim"),
            (" · ", "dim"),
            (f"{solved} solved", "good"),
            (f" · {short(nodes)} nodes", "dim"),
        ]
        if shown < len(overviews):
            spans.append((f" · {shown} shown", "dim"))
        if self._which != "all":
            spans += [(" · ", "dim"), (f"{self._which} only", "match")]
        return (*spans, *self.env_note(), *self.needle_note())

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
            self.go_to(ToTree(int(str(row.key))))

    def action_splices(self) -> None:
        """Open the run's splices."""
        self.go_to(ToSplices(self.run_id))

    def action_evals(self) -> None:
        """Open the run's evaluations."""
        self.go_to(ToEvals(self.run_id))

    def action_which(self) -> None:
        """Show all tasks, unsolved ones, or those with an accepted revision."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()

    def action_copy(self) -> None:
        """Copy the name of the task under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            overviews = tree_overviews(self.store, self.run_id, self._round)
            names = [it.tree.task.name for it in overviews if it.tree.id == row.key]
            if names:
                self.copy(names[0], one_line(names[0]))
            else:
                self.reread()

    def follow(self) -> None:
        """Go to the newest round and to its newest tree."""
        newest = newest_tree(self.store, get_run(self.store, self.run_id).id)
        if newest is None:
            return
        self._round = get_tree(self.store, newest).round
        self.reread()
        self.query_one(Table).go_to(newest)

    def action_round(self, by: int) -> None:
        """Go to another round."""
        if self._rounds:
            at = self._rounds.index(self._round) + by
            number = self._rounds[max(0, min(at, len(self._rounds) - 1))]
            if number != self._round:
                self._round = number
                self.reread()


def _cells(overview: TreeOverview, splicing: TreeSplicing | None) -> list[Span]:
    tree = overview.tree
    mark = BROKEN if tree.error else reward_mark(tree.best_reward)
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
        splicing_span(splicing) if splicing is not None else ("", "dim"),
        (str(tree.simulations), "plain"),
        (short(overview.tokens), "dim"),
        (splices, "signal" if overview.accepted else "dim"),
    ]


def _sort_values(
    overview: TreeOverview, splicing: TreeSplicing | None
) -> dict[str, float | str | None]:
    tree = overview.tree
    error = splicing.first_error if splicing is not None else None
    return {
        "mark": -1.0 if tree.error else tree.best_reward,
        "goal": tree.task.goal,
        "env": tree.task.env,
        "task": tree.task.name,
        "split": tree.task.split,
        "level": tree.task.level,
        "best": None if tree.error else tree.best_reward,
        "error": error.judgement.step + 1 if error is not None else None,
        "nodes": tree.node_count,
        "sims": tree.simulations,
        "tokens": overview.tokens,
        "splices": overview.accepted if overview.revisions else None,
    }
