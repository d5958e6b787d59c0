"""From the database to the table of outcomes: one record a line, in a fixed order.

Everything that a study's page shows is computed from these records, so a page can be made again
without the database, the model and the environments. docs/study.md lists the kinds of records.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentr_lite.metrics.episodes import is_faulty, played_steps, revision_lengths
from agentr_lite.report.model.splices import splice_rounds
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, RoundRow, RunRow
from agentr_lite.store.runs import list_stages
from agentr_lite.study.jobs.cells import Cell, study_cells
from agentr_lite.study.jobs.model_digests import ModelDigests
from agentr_lite.study.jobs.peak_memory import PEAK
from agentr_lite.study.jobs.resolution import agent_examples, resolve_cell
from agentr_lite.study.jobs.run_index import RunIndex
from agentr_lite.study.methods import METHODS
from agentr_lite.study.outcomes.critic_accuracy import CriticCache
from agentr_lite.study.recipe import RUN_ABLATIONS, StudyRecipe

FORMAT = 1
"""The version of the records; a reader refuses a newer one."""

Record = Mapping[str, Any]
"""JSON types; ``record`` says which kind it is."""

_EPISODE_ORDER = ("greedy", "sampled", "recovery")


class OutcomeReader:
    """Reads a study's outcomes; what is finished is read only once."""

    def __init__(self, store: Store, study: StudyRecipe, *, command: str) -> None:
        """
        Args:
            store: the database.
            study: the whole study.
            command: the command that runs it; pages name it.
        """
        self._store = store
        self._study = study
        self._command = command
        self._cells = study_cells(study)
        self._critics = CriticCache(store)
        self._episodes: dict[str, tuple[int, list[_Row]]] = {}
        self._splices: dict[str, tuple[int, list[_Row]]] = {}

    def records(self) -> list[Record]:
        """The records of all evaluations that are finished; empty if there is none yet."""
        index, digests = RunIndex(self._store), ModelDigests()
        found: list[tuple[Cell, list[_Row]]] = []
        for cell in self._cells:
            run = resolve_cell(self._store, index, digests, cell).run
            rows = [] if run is None else self._cell_rows(cell, run)
            if any(row.kind == "evaluation" for row in rows):
                found.append((cell, rows))
        if not found:
            return []
        tasks = _Tasks(self._store, found)
        records: list[Record] = [self._head(), *tasks.records(self._study.name)]
        for cell, rows in found:
            place = {
                "study": self._study.name,
                "environment": cell.env,
                "method": cell.method,
                "seed": cell.seed,
            }
            for row in rows:
                named = {} if row.task is None else {"task": tasks.name(row.task)}
                records.append({"record": row.kind, **place, **row.before, **named, **row.after})
        return records

    def _head(self) -> Record:
        study = self._study
        wanted = study.ablations
        ablations = {
            name: getattr(wanted, name).run if name in RUN_ABLATIONS else getattr(wanted, name)
            for name in type(wanted).__dataclass_fields__
        }
        return {
            "record": "study",
            "format": FORMAT,
            "study": study.name,
            "command": self._command,
            "rounds": study.rounds,
            "seeds": list(study.seeds),
            "start": study.start,
            "paper": study.paper,
            "environments": {
                env: portable(study.env_recipe(env).to_dict()) for env in study.environments
            },
            "methods": [
                {
                    "method": method,
                    "label": METHODS[method].label,
                    "changes": METHODS[method].changes_text,
                    "trained": method in study.trained,
                }
                for method in study.methods
            ],
            "ablations": ablations,
            "cells": [
                {
                    "environment": cell.env,
                    "method": cell.method,
                    "seed": cell.seed,
                    "label": cell.label,
                    "ablation": cell.ablation,
                }
                for cell in self._cells
            ],
        }

    def _cell_rows(self, cell: Cell, run: RunRow) -> list[_Row]:
        """All rows of a cell, but for those of later rounds: the run may serve two cells."""
        last = cell.recipe.rounds
        stages = [row for row in list_stages(self._store, run.id) if row.round <= last]
        rounds = list(self._round_rows(run.id, stages))
        rows = [_cell_row(run, _cost(stages, rounds)), *map(_stage_row, stages), *rounds]
        found = [*self._episode_rows(run, stages), *self._splice_rows(cell, run, stages)]
        return rows + [row for row in found if row.before["round"] <= last]

    def _round_rows(self, run_id: str, stages: Sequence[RoundRow]) -> Iterator[_Row]:
        """What a round's search and training worked with."""
        for number in sorted({row.round for row in stages if row.round > 0}):
            nodes = self._store.scalar(
                "SELECT coalesce(sum(node_count), 0) FROM trees WHERE run_id = ? AND round = ?",
                (run_id, number),
            )
            examples = agent_examples(self._store, run_id, number)
            after = {"nodes": int(nodes), "examples": examples}
            yield _Row("round", {"round": number}, None, after)

    def _episode_rows(self, run: RunRow, stages: Sequence[RoundRow]) -> list[_Row]:
        evaluated = sum(row.stage == "eval" and row.finished for row in stages)
        cached = self._episodes.get(run.id)
        if cached is None or cached[0] != evaluated:
            cached = (evaluated, list(_episodes(self._store, run)))
            self._episodes[run.id] = cached
        return cached[1]

    def _splice_rows(self, cell: Cell, run: RunRow, stages: Sequence[RoundRow]) -> list[_Row]:
        spliced = sum(row.stage == "splice" and row.finished for row in stages)
        cached = self._splices.get(run.id)
        if cached is None or cached[0] != spliced:
            rows: list[_Row] = []
            wanted = self._study.ablations
            if wanted.naive_failures or wanted.recovery_yield:
                rows += _splices(self._store, run.id)
            if wanted.critic_accuracy:
                rows += self._critic_rows(cell, run.id, spliced)
            cached = (spliced, rows)
            self._splices[run.id] = cached
        return cached[1]

    def _critic_rows(self, cell: Cell, run_id: str, spliced: int) -> Iterator[_Row]:
        for number, judged in sorted(self._critics.rounds(cell.recipe, run_id, spliced).items()):
            before = {"round": number}
            counts = Counter((step.task, step.critic, step.oracle) for step in judged.steps)
            for (task, critic, oracle), count in sorted(counts.items()):
                after = {"critic": critic, "oracle": oracle, "count": count}
                yield _Row("verdict", before, task, after)
            for path in judged.paths:
                after = {"cut": path.cut, "error": path.error, "called_bad": path.called_bad}
                yield _Row("cut", before, path.task, after)
            if judged.without_error:
                yield _Row("no_error", before, None, {"count": judged.without_error})


