"""What may go into a round's training set, read from the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agentr_lite.core.preferences import PreferenceKind
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.preferences import preference_chat
from agentr_lite.splice.trajectories import good_examples
from agentr_lite.store import Store, splices, trees
from agentr_lite.store.preferences import list_preferences
from agentr_lite.store.records import DatasetItemRow, ItemKind, ItemSplit
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.preferences import PreferenceExample


@dataclass(frozen=True, slots=True)
class Candidate:
    """One example that may go into the set."""

    kind: ItemKind
    source: int
    """Id of the revision, trajectory, demonstration or preference, or the general file's line."""
    group: str
    """Examples of one group never part: environment and task, or the general line."""
    example: TrainExample | PreferenceExample
    env: str = ""
    """The task's environment; empty for general data."""
    pair_kind: PreferenceKind | None = None
    """Of a preference, which."""

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
            preference_id=self.source if self.kind == "preference" else None,
        )


def agent_candidates(
    store: Store, run_id: str, round_index: int, recipe: Recipe
) -> list[Candidate]:
    """The revisions and good trajectories of a round that the recipe trains on.

    Args:
        store: the database.
        run_id: the run.
        round_index: from 1; with ``train.accumulate``, those of earlier rounds count too.
        recipe: ``splice.data`` and which good ones.
    """
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
    return [item for item in candidates if any(single_examples([item])[0].loss)]


def pair_candidates(store: Store, run_id: str, round_index: int, recipe: Recipe) -> list[Candidate]:
    """The preferences of a round, of the kinds that the recipe names.

    Args:
        store: the database.
        run_id: the run.
        round_index: from 1; with ``train.accumulate``, those of earlier rounds count too.
        recipe: ``splice.preferences``.
    """
    candidates = []
    kinds = recipe.splice.preferences
    for number in range(1 if recipe.train.accumulate else round_index, round_index + 1):
        for row in list_preferences(store, run_id, round_index=number, kinds=kinds):
            chat = preference_chat(store, row)
            if chat is None:
                continue
            example = PreferenceExample(
                chat.messages,
                chat.chosen,
                chat.chosen_loss,
                chat.rejected,
                chat.rejected_loss,
            )
            group = f"{row.env}/{row.task}"
            candidates.append(Candidate("preference", row.id, group, example, row.env, row.kind))
    return candidates


def single_examples(items: Iterable[Candidate]) -> list[TrainExample]:
    """The examples that are no pairs, in order."""
    return [item.example for item in items if isinstance(item.example, TrainExample)]


def pair_examples(items: Iterable[Candidate]) -> list[PreferenceExample]:
    """The pairs, in order."""
    return [item.example for item in items if isinstance(item.example, PreferenceExample)]


def content(example: TrainExample | PreferenceExample) -> list[Any]:
    """Texts and flags of an example."""
    if isinstance(example, TrainExample):
        return [example.messages, example.loss]
    flags = [example.chosen_loss, example.rejected_loss]
    return [example.messages, example.chosen, example.rejected, *flags]
