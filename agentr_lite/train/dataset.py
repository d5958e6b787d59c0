"""A round's training set: revision and good trajectories, mixed with general data.

Source: Agent-R (arXiv 2501.11425) section 3.3: eta of agent data to 1 - eta of general chats. The
split by task, the balance and the de-duplication are ours.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.rounds import START
from agentr_lite.core.seeds import stream_seed
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.trajectories import good_examples
from agentr_lite.store import Store, splices, trees
from agentr_lite.store.records import DatasetItemRow, ItemKind, ItemSplit
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.preferences import PreferenceExample

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a round trains on."""

    id: int
    train: list[TrainExample]
    """In training order (shuffled by the run's seed)."""
    valid: list[TrainExample]
    """Of tasks and general lines that ``train`` has none of."""
    sha256: str
    """Of what is trained on, in its order: equal where training would see the same."""
    counts: Mapping[str, int]
    """``revision``, ``good`` and ``general`` examples (of imitation, ``demonstration`` instead of
    the first two); ``duplicates`` and ``over_limit`` agent examples left out;
    ``general_repeated``: general examples beyond one of each line; ``general_refused``: general
    chats left out because the chat template refuses them, if any."""
    pairs: list[PreferenceExample] = field(default_factory=list)
    """What a preference objective (``train.objective``) learns from."""
    valid_pairs: list[PreferenceExample] = field(default_factory=list)
    """Pairs of tasks that ``pairs`` has none of."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One example that may go into the set."""

    kind: ItemKind
    source: int
    """Id of the revision, trajectory or demonstration, or the general file's line."""
    group: str
    """Examples of one group never part: environment and task, or the general line."""
    example: TrainExample
    env: str = ""
    """The task's environment; empty for general data."""

    def to_row(self, idx: int, split: ItemSplit) -> DatasetItemRow:
        """The row that records it."""
        return DatasetItemRow(
            idx,
            self.kind,
            split,
            revision_id=self.source if self.kind == "revision" else None,
            trajectory_id=self.source if self.kind == "good" else None,
            general_line=self.source if self.kind == "general" else None,
            demonstration_id=self.source if self.kind == "demonstration" else None,
        )


def build_dataset(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    general: Mapping[int, TrainExample],
    *,
    refused: int = 0,
) -> Dataset:
    """Choose, mix, split and record a round's examples; the same rows give the same set.

    With ``splice.data: none`` the set has no agent data, but as many examples as it would have
    had with ``both``: the control for what training on general data alone does.

    Args:
        store: the database; holds the rounds' revisions and trajectories.
        run_id: the run.
        round_index: from 1; earlier rounds count too with ``train.accumulate``.
        recipe: ``splice.data``, which good ones, and the ``train`` settings.
        general: line to example, from ``load_general``.
        refused: lines of the general data that were left out, for the counts.

    Returns:
        The set; ``train`` is empty where no agent example was found.

    Raises:
        RecipeError: ``splice.data: none`` without general data.
    """
    settings = recipe.train
    control = recipe.splice.data == "none"
    if control and not general:
        raise RecipeError(
            "splice.data=none trains on general data alone, but train.general is empty",
            hint="Set train.general to a JSONL file, or to 'starter'.",
        )
    distinct, duplicates = _distinct(_agent_examples(store, run_id, round_index, recipe))
    agent = _limit(distinct, settings.max_examples, _stream(recipe, round_index, "limit"))
    wanted = _general_share(len(agent), settings.eta)
    over_limit = len(distinct) - len(agent)
    if control:
        wanted, agent, over_limit = wanted + len(agent), [], 0
    chosen = _Chosen(agent, wanted, duplicates, over_limit)
    recorded = {
        "data": recipe.splice.data,
        "contested": recipe.splice.contested,
        "good_flaws": recipe.splice.good_flaws,
        "accumulate": settings.accumulate,
        "max_examples": settings.max_examples,
    }
    kinds: tuple[ItemKind, ...] = ("revision", "good")
    return _mixed(store, run_id, round_index, recipe, chosen, general, recorded, kinds, refused)


def build_imitation_set(
    store: Store,
    run_id: str,
    recipe: Recipe,
    demonstrations: Sequence[Candidate],
    general: Mapping[int, TrainExample],
    *,
    refused: int = 0,
) -> Dataset:
    """Mix, split and record the examples of a run's imitation, as a round's are.

    Args:
        store: the database.
        run_id: the run.
        recipe: its settings.
        demonstrations: of the kind ``demonstration``.
        general: line to example, from ``load_general``.
        refused: lines of the general data that were left out, for the counts.
    """
    agent, duplicates = _distinct(demonstrations)
    chosen = _Chosen(agent, _general_share(len(agent), recipe.train.eta), duplicates, 0)
    kinds: tuple[ItemKind, ...] = ("demonstration",)
    return _mixed(store, run_id, START, recipe, chosen, general, {}, kinds, refused)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The agent's examples of a set, and what was left out."""

    agent: Sequence[Candidate]
    general: int
    """How many general examples to add."""
    duplicates: int
    over_limit: int


