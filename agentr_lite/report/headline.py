"""The few figures at the top of a report, each with its interval and an honest word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.output import format_duration
from agentr_lite.report.comparison import Compared
from agentr_lite.report.data import RunReport
from agentr_lite.report.results import StudyRun, pooled_rate, versus_base
from agentr_lite.report.words import count, interval, percent, round_name
from agentr_lite.store.records import EvalMode


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure."""

    name: str
    value: str
    before: str = ""
    """The base's value."""
    note: str = ""
    tone: str = ""
    """``good``, ``bad``, ``part`` (inside the noise) or empty."""


def run_tiles(one: Compared) -> list[Tile]:
    """One run's headline."""
    return _tiles([one.run])


def pooled_tiles(runs: Sequence[Compared]) -> list[Tile]:
    """The headline of runs that are one method over several seeds; empty for others."""
    if len({(one.pool, one.method) for one in runs}) > 1:
        return []
    return _tiles([one.run for one in runs])


def _tiles(runs: Sequence[StudyRun]) -> list[Tile]:
    last = min(
        (max((n for mode, n in run.items if mode == "greedy"), default=0) for run in runs),
        default=0,
    )
    tiles = [
        _rate_tile(runs, "greedy", last, "Held-out tasks solved"),
        _rate_tile(runs, "recovery", last, "Recovers from the base’s failures"),
        _repeated_tile(runs, last),
        _cost_tile([run.report for run in runs]),
    ]
    return [tile for tile in tiles if tile is not None]


def _rate_tile(runs: Sequence[StudyRun], mode: EvalMode, last: int, name: str) -> Tile | None:
    base, now = (pooled_rate(runs, mode, number) for number in (0, last))
    if now is None:
        return None
    value = percent(now["value"]) or ""
    if not last or base is None:
        return Tile(name, value, note=f"95 % interval {interval(now)}, n = {now['n']}")
    # One run's interval is drawn as its table's was, so that the two agree to the last digit.
    seed = runs[0].seed if len(runs) == 1 else 1
    difference = versus_base(runs, mode, last, seed=seed)
    note = f"{round_name(last)}, n = {now['n']} tasks"
    envs = sorted({env for run in runs for env in run.envs})
    if len(envs) > 1:
        note += f", the mean of {', '.join(envs)}"
    if difference is None:
        return Tile(name, value, percent(base["value"]) or "", note)
    tone, word = _judged(difference)
    note += f"; {word} (95 % interval {interval(difference, signed=True)} points)"
    return Tile(name, value, percent(base["value"]) or "", note, tone)


def _judged(difference: Mapping[str, Any]) -> tuple[str, str]:
    if difference["low"] > 0:
        return "good", "more than base"
    return ("bad", "fewer than base") if difference["high"] < 0 else ("part", "inside the noise")


def _repeated_tile(runs: Sequence[StudyRun], last: int) -> Tile | None:
    shares = []
    for number in (0, last):
        figures = [
            line.figures
            for run in runs
            for line in run.report.evals
            if (line.mode, line.round) == ("greedy", number)
        ]
        steps = sum(of["turns"] for of in figures)
        repeated = sum((of["repeated_share"] or 0) * of["turns"] for of in figures)
        shares.append(percent(repeated / steps) if steps else None)
    before, now = shares
    if now is None:
        return None
    note = "of greedy steps repeat the ones just before"
    return Tile("Repeated steps", now, (before or "") if last else "", note)


def _cost_tile(reports: Sequence[RunReport]) -> Tile | None:
    lines = [line for report in reports for line in report.stages]
    if not lines:
        return None
    tokens = sum(line.output_tokens for line in lines)
    whole = format_duration(sum(line.wall_s for line in lines))
    runs = f"{len(reports)} runs together; " if len(reports) > 1 else ""
    return Tile("Wall time", whole, note=f"{runs}{count(tokens)} tokens generated")
