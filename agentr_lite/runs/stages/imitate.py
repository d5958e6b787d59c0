"""Imitation: the adapter of round 0 from demonstrations, and those of rounds that do not search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.openings import Example
from agentr_lite.imitate.choice import choose_demonstrations, imitation_messages
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.equipment import start_adapter
from agentr_lite.runs.examples import run_examples
from agentr_lite.runs.stages.training import TrainingStage
from agentr_lite.store.demonstrations import Demonstration, add_demonstrations
from agentr_lite.store.records import DemonstrationRow
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.candidates import Candidate
from agentr_lite.train.dataset import build_imitation_set


class DemonstrationStage(TrainingStage):
    """Trains on demonstrations.

    Those that the environment can make itself are made, verified and stored; those that are stored
    already are used.
    """

    whose: ClassVar[str]
    """What must have a demonstration, for the message that none has."""

    def _imitate(self, part: Callable[[Recipe], tuple[int, int]]) -> dict[str, Any]:
        """Train on a part of the demonstrations; returns the stage's summary.

        Args:
            part: gives, for each environment's recipe, where the part begins in the order of the
                tasks, and where it ends.

        Raises:
            AgentrError: there is no demonstration in any of these parts.
        """
        demonstrations: list[Candidate] = []
        missing, reasons = 0, []
        parts = [(environment, *part(environment.recipe)) for environment in self.environments]
        self.show_progress("demonstrations", sum(end for _, _, end in parts))
        for environment, begin, end in parts:
            examples = run_examples(self.store, self.run_id, environment)
            chosen = choose_demonstrations(
                self.store,
                environment.env,
                environment.recipe,
                save=partial(self._save, environment.name),
                on_task=partial(self.progress.advance, 1),
                without=[example.task for example in examples],
                further=end - environment.recipe.imitation.tasks,
            )
            demonstrations += self._candidates(environment, chosen.rows[begin:], examples)
            missing += chosen.missing
            reasons += [chosen.reason] if chosen.reason else []
        if not demonstrations:
            raise AgentrError(
                f"there is nothing to imitate: no {self.whose} has a demonstration"
                + (f" ({reasons[0]})" if reasons else ""),
                hint="Give the environment `solve` or `demonstrate`, or store demonstrations with"
                " `agentr-lite demos` (docs/imitation.md).",
            )
        dataset = build_imitation_set(
            self.store,
            self.run_id,
            self.recipe,
            demonstrations,
            self.general.examples,
            round_index=self.round,
            refused=len(self.general.refused),
        )
        summary = {"dataset_id": dataset.id, **dataset.counts, "missing": missing}
        return {**summary, **self.train(dataset)}

    def _save(self, env: str, made: Demonstration) -> None:
        with self.record.commit():
            add_demonstrations(self.store, env, [made])

    def _candidates(
        self,
        environment: RunEnvironment,
        rows: Sequence[DemonstrationRow],
        examples: tuple[Example, ...],
    ) -> list[Candidate]:
        env = environment.env
        instructions = guarded_instructions(env, brief=environment.recipe.agent.brief)
        candidates = []
        for row in rows:
            example = TrainExample(*imitation_messages(row, instructions, examples))
            if any(example.loss):
                group = f"{row.task.env}/{row.task.name}"
                candidates.append(
                    Candidate("demonstration", row.id, group, example, environment.name)
                )
        return candidates


class ImitateStage(DemonstrationStage):
    """Trains the model on demonstrations before the first round (behaviour cloning).

    ``epochs`` and ``learning_rate`` may be its own; everything else is as in the recipe's
    ``train``. The adapter is that of round 0, from which self-training starts: round 1 searches
    with it, and the training of every round starts from it.
    """

    name = "imitate"
    whose = "training task"

    @property
    def settings(self) -> TrainSettings:
        imitation, train = self.recipe.imitation, self.recipe.train
        return replace(
            train,
            # A demonstration is followed, not compared, and all of them are taken.
            objective="sft",
            max_tokens=0,
            epochs=imitation.epochs or train.epochs,
            learning_rate=imitation.learning_rate or train.learning_rate,
        )

    def work(self) -> dict[str, Any]:
        """
        Raises:
            AgentrError: there is no demonstration of any training task.
        """
        return self._imitate(lambda own: (0, own.imitation.tasks))

    def show_progress(self, unit: str, total: int, *, present: int = 0) -> None:
        self.progress.start(f"imitation, {unit}", total, initial=present)

    def headline(self, summary: Mapping[str, Any]) -> str:
        return f"{summary['steps']} steps"


class ImitateMoreStage(DemonstrationStage):
    """The training of a round that does not search: on further demonstrations.

    It takes ``imitation.further`` of its round, in the order in which imitation took its own: no
    task is demonstrated twice, unless ``train.accumulate`` asks for those of all rounds so far.
    Everything else is as in a round's training.
    """

    name = "train"
    whose = "further training task"

    @property
    def settings(self) -> TrainSettings:
        return replace(self.recipe.train, objective="sft")

    def work(self) -> dict[str, Any]:
        """
        Raises:
            AgentrError: no further training task has a demonstration.
        """
        further = self.recipe.imitation.further
        first = 0 if self.recipe.train.accumulate else self.round - 1
        if not any(further[first : self.round]):
            return {"demonstration": 0, "skipped": "this round takes no further demonstrations"}

        def part(own: Recipe) -> tuple[int, int]:
            tasks, counts = own.imitation.tasks, own.imitation.further
            return tasks + sum(counts[:first]), tasks + sum(counts[: self.round])

        return self._imitate(part)

    def start_adapter(self) -> Path | None:
        return start_adapter(self.store, self.run_id, self.recipe, self.round)

    def show_progress(self, unit: str, total: int, *, present: int = 0) -> None:
        self.progress.start(f"round {self.round} train, {unit}", total, initial=present)

    def headline(self, summary: Mapping[str, Any]) -> str:
        return "" if "skipped" in summary else f"{summary['steps']} steps"
