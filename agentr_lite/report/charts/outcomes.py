"""Which plots a report has, each with the table that says the same in figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.console.outcomes import round_name
from agentr_lite.report.charts.costs import (
    loss_figure,
    time_figure,
    token_figure,
    total_time_figure,
)
from agentr_lite.report.charts.figure import Figure, Shown
from agentr_lite.report.charts.plots import (
    Difference,
    Point,
    Series,
    difference_plot,
    interval_plot,
)
from agentr_lite.report.tables.run import Section
from agentr_lite.report.words import Cell, interval, percent, points_of, signed_for
from agentr_lite.store.records import EvalMode

Named = tuple[str, Mapping[int, Mapping[str, Any]]]
"""A series' name, and its estimates by round."""

_MEAN = " Mean: over the environments, each counting alike."
_MEANS = " Of a run on several environments: the mean over them, each counting alike."


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
        *(rate_figure(runs, "recovery", outcome, of=of) for outcome in _outcomes(runs)),
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


def _outcomes(runs: Sequence[Shown]) -> list[_Outcome]:
    """What is told of episodes: rewards only where there are any between none and all."""
    graded = any(line.graded for shown in runs for line in shown.report.evals)
    return [_REWARD, _SUCCESS] if graded else [_SUCCESS]


def _success_figures(
    runs: Sequence[Shown], where: str = "", colours: Sequence[int] = (), of: str = "run"
) -> list[Figure | None]:
    return [
        figure
        for outcome in _outcomes(runs)
        for figure in (
            rate_figure(runs, "greedy", outcome, where, of=of, colours=colours),
            difference_figure(runs, "greedy", outcome, where, colours=colours),
        )
    ]


def rate_figure(
    runs: Sequence[Shown],
    mode: EvalMode,
    outcome: _Outcome,
    where: str = "",
    *,
    of: str = "run",
    colours: Sequence[int] = (),
) -> Figure | None:
    """A success rate or a mean reward by round with its intervals; see ``estimate_figure``."""
    by_run: list[Named] = []
    for shown in runs:
        lines = shown.report.evals_of(mode, shown.measured.split)
        found = {x.round: x.figures[outcome.key] for x in lines if x.figures[outcome.key]}
        if set(found) - {0} or (found and mode == "greedy"):
            by_run.append((shown.label, found))
        else:
            by_run.append((shown.label, {}))
    sizes = sorted({each["n"] for _, found in by_run for each in found.values()})
    caption = f"n = {_range(sizes)} tasks. Bars: 95 % intervals ({outcome.intervals})."
    title, y_title = outcome.titles[mode]
    return estimate_figure(
        *(by_run, f"{title}{where}", caption, outcome.show, y_title),
        top=1.0,
        of=of,
        colours=colours,
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
    runs: Sequence[Shown],
    mode: EvalMode,
    outcome: _Outcome,
    where: str = "",
    *,
    colours: Sequence[int] = (),
) -> Figure | None:
    """Each round's difference from the base, paired by task; see ``estimate_figure``."""
    title = f"{outcome.difference}{where}"
    rows: list[list[Cell]] = []
    drawn: list[Difference] = []
    legend: dict[int, str] = {}
    for index, shown in enumerate(runs):
        for line in shown.report.evals_of(mode, shown.measured.split):
            versus = (line.figures.get("versus_base") or {}).get(outcome.key)
            if not versus:
                continue
            name = round_name(line.round)
            label = name if len(runs) == 1 else f"{shown.label}, {name}"
            colour = colours[index] if colours else index
            drawn.append(Difference(label, _point(name, versus), colour, short=name))
            if len(runs) > 1:
                legend[colour] = shown.label
            value = points_of(versus, unit=outcome.unit)
            ends = interval(versus, signs=True, unit=outcome.unit)
            rows.append([label, value, ends, versus["n"]])
    if not drawn:
        return None
    show = signed_for(outcome.unit)
    svg = difference_plot(
        drawn,
        label=f"{title}: " + "; ".join(f"{d.label} {show(d.point.value)}" for d in drawn),
        show=show,
        unit=outcome.axis,
    )
    caption = (
        "Paired by task; bars: 95 % bootstrap intervals. A bar that crosses the line at 0 is inside"
        " the noise."
    )
    value_name = "points" if outcome.unit == "percent" else "reward"
    table = Section(title, ["", value_name, "95 % interval", "n"], rows)
    return Figure(title, svg, caption, table, list(legend.items()))


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


def _range(sizes: Sequence[int]) -> str:
    if not sizes:
        return "0"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _percent(value: float) -> str:
    return (percent(value) or "").replace(".0 %", " %")


def _decimal(value: float) -> str:
    return f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an outcome of episodes is plotted."""

    key: str
    """Among an evaluation's figures."""
    titles: Mapping[str, tuple[str, str]]
    """Mode to the figure's title and that of its axis."""
    difference: str
    """Title of the differences."""
    intervals: str
    """How they are made."""
    show: Callable[[float], str]
    unit: str
    """As ``words`` has it."""
    axis: str
    """Of the differences."""


_SUCCESS = _Outcome(
    "success",
    {
        "greedy": ("Success by round", "held-out tasks solved"),
        "recovery": ("Recovery by round", "failures of the base recovered"),
    },
    "Difference from base",
    "Wilson; Student where tasks come several times",
    _percent,
    "percent",
    "percentage points of success",
)
_REWARD = _Outcome(
    "reward",
    {
        "greedy": ("Mean reward by round", "mean reward"),
        "recovery": ("Reward from the base's failures on", "mean reward"),
    },
    "Difference from base in reward",
    "Student",
    _decimal,
    "decimal",
    "reward",
)