class _Row:
    """A record without the cell that it belongs to; its task is the database's id."""

    __slots__ = ("after", "before", "kind", "task")

    def __init__(
        self, kind: str, before: Mapping[str, Any], task: int | None, after: Mapping[str, Any]
    ) -> None:
        self.kind = kind
        self.before = before
        self.task = task
        self.after = after


class _Tasks:
    """The tasks that records name; their numbers keep the database's order."""

    def __init__(self, store: Store, found: Iterable[tuple[Cell, Sequence[_Row]]]) -> None:
        self._rows = {
            row["id"]: row for row in store.rows("SELECT id, env, name, split, level FROM tasks")
        }
        self._used = sorted(
            {(row.task, cell.env) for cell, rows in found for row in rows if row.task is not None}
        )

    def name(self, task: int) -> str:
        return str(self._rows[task]["name"])

    def records(self, study: str) -> Iterator[Record]:
        numbers = {
            task: n for n, task in enumerate(dict.fromkeys(task for task, _ in self._used), 1)
        }
        for task, env in self._used:
            row = self._rows[task]
            yield {
                "record": "task",
                "study": study,
                "environment": env,
                "task": row["name"],
                "number": numbers[task],
                "game": row["env"],
                "split": row["split"],
                "level": row["level"],
            }


