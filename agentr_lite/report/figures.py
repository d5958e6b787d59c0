"""Which plots a report has, each with the table that says the same in figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from agentr_lite.output import format_duration
from agentr_lite.report.data import RunReport
from agentr_lite.report.measured import Measured
from agentr_lite.report.plots import (
    Bar,
    Curve,
    Difference,
    Point,
    Series,
    bar_plot,
    difference_plot,
    interval_plot,
    line_plot,
)
from agentr_lite.report.tables import Section
from agentr_lite.report.words import Cell, count, interval, percent, points_of, round_name
from agentr_lite.store.records import EvalMode

Named = tuple[str, Mapping[int, Mapping[str, Any]]]
"""A series' name, and its estimates by round."""

_MINUS = "−"
_GREY = 7
"""The colour of what is there but not the point."""
_MEAN = " Mean: over the environments, each counting alike."
_MEANS = " Of a run on several environments: the mean over them, each counting alike."
_STAGES = ("search", "splice", "train", "eval")


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its legend, what it shows in words, and its data."""

    title: str
    svg: Markup
    caption: str
    table: Section
    legend: Sequence[tuple[int, str]] = ()
    """(number of the series' colour and shape, name); empty for a single series."""
    filled: bool = False
    """Areas, whose legend has squares."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One run among those of a report."""

    label: str
    report: RunReport
    measured: Measured

    def parts(self) -> list[Shown]:
        """Each of several environments, then their mean, as if they were runs; of one: itself."""
        if not self.measured.by_env:
            return [self]
        found = []
        for env, measured in self.measured.by_env.items():
            lines = [part for line in self.report.evals for part in line.by_env()]
            mine = [line for line in lines if line.env == env]
            found.append(Shown(env, replace(self.report, evals=mine), measured))
        return [*found, replace(self, label="mean")]

    def in_env(self, env: str) -> Shown | None:
        """What the run shows in one environment; None where it was not evaluated there."""
        parts = [part for part in self.parts()[:-1] if part.label == env]
        if parts:
            return replace(parts[0], label=self.label)
        return self if self.report.run.env == env and not self.measured.by_env else None


def run_figures(shown: Shown) -> list[Figure]:
    """One run's plots, in reading order; those without data are left out."""
    return _present(
        [
            *_outcome_figures(shown.parts(), of="run" if len(shown.parts()) == 1 else "env"),
            loss_figure(shown),
            time_figure(shown.report),
            token_figure(shown.report),
        ]
    )


def comparison_figures(runs: Sequence[Shown]) -> list[Figure]:
    """The plots of several runs together, in reading order."""
    envs = sorted({env for shown in runs for env in shown.measured.by_env})
    found = _outcome_figures(runs)
    if envs:
        found = _with_caption(found, _MEANS)
    for env in envs:
        here = [(at, part) for at, one in enumerate(runs) if (part := one.in_env(env))]
        found += _success_figures([part for _, part in here], f", {env}", [at for at, _ in here])
    return _present([*found, total_time_figure(runs)])


def _outcome_figures(runs: Sequence[Shown], of: str = "run") -> list[Figure | None]:
    several = of == "env"
    found = [
        *_success_figures(runs, of=of),
        rate_figure(runs, "recovery", "Recovery by round", "failures of the base recovered", of=of),
        estimate_figure(
            [(shown.label, shown.measured.repeated) for shown in runs],
            "Repeated steps",
            "Share of greedy steps that repeat the run of steps just before with the same"
            " observations. Bars: 95 % bootstrap intervals over tasks.",
            _percent,
            "greedy steps",
            top=1.0,
            of=of,
        ),
        *(_lengths_by_env(runs) if several else [_length_figure(runs)]),
    ]
    return _with_caption(found, _MEAN) if several else found


def _success_figures(
    runs: Sequence[Shown], where: str = "", colours: Sequence[int] = (), of: str = "run"
) -> list[Figure | None]:
    return [
        rate_figure(
            runs,
            "greedy",
            f"Success by round{where}",
            "held-out tasks solved",
            of=of,
            colours=colours,
        ),
        difference_figure(runs, "greedy", f"Difference from base{where}", colours=colours),
    ]


def rate_figure(
    runs: Sequence[Shown],
    mode: EvalMode,
    title: str,
    y_title: str,
    *,
    of: str = "run",
    colours: Sequence[int] = (),
) -> Figure | None:
    """A success rate by round with its intervals; see ``estimate_figure``."""
    by_run: list[Named] = []
    for shown in runs:
        lines = shown.report.evals_of(mode, shown.measured.split)
        found = {x.round: x.figures["success"] for x in lines if x.figures["success"]}
        if set(found) - {0} or (found and mode == "greedy"):
            by_run.append((shown.label, found))
        else:
            by_run.append((shown.label, {}))
    sizes = sorted({each["n"] for _, found in by_run for each in found.values()})
    caption = (
        f"n = {_range(sizes)} tasks. Bars: 95 % intervals"
        " (Wilson; Student where tasks come several times)."
    )
    return estimate_figure(
        by_run, title, caption, _percent, y_title, top=1.0, of=of, colours=colours
    )


def estimate_figure(
    by_run: Sequence[Named],
    title: str,
    caption: str,
    show: Callable[[float], str],
    y_title: str,
    *,
    top: float | None = None,
    of: str = "run",
    colours: Sequence[int] = (),
) -> Figure | None:
    """Estimates by round; None where there are none.

    Args:
        by_run: (name, round to ``{value, low, high, n}``); a name's place is its colour.
        title: the figure's heading.
        caption: what is drawn, in words.
        show: a value as text.
        y_title: what the axis measures.
        top: the largest possible value.
        of: what the series are of, as the table's heading.
        colours: the series' colours, where their places are not.
    """
    rounds = sorted({number for _, found in by_run for number in found})
    if not rounds:
        return None
    series, rows = [], []
    for place, (name, found) in enumerate(by_run):
        if not found:
            continue
        colour = colours[place] if colours else place
        here = [n for n in rounds if n in found]
        series.append(Series(name, [_point(round_name(n), found[n]) for n in here], colour))
        for n in here:
            cells: list[Cell] = [round_name(n), show(found[n]["value"])]
            rows.append([name, *cells, _interval(found[n], show), found[n]["n"]])
    table = _table(title, [of, "", "value", "95 % interval", "n"], rows, single=len(series) == 1)
    label = f"{title}: " + "; ".join(
        f"{one.name} " + ", ".join(f"{p.category} {show(p.value)}" for p in one.points)
        for one in series
    )
    names = [round_name(n) for n in rounds]
    svg = interval_plot(series, names, label=label, show=show, y_title=y_title, top=top)
    legend = [(one.colour, one.name) for one in series] if len(series) > 1 else []
    return Figure(title, svg, caption, table, legend)


def difference_figure(
    runs: Sequence[Shown], mode: EvalMode, title: str, *, colours: Sequence[int] = ()
) -> Figure | None:
    """Each round's difference from the base, paired by task; see ``estimate_figure``."""
    rows, drawn = [], []
    for index, shown in enumerate(runs):
        for line in shown.report.evals_of(mode, shown.measured.split):
            versus = (line.figures.get("versus_base") or {}).get("success")
            if not versus:
                continue
            name = round_name(line.round)
            label = name if len(runs) == 1 else f"{shown.label}, {name}"
            colour = colours[index] if colours else index
            drawn.append(Difference(label, _point(name, versus), colour))
            cells: list[Cell] = [points_of(versus), interval(versus, signed=True), versus["n"]]
            rows.append([label, *cells])
    if not drawn:
        return None
    svg = difference_plot(
        drawn,
        label=f"{title}: " + "; ".join(f"{d.label} {signed_points(d.point.value)}" for d in drawn),
        show=signed_points,
        unit="percentage points of success",
    )
    caption = (
        "Paired by task; bars: 95 % bootstrap intervals. A bar that crosses the line at 0 is inside"
        " the noise."
    )
    table = Section(title, ["", "points", "95 % interval", "n"], rows)
    return Figure(title, svg, caption, table)


def _length_figure(runs: Sequence[Shown]) -> Figure | None:
    by_run: list[Named] = [(shown.label, shown.measured.learnt_lengths) for shown in runs]
    if len(runs) == 1:
        by_run = [
            ("in the training data", runs[0].measured.learnt_lengths),
            ("in greedy episodes", runs[0].measured.played_lengths),
        ]
    caption = (
        "Mean bad steps before the reflection: in what each round was trained on"
        + (
            ", and, where they show, in the episodes that its model played"
            if len(runs) == 1
            else ""
        )
        + ". Bars: 95 % bootstrap intervals over tasks."
    )
    return estimate_figure(by_run, "Revision length", caption, lambda v: f"{v:.2g}", "bad steps")


def _lengths_by_env(parts: Sequence[Shown]) -> list[Figure | None]:
    """Revision lengths of several environments: what was learnt and what was played apart."""
    learnt: list[Named] = [(part.label, part.measured.learnt_lengths) for part in parts]
    played: list[Named] = [(part.label, part.measured.played_lengths) for part in parts]
    bars = " Bars: 95 % bootstrap intervals over tasks."
    return [
        estimate_figure(
            learnt,
            "Revision length",
            "Mean bad steps before the reflection in what each round was trained on." + bars,
            lambda v: f"{v:.2g}",
            "bad steps",
            of="env",
        ),
        estimate_figure(
            played,
            "Revision length, as played",
            "Mean visibly bad steps before a reflection in greedy episodes." + bars,
            lambda v: f"{v:.2g}",
            "bad steps",
            of="env",
        ),
    ]


def loss_figure(shown: Shown) -> Figure | None:
    """Training and validation loss by step, a colour a round."""
    losses = shown.measured.losses
    rounds = sorted({number for number, _ in losses})
    curves, rows, legend = [], [], []
    for index, number in enumerate(rounds):
        for name, faint in (("train_loss", True), ("valid_loss", False)):
            points = losses.get((number, name))
            if not points:
                continue
            kind = name.removesuffix("_loss")
            told = f"{round_name(number)}, {'training' if kind == 'train' else 'validation'}"
            curves.append(Curve(told, points, index, faint))
            ends: list[Cell] = [f"{points[0][1]:.4f}", f"{min(v for _, v in points):.4f}"]
            rows.append([told, len(points), *ends, f"{points[-1][1]:.4f}"])
        legend.append((index, round_name(number)))
    if not curves:
        return None
    svg = line_plot(
        curves,
        label="Training loss: " + "; ".join(f"{r[0]} from {r[2]} to {r[4]}" for r in rows),
        show=lambda v: f"{v:.3g}",
        x_title="step",
        y_title="loss a token",
    )
    table = Section("Loss", ["", "points", "first", "lowest", "last"], rows)
    caption = "Mean negative log-likelihood a learnt token. With marks: validation; thin: training."
    return Figure("Loss", svg, caption, table, legend)


def time_figure(report: RunReport) -> Figure | None:
    """Wall time by stage, what the model took of it apart."""
    lines = [line for line in report.stages if line.wall_s > 0]
    if not lines:
        return None
    bars, rows = [], []
    for line in lines:
        name = f"{round_name(line.round)} {line.stage}"
        model = min(line.model_s, line.wall_s)
        bars.append(Bar(name, [model, line.wall_s - model]))
        cells: list[Cell] = [format_duration(model), format_duration(line.wall_s - model)]
        rows.append([name, *cells, format_duration(line.wall_s)])
    parts = [(0, "in the model"), (_GREY, "everything else")]
    svg = _time_plot(bars, parts)
    table = Section("Time by stage", ["", *(name for _, name in parts), "sum"], rows)
    caption = "Wall time. Training runs outside of the model that plays: it counts as the rest."
    return Figure("Time by stage", svg, caption, table, parts, filled=True)


def token_figure(report: RunReport) -> Figure | None:
    """Tokens by stage: generated, decoded, and spared by reuse."""
    lines = [line for line in report.stages if line.prompt_tokens or line.output_tokens]
    if not lines:
        return None
    parts = [(0, "generated"), (1, "prompt, decoded"), (_GREY, "prompt, reused")]
    bars, rows = [], []
    for line in lines:
        name = f"{round_name(line.round)} {line.stage}"
        reused = max(0, line.prompt_tokens - line.decoded_prompt_tokens)
        amounts = [line.output_tokens, line.decoded_prompt_tokens, reused]
        bars.append(Bar(name, [float(amount) for amount in amounts]))
        rows.append([name, *(count(amount) for amount in amounts)])
    svg = bar_plot(bars, parts, label=_bars_label("Tokens", bars, _amount), show=_amount)
    caption = "Reused: prompt tokens whose work was spared, as an earlier prompt began with them."
    table = Section("Tokens by stage", ["", *(name for _, name in parts)], rows)
    return Figure("Tokens by stage", svg, caption, table, parts, filled=True)


def total_time_figure(runs: Sequence[Shown]) -> Figure | None:
    """Each run's wall time by kind of stage."""
    bars, rows = [], []
    for shown in runs:
        amounts = [
            sum(line.wall_s for line in shown.report.stages if line.stage == stage)
            for stage in _STAGES
        ]
        bars.append(Bar(shown.label, amounts))
        rows.append([shown.label, *(format_duration(amount) for amount in amounts)])
    if not any(sum(bar.parts) for bar in bars):
        return None
    parts = list(enumerate(_STAGES))
    svg = _time_plot(bars, parts)
    table = Section("Time by run", ["", *_STAGES], rows)
    caption = "Wall time of all rounds, by kind of stage."
    return Figure("Time by run", svg, caption, table, parts, filled=True)


def signed_points(value: float) -> str:
    """A share as signed percentage points: ``+11.0``, ``−3.2``, ``0.0``."""
    body = f"{abs(100 * value):.1f}"
    return body if body == "0.0" else ("+" if value > 0 else _MINUS) + body


def _with_caption(figures: Sequence[Figure | None], more: str) -> list[Figure | None]:
    """With one sentence more below each."""
    return [one and replace(one, caption=one.caption + more) for one in figures]


def _present(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _point(category: str, estimate: Mapping[str, Any]) -> Point:
    return Point(category, estimate["value"], estimate["low"], estimate["high"], estimate.get("n"))


def _interval(estimate: Mapping[str, Any], show: Callable[[float], str]) -> str | None:
    bounds = _point("", estimate).bounds
    return None if bounds is None else f"{show(bounds[0])} to {show(bounds[1])}"


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, single: bool
) -> Section:
    """Without the run's column where there is one run."""
    if not single:
        return Section(title, columns, rows)
    return Section(title, columns[1:], [row[1:] for row in rows])


def _time_plot(bars: Sequence[Bar], parts: Sequence[tuple[int, str]]) -> Markup:
    longest = max(sum(bar.parts) for bar in bars)
    unit = next((size for size in (3600.0, 60.0) if longest >= 1.5 * size), 1.0)
    label = _bars_label("Time", bars, format_duration)
    return bar_plot(bars, parts, label=label, show=_duration, unit=unit)


def _bars_label(what: str, bars: Sequence[Bar], show: Callable[[float], str]) -> str:
    return f"{what}: " + "; ".join(f"{bar.label} {show(sum(bar.parts))}" for bar in bars)


def _range(sizes: Sequence[int]) -> str:
    if not sizes:
        return "0"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _percent(value: float) -> str:
    return (percent(value) or "").replace(".0 %", " %")


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
