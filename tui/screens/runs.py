"""All runs of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.widget import Widget

from agentr_lite.console.outcomes import RUN_STATUS
from agentr_lite.console.text import format_duration
from agentr_lite.core.errors import AgentrError
from agentr_lite.store import Store
from agentr_lite.store.inspection import RunOverview, run_overviews
from agentr_lite.store.labels import all_labels
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import list_runs
from agentr_lite.store.splices import list_adapters

from ..layout.columns import Column, Row
from ..layout.figures import interval, percent, short
from ..layout.lines import Line, Span, one_line
from ..navigation import ToDemonstrations, ToEvals, ToTasks
from ..widgets.line_list import LineList
from ..widgets.table import Table
from .base import SORT
from .confirm import ConfirmScreen
from .filter import ASK, FilterScreen


class RunsScreen(FilterScreen):
    """A table of runs; enter opens one."""

    HINT = (
        "All runs of the database, the newest first. Enter opens a run's tasks; d lists the"
        " demonstrations from which runs may learn by imitation."
    )
    PROMPT = "show runs whose id, name, tags, note, environment, model or status contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Tasks", id="runs.open"),
        Binding("e", "evals", "Evals", id="runs.evals"),
        Binding("d", "demonstrations", "Demos", id="runs.demonstrations"),
        *SORT,
        ASK,
        Binding("D", "delete", "Delete", id="runs.delete"),
        Binding("y", "copy", "Copy the run's id", show=False, id="runs.copy"),
    ]

    COLUMNS = (
        Column("run", "run", flex=True, least=28),
        Column("name", "name and tags", flex=True, least=16, drop=7),
        Column("status", "status"),
        Column("stage", "stage", drop=6),
        Column("env", "env", drop=9),
        Column("model", "model", flex=True, least=8, drop=8),
        Column("rounds", "rnds", right=True, drop=5),
        Column("success", "success", right=True),
        Column("interval", "95 %", right=True, drop=4),
        Column("nodes", "nodes", right=True, drop=2),
        Column("tokens", "tokens", right=True, drop=3),
        Column("seed", "seed", right=True, drop=10),
        Column("time", "time", right=True, drop=1),
    )

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._at_work: list[RunRow] = []
        has_labels = bool(all_labels(store))
        self._columns = [c for c in self.COLUMNS if has_labels or c.key != "name"]

    def body(self) -> Iterable[Widget]:
        table = Table(self._columns, id="runs")
        yield table

    def refresh_data(self) -> None:
        overviews = run_overviews(self.store)
        shown = [
            overview
            for overview in overviews
            if self.matches(
                overview.run.id,
                overview.run.env,
                overview.run.status,
                model_of(overview),
                called(overview),
                overview.labels.note,
            )
        ]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(
            len(overviews), "No runs yet. Start with: agentr-lite run textcraft"
        )
        table.fill(
            [Row(row.run.id, _cells(row, self._columns), _sort_values(row)) for row in shown]
        )
        self.crumbs(["runs"], ((f"{self.store.path.name} ", "dim"),))
        self._at_work = [it.run for it in overviews if it.run.status == "running"]
        running = len(self._at_work)
        self._show_live()
        left: list[Span] = [(f"{len(overviews)} run{'' if len(overviews) == 1 else 's'}", "dim")]
        if running:
            left.append((f" · {running} running", "good"))
        if len(shown) < len(overviews):
            left.append((f" · {len(shown)} shown", "dim"))
        self.caption((*left, *self.needle_note()))

    def action_open(self) -> None:
        """Open the run under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.go_to(ToTasks(str(row.key)))

    def action_evals(self) -> None:
        """Open the run's evaluations."""
        row = self.query_one(Table).current
        if row is not None:
            self.go_to(ToEvals(str(row.key)))

    def action_demonstrations(self) -> None:
        """Open the database's demonstrations."""
        self.go_to(ToDemonstrations())

    def _show_live(self) -> None:
        """Show what the run under the cursor does, or else the newest run that is at work."""
        here = self.query_one(Table).current
        first = self._at_work[0] if self._at_work else None
        self.show_live(next((run for run in self._at_work if here and run.id == here.key), first))

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        self._show_live()

    def follow(self) -> None:
        """Go to the newest run that is running, or else to the newest."""
        running = (row.id for row in list_runs(self.store) if row.status == "running")
        self.query_one(Table).go_to(next(running, None))

    def action_copy(self) -> None:
        """Copy the id of the run under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.copy(str(row.key), str(row.key))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is offered: deleting only if the application can do it."""
        return action != "delete" or self.navigator.remove is not None

    def action_delete(self) -> None:
        """Delete the run under the cursor, after asking."""
        row = self.query_one(Table).current
        if row is None:
            return
        overview = next((it for it in run_overviews(self.store) if it.run.id == row.key), None)
        if overview is None:
            self.notify("This run has been deleted already.", severity="warning", markup=False)
            self.reread()
            return
        run = overview.run
        adapters = len(list_adapters(self.store, run.id))
        mark = RUN_STATUS[run.status]
        lines: list[Line] = [
            ((one_line(run.id), "strong"), (f"  {mark.glyph} {mark.word}", mark.style)),
            (),
            (
                (
                    f"{overview.trees:,} trees with {overview.nodes:,} nodes, its revisions and"
                    f" evaluations, {adapters} adapter{'' if adapters == 1 else 's'} with"
                    " their files.",
                    "plain",
                ),
            ),
            (),
            (("This cannot be undone.", "bad"),),
        ]

        def delete(confirmed: bool | None) -> None:
            if confirmed:
                self._delete(run.id)

        self.app.push_screen(ConfirmScreen("Delete this run?", lines), delete)

    @work(thread=True)
    def _delete(self, run_id: str) -> None:
        # In a thread: removing the texts of a large run takes seconds.
        remove = self.navigator.remove
        if remove is None:
            return
        try:
            note, severity = remove(run_id), "information"
        except AgentrError as error:
            note, severity = f"{error.message}. {error.hint}", "error"
        self.app.call_from_thread(self._after_deletion, note, severity)

    def _after_deletion(self, text: str, severity: SeverityLevel) -> None:
        self.notify(one_line(text), severity=severity, markup=False)
        self.reread()


