"""Which plots a report has, each with the table that says the same in figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agentr_lite.core.rounds import START, round_name
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.evaluation import EvalFigures, VersusBase
from agentr_lite.metrics.series import ByRound
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
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, interval, percent, points_of, signed_for
from agentr_lite.store.records import EvalMode

Named = tuple[str, ByRound]
"""A series' name, and its estimates by round."""

_MEAN = " Mean: over the environments; each counts alike."
_MEANS = " For a run on several environments: the mean over them; each counts alike."


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
    envs = sorted({env for shown in runs for env in shown.series.by_env})
    figures = _outcome_figures(runs)
    if envs:
        figures = _with_caption(figures, _MEANS)
    for env in envs:
        here = [(at, part) for at, run in enumerate(runs) if (part := run.in_env(env))]
        figures += _success_figures([part for _, part in here], f", {env}", [at for at, _ in here])
    return _present([*figures, total_time_figure(runs)])


def _outcome_figures(runs: Sequence[Shown], of: str = "run") -> list[Figure | None]:
    several = of == "env"
    figures = [
        *_success_figures(runs, of=of),
        *(rate_figure(runs, "recovery", outcome, of=of) for outcome in _outcomes(runs)),
        estimate_figure(
            [(shown.label, shown.series.repeated) for shown in runs],
            "Repeated steps",
            "Share of greedy steps that repeat the run of steps directly before them and get the"
            " same observations. Bars: 95 % bootstrap intervals over tasks.",
            _percent,
            "greedy steps",
            top=1.0,
            of=of,
            name_round=_namer(runs),
        ),
        *(_lengths_by_env(runs) if several else [_length_figure(runs)]),
    ]
    return _with_caption(figures, _MEAN) if several else figures


def _outcomes(runs: Sequence[Shown]) -> list[_Outcome]:
    """Which outcomes are plotted: rewards only where some lie between none and all."""
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


def _namer(runs: Sequence[Shown]) -> Callable[[int], str]:
    """Names rounds for all runs: round 0 is no one's base where it is another's imitation."""
    having = {shown.report.run.imitates for shown in runs}
    if having == {True, False}:
        return lambda number: "round 0" if number == START else round_name(number)
    return partial(round_name, imitates=True in having)


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
        lines = shown.report.evals_of(mode, shown.series.split)
        known = {line.round: outcome.estimate(line.figures) for line in lines}
        by_round = {number: estimate for number, estimate in known.items() if estimate}
        if set(by_round) - {START} or (by_round and mode == "greedy"):
            by_run.append((shown.label, by_round))
        else:
            by_run.append((shown.label, {}))
    sizes = sorted({estimate.n for _, by_round in by_run for estimate in by_round.values()})
    caption = f"n = {_range(sizes)} tasks. Bars: 95 % intervals ({outcome.intervals})."
    title, y_title = outcome.titles[mode]
    return estimate_figure(
        by_run,
        f"{title}{where}",
        caption,
        outcome.show,
        y_title,
        top=1.0,
        of=of,
        colours=colours,
        name_round=_namer(runs),
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
    name_round: Callable[[int], str] = round_name,
) -> Figure | None:
    """Estimates by round; None where there are none.

    Args:
        by_run: (name, round to estimate); a name's place is its colour.
        title: the figure's heading.
        caption: what is drawn, in words.
        show: a value as text.
        y_title: what the axis measures.
        top: the largest possible value.
        of: what the series are of, as the table's heading.
        colours: the series' colours, where their places are not.
        name_round: a round's name.
    """
    rounds = sorted({number for _, by_round in by_run for number in by_round})
    if not rounds:
        return None
    series, rows = [], []
    for place, (name, by_round) in enumerate(by_run):
        if not by_round:
            continue
        colour = colours[place] if colours else place
        points = []
        for number in sorted(by_round):
            estimate = by_round[number]
            points.append(Point.of(name_round(number), estimate))
            cells: list[Cell] = [name_round(number), show(estimate.value)]
            rows.append([name, *cells, _interval(estimate, show), estimate.n])
        series.append(Series(name, points, colour))
    table = _table(title, [of, "", "value", "95 % interval", "n"], rows, single=len(series) == 1)
    label = f"{title}: " + "; ".join(
        f"{each.name} " + ", ".join(f"{p.category} {show(p.value)}" for p in each.points)
        for each in series
    )
    names = [name_round(n) for n in rounds]
    svg = interval_plot(series, names, label=label, show=show, y_title=y_title, top=top)
    legend = [(each.colour, each.name) for each in series] if len(series) > 1 else []
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
        for line in shown.report.evals_of(mode, shown.series.split):
            versus = line.figures.versus_base
            if versus is None:
                continue
            difference = outcome.of_difference(versus)
            name = line.name
            label = name if len(runs) == 1 else f"{shown.label}, {name}"
            colour = colours[index] if colours else index
            drawn.append(
                Difference(label, Point.of_difference(name, difference), colour, short=name)
            )
            if len(runs) > 1:
                legend[colour] = shown.label
            value = points_of(difference, unit=outcome.unit)
            ends = interval(difference, signs=True, unit=outcome.unit)
            rows.append([label, value, ends, difference.n])
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
        "Paired by task. Bars: 95 % bootstrap intervals. A difference whose bar crosses the line at"
        " 0 is inside the noise."
    )
    value_name = "points" if outcome.unit == "percent" else "reward"
    table = Section(title, ["", value_name, "95 % interval", "n"], rows)
    return Figure(title, svg, caption, table, list(legend.items()))


