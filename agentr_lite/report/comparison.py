"""Several runs side by side: what tells them apart, and what may be pooled.

Runs of one recipe that differ in their seed alone are pooled as one method; methods that began
with the same model on the same tasks are compared by ``method_tables``. Runs of other models are
compared task by task where they have tasks in common, whatever database they are in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.console.output import Styled, format_duration
from agentr_lite.core.errors import UsageError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.report.data import RunReport, gather
from agentr_lite.report.measures import (
    REWARD,
    SUCCESS,
    Measure,
    difference_of,
    is_graded,
    load_rounds,
    main_measure,
    value_of,
)
from agentr_lite.report.method_tables import change, method_sections, shown, span, told_difference
from agentr_lite.report.methods import MethodRun, MethodRuns
from agentr_lite.report.spliced import SpliceRound, failure_section, splice_rounds
from agentr_lite.report.tables import Section
from agentr_lite.report.words import Cell, round_name
from agentr_lite.store.database import Store
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import list_stages

_UNNAMED = ("seed", "name", "train_model", "model")
"""Recipe keys that are not told as settings of a method."""
_LONGEST_LABEL = 48


@dataclass(frozen=True, slots=True)
class Compared:
    """One run among several."""

    label: str
    method: str
    """Equal for runs that differ in their seed alone."""
    pool: str
    """Equal for runs whose methods began with the same model on the same tasks."""
    report: RunReport
    played: MethodRun
    """What it played; tasks have numbers that are common to all runs."""
    spliced: Mapping[int, SpliceRound]
    """Round to its replayed pairs; empty where there is one run only."""

    @property
    def measure(self) -> Measure:
        """What its environment is about."""
        return main_measure(is_graded([self.played.rounds]))


class TaskNumbers:
    """One numbering of tasks over several databases, so that equal tasks are seen to be equal."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], int] = {}

    def of(self, store: Store) -> Mapping[int, int]:
        """A database's task ids to the common ones."""
        rows = store.rows("SELECT id, env, split, name FROM tasks ORDER BY id")
        return {
            row[0]: self._known.setdefault((row[1], row[2], row[3]), len(self._known))
            for row in rows
        }


def gather_compared(sources: Sequence[tuple[Store, str]]) -> list[Compared]:
    """Read runs for a comparison.

    Args:
        sources: databases and run ids; a run may come from any database.
    """
    numbers = TaskNumbers()
    common: dict[int, Mapping[int, int]] = {}
    for store, _ in sources:
        if id(store) not in common:
            common[id(store)] = numbers.of(store)
    reports = [gather(store, run_id) for store, run_id in sources]
    rows = [report.run for report in reports]
    methods = _told_apart(rows, method_names(rows))
    labels = run_labels(rows, methods)
    found = []
    for (store, _), report, label, method in zip(sources, reports, labels, methods, strict=True):
        run, tasks = report.run, common[id(store)]
        rounds = load_rounds(store, run.id, tasks)
        played = MethodRun(method, run.seed, run, rounds, list_stages(store, run.id))
        # Told of runs side by side alone; walking the good paths takes a while.
        spliced = splice_rounds(store, run.id, tasks) if len(sources) > 1 else {}
        found.append(Compared(label, method, _pool(run), report, played, spliced))
    return found


def _told_apart(rows: Sequence[RunRow], methods: Sequence[str]) -> list[str]:
    """Methods without two runs of one seed: a run like an earlier one has its id in its name."""
    seen: set[tuple[str, str, int]] = set()
    found = []
    for row, method in zip(rows, methods, strict=True):
        key = (_pool(row), method, row.seed)
        found.append(f"{method} ({row.id})" if key in seen else method)
        seen.add(key)
    return found


def comparison_sections(runs: Sequence[Compared]) -> list[Section]:
    """Tables of several runs, in reading order."""
    sections = [overview_section(runs), _between_runs(runs)]
    pools: dict[str, list[Compared]] = {}
    for one in runs:
        pools.setdefault(one.pool, []).append(one)
    for members in pools.values():
        if len(members) < 2:
            continue
        methods = dict.fromkeys(one.method for one in members)
        results = MethodRuns([one.played for one in members], {name: name for name in methods})
        row = members[0].report.run
        where = f"{row.env}, {model_name(row)}: " if len(pools) > 1 else ""
        sections += [
            replace(section, title=where + section.title)
            for section in (*method_sections(results), _splice_section(members))
        ]
    return [section for section in sections if section.rows]


def _splice_section(runs: Sequence[Compared]) -> Section:
    by_round: dict[tuple[str, int], list[SpliceRound]] = {}
    for one in runs:
        for number, spliced in one.spliced.items():
            by_round.setdefault((one.method, number), []).append(spliced)
    return failure_section([(method, number, of) for (method, number), of in by_round.items()])


