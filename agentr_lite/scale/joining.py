"""Merging databases: whole runs are copied, and the shards of a search become one run.

A run that was searched with ``--shard K/N`` holds the waves K, K + N, ... of its first round. Where
all N of them are in a database and belong together, they are joined to a run that is as if one
machine had searched it; its trees are in the order of the waves. The shards are deleted then, and
are known again by their trees when their files are merged once more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.usage import Usage
from agentr_lite.runs.condition import opened_to_save
from agentr_lite.runs.refused import opened_for_work
from agentr_lite.runs.removal import remove_run
from agentr_lite.runs.shards import Shard
from agentr_lite.runs.transfer import Transferred, transfer
from agentr_lite.store import Store, runs, summaries, trees
from agentr_lite.store.examples import examples_key
from agentr_lite.store.files import database_exists
from agentr_lite.store.records import RunRow

_ROUND = 1
_PLACES = ("model", "train_model", "name")
"""Keys of a recipe that may differ between machines: the model is compared by its content."""


@dataclass(frozen=True, slots=True)
class ShardRun:
    """A run that is a share of a search."""

    run: RunRow
    file: Path
    """The database that holds it."""
    shard: Shard
    waves: int
    """Of the whole round."""
    is_whole: bool
    """Whether all of its own waves are there."""
    facts: Mapping[str, Any]
    """What all shards of a search must have in common, by what a message calls it."""
    trees: Mapping[int, str] = field(default_factory=dict)
    """Digest of each wave's trees."""

    @property
    def key(self) -> str:
        """Equal for the shards of one search."""
        return json.dumps([_settings(self.run), self.shard.count], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging databases did."""

    transfers: Sequence[tuple[Path, Transferred]]
    """By file."""
    joined: Sequence[str]
    """Ids of the runs that were made of shards."""
    waiting: Mapping[str, Sequence[str]]
    """Id of a shard's run to the shards that are still missing beside it."""


def merge(files: Sequence[Path], target: Path) -> Merged:
    """Copy the sound runs of databases into another one, and join shards there.

    Nothing is written unless all shards that belong together agree. Repeated, it changes nothing.

    Args:
        files: the databases.
        target: the database that is to hold all runs; it is made where there is none.

    Raises:
        UsageError: shards of one search contradict each other; or see ``transfer``.
        StoreError: see ``transfer``.
    """
    if any(file.resolve() == target.resolve() for file in files):
        raise UsageError(f"{target} is the database itself", hint="Name another file.")
    found: dict[Path, list[ShardRun]] = {}
    for file in files:
        with opened_to_save(file) as store:
            found[file] = shard_runs(store, file)
    parts: list[ShardRun] = []
    known: dict[Path, list[str]] = {}
    if database_exists(target):
        with Store.open_to_read(target) as store:
            parts = shard_runs(store, target)
            for file, shards in found.items():
                known[file] = [each.run.id for each in shards if joined_run(store, each)]
    for file, shards in found.items():
        parts += [each for each in shards if each.run.id not in known.get(file, ())]
    check_agreement(parts)
    earlier = {each.run.id: each for each in parts if each.file == target}
    for file, shards in found.items():
        known.setdefault(file, [])
        for each in shards:
            old = earlier.get(each.run.id)
            if old is None or old.key != each.key:
                continue
            if each.trees.keys() <= old.trees.keys():
                known[file].append(each.run.id)
            else:
                # The same shard, merged before it was whole: the file has more of it now.
                with opened_for_work(target) as store:
                    remove_run(store, each.run.id)
    transfers = [(file, transfer(file, target, leave_out=known.get(file, ()))) for file in files]
    with opened_for_work(target) as store:
        joined, waiting = join_shards(store)
    return Merged(transfers, joined, waiting)


def shard_runs(store: Store, file: Path) -> list[ShardRun]:
    """The runs of a database that are shares of a search.

    Args:
        store: the database.
        file: what it is called in messages.
    """
    shards = []
    for run in runs.list_runs(store):
        stage = runs.stage_status(store, run.id, _ROUND, "search")
        if stage is None or stage.finished or "shard" not in stage.summary:
            continue
        shards.append(
            ShardRun(
                run,
                file,
                Shard.parse(str(stage.summary["shard"])),
                int(stage.summary["waves"]),
                bool(stage.summary["whole"]),
                {
                    "model (SHA-256)": run.model_sha256,
                    "versions": _versions(run),
                    "tuning": run.model_description.get("tuning"),
                    "examples": examples_key(store, run.id),
                    "number of waves": int(stage.summary["waves"]),
                },
                wave_digests(store, run.id),
            )
        )
    return shards


def check_agreement(parts: Sequence[ShardRun]) -> None:
    """Refuse shards of one search that do not belong together.

    Raises:
        UsageError: they have other models, versions, tunings, examples or numbers of waves, or two
            of them are the same share with other trees.
    """
    for group in _groups(parts):
        first = group[0]
        for other in group[1:]:
            for name, value in first.facts.items():
                if other.facts[name] != value:
                    raise UsageError(
                        f"{_place(first)} and {_place(other)} are shards of one search, but differ"
                        f" in {name}: {_short(value)} and {_short(other.facts[name])}",
                        hint="Nothing was merged. Search one of the two again, with the other's.",
                    )
        by_shard: dict[Shard, ShardRun] = {}
        for each in group:
            twin = by_shard.setdefault(each.shard, each)
            common = twin.trees.keys() & each.trees.keys()
            if any(twin.trees[wave] != each.trees[wave] for wave in common):
                raise UsageError(
                    f"{_place(twin)} and {_place(each)} are both shard {each.shard}, with"
                    " other trees",
                    hint="Nothing was merged. Leave one of the two files out.",
                )


def join_shards(store: Store) -> tuple[list[str], dict[str, list[str]]]:
    """Join the shards of a database that are complete.

    Args:
        store: the database, writable.

    Returns:
        The ids of the new runs; and each left shard's run with what is missing beside it.
    """
    made: list[str] = []
    waiting: dict[str, list[str]] = {}
    for group in _groups(shard_runs(store, store.path)):
        # The same share may have come twice, once cut and once whole.
        best: dict[int, ShardRun] = {}
        for each in sorted(group, key=lambda each: not each.is_whole):
            best.setdefault(each.shard.number, each)
        count = group[0].shard.count
        done = {number for number, each in best.items() if each.is_whole}
        if not all(joined_run(store, each) for each in group):
            missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in done]
            if missing:
                waiting |= {each.run.id: missing for each in group}
                continue
            made.append(_join(store, [best[number] for number in sorted(best)]))
        for each in group:
            remove_run(store, each.run.id)
    return made, waiting