def portable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as JSON, without the folders and hosts of this machine: only the last names stay."""
    values: dict[str, Any] = _without_folders(json.loads(json.dumps(dict(recipe))))
    for key in ("model", "train_model"):
        values[key] = _model_name(values.get(key) or "")
    return values


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _model_name(model: str) -> str:
    """``mlx:NAME`` of ``mlx:/FOLDER/NAME``, ``openai:#NAME`` of a server's model."""
    kind, colon, place = model.partition(":")
    if not colon or kind not in ("mlx", "openai"):
        return Path(model).name
    return f"mlx:{Path(place).name}" if kind == "mlx" else f"openai:#{place.rpartition('#')[2]}"


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of a recipe as a cell's record has it, without its name, which changes nothing."""
    values = {key: value for key, value in recipe.items() if key != "name"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _cost(stages: Sequence[RoundRow], rounds: Sequence[_Row]) -> Mapping[str, Any]:
    """What a run cost in all; as if it had computed alone what it shares."""
    trained = [stage.summary.get("tokens") or 0 for stage in stages]
    return {
        "seconds": round(sum(stage.wall_s for stage in stages), 1),
        "tokens_searched": sum(
            stage.output_tokens for stage in stages if stage.stage in ("search", "splice")
        ),
        "tokens_trained": sum(trained),
        "examples": sum(row.after["examples"] for row in rounds),
        "peak_memory_bytes": max((stage.summary.get(PEAK) or 0 for stage in stages), default=0),
    }


def _cell_row(run: RunRow, cost: Mapping[str, Any]) -> _Row:
    recipe = portable(run.recipe)
    after = {
        "run": run.id,
        "status": run.status,
        "model": Path(recipe["model"]).name,
        "model_sha256": run.model_sha256,
        "recipe_sha256": recipe_digest(recipe),
        "versions": dict(sorted(run.versions.items())),
        "cost": cost,
        "recipe": recipe,
    }
    return _Row("cell", {}, None, after)


def _stage_row(stage: RoundRow) -> _Row:
    """A stage's cost, and what its summary counts; a stage that another run shares has its times.

    Texts and nested figures are left out: the first may name this machine, and the second are
    computed from the episodes.
    """
    values = asdict(stage)
    del values["run_id"], values["summary"], values["round"], values["stage"]
    counts = {
        key: value
        for key, value in sorted(stage.summary.items())
        if isinstance(value, int | float) and key != "dataset_id"
    }
    before = {"round": stage.round, "stage": stage.stage}
    return _Row("stage", before, None, {**values, "counts": counts})


def _episodes(store: Store, run: RunRow) -> Iterator[_Row]:
    """The finished evaluations on the recipe's split, each before its episodes."""
    split = run.recipe["eval"]["split"]
    evaluations = [row for row in list_evals(store, run.id) if row.split == split and row.whole]
    evaluations.sort(key=lambda row: (row.round, _EPISODE_ORDER.index(row.mode)))
    for row in evaluations:
        items = list_eval_items(store, row.id, with_episodes=row.mode == "greedy")
        before = {"round": row.round, "kind": row.mode}
        yield _Row("evaluation", before, None, {"episodes": len(items)})
        for item in items:
            yield _Row("episode", before, item.task.id, _episode(item))


def _episode(item: EvalItemRow) -> Mapping[str, Any]:
    lengths = [n for n in revision_lengths(played_steps(item)) if n > 0]
    values: dict[str, Any] = {
        "sample": item.sample,
        "reward": item.reward,
        "success": item.success,
        "steps": item.steps,
        "invalid": item.invalid_actions,
        "repeated": item.repeated_actions,
        "reflections": item.reflections,
    }
    if lengths:
        values["revision_lengths"] = lengths
    if is_faulty(item):
        # The error's text may hold anything; that there was one is what counts.
        values["broken"] = True
    return values


def _splices(store: Store, run_id: str) -> Iterator[_Row]:
    for number, spliced in sorted(splice_rounds(store, run_id).items()):
        before = {"round": number}
        cost = {"calls": spliced.calls, "output_tokens": spliced.output_tokens}
        yield _Row("recovery_search", before, None, cost)
        for pair in spliced.pairs:
            after = {
                "failed": pair.failed,
                "searched": pair.searched,
                "recovered": pair.recovered,
                "untrue": pair.untrue,
            }
            yield _Row("splice", before, pair.task, after)