def model_of(overview: RunOverview) -> str:
    """The model's name without its folder."""
    return PurePath(str(overview.run.recipe.get("model", ""))).name


def called(overview: RunOverview) -> str:
    """A run's name and, with ``#``, its tags."""
    labels = overview.labels
    return " ".join(filter(None, [labels.name, *(f"#{tag}" for tag in labels.tags)]))


def _cells(overview: RunOverview, columns: Sequence[Column]) -> list[Span]:
    run, mark = overview.run, RUN_STATUS[overview.run.status]
    success: Span = ("–", "dim")
    spread: Span = ("", "dim")
    if overview.success:
        first, last = overview.success[0][1], overview.success[-1][1]
        success = (percent(last["value"]), "plain")
        if len(overview.success) > 1:
            gain = last["value"] - first["value"]
            text = f"{percent(first['value'])} → {percent(last['value'])}"
            success = (text, "good" if gain > 0 else "bad" if gain < 0 else "plain")
        spread = (interval(last), "dim")
    name = [(one_line(called(overview)), "plain")]
    return [
        (one_line(run.id), "strong"),
        *(name if any(column.key == "name" for column in columns) else []),
        (f"{mark.glyph} {mark.word}", mark.style),
        (overview.stage, "plain"),
        (one_line(run.env), "plain"),
        (one_line(model_of(overview)), "plain"),
        (f"{overview.rounds}/{run.recipe.get('rounds', '?')}", "plain"),
        success,
        spread,
        (short(overview.nodes), "plain"),
        (short(overview.tokens), "plain"),
        (str(run.seed), "dim"),
        (format_duration(overview.wall_s), "plain"),
    ]


def _sort_values(overview: RunOverview) -> dict[str, float | str | None]:
    run = overview.run
    return {
        "run": run.id,
        "name": called(overview) or None,
        "status": run.status,
        "stage": overview.stage,
        "env": run.env,
        "model": model_of(overview),
        "rounds": overview.rounds,
        "success": overview.success[-1][1]["value"] if overview.success else None,
        "nodes": overview.nodes,
        "tokens": overview.tokens,
        "seed": run.seed,
        "time": overview.wall_s,
    }
