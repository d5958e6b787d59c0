"""Plots of what runs cost and how training went, each with the table that says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from agentr_lite.console.text import format_duration
from agentr_lite.core.rounds import round_name
from agentr_lite.report.charts.figure import Figure, Shown
from agentr_lite.report.charts.plots import Bar, Curve, bar_plot, line_plot
from agentr_lite.report.model.run import RunReport
from agentr_lite.report.tables.run import stage_name
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, count

_GREY = 7
"""The colour of what is not the point of the plot."""
_STAGES = ("imitate", "search", "splice", "train", "eval")


def loss_figure(shown: Shown) -> Figure | None:
    """Training and validation loss by step, one colour for each round."""
    losses = shown.series.losses
    rounds = sorted({number for number, _ in losses})
    curves, rows, legend = [], [], []
    for index, number in enumerate(rounds):
        for name, faint in (("train_loss", True), ("valid_loss", False)):
            points = losses.get((number, name))
            if not points:
                continue
            kind = name.removesuffix("_loss")
            # The base is never trained.
            trained = round_name(number, imitates=True)
            label = f"{trained}, {'training' if kind == 'train' else 'validation'}"
            curves.append(Curve(label, points, index, faint))
            ends: list[Cell] = [f"{points[0][1]:.4f}", f"{min(v for _, v in points):.4f}"]
            rows.append([label, len(points), *ends, f"{points[-1][1]:.4f}"])
        legend.append((index, round_name(number, imitates=True)))
    if not curves:
        return None
    svg = line_plot(
        curves,
        label="Training loss: " + "; ".join(f"{r[0]} from {r[2]} to {r[4]}" for r in rows),
        show=lambda v: f"{v:.3g}",
        x_title="step",
        y_title="loss per token",
    )
    table = Section("Loss", ["", "points", "first", "lowest", "last"], rows)
    caption = (
        "Mean negative log-likelihood per learnt token. Lines with marks: validation; thin:"
        " training."
    )
    return Figure("Loss", svg, caption, table, legend)


def time_figure(report: RunReport) -> Figure | None:
    """Wall time by stage, split into the model's and the rest."""
    lines = [line for line in report.stages if line.wall_s > 0]
    if not lines:
        return None
    bars, rows = [], []
    for line in lines:
        name = stage_name(line, imitates=report.run.imitates)
        model = min(line.model_s, line.wall_s)
        bars.append(Bar(name, [model, line.wall_s - model]))
        cells: list[Cell] = [format_duration(model), format_duration(line.wall_s - model)]
        rows.append([name, *cells, format_duration(line.wall_s)])
    parts = [(0, "in the model"), (_GREY, "everything else")]
    svg = _time_plot(bars, parts)
    table = Section("Time by stage", ["", *(name for _, name in parts), "sum"], rows)
    caption = (
        "Wall time. Training does not run in the model that plays; it counts as everything else."
    )
    return Figure("Time by stage", svg, caption, table, parts, filled=True)


def token_figure(report: RunReport) -> Figure | None:
    """Tokens by stage: generated, decoded, and spared by prefix reuse."""
    lines = [line for line in report.stages if line.prompt_tokens or line.output_tokens]
    if not lines:
        return None
    parts = [(0, "generated"), (1, "prompt, decoded"), (_GREY, "prompt, reused")]
    bars, rows = [], []
    for line in lines:
        name = stage_name(line, imitates=report.run.imitates)
        reused = max(0, line.prompt_tokens - line.decoded_prompt_tokens)
        amounts = [line.output_tokens, line.decoded_prompt_tokens, reused]
        bars.append(Bar(name, [float(amount) for amount in amounts]))
        rows.append([name, *(count(amount) for amount in amounts)])
    svg = bar_plot(bars, parts, label=_bars_label("Tokens", bars, _amount), show=_amount)
    caption = (
        "Reused: prompt tokens that an earlier prompt began with and that were not decoded again."
    )
    table = Section("Tokens by stage", ["", *(name for _, name in parts)], rows)
    return Figure("Tokens by stage", svg, caption, table, parts, filled=True)


def total_time_figure(runs: Sequence[Shown]) -> Figure | None:
    """Each run's wall time by kind of stage."""
    has_imitation = any(shown.report.run.imitates for shown in runs)
    stages = _STAGES if has_imitation else _STAGES[1:]
    bars, rows = [], []
    for shown in runs:
        amounts = [
            sum(line.wall_s for line in shown.report.stages if line.stage == stage)
            for stage in stages
        ]
        bars.append(Bar(shown.label, amounts))
        rows.append([shown.label, *(format_duration(amount) for amount in amounts)])
    if not any(sum(bar.parts) for bar in bars):
        return None
    parts = list(enumerate(stages))
    svg = _time_plot(bars, parts)
    table = Section("Time by run", ["", *_STAGES], rows)
    caption = "Wall time of all rounds, by kind of stage."
    return Figure("Time by run", svg, caption, table, parts, filled=True)


def _time_plot(bars: Sequence[Bar], parts: Sequence[tuple[int, str]]) -> Markup:
    longest = max(sum(bar.parts) for bar in bars)
    unit = next((size for size in (3600.0, 60.0) if longest >= 1.5 * size), 1.0)
    label = _bars_label("Time", bars, format_duration)
    return bar_plot(bars, parts, label=label, show=_duration, unit=unit)


def _bars_label(what: str, bars: Sequence[Bar], show: Callable[[float], str]) -> str:
    return f"{what}: " + "; ".join(f"{bar.label} {show(sum(bar.parts))}" for bar in bars)


def _duration(seconds: float) -> str:
    """Short: ``0``, ``40s``, ``2m``, ``1.5h``."""
    if seconds == 0:
        return "0"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    if seconds < 3600:
        return f"{seconds / 60:.1f}".removesuffix(".0") + "m"
    return f"{seconds / 3600:.1f}".removesuffix(".0") + "h"


def _amount(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"
