"""A round's training set: revision and good trajectories, mixed with general data, and preferences.

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
from agentr_lite.core.preferences import PREFERENCE_KINDS
from agentr_lite.core.rounds import START
from agentr_lite.core.seeds import stream_seed
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store, splices
from agentr_lite.store.records import DatasetItemRow, ItemKind, ItemSplit
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.candidates import (
    Candidate,
    agent_candidates,
    content,
    pair_candidates,
    pair_examples,
    single_examples,
)
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
    chats left out because the chat template refuses them, if any. With a preference objective also
    ``preference`` pairs, and of these ``episode_pairs``, ``step_pairs`` and ``revision_pairs``."""
    pairs: list[PreferenceExample] = field(default_factory=list)
    """What a preference objective (``train.objective``) learns from."""
    valid_pairs: list[PreferenceExample] = field(default_factory=list)
    """Pairs of tasks that ``pairs`` has none of."""


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

    With ``train.objective: dpo`` it has pairs only, with ``sft+dpo`` pairs besides; a task is held
    out of both or of none.

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
        The set; ``train`` and ``pairs`` are empty where no agent example was found.

    Raises:
        RecipeError: ``splice.data: none`` without general data.
    """
    settings = recipe.train
    pairs_only, with_pairs = settings.objective == "dpo", settings.objective != "sft"
    control = recipe.splice.data == "none" and not pairs_only
    if control and not general:
        raise RecipeError(
            "splice.data=none trains on general data alone, but train.general is empty",
            hint="Set train.general to a JSONL file, or to 'starter'.",
        )
    examples = [] if pairs_only else agent_candidates(store, run_id, round_index, recipe)
    distinct, duplicates = _distinct(examples)
    agent = _limit(distinct, settings.max_examples, _stream(recipe, round_index, "limit"))
    wanted = _general_share(len(agent), settings.eta)
    over_limit = len(distinct) - len(agent)
    if control:
        wanted, agent, over_limit = wanted + len(agent), [], 0
    pairs: list[Candidate] = []
    if with_pairs:
        compared = pair_candidates(store, run_id, round_index, recipe)
        distinct, repeated = _distinct(compared)
        pairs = _limit(distinct, settings.max_examples, _stream(recipe, round_index, "limit pairs"))
        duplicates += repeated
        over_limit += len(distinct) - len(pairs)
    chosen = _Chosen(agent, wanted, duplicates, over_limit, pairs if with_pairs else None)
    recorded: dict[str, Any] = {
        "data": recipe.splice.data,
        "contested": recipe.splice.contested,
        "good_flaws": recipe.splice.good_flaws,
        "accumulate": settings.accumulate,
        "max_examples": settings.max_examples,
    }
    if with_pairs:
        recorded["objective"] = settings.objective
    kinds: tuple[ItemKind, ...] = ("revision", "good")
    return _mixed(store, run_id, round_index, recipe, chosen, general, recorded, kinds, refused)


def build_imitation_set(
    store: Store,
    run_id: str,
    recipe: Recipe,
    demonstrations: Sequence[Candidate],
    general: Mapping[int, TrainExample],
    *,
    round_index: int = START,
    refused: int = 0,
) -> Dataset:
    """Mix, split and record the examples of a run's imitation, as a round's are.

    Args:
        store: the database.
        run_id: the run.
        recipe: its settings.
        demonstrations: of the kind ``demonstration``.
        general: line to example, from ``load_general``.
        round_index: of the round that imitates; 0 is what comes before the rounds.
        refused: lines of the general data that were left out, for the counts.
    """
    agent, duplicates = _distinct(demonstrations)
    chosen = _Chosen(agent, _general_share(len(agent), recipe.train.eta), duplicates, 0)
    kinds: tuple[ItemKind, ...] = ("demonstration",)
    return _mixed(store, run_id, round_index, recipe, chosen, general, {}, kinds, refused)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The agent's examples of a set, and what was left out."""

    agent: Sequence[Candidate]
    general: int
    """How many general examples to add."""
    duplicates: int
    over_limit: int
    pairs: Sequence[Candidate] | None = None
    """Of the kind ``preference``; None: the set is not for a preference objective."""


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
    pairs = list(chosen.pairs or ())
    mixed = _sample_general(general, wanted, _stream(recipe, round_index, "general"))
    (own_train, own_valid), (general_train, general_valid) = (
        _split(candidates, settings.validation, _stream(recipe, round_index, "split", name))
        for name, candidates in (("agent", [*agent, *pairs]), ("general", mixed))
    )
    (agent_train, train_pairs), (agent_valid, valid_pairs) = map(_parted, (own_train, own_valid))
    train = _shuffle(agent_train + general_train, _stream(recipe, round_index, "order"))
    train_pairs = _shuffle(train_pairs, _stream(recipe, round_index, "order", "pairs"))
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
    if chosen.pairs is not None:
        counts |= _pair_counts(pairs)
    parts: tuple[tuple[ItemSplit, list[Candidate]], ...] = (
        ("train", train), ("valid", valid), ("train", train_pairs), ("valid", valid_pairs),
    )  # fmt: skip
    placed = [(item, split) for split, part in parts for item in part]
    rows = [item.to_row(idx, split) for idx, (item, split) in enumerate(placed)]
    examples = single_examples(train), single_examples(valid)
    compared = pair_examples(train_pairs), pair_examples(valid_pairs)
    sha256 = _sha256(*examples, *(compared if any(compared) else ()))
    everything = {
        **recorded_settings,
        "eta": settings.eta,
        "general": settings.general,
        "validation": settings.validation,
        "sha256": sha256,
        "counts": counts,
    }
    recorded = _record(store, run_id, round_index, everything, rows)
    return Dataset(recorded, *examples, sha256, counts, *compared)


def _distinct(items: Sequence[Candidate]) -> tuple[list[Candidate], int]:
    """Examples with different texts or flags, and how many were left out."""
    seen: dict[str, Candidate] = {}
    for item in items:
        key = json.dumps(content(item.example), sort_keys=True)
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


def _pair_counts(pairs: Sequence[Candidate]) -> dict[str, int]:
    by_kind = {
        f"{kind}_pairs": sum(item.pair_kind == kind for item in pairs) for kind in PREFERENCE_KINDS
    }
    return {"preference": len(pairs), **by_kind}


def _parted(items: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """(single examples, pairs), each in order."""
    pairs = [item for item in items if item.kind == "preference"]
    return [item for item in items if item.kind != "preference"], pairs


def _sha256(*parts: Sequence[TrainExample | PreferenceExample]) -> str:
    texts = [[[*content(example), example.weight] for example in part] for part in parts]
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
