"""The few figures at the top of a report, each with its interval and an honest word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.console.outcomes import round_name
from agentr_lite.console.text import format_duration
from agentr_lite.metrics.measures import (
    RECOVERY,
    RECOVERY_REWARD,
    REPEATED,
    REWARD,
    SUCCESS,
    Measure,
    difference_of,
    value_of,
)
from agentr_lite.metrics.methods import MethodRuns
from agentr_lite.report.model.comparison import Compared
from agentr_lite.report.model.run import RunReport
from agentr_lite.report.tables.methods import shown, span
from agentr_lite.report.words import count

_NAMES = {
    SUCCESS.key: "Held-out tasks solved",
    REWARD.key: "Mean reward on held-out tasks",
    RECOVERY.key: "Recovers from the base’s failures",
    RECOVERY_REWARD.key: "Mean reward from the base’s failures on",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure."""

    name: str
    value: str
    before: str = ""
    """The base's value."""
    note: str = ""
    tone: str = ""
    """``good``, ``bad``, ``partial`` (inside the noise) or empty."""


def run_tiles(one: Compared) -> list[Tile]:
    """One run's headline."""
    return _tiles([one])


def pooled_tiles(runs: Sequence[Compared]) -> list[Tile]:
    """The headline of runs that are one method over several seeds; empty for others."""
    if len({(one.pool, one.method) for one in runs}) > 1:
        return []
    return _tiles(runs)


def _tiles(runs: Sequence[Compared]) -> list[Tile]:
    results = MethodRuns([one.played for one in runs])
    last = min((one.played.last_round for one in runs), default=0)
    measures = [REWARD, SUCCESS] if results.graded else [SUCCESS]
    tiles = [
        *(_outcome_tile(results, measure, last) for measure in [*measures, results.recovery]),
        _repeated_tile(results, last),
        _cost_tile([one.report for one in runs]),
    ]
    return [tile for tile in tiles if tile is not None]


def _outcome_tile(results: MethodRuns[Any], measure: Measure, last: int) -> Tile | None:
    name, seeds = _NAMES[measure.key], results.seeds(results.runs[0].method)
    base, now = (value_of(measure, seeds, number) for number in (0, last))
    if now is None:
        return None
    value = shown(measure, now["value"]) or ""
    if not last or base is None:
        return Tile(name, value, note=f"95 % interval {span(measure, now)}, n = {now['n']}")
    before = shown(measure, base["value"]) or ""
    # One run's interval is drawn as its table's was, so that the two agree to the last digit.
    seed = results.runs[0].seed if len(results.runs) == 1 else 1
    difference = difference_of(measure, seeds, last, seeds, 0, seed=seed)
    note = f"{round_name(last)}, n = {now['n']} tasks"
    if results.envs:
        note += f", the mean of {', '.join(results.envs)}"
    if difference is None:
        return Tile(name, value, before, note)
    tone, word = _judged(difference, measure)
    unit = " points" if measure.unit == "percent" else ""
    note += f"; {word} (95 % interval {span(measure, difference, signs=True)}{unit})"
    return Tile(name, value, before, note, tone)


def _judged(difference: Mapping[str, Any], measure: Measure) -> tuple[str, str]:
    if difference["low"] > 0:
        return "good", "more than base"
    fewer = "fewer" if measure.unit == "percent" else "less"
    return (
        ("bad", f"{fewer} than base") if difference["high"] < 0 else ("partial", "inside the noise")
    )


def _repeated_tile(results: MethodRuns[Any], last: int) -> Tile | None:
    seeds = results.seeds(results.runs[0].method)
    before, now = (value_of(REPEATED, seeds, number) for number in (0, last))
    if now is None:
        return None
    earlier = shown(REPEATED, before["value"]) if before and last else None
    note = "of greedy steps repeat the ones just before"
    return Tile("Repeated steps", shown(REPEATED, now["value"]) or "", earlier or "", note)


def _cost_tile(reports: Sequence[RunReport]) -> Tile | None:
    lines = [line for report in reports for line in report.stages]
    if not lines:
        return None
    tokens = sum(line.output_tokens for line in lines)
    whole = format_duration(sum(line.wall_s for line in lines))
    runs = f"{len(reports)} runs together; " if len(reports) > 1 else ""
    return Tile("Wall time", whole, note=f"{runs}{count(tokens)} tokens generated")