def _length_figure(runs: Sequence[Shown]) -> Figure | None:
    by_run: list[Named] = [(shown.label, shown.series.learnt_lengths) for shown in runs]
    if len(runs) == 1:
        by_run = [
            ("in the training data", runs[0].series.learnt_lengths),
            ("in greedy episodes", runs[0].series.played_lengths),
        ]
    caption = (
        "Mean number of bad steps before the reflection, in what each round was trained on"
        + (
            " and, where they can be seen, in the episodes that its model played"
            if len(runs) == 1
            else ""
        )
        + ". Bars: 95 % bootstrap intervals over tasks."
    )
    return estimate_figure(
        by_run,
        "Revision length",
        caption,
        lambda v: f"{v:.2g}",
        "bad steps",
        name_round=_namer(runs),
    )


def _lengths_by_env(parts: Sequence[Shown]) -> list[Figure | None]:
    """Revision lengths of several environments, in training data and in played episodes."""
    learnt: list[Named] = [(part.label, part.series.learnt_lengths) for part in parts]
    played: list[Named] = [(part.label, part.series.played_lengths) for part in parts]
    bars = " Bars: 95 % bootstrap intervals over tasks."
    return [
        estimate_figure(
            learnt,
            "Revision length",
            "Mean number of bad steps before the reflection, in what each round was trained on."
            + bars,
            lambda v: f"{v:.2g}",
            "bad steps",
            of="env",
            name_round=_namer(parts),
        ),
        estimate_figure(
            played,
            "Revision length, as played",
            "Mean number of visibly bad steps before a reflection in greedy episodes." + bars,
            lambda v: f"{v:.2g}",
            "bad steps",
            of="env",
            name_round=_namer(parts),
        ),
    ]


def _with_caption(figures: Sequence[Figure | None], more: str) -> list[Figure | None]:
    """The figures with one more sentence below each."""
    return [figure and replace(figure, caption=figure.caption + more) for figure in figures]


def _present(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _interval(estimate: Estimate, show: Callable[[float], str]) -> str | None:
    return f"{show(estimate.low)} to {show(estimate.high)}" if estimate.bounds else None


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, single: bool
) -> Section:
    """A figure's table; a single run needs no column of names."""
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

    estimate: Callable[[EvalFigures], Estimate | None]
    """Takes the outcome from an evaluation's figures."""
    of_difference: Callable[[VersusBase], Estimate]
    """Takes its difference from the base."""
    titles: Mapping[str, tuple[str, str]]
    """Mode to the title of the figure and of its axis."""
    difference: str
    """The title of the plot of differences."""
    intervals: str
    """How the intervals are made."""
    show: Callable[[float], str]
    unit: str
    """The unit of its values, as in ``words``."""
    axis: str
    """The title of the differences' axis."""


_SUCCESS = _Outcome(
    lambda figures: figures.success,
    lambda versus: versus.success,
    {
        "greedy": ("Success by round", "held-out tasks solved"),
        "recovery": ("Recovery by round", "failures of the base recovered"),
    },
    "Difference from base",
    "Wilson; Student where a task is played several times",
    _percent,
    "percent",
    "percentage points of success",
)
_REWARD = _Outcome(
    lambda figures: figures.reward,
    lambda versus: versus.reward,
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
