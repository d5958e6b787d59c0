"""A run's evaluations, and the plots of success and loss by round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.core.rounds import START, base_round, round_name
from agentr_lite.metrics.evaluation import EvalFigures
from agentr_lite.store import Store
from agentr_lite.store.evals import list_evals
from agentr_lite.store.records import EvalRow, MetricRow
from agentr_lite.store.runs import get_run, list_metrics

from ..layout.columns import Column, Row, put_env, with_env
from ..layout.figures import interval, percent
from ..layout.lines import Line, Span, one_line, rule
from ..layout.plots import Series, interval_row, line_plot, scale_row
from ..navigation import ToComparison, ToEpisodes
from ..widgets.document_view import DocumentView
from ..widgets.table import Table
from .base import SORT, InspectorScreen
from .env_filter import has_several

_ROUND_CELLS = 10
_LOSS_LINES = 8
_LOSS_STYLES = {"train_loss": "accent", "valid_loss": "good"}


class EvalsScreen(InspectorScreen):
    """A table of evaluations; enter opens the episodes."""

    HINT = (
        "Evaluations by round, from the base model on. Success has a 95 % interval."
        " Enter opens the episodes, compared with the base model's; t compares all rounds"
        " task by task."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Episodes", id="evals.open"),
        Binding("t", "compare", "Task by task", id="evals.compare"),
        *SORT,
    ]

    COLUMNS = (
        Column("round", "round", right=True),
        Column("mode", "mode"),
        Column("split", "split", drop=4),
        Column("episodes", "episodes", right=True, drop=3),
        Column("success", "success", right=True),
        Column("interval", "95 %", right=True),
        Column("reward", "reward", right=True),
        Column("steps", "steps", right=True, drop=5),
        Column("valid", "valid", right=True, drop=1),
        Column("repeated", "repeated", right=True, drop=2),
    )

    def __init__(self, store: Store, run_id: str) -> None:
        super().__init__(store)
        self.run_id = run_id
        several = has_several(store, run_id)
        self._columns = with_env(self.COLUMNS, several=several, before="mode")
        self._drawn: object = None

    def body(self) -> Iterable[Widget]:
        table = Table(self._columns, id="evals")
        table.empty = (("No evaluations yet.", "dim"),)
        yield table
        yield DocumentView(id="plots")

    def refresh_data(self) -> None:
        run = get_run(self.store, self.run_id)
        evals = list_evals(self.store, run.id)
        self.query_one(Table).fill(
            [
                Row(
                    (row.id, env),
                    put_env(_cells(part, run.imitates), self._columns, env or "mean"),
                    _sort_values(part) | {"env": env or "mean"},
                )
                for row in evals
                for env, part in _parts(row)
            ]
        )
        metrics = list_metrics(self.store, run.id)
        if self._drawn != (evals, metrics):
            self._drawn = (evals, metrics)
            self.query_one("#plots", DocumentView).show(
                lambda width: lay_out_plots(evals, metrics, width, imitates=run.imitates),
                stay=True,
            )
        self.crumbs([run.id, "evaluations"])
        self.show_live(run)
        self.caption(((f"{len(evals)} evaluation{'' if len(evals) == 1 else 's'}", "dim"),))

    def action_open(self) -> None:
        """Open the episodes of the evaluation under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.go_to(ToEpisodes(self.run_id, *_key(row)))

    def action_compare(self) -> None:
        """Compare the rounds of the evaluation under the cursor."""
        row = self.query_one(Table).current
        if row is not None:
            self.go_to(ToComparison(self.run_id, *_key(row)))


