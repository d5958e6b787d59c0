"""The critic against the oracle, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agentr_lite.core.rounds import round_name
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.resampling import clustered_rate, clustered_ratio
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, interval, percent, percent_of
from agentr_lite.study.jobs.cells import REASON
from agentr_lite.study.methods import VERIFIED
from agentr_lite.study.outcomes.critic_accuracy import CriticRound, JudgedStep
from agentr_lite.study.outcomes.results import EnvResults

NamedRounds = tuple[str, int, Sequence[CriticRound]]
"""(a method's name in tables, round, one record per seed)."""


def critic_sections(results: EnvResults) -> list[Section]:
    """The tables of one environment; without rows if it has no oracle for single steps."""
    by_label: dict[tuple[str, int], list[CriticRound]] = {}
    for result in results.runs:
        label = results.labels[result.cell.method]
        about_critic = result.cell.method in (VERIFIED, REASON)
        for number, judged in result.critic.items():
            # The critic of round 1 is the base for every method, so one method is enough.
            if about_critic or (number > 1 and not result.cell.ablation):
                by_label.setdefault((label, number), []).append(judged)
    # Sort by the order of the methods; the runs are in the order of the work.
    order = {label: index for index, label in enumerate(results.labels.values())}
    named: list[NamedRounds] = [
        (label, number, rounds)
        for (label, number), rounds in sorted(
            by_label.items(), key=lambda item: (order[item[0][0]], item[0][1])
        )
    ]
    return [step_section(named, results.env), path_section(named, results.env)]


def step_section(named: Sequence[NamedRounds], env: str) -> Section:
    """The critic's verdicts on single steps."""
    rows: list[list[Cell]] = []
    for name, number, rounds in named:
        steps = [step for judged in rounds for step in judged.steps if step.oracle != "neutral"]
        if not steps:
            continue
        counts = Counter((step.oracle, step.critic == "bad") for step in steps)
        row: list[Cell] = [f"{name}, {round_name(number)}", len(steps)]
        for oracle in ("bad", "good"):
            matching = [step for step in steps if step.oracle == oracle]
            called_bad = _share([(step.task, step.critic == "bad") for step in matching])
            row += [
                f"{counts[oracle, True]} of {len(matching)}",
                percent_of(called_bad),
                interval(called_bad),
            ]
        accuracy = _balanced_accuracy(steps)
        row += [percent_of(accuracy), interval(accuracy)]
        rows.append(row)
    columns = ["", "steps", "bad, called bad", "share", "95 % interval"]
    columns += ["good, called bad", "share", "95 % interval", "balanced accuracy", "95 % interval"]
    notes = [
        "These are the steps that the critic judged while it looked for the first error. The critic"
        " of a round is the model that searched in that round: in round 1 the base, in round 2 the"
        " model that round 1 trained. Steps that the oracle calls neutral are left out. Balanced"
        " accuracy is the mean of two shares: bad steps called bad, and good steps not called bad."
        " A critic that always gives the same answer, or that guesses, has 50 %. Intervals resample"
        " tasks."
    ]
    return Section(f"The critic against the oracle, {env}: steps", columns, rows, notes)


def path_section(named: Sequence[NamedRounds], env: str) -> Section:
    """Where the critic cut bad paths, against their first errors."""
    rows: list[list[Cell]] = []
    for name, number, rounds in named:
        paths = [path for judged in rounds for path in judged.paths]
        if not paths:
            continue
        exact = _share([(path.task, path.cut == path.error) for path in paths])
        distances = [path.cut - path.error for path in paths]
        rows.append(
            [
                f"{name}, {round_name(number)}",
                len(paths),
                percent_of(exact),
                interval(exact),
                percent(sum(distance < 0 for distance in distances) / len(paths)),
                percent(sum(distance > 0 for distance in distances) / len(paths)),
                f"{sum(distances) / len(paths):+.1f}".replace("-", "−"),
                percent(sum(not path.called_bad for path in paths) / len(paths)),
                sum(judged.without_error for judged in rounds),
            ]
        )
    columns = ["", "paths", "at the first error", "95 % interval", "before it", "after it"]
    columns += ["mean distance", "none judged bad", "no error"]
    notes = [
        "These are the bad paths of pairs. The first error is the first step after the parting that"
        " the oracle calls bad. Mean distance: the number of steps by which the cut comes after the"
        " first error. None judged bad: the critic called no step bad, so the whole path was kept;"
        " this counts as a cut at its end. No error: the number of paths in which the oracle finds"
        " no error; the other columns leave them out."
    ]
    return Section(f"The critic against the oracle, {env}: first errors", columns, rows, notes)


def _share(trials: Sequence[tuple[int, bool]]) -> Estimate | None:
    """The share of hits among (task, hit); draws take whole tasks."""
    if not trials:
        return None
    tasks = [task for task, _ in trials]
    return clustered_rate([hit for _, hit in trials], tasks, seed=1)


def _balanced_accuracy(steps: Sequence[JudgedStep]) -> Estimate | None:
    """The accuracy with weights that make bad and good steps count the same."""
    bad = sum(step.oracle == "bad" for step in steps)
    good = len(steps) - bad
    if not bad or not good:
        return None
    weights = [1 / bad if step.oracle == "bad" else 1 / good for step in steps]
    right = [(step.critic == "bad") == (step.oracle == "bad") for step in steps]
    numerators = [weight * hit for weight, hit in zip(weights, right, strict=True)]
    tasks = [step.task for step in steps]
    return clustered_ratio(numerators, weights, tasks, seed=1)