def overview_section(runs: Sequence[Compared]) -> Section:
    """One row a run: what it is and what it came to."""
    rows: list[list[Cell]] = []
    for one in runs:
        measure, last, seed = one.measure, one.played.last_round, one.played.seed
        own = {seed: one.played.rounds}
        # One run's interval is drawn as its own tables' was, so that they agree.
        difference = difference_of(measure, own, last, own, 0, seed=seed) if last else None
        base, end = (value_of(measure, own, number) for number in (0, last))
        rows.append(
            [
                one.label,
                one.report.run.id,
                model_name(one.report.run),
                measure.column,
                shown(measure, base["value"]) if base else None,
                shown(measure, end["value"]) if end and last else None,
                round_name(last) if last else None,
                change(measure, difference),
                span(measure, difference, signs=True),
                format_duration(sum(line.wall_s for line in one.report.stages)),
            ]
        )
    columns = ["", "run", "model", "measure", "base", "last", "", "vs base", "95 % interval"]
    columns.append("time")
    notes = ["On held-out tasks, greedy; differences are paired by task."]
    if any(one.report.envs for one in runs):
        notes.append("Of several environments: the mean over them, each counting alike.")
    return Section("The runs", columns, rows, notes)


def _between_runs(runs: Sequence[Compared]) -> Section:
    """Every later run against the first, where they are of different methods or models."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    first, *others = runs
    for other in others:
        if (other.pool, other.method) == (first.pool, first.method):
            continue
        measure = REWARD if REWARD in (first.measure, other.measure) else SUCCESS
        # The last round that each has.
        difference = difference_of(
            measure,
            {0: other.played.rounds},
            other.played.last_round,
            {0: first.played.rounds},
            first.played.last_round,
        )
        if difference is None:
            continue
        rows.append(
            [
                f"{other.label} − {first.label}",
                measure.column,
                change(measure, difference),
                span(measure, difference, signs=True),
                difference["n"],
            ]
        )
        notes.append(told_difference(other.label, measure, difference, than=first.label))
    if notes:
        notes.append("Last round against last round, paired by the tasks that both have played.")
    columns = ["", "measure", "difference", "95 % interval", "tasks"]
    return Section("Run against run", columns, rows, notes)


def model_name(run: RunRow) -> str:
    """A model's short name: no folders of whoever made the report."""
    name = str(run.recipe.get("model", "")) or run.model_path
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def method_names(rows: Sequence[RunRow]) -> list[str]:
    """What each run's method is called: its recipe, and the settings that tell it from others.

    Runs that differ in nothing but the seed get the same name.
    """
    flat = [dict(_settings(_resolved(row.recipe))) for row in rows]
    differing = [
        key
        for key in dict.fromkeys(key for each in flat for key in each)
        if len({json.dumps(each.get(key), sort_keys=True) for each in flat}) > 1
    ]
    names = []
    for row, each in zip(rows, flat, strict=True):
        told = [
            f"{key.rpartition('.')[2].replace('_', ' ')} {_plain(each.get(key))}"
            for key in differing
            if key not in _UNNAMED
        ]
        names.append(", ".join([str(row.recipe.get("name") or "custom"), *told]))
    return names


def run_labels(rows: Sequence[RunRow], methods: Sequence[str]) -> list[str]:
    """A short name for each run that tells it from the others of the report."""
    parts: list[list[str]] = [[] for _ in rows]
    for values in (
        [row.env for row in rows],
        [model_name(row) for row in rows],
        list(methods),
        [f"seed {row.seed}" for row in rows],
    ):
        if len(set(values)) > 1:
            for part, value in zip(parts, values, strict=True):
                part.append(value)
    labels = [", ".join(part) for part in parts]
    if len(rows) == 1:
        return [rows[0].id]
    return [
        row.id if not label or len(label) > _LONGEST_LABEL or labels.count(label) > 1 else label
        for row, label in zip(rows, labels, strict=True)
    ]


def _resolved(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored recipe with today's keys; one that cannot be read today stays as it is.

    A key that came later has its default, so an older run does not seem to differ in it.
    """
    try:
        return recipe_from_dict(recipe).to_dict()
    except UsageError:
        return recipe


def _settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in recipe.items():
        if key == "env" and not prefix:
            yield from _environment_settings(value)
        elif isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif prefix or key not in ("seed",):
            yield f"{prefix}{key}", value


def _environment_settings(
    environments: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, Any]]:
    for environment in environments:
        if len(environments) == 1:
            yield "env", environment["name"]
            yield from _settings(environment.get("options") or {}, "env_options.")
        else:
            own = {key: value for key, value in environment.items() if key != "name"}
            yield from _settings(own, f"env.{environment['name']}.")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _pool(run: RunRow) -> str:
    """What runs must have in common to share a base row."""
    common: dict[str, Any] = {key: run.recipe.get(key) for key in ("eval", "agent")}
    # Of an environment's own settings, only those that its evaluation depends on.
    own = ("name", "options", "eval", "agent")
    common["env"] = [
        {key: environment.get(key) for key in own} for environment in run.recipe.get("env") or ()
    ]
    common["model"] = run.model_sha256 or run.recipe.get("model")
    return json.dumps(common, sort_keys=True)
