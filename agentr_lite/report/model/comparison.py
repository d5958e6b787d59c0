"""Several runs side by side: what tells them apart, and what may be pooled.

Runs of one recipe that differ in their seed alone are pooled as one method; methods that began
with the same model on the same tasks are compared as methods. Runs of other models are
compared task by task where they have tasks in common, whatever database they are in.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.metrics.measures import Measure, any_graded, main_measure
from agentr_lite.metrics.methods import MethodRun
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.report.model.rounds import load_rounds
from agentr_lite.report.model.run import RunReport, gather
from agentr_lite.report.model.splices import SpliceRound, splice_rounds
from agentr_lite.store.database import Store
from agentr_lite.store.labels import labels_of
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import list_stages

_UNNAMED = ("seed", "name", "train_model", "model")
"""Recipe keys that do not count as settings of a method."""
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
        return main_measure(any_graded([self.played.rounds]))


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
    methods = _distinct(rows, method_names(rows))
    own = [labels_of(store, row.id).name for (store, _), row in zip(sources, rows, strict=True)]
    labels = distinct_labels(own, run_labels(rows, methods))
    compared = []
    for (store, _), report, label, method in zip(sources, reports, labels, methods, strict=True):
        run, tasks = report.run, common[id(store)]
        rounds = load_rounds(store, run.id, tasks)
        played = MethodRun(method, run.seed, run, rounds, list_stages(store, run.id))
        # Shown for several runs only; walking the good paths takes a while.
        spliced = splice_rounds(store, run.id, tasks) if len(sources) > 1 else {}
        compared.append(Compared(label, method, _pool(run), report, played, spliced))
    return compared


def distinct_labels(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A label for each run, different from all others.

    Args:
        names: what people call the runs; two databases may use one name, and may hold one run.
        labels: what they are called without a name.
    """
    wanted = [
        name if name and names.count(name) == 1 else label
        for name, label in zip(names, labels, strict=True)
    ]
    taken, found = set(wanted), []
    for label in wanted:
        own = label
        if wanted.count(label) > 1:
            numbered = (f"{label} ({number})" for number in itertools.count(1))
            own = next(other for other in numbered if other not in taken)
            taken.add(own)
        found.append(own)
    return found


def _distinct(rows: Sequence[RunRow], methods: Sequence[str]) -> list[str]:
    """Methods without two runs of one seed: a run like an earlier one has its id in its name."""
    seen: set[tuple[str, str, int]] = set()
    names = []
    for row, method in zip(rows, methods, strict=True):
        key = (_pool(row), method, row.seed)
        names.append(f"{method} ({row.id})" if key in seen else method)
        seen.add(key)
    return names


def model_name(run: RunRow) -> str:
    """A model's short name, without the folders of the machine that made the report."""
    name = str(run.recipe.get("model", "")) or run.model_path
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def method_names(rows: Sequence[RunRow]) -> list[str]:
    """What each run's method is called: its recipe, and the settings that differ among the runs.

    Runs that differ in nothing but the seed get the same name.
    """
    flat = [dict(_settings(_resolved(row.recipe))) for row in rows]
    differing = [
        key
        for key in dict.fromkeys(key for each in flat for key in each)
        if len({json.dumps(each.get(key), sort_keys=True) for each in flat}) > 1
    ]
    words = _setting_names(differing, {key for each in flat for key in each})
    names = []
    for row, each in zip(rows, flat, strict=True):
        settings = [
            f"{words[key]} {_plain(each.get(key))}" for key in differing if key not in _UNNAMED
        ]
        names.append(", ".join([str(row.recipe.get("name") or "custom"), *settings]))
    return names


def _setting_names(keys: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """What each key is called: by its last word, or as a whole where that word has two meanings.

    Args:
        keys: those to name; an environment's own settings begin with ``env.`` and its name.
        known: all keys of the recipes.
    """
    common = [key for key in known if not key.startswith("env.")]
    names = {}
    for key in keys:
        last = key.rpartition(".")[2]
        rivals = keys if key.startswith("env.") else [*keys, *common]
        is_clear = all(other == key or other.rpartition(".")[2] != last for other in rivals)
        names[key] = (last if is_clear else key.removeprefix("env.")).replace("_", " ")
    return {key: name.replace(".", " ") for key, name in names.items()}


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
