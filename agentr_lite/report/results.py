"""Several runs as one study: training methods ("arms") compared over seeds, pooled honestly.

The same held-out tasks come once for each seed, so every interval over several seeds resamples
tasks as clusters; with the few seeds of a small study the spread between seeds is shown as it is.
Where runs have several environments, rates and differences are pooled within each of them and then
averaged, each environment counting alike, as in the tables of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from agentr_lite.evaluate.summary import estimate_to_json, is_faulty, match
from agentr_lite.output import Styled, format_duration
from agentr_lite.report.data import RunReport, failure_share, gather, naive_failures
from agentr_lite.report.tables import Section
from agentr_lite.report.words import (
    Cell,
    count,
    decimal,
    interval,
    percent,
    percent_of,
    points_of,
    round_name,
    verdict,
)
from agentr_lite.stats import (
    Estimate,
    clustered_paired_bootstrap,
    clustered_rate,
    mean_interval,
    mean_of_estimates,
)
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalMode

Items = Mapping[tuple[EvalMode, int], Sequence[EvalItemRow]]
Row = TypeVar("Row")

_COMPARED: tuple[tuple[EvalMode, str, str, str], ...] = (
    ("greedy", "Success on held-out tasks", "Between the methods, last round", "solves"),
    (
        "recovery",
        "Recovery from the base's failures",
        "Recovery between the methods, last round",
        "recovers",
    ),
)
"""(mode, title of the methods' table, title of the one between them, what a method does)."""


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One finished run of one arm."""

    arm: str
    seed: int
    report: RunReport
    items: Items
    """(mode, round) to episodes, without their steps."""
    naive: Mapping[int, Sequence[tuple[int, bool]]]
    """Round to (task id, whether the naive splice failed its replay)."""

    @property
    def envs(self) -> list[str]:
        """What the environments of its episodes call themselves."""
        return sorted({item.task.env for items in self.items.values() for item in items})

    def of_env(self, env: str) -> StudyRun:
        """The run with the evaluation of one of its environments alone."""
        mine = {
            key: [item for item in found if item.task.env == env]
            for key, found in self.items.items()
        }
        items: Items = {key: found for key, found in mine.items() if found}
        lines = [part for line in self.report.evals for part in line.by_env() or [line]]
        evals = [line for line in lines if line.env in ("", env)]
        return replace(self, items=items, report=replace(self.report, evals=evals))


@dataclass(frozen=True, slots=True)
class Study:
    """All runs, by arm and seed."""

    runs: Sequence[StudyRun]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Arm to what it is called in tables."""

    @property
    def arms(self) -> list[str]:
        """In the order of the runs."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    def of(self, arm: str) -> list[StudyRun]:
        """An arm's runs by seed."""
        return sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed)

    def label(self, arm: str) -> str:
        """What an arm is called."""
        return self.labels.get(arm, arm)

    @property
    def envs(self) -> list[str]:
        """The environments that every run has; none where there is one only."""
        everyones = set.intersection(*(set(run.envs) for run in self.runs)) if self.runs else set()
        return sorted(everyones) if any(len(run.envs) > 1 for run in self.runs) else []

    def of_env(self, env: str) -> Study:
        """The study of one of several environments; costs and splices stay those of all."""
        return replace(self, runs=[run.of_env(env) for run in self.runs])

    @property
    def last_round(self) -> int:
        """The last round that every run has evaluated."""
        return min(
            (max((n for mode, n in run.items if mode == "greedy"), default=0) for run in self.runs),
            default=0,
        )


def gather_study(
    store: Store,
    run_ids: Mapping[tuple[str, int], str],
    *,
    labels: Mapping[str, str] | None = None,
) -> Study:
    """Read the runs of a study.

    Args:
        store: the database.
        run_ids: (arm, seed) to run, in the order in which arms are to be shown.
        labels: arm to what it is called in tables.
    """
    return Study(
        [study_run(store, arm, seed, run_id) for (arm, seed), run_id in run_ids.items()],
        labels or {},
    )


