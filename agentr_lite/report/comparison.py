"""Several runs side by side: what tells them apart, and what may be pooled.

Runs of one recipe that differ in their seed alone are pooled as one method; methods that began
with the same model on the same tasks are compared by ``results``. Runs of other models are compared
task by task where they have tasks in common, whatever database they are in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.output import Styled, format_duration
from agentr_lite.report.results import (
    Items,
    Study,
    StudyRun,
    pooled_difference,
    pooled_rate,
    study_run,
    study_sections,
    versus_base,
)
from agentr_lite.report.tables import Section
from agentr_lite.report.words import (
    Cell,
    interval,
    percent_of,
    points_of,
    round_name,
    verdict,
)
from agentr_lite.store.database import Store
from agentr_lite.store.records import RunRow

_UNNAMED = ("seed", "name", "train_model", "model")
"""Recipe keys that are not told as settings of a method."""
_LONGEST_LABEL = 44


@dataclass(frozen=True, slots=True)
class Compared:
    """One run among several."""

    label: str
    method: str
    """Equal for runs that differ in their seed alone."""
    pool: str
    """Equal for runs whose methods began with the same model on the same tasks."""
    run: StudyRun


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
    found: list[StudyRun] = []
    for store, run_id in sources:
        if id(store) not in common:
            common[id(store)] = numbers.of(store)
        found.append(_renumbered(study_run(store, "", 0, run_id), common[id(store)]))
    rows = [one.report.run for one in found]
    methods = method_names(rows)
    labels = run_labels(rows, methods)
    return [
        Compared(label, method, _pool(row), replace(one, arm=method, seed=row.seed))
        for one, row, label, method in zip(found, rows, labels, methods, strict=True)
    ]


def comparison_sections(runs: Sequence[Compared]) -> list[Section]:
    """Tables of several runs, in reading order."""
    sections = [overview_section(runs), _between_runs(runs)]
    pools: dict[str, list[Compared]] = {}
    for one in runs:
        pools.setdefault(one.pool, []).append(one)
    for members in pools.values():
        if len(members) < 2:
            continue
        study = Study([one.run for one in members])
        row = members[0].run.report.run
        where = f"{row.env}, {model_name(row)}: " if len(pools) > 1 else ""
        sections += [
            replace(section, title=where + section.title) for section in study_sections(study)
        ]
    return [section for section in sections if section.rows]


def overview_section(runs: Sequence[Compared]) -> Section:
    """One row a run: what it is and what it came to."""
    rows: list[list[Cell]] = []
    for one in runs:
        report, last = one.run.report, _last_round(one.run)
        seed = one.run.seed
        difference = versus_base([one.run], "greedy", last, seed=seed) if last else None
        rows.append(
            [
                one.label,
                report.run.id,
                model_name(report.run),
                percent_of(pooled_rate([one.run], "greedy", 0)),
                percent_of(pooled_rate([one.run], "greedy", last)) if last else None,
                round_name(last) if last else None,
                points_of(difference),
                interval(difference, signed=True),
                format_duration(sum(line.wall_s for line in report.stages)),
            ]
        )
    columns = ["", "run", "model", "base", "last", "", "vs base", "95 % interval", "time"]
    notes = ["Success on held-out tasks, greedy; differences are paired by task."]
    if any(one.run.report.envs for one in runs):
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
        # Both rounds that are compared: the last that each has.
        ends = [one.run.items.get(("greedy", _last_round(one.run)), ()) for one in (other, first)]
        difference = pooled_difference([(ends[0], ends[1])])
        if difference is None:
            continue
        rows.append(
            [
                f"{other.label} − {first.label}",
                points_of(difference),
                interval(difference, signed=True),
                difference["n"],
            ]
        )
        notes.append(verdict(other.label, "solves", difference, than=first.label))
    if notes:
        notes.append("Last round against last round, paired by the tasks that both have played.")
    return Section("Run against run", ["", "difference", "95 % interval", "tasks"], rows, notes)


def model_name(run: RunRow) -> str:
    """A model's short name: no folders of whoever made the report."""
    name = str(run.recipe.get("model", "")) or run.model_path
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def method_names(rows: Sequence[RunRow]) -> list[str]:
    """What each run's method is called: its recipe, and the settings that tell it from others.

    Runs that differ in nothing but the seed get the same name.
    """
    flat = [dict(_settings(row.recipe)) for row in rows]
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


def _settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif prefix or key not in ("seed",):
            yield f"{prefix}{key}", value


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _pool(run: RunRow) -> str:
    """What runs must have in common to share a base row."""
    keys = ("env", "env_options", "eval", "agent")
    common: dict[str, Any] = {key: run.recipe.get(key) for key in keys}
    if isinstance(common["env"], Mapping):
        # Of what each environment has of its own, only what its evaluation depends on.
        own = ("options", "eval", "agent")
        common["env"] = {
            name: {key: (settings or {}).get(key) for key in own}
            for name, settings in common["env"].items()
        }
    common["model"] = run.model_sha256 or run.recipe.get("model")
    return json.dumps(common, sort_keys=True)


def _last_round(run: StudyRun) -> int:
    return max((number for mode, number in run.items if mode == "greedy"), default=0)


def _renumbered(run: StudyRun, numbers: Mapping[int, int]) -> StudyRun:
    items: Items = {
        key: [replace(item, task=replace(item.task, id=numbers[item.task.id])) for item in found]
        for key, found in run.items.items()
    }
    naive = {
        number: [(numbers[task], failed) for task, failed in found]
        for number, found in run.naive.items()
    }
    return replace(run, items=items, naive=naive)