def _mixed(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    chosen: _Chosen,
    general: Mapping[int, TrainExample],
    recorded_settings: Mapping[str, Any],
    kinds: Sequence[ItemKind],
    refused: int,
) -> Dataset:
    """Add general data, split into train and validation, and record the set."""
    settings, agent, wanted = recipe.train, chosen.agent, chosen.general
    mixed = _sample_general(general, wanted, _stream(recipe, round_index, "general"))
    (agent_train, agent_valid), (general_train, general_valid) = (
        _split(candidates, settings.validation, _stream(recipe, round_index, "split", name))
        for name, candidates in (("agent", agent), ("general", mixed))
    )
    train = _shuffle(agent_train + general_train, _stream(recipe, round_index, "order"))
    valid = agent_valid + general_valid
    counts: dict[str, int] = {
        **{kind: sum(item.kind == kind for item in agent) for kind in kinds},
        "general": len(mixed),
        "duplicates": chosen.duplicates,
        "over_limit": chosen.over_limit,
        "general_repeated": max(0, len(mixed) - len(general)),
    }
    if refused:
        counts["general_refused"] = refused
    rows = [item.to_row(idx, "train") for idx, item in enumerate(train)]
    rows += [item.to_row(idx, "valid") for idx, item in enumerate(valid, start=len(train))]
    examples = [item.example for item in train], [item.example for item in valid]
    sha256 = _sha256(*examples)
    everything = {
        **recorded_settings,
        "eta": settings.eta,
        "general": settings.general,
        "validation": settings.validation,
        "sha256": sha256,
        "counts": counts,
    }
    recorded = _record(store, run_id, round_index, everything, rows)
    return Dataset(recorded, *examples, sha256, counts)


def _agent_examples(store: Store, run_id: str, round_index: int, recipe: Recipe) -> list[Candidate]:
    data = recipe.splice.data
    candidates = []
    first = 1 if recipe.train.accumulate else round_index
    for number in range(first, round_index + 1):
        if data != "good":
            for revision in splices.list_revisions(
                store, run_id, round_index=number, accepted=True
            ):
                example = TrainExample(list(revision.messages or ()), list(revision.loss or ()))
                group = f"{revision.env}/{revision.task}"
                candidates.append(Candidate("revision", revision.id, group, example, revision.env))
        if data != "revision":
            tasks = {
                tree.id: tree.task for tree in trees.list_trees(store, run_id, round_index=number)
            }
            good = good_examples(store, run_id, recipe.splice, round_index=number)
            for row, messages, loss in good:
                task = tasks[row.tree_id]
                group = f"{task.env}/{task.name}"
                example = TrainExample(messages, loss)
                candidates.append(Candidate("good", row.id, group, example, task.env))
    return [item for item in candidates if any(item.example.loss)]


def _distinct(items: Sequence[Candidate]) -> tuple[list[Candidate], int]:
    """Examples with different texts or flags, and how many were left out."""
    seen: dict[str, Candidate] = {}
    for item in items:
        key = json.dumps([item.example.messages, item.example.loss], sort_keys=True)
        seen.setdefault(key, item)
    return list(seen.values()), len(items) - len(seen)


def _limit(items: Sequence[Candidate], most: int, seed: int) -> list[Candidate]:
    """At most ``most`` (0 = all); no environment, and no task within it, crowds out another."""
    if not most or len(items) <= most:
        return list(items)
    by_env: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for item in _shuffle(items, seed):
        by_env[item.env][item.group].append(item)
    # Sorted: whose turn comes first is not for the shuffle to say.
    dealers = [_deal(by_env[env]) for env in sorted(by_env)]
    rounds = itertools.zip_longest(*dealers)
    dealt = (item for turn in rounds for item in turn if item is not None)
    return list(itertools.islice(dealt, most))


def _deal(by_task: Mapping[str, list[Candidate]]) -> Generator[Candidate]:
    """All examples, task by task in turn."""
    while any(by_task.values()):
        for waiting in by_task.values():
            if waiting:
                yield waiting.pop()


def _general_share(agent: int, eta: float) -> int:
    """How many general examples make ``agent`` examples the share ``eta`` of the whole."""
    return round(agent * (1 - eta) / eta)


def _sample_general(general: Mapping[int, TrainExample], wanted: int, seed: int) -> list[Candidate]:
    """Lines without replacement; once all are used, from the beginning again."""
    if not general:
        return []
    order = _shuffle(sorted(general), seed)
    lines = [order[i % len(order)] for i in range(wanted)]
    return [Candidate("general", line, f"line {line}", general[line]) for line in lines]


def _split(
    items: Sequence[Candidate], share: float, seed: int
) -> tuple[list[Candidate], list[Candidate]]:
    """(train, valid) by whole groups; ``valid`` gets at least one group where there are two."""
    sizes: dict[str, int] = defaultdict(int)
    for item in items:
        sizes[item.group] += 1
    held: set[str] = set()
    taken = 0
    if share > 0 and len(sizes) > 1:
        for group in _shuffle(sorted(sizes), seed):
            if len(held) == len(sizes) - 1 or (held and taken >= share * len(items)):
                break
            held.add(group)
            taken += sizes[group]
    train = [item for item in items if item.group not in held]
    return train, [item for item in items if item.group in held]


def _shuffle(items: Sequence[T], seed: int) -> list[T]:
    import numpy as np

    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def _stream(recipe: Recipe, round_index: int, *purpose: str) -> int:
    return stream_seed(recipe.seed, "dataset", round_index, *purpose)


def _sha256(*parts: Sequence[TrainExample]) -> str:
    texts = [
        [[example.messages, example.loss, example.weight] for example in part] for part in parts
    ]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _record(
    store: Store,
    run_id: str,
    round_index: int,
    settings: dict[str, Any],
    rows: Sequence[DatasetItemRow],
) -> int:
    """Store the set, or find it where a cut run stored it before."""
    for earlier in splices.list_datasets(store, run_id, round_index=round_index):
        same = dict(earlier.settings) == settings
        if same and splices.list_dataset_items(store, earlier.id) == list(rows):
            return earlier.id
    return splices.save_dataset(store, run_id, round_index, settings=settings, items=rows)