def study_run(store: Store, arm: str, seed: int, run_id: str) -> StudyRun:
    """Read one run of a study."""
    report = gather(store, run_id)
    split = report.run.recipe["eval"]["split"]
    items: dict[tuple[EvalMode, int], Sequence[EvalItemRow]] = {
        (row.mode, row.round): list_eval_items(store, row.id, with_episodes=False)
        for row in list_evals(store, report.run.id)
        if row.split == split
    }
    pairs: dict[int, list[Mapping[str, Any]]] = {}
    for row in store.rows(
        "SELECT v.round, v.status, v.naive_reward, r.task_id FROM revisions v"
        " JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        " WHERE v.run_id = ? ORDER BY v.id",
        (report.run.id,),
    ):
        pairs.setdefault(row["round"], []).append(dict(row))
    naive = {number: naive_failures(rows) for number, rows in pairs.items()}
    return StudyRun(arm, seed, report, items, naive)


def pooled_rate(
    runs: Sequence[StudyRun], mode: EvalMode, number: int, *, seed: int = 1
) -> dict[str, Any] | None:
    """Success over all seeds' episodes, the interval by bootstrap over tasks.

    Of several environments, the mean of their rates.
    """
    items = [i for run in runs for i in run.items.get((mode, number), ()) if not is_faulty(i)]
    if not items:
        return None
    rates = [
        clustered_rate([item.success for item in mine], [item.task.id for item in mine], seed=seed)
        for mine in _by_env(items, lambda item: item.task.env)
    ]
    return estimate_to_json(_mean(rates))


def pooled_difference(
    pairs: Sequence[tuple[Sequence[EvalItemRow], Sequence[EvalItemRow]]], *, seed: int = 1
) -> dict[str, Any] | None:
    """The difference in success over several seeds, paired by task within each seed.

    Args:
        pairs: one (episodes, what they are compared with) a seed.
        seed: of the bootstrap, whose clusters are the tasks.

    Returns:
        ``{value, low, high, n}`` with ``n`` tasks, ``by_seed``: each seed's difference; None
        without a common task. Of several environments, the mean of their differences.
    """
    matched = [match(now, before) for now, before in pairs]
    both = [pair for group in matched for pair in group]
    if not both:
        return None
    estimates = [
        clustered_paired_bootstrap(
            [float(now.success) for now, _ in mine],
            [float(before.success) for _, before in mine],
            [now.task.id for now, _ in mine],
            seed=seed,
        )
        for mine in _by_env(both, _env_of_pair)
    ]
    by_seed = []
    for group in filter(None, matched):
        means = [
            sum(now.success - before.success for now, before in mine) / len(mine)
            for mine in _by_env(group, _env_of_pair)
        ]
        by_seed.append(sum(means) / len(means))
    return {**estimate_to_json(_mean(estimates)), "by_seed": by_seed}


