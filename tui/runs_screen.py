"""All runs of the database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.output import format_duration
from agentr_lite.store.inspection import RunOverview, run_overviews

from .base_screen import ASK, FilterScreen
from .evals_screen import EvalsScreen
from .figures import interval, percent, short
from .lines import Span, one_line
from .marks import STATUS
from .table import Column, Row, Table
from .tasks_screen import TasksScreen

_SORTS = ("newest", "run", "success", "nodes", "time")


class RunsScreen(FilterScreen):
    """A table of runs; enter opens one."""

    HINT = "All runs of the database, the newest first. Enter opens a run's tasks."
    PROMPT = "show runs whose name, environment, model or status contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Tasks", id="runs.open"),
        Binding("e", "evals", "Evals", id="runs.evals"),
        Binding("s", "sort", "Sort", id="runs.sort"),
        ASK,
    ]

    COLUMNS = (
        Column("run", "run", flex=True, least=28),
        Column("status", "status"),
        Column("stage", "stage", drop=4),
        Column("env", "env", drop=8),
        Column("model", "model", flex=True, least=8, drop=6),
        Column("success", "success", right=True),
        Column("interval", "95 %", right=True, drop=7),
        Column("nodes", "nodes", right=True, drop=2),
        Column("tokens", "tokens", right=True, drop=3),
        Column("time", "time", right=True, drop=1),
    )

    def body(self) -> Iterable[Widget]:
        table = Table(self.COLUMNS, id="runs")
        table.empty = (("No runs yet. Begin with: agentr-lite run textcraft", "dim"),)
        yield table

    def on_mount(self) -> None:
        self._sort = "newest"
        super().on_mount()

    def refresh_data(self) -> None:
        everything = run_overviews(self.store)
        shown = [
            overview
            for overview in everything
            if self.matches(
                overview.run.id, overview.run.env, overview.run.status, model_of(overview)
            )
        ]
        shown.sort(key=lambda overview: _sort_key(overview, self._sort))
        table = self.query_one(Table)
        table.sorted_by = self._sort
        table.fill([Row(overview.run.id, _cells(overview)) for overview in shown])
        self.crumbs(["runs"], ((f"{self.store.path.name} ", "dim"),))
        running = sum(overview.run.status == "running" for overview in everything)
        left: list[Span] = [(f"{len(everything)} run{'' if len(everything) == 1 else 's'}", "dim")]
        if running:
            left.append((f" · {running} running", "good"))
        if len(shown) < len(everything):
            left.append((f" · {len(shown)} shown", "dim"))
        self.caption((*left, *self.needle_note()), self._hidden(table))

    def _hidden(self, table: Table) -> tuple[Span, ...]:
        hidden = table.hidden_columns()
        return ((f"hidden: {', '.join(hidden)} ", "dim"),) if hidden else ()

    def on_resize(self) -> None:
        self.call_after_refresh(self.refresh_data)

    def action_open(self) -> None:
        """Open the run under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.app.push_screen(TasksScreen(self.store, str(row.key)))

    def action_evals(self) -> None:
        """Open the run's evaluations."""
        row = self.query_one(Table).current
        if row is not None:
            self.app.push_screen(EvalsScreen(self.store, str(row.key)))

    def action_sort(self) -> None:
        """Next order of the rows."""
        self._sort = _SORTS[(_SORTS.index(self._sort) + 1) % len(_SORTS)]
        self.reread()


def model_of(overview: RunOverview) -> str:
    """The model's name, without its folder."""
    return PurePath(str(overview.run.recipe.get("model", ""))).name


def _cells(overview: RunOverview) -> list[Span]:
    run, mark = overview.run, STATUS[overview.run.status]
    success: Span = ("–", "dim")
    spread: Span = ("", "dim")
    if overview.success:
        first, last = overview.success[0][1], overview.success[-1][1]
        success = (percent(last["value"]), "plain")
        if len(overview.success) > 1:
            better = last["value"] > first["value"]
            text = f"{percent(first['value'])} → {percent(last['value'])}"
            success = (text, "good" if better else "bad")
        spread = (interval(last), "dim")
    return [
        (one_line(run.id), "strong"),
        (f"{mark.glyph} {mark.word}", mark.style),
        (overview.stage, "plain"),
        (one_line(run.env), "plain"),
        (one_line(model_of(overview)), "plain"),
        success,
        spread,
        (short(overview.nodes), "plain"),
        (short(overview.tokens), "plain"),
        (format_duration(overview.wall_s), "plain"),
    ]


def _sort_key(overview: RunOverview, sort: str) -> tuple[float | str, ...]:
    if sort == "run":
        return (overview.run.id,)
    if sort == "success":
        return (-overview.success[-1][1]["value"] if overview.success else 1.0,)
    if sort == "nodes":
        return (-overview.nodes,)
    if sort == "time":
        return (-overview.wall_s,)
    return ()