def joined_run(store: Store, part: ShardRun) -> str:
    """The id of the run that a shard was joined to; empty: there is none."""
    for run in runs.list_runs(store, env=part.run.env):
        stage = runs.stage_status(store, run.id, _ROUND, "search")
        if stage is None or not stage.finished or _settings(run) != _settings(part.run):
            continue
        if run.model_sha256 == part.run.model_sha256 and part.trees:
            theirs = wave_digests(store, run.id)
            if all(theirs.get(wave) == digest for wave, digest in part.trees.items()):
                return run.id
    return ""


def wave_digests(store: Store, run_id: str) -> dict[int, str]:
    """A digest of the trees of each wave of the first round, without ids and times.

    The splicing adds its own calls of the model to a tree; they are left out.
    """
    digests = {}
    for wave in trees.wave_tasks(store, run_id, _ROUND):
        total = hashlib.sha256()
        for row in summaries.dump_trees(store, run_id, _ROUND, wave=wave):
            if row[0] not in ("judge", "recover"):
                total.update(repr(row).encode())
        digests[wave] = total.hexdigest()
    return digests


def _join(store: Store, parts: Sequence[ShardRun]) -> str:
    """Make one run of all shards of a search, in one transaction; returns its id."""
    first = parts[0].run
    run_id = _free_id(store, first.id.replace(f"-{parts[0].shard.mark}-", "-"))
    with store.atomic():
        row = store.row("SELECT * FROM runs WHERE id = ?", (first.id,))
        store.insert("runs", {**dict(row or {}), "id": run_id, "status": "running"})
        runs.stage_started(store, run_id, _ROUND, "search")
        for example in store.rows("SELECT * FROM examples WHERE run_id = ?", (first.id,)):
            store.insert("examples", {**dict(example), "run_id": run_id})
        for wave in range(parts[0].waves):
            part = next(each for each in parts if each.shard.takes(wave))
            trees.copy_trees(store, part.run.id, run_id, _ROUND, wave=wave)
        for part in parts:
            stage = runs.stage_status(store, part.run.id, _ROUND, "search")
            if stage is not None:
                usage = Usage(
                    0,
                    stage.prompt_tokens,
                    stage.decoded_prompt_tokens,
                    stage.output_tokens,
                    stage.model_ms,
                )
                runs.add_stage_usage(
                    store, run_id, _ROUND, "search", usage=usage, wall_s=stage.wall_s
                )
        summary = summaries.search_counts(store, run_id, _ROUND)
        names = sorted({tree.task.env for tree in trees.list_trees(store, run_id)})
        if len(first.recipe["env"]) > 1:
            summary["by_env"] = {
                name: summaries.search_counts(store, run_id, _ROUND, env=name) for name in names
            }
        runs.stage_finished(store, run_id, _ROUND, "search", summary=summary)
        runs.set_run_status(store, run_id, "finished")
    return run_id


def _free_id(store: Store, wanted: str) -> str:
    run_id, number = wanted, 1
    while store.scalar("SELECT 1 FROM runs WHERE id = ?", (run_id,)) is not None:
        number += 1
        run_id = f"{wanted}-{number}"
    return run_id


def _groups(parts: Sequence[ShardRun]) -> list[list[ShardRun]]:
    groups: dict[str, list[ShardRun]] = {}
    for part in parts:
        groups.setdefault(part.key, []).append(part)
    return list(groups.values())


def _settings(run: RunRow) -> Mapping[str, Any]:
    return {key: value for key, value in run.recipe.items() if key not in _PLACES}


def _versions(run: RunRow) -> Mapping[str, str]:
    """The versions that a result depends on: of Python, the last number does not count."""
    python = ".".join(run.versions.get("python", "").split(".")[:2])
    return {**run.versions, "python": python}


def _place(part: ShardRun) -> str:
    return f"{part.run.id} in {part.file}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