def _by_env(rows: Iterable[Row], env: Callable[[Row], str]) -> list[list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(env(row), []).append(row)
    return [found[name] for name in sorted(found)]


def _env_of_pair(pair: tuple[EvalItemRow, EvalItemRow]) -> str:
    return pair[0].task.env


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """One alone stays as it is, to the last digit."""
    return estimates[0] if len(estimates) == 1 else mean_of_estimates(estimates)


def versus_base(
    runs: Sequence[StudyRun], mode: EvalMode, number: int, *, seed: int = 1
) -> dict[str, Any] | None:
    """An arm's pooled difference from its own base."""
    pairs = [(run.items.get((mode, number), ()), run.items.get((mode, 0), ())) for run in runs]
    return pooled_difference(pairs, seed=seed)


def versus_arm(
    study: Study, arm: str, other: str, mode: EvalMode, number: int, *, seed: int = 1
) -> dict[str, Any] | None:
    """An arm's pooled difference from another over the seeds that both have."""
    theirs = {run.seed: run for run in study.of(other)}
    key = (mode, number)
    pairs = [
        (run.items.get(key, ()), theirs[run.seed].items.get(key, ()))
        for run in study.of(arm)
        if run.seed in theirs
    ]
    return pooled_difference(pairs, seed=seed)


def study_sections(study: Study) -> list[Section]:
    """The study's tables, in reading order."""
    # The environments one by one, then their mean.
    parts = [(f", {env}", study.of_env(env)) for env in study.envs]
    parts.append((", mean over the environments" if parts else "", study))
    sections: list[Section] = []
    for mode, of, between, verb in _COMPARED:
        sections += [_arm_section(part, mode, of + name, verb) for name, part in parts]
        sections += [_between_section(part, mode, between + name) for name, part in parts]
    sections += [_behaviour_section(part, "Behaviour" + name) for name, part in parts]
    sections += [
        _seed_section(study),
        _naive_section(study),
        _cost_section(study),
    ]
    return [section for section in sections if section.rows]


def _arm_section(study: Study, mode: EvalMode, title: str, verb: str) -> Section:
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    last = study.last_round
    if study.runs and any((mode, 0) in run.items for run in study.runs):
        base = study.of(study.arms[0])
        rows.append(["base", *_rate_cells(pooled_rate(base, mode, 0)), None, None, None])
    for arm in study.arms if rows else ():
        for number in range(1, last + 1):
            runs = study.of(arm)
            difference = versus_base(runs, mode, number)
            rows.append(
                [
                    f"{study.label(arm)}, {round_name(number)}",
                    *_rate_cells(pooled_rate(runs, mode, number)),
                    points_of(difference),
                    interval(difference, signed=True),
                    _by_seed(difference),
                ]
            )
            if number == last and difference:
                notes.append(verdict(study.label(arm), verb, difference))
    columns = ["", "success", "95 % interval", "vs base", "95 % interval", "by seed"]
    return Section(title, columns, rows, notes)


def _between_section(study: Study, mode: EvalMode, title: str) -> Section:
    """The first arm against each other one."""
    first, *others = study.arms or [""]
    last = study.last_round
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for other in others if last else ():
        difference = versus_arm(study, first, other, mode, last)
        if difference:
            rows.append(
                [
                    f"{study.label(first)} − {study.label(other)}",
                    points_of(difference),
                    interval(difference, signed=True),
                    _by_seed(difference),
                ]
            )
            verb = "recovers" if mode == "recovery" else "solves"
            notes.append(verdict(study.label(first), verb, difference, than=study.label(other)))
    return Section(title, ["", "difference", "95 % interval", "by seed"], rows, notes)


def _behaviour_section(study: Study, title: str) -> Section:
    rows: list[list[Cell]] = []
    arms = study.arms
    if arms:
        rows.append(["base", *_behaviour_cells(study.of(arms[0]), 0)])
    for arm in arms:
        for number in range(1, study.last_round + 1):
            label = f"{study.label(arm)}, {round_name(number)}"
            rows.append([label, *_behaviour_cells(study.of(arm), number)])
    columns = ["", "valid", "steps", "repeated", "reflections", "revision length"]
    notes = [
        "Means over seeds of greedy episodes. Valid: share of actions; repeated: share of steps"
        " that repeat the run of steps just before with the same observations; revision length:"
        " invalid or repeated steps directly before a reflection, where any."
    ]
    return Section(title, columns, rows, notes)


def _behaviour_cells(runs: Sequence[StudyRun], number: int) -> list[Cell]:
    figures = [
        line.figures
        for run in runs
        for line in run.report.evals
        if (line.mode, line.round) == ("greedy", number)
    ]

    def mean(name: str, show: Callable[[float | None], str | None]) -> str | None:
        known = [of[name] for of in figures if of[name] is not None]
        return show(sum(known) / len(known)) if known else None

    return [
        mean("valid_actions", percent),
        mean("steps", lambda value: decimal(value, 1)),
        mean("repeated_share", percent),
        mean("reflections", lambda value: decimal(value, 2)),
        mean("revision_length", lambda value: decimal(value, 1)),
    ]


def _seed_section(study: Study) -> Section:
    """Each run by itself, and what the spread between seeds alone would say."""
    last = study.last_round
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for arm in study.arms:
        differences = []
        for run in study.of(arm):
            difference = versus_base([run], "greedy", last, seed=run.seed) if last else None
            base, end = (pooled_rate([run], "greedy", number) for number in (0, last))
            rows.append(
                [
                    f"{study.label(arm)}, seed {run.seed}",
                    percent_of(base),
                    percent_of(end),
                    points_of(difference),
                    interval(difference, signed=True),
                    run.report.run.id,
                ]
            )
            differences += [difference["value"]] if difference else []
        if len(differences) > 1:
            spread = estimate_to_json(mean_interval(differences))
            notes.append(
                f"{study.label(arm)}: mean gain {100 * spread['value']:+.1f} points; by the spread"
                f" of {spread['n']} seeds alone (Student) {interval(spread, signed=True)}."
            )
    columns = ["", "base", round_name(last), "vs base", "95 % interval", "run"]
    return Section("Seed by seed", columns, rows, notes)


def _naive_section(study: Study) -> Section:
    rows: list[list[Cell]] = []
    for arm in study.arms:
        runs = study.of(arm)
        for number in sorted({n for run in runs for n in run.naive}):
            failures = [pair for run in runs for pair in run.naive.get(number, ())]
            if not failures:
                continue
            share = failure_share(failures, seed=1)
            lines = [s for run in runs for s in run.report.splices if s.round == number]
            rows.append(
                [
                    f"{study.label(arm)}, {round_name(number)}",
                    len(failures),
                    sum(failed for _, failed in failures),
                    percent_of(share),
                    interval(share),
                    sum(line.recovered for line in lines),
                    sum(line.rejected for line in lines),
                ]
            )
    columns = ["", "replayed", "failed", "share", "95 % interval", "recovered", "rejected"]
    notes = [
        "Every naive splice was replayed in the environment from reset; failed: it did not earn"
        " the reward that its good trajectory had to have. Sums over seeds; the interval resamples"
        " tasks."
    ]
    return Section("Naive splices that fail their replay", columns, rows, notes)


def _cost_section(study: Study) -> Section:
    rows: list[list[Cell]] = []
    for arm in study.arms:
        runs = study.of(arm)
        stages = dict.fromkeys(
            (line.round, line.stage) for run in runs for line in run.report.stages
        )
        for number, stage in stages:
            lines = [
                line
                for run in runs
                for line in run.report.stages
                if (line.round, line.stage) == (number, stage)
            ]
            rows.append(
                [
                    f"{study.label(arm)}, {round_name(number)}, {stage}",
                    format_duration(sum(line.wall_s for line in lines) / len(lines)),
                    percent(_share(lines)),
                    _mean_count([line.output_tokens for line in lines]),
                    _mean_count([line.prompt_tokens for line in lines]),
                    _mean_count([line.decoded_prompt_tokens for line in lines]),
                    _mean_count([line.nodes for line in lines if line.nodes is not None]),
                ]
            )
    columns = ["", "wall", "model", "generated", "prompt", "decoded", "nodes"]
    notes = [
        "Means a run. Model: share of the wall time; generated, prompt, decoded: tokens. Methods of"
        " one seed share the base's evaluation and the first round's search, which were played"
        " once; each row shows what its method's work cost or would have cost alone."
    ]
    return Section("Cost by stage", columns, rows, notes)


def _share(lines: Sequence[Any]) -> float | None:
    wall, model = sum(line.wall_s for line in lines), sum(line.model_s for line in lines)
    return model / wall if wall and model else None


def _mean_count(values: Sequence[int]) -> str | None:
    return count(round(sum(values) / len(values))) if values else None


def _rate_cells(rate: Mapping[str, Any] | None) -> list[Cell]:
    return [percent_of(rate), interval(rate)]


def _by_seed(difference: Mapping[str, Any] | None) -> str | None:
    if difference is None:
        return None
    return ", ".join(f"{100 * value:+.1f}".replace("-", "−") for value in difference["by_seed"])