def lay_out_plots(
    evals: Sequence[EvalRow],
    metrics: Sequence[MetricRow],
    width: int,
    *,
    imitates: bool = False,
) -> list[Line]:
    """Plots of success by round, of reward if it is graded, and of the losses by step."""
    lines: list[Line] = []
    base = base_round(imitates=imitates)
    room = max(10, width - _ROUND_CELLS - 10)
    for mode, split in dict.fromkeys((row.mode, row.split) for row in evals):
        rows = [r for r in evals if (r.mode, r.split) == (mode, split) and r.summary.get("success")]
        if not rows:
            continue
        parts = [part for row in rows for part in _parts(row)]
        # Sorted by name; the mean has no name and comes last.
        for env in sorted({env for env, _ in parts}, key=lambda env: (not env, env)):
            where = f", {env or 'mean over the environments'}" if len(parts) > len(rows) else ""
            group = [part for name, part in parts if name == env]
            graded = any(EvalFigures.from_json(part.summary).graded for part in group)
            for key in ("reward", "success") if graded else ("success",):
                lines.append(rule((one_line(f"{key}, {mode}, {split}{where}"), "title"), width))
                for row in group:
                    style = "dim" if row.round == base else "good"
                    name = round_name(row.round, imitates=imitates)
                    show = percent if key == "success" else "{:.3f}".format
                    bar = interval_row(row.summary[key], room, style, show)
                    lines.append(((f" {name:<{_ROUND_CELLS - 1}}", "plain"), *bar))
                scale = scale_row(room) if key == "success" else scale_row(room, ("0", "0.5", "1"))
                lines.append(((" " * _ROUND_CELLS, "plain"), *scale))
    for round_index in dict.fromkeys(point.round for point in metrics):
        series = [
            Series(
                one_line(name.removesuffix("_loss")),
                _LOSS_STYLES.get(name, "partial"),
                [(p.step, p.value) for p in metrics if (p.round, p.name) == (round_index, name)],
            )
            for name in dict.fromkeys(p.name for p in metrics if p.round == round_index)
            if name.endswith("loss")
        ]
        if series:
            # The base is never trained.
            name = round_name(round_index, imitates=True)
            lines.append(rule((f"loss by step, {name}", "title"), width))
            lines += line_plot(series, width, _LOSS_LINES)
    return lines


def _parts(row: EvalRow) -> list[tuple[str, EvalRow]]:
    """An evaluation for each of several environments, by name, and for the mean over them."""
    by_env = row.summary.get("by_env") or {}
    parts = [(env, replace(row, summary=by_env[env])) for env in sorted(by_env)]
    return [*((env, part) for env, part in parts if part.summary.get("success")), ("", row)]


def _key(row: Row) -> tuple[int, str]:
    """The evaluation's id, and its environment's name; empty: all."""
    assert isinstance(row.key, tuple)
    eval_id, env = row.key
    return eval_id, env


def _cells(row: EvalRow, imitates: bool) -> list[Span]:
    summary = row.summary
    success, reward = summary.get("success"), summary.get("reward")
    name = round_name(row.round, imitates=imitates)

    def figure(name: str, form: str) -> Span:
        value = summary.get(name)
        return ("–", "dim") if value is None else (format(value, form), "plain")

    valid, repeated = summary.get("valid_actions"), summary.get("repeated_share")
    return [
        (str(row.round) if row.round > START else name, "strong"),
        (row.mode, "plain"),
        (one_line(row.split), "dim"),
        figure("episodes", "d"),
        (percent(success["value"]), "strong") if success else ("…", "dim"),
        (interval(success), "dim") if success else ("", "dim"),
        (f"{reward['value']:.3f}", "plain") if reward else ("–", "dim"),
        figure("steps", ".1f"),
        ("–", "dim") if valid is None else (percent(valid), "plain"),
        ("–", "dim") if repeated is None else (percent(repeated), "plain"),
    ]


def _sort_values(row: EvalRow) -> dict[str, float | str | None]:
    summary = row.summary
    values: dict[str, float | str | None] = {
        "round": row.round,
        "mode": row.mode,
        "split": row.split,
    }
    for key in ("success", "reward"):
        values[key] = summary[key]["value"] if summary.get(key) else None
    for key, name in (
        ("episodes", "episodes"),
        ("steps", "steps"),
        ("valid", "valid_actions"),
        ("repeated", "repeated_share"),
    ):
        values[key] = summary.get(name)
    return values
