"""The few figures at the top of a report, each with its interval and whether it is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.console.text import format_duration
from agentr_lite.core.rounds import round_name
from agentr_lite.metrics.estimates import Difference, Estimate
from agentr_lite.metrics.measures import (
    RECOVERY,
    RECOVERY_REWARD,
    REPEATED,
    REWARD,
    SUCCESS,
    Measure,
)
from agentr_lite.metrics.methods import MethodRuns
from agentr_lite.metrics.pooling import difference_of, value_of
from agentr_lite.report.model.comparison import Compared
from agentr_lite.report.model.run import RunReport
from agentr_lite.report.tables.wording import difference_interval, interval_cell, value_text
from agentr_lite.report.words import count, too_few

_NAMES = {
    SUCCESS.key: "Held-out tasks solved",
    REWARD.key: "Mean reward on held-out tasks",
    RECOVERY.key: "Recovers from the base’s failures",
    RECOVERY_REWARD.key: "Mean reward from the base’s failures on",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the headline."""

    name: str
    value: str
    before: str = ""
    """The base's value."""
    note: str = ""
    tone: str = ""
    """``good``, ``bad``, ``partial`` (inside the noise) or empty."""


def run_tiles(run: Compared) -> list[Tile]:
    """One run's headline."""
    return _tiles([run])


def pooled_tiles(runs: Sequence[Compared]) -> list[Tile]:
    """The headline of runs that are one method over several seeds; empty for others."""
    if len({(run.pool, run.method) for run in runs}) > 1:
        return []
    return _tiles(runs)


def _tiles(runs: Sequence[Compared]) -> list[Tile]:
    results = MethodRuns([run.played for run in runs])
    last = min((run.played.last_round for run in runs), default=0)
    measures = [REWARD, SUCCESS] if results.graded else [SUCCESS]
    tiles = [
        *(_outcome_tile(results, measure, last) for measure in [*measures, results.recovery]),
        _repeated_tile(results, last),
        _cost_tile([run.report for run in runs]),
    ]
    return [tile for tile in tiles if tile is not None]


def _outcome_tile(results: MethodRuns[Any], measure: Measure, last: int) -> Tile | None:
    name, seeds = _NAMES[measure.key], results.seeds(results.runs[0].method)
    first = results.runs[0].reference_round(measure)
    base, now = (value_of(measure, seeds, number) for number in (first, last))
    if now is None:
        return None
    imitates = results.runs[0].run.imitates
    if imitates and measure.mode == "recovery":
        name = name.replace("the base’s", "imitation’s")
    value = value_text(measure, now.value)
    if last == first or base is None:
        return Tile(
            name,
            value,
            note=", ".join(filter(None, [_interval_words(measure, now), f"n = {now.n}"])),
        )
    before = value_text(measure, base.value)
    # The run's own seed draws the interval, so that it agrees with the run's table.
    seed = results.runs[0].seed if len(results.runs) == 1 else 1
    difference = difference_of(measure, seeds, last, seeds, first, seed=seed)
    note = f"{round_name(last, imitates=imitates)}, n = {now.n} tasks"
    if results.envs:
        note += f", the mean of {', '.join(results.envs)}"
    if difference is None:
        return Tile(name, value, before, note)
    than = "imitation" if imitates and measure.mode == "recovery" else "base"
    tone, word = _judged(difference, measure, than)
    unit = " points" if measure.unit == "percent" else ""
    note += f"; {word}"
    if not difference.too_few:
        note += f" (95 % interval {difference_interval(measure, difference)}{unit})"
    return Tile(name, value, before, note, tone)


def _interval_words(measure: Measure, estimate: Estimate) -> str:
    known = interval_cell(measure, estimate)
    return f"95 % interval {known}" if known else ""


def _judged(difference: Difference, measure: Measure, than: str) -> tuple[str, str]:
    if difference.too_few:
        return "", too_few(difference)
    if difference.always_zero:
        return "partial", f"no difference from {than} in any task"
    if difference.low > 0:
        return "good", f"more than {than}"
    fewer = "fewer" if measure.unit == "percent" else "less"
    if difference.high < 0:
        return "bad", f"{fewer} than {than}"
    return "partial", "inside the noise"


def _repeated_tile(results: MethodRuns[Any], last: int) -> Tile | None:
    seeds = results.seeds(results.runs[0].method)
    first = results.runs[0].base_round
    before, now = (value_of(REPEATED, seeds, number) for number in (first, last))
    if now is None:
        return None
    earlier = value_text(REPEATED, before.value) if before and last != first else ""
    note = "of greedy steps repeat the ones just before"
    return Tile("Repeated steps", value_text(REPEATED, now.value), earlier, note)


def _cost_tile(reports: Sequence[RunReport]) -> Tile | None:
    lines = [line for report in reports for line in report.stages]
    if not lines:
        return None
    tokens = sum(line.output_tokens for line in lines)
    whole = format_duration(sum(line.wall_s for line in lines))
    runs = f"{len(reports)} runs together; " if len(reports) > 1 else ""
    return Tile("Wall time", whole, note=f"{runs}{count(tokens)} tokens generated")
