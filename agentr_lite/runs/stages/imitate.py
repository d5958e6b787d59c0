"""The imitation stage: the adapter of round 0, from demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agentr_lite.agent.boundary import guarded_instructions
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.openings import Example
from agentr_lite.imitate.choice import choose_demonstrations, imitation_messages
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.examples import run_examples
from agentr_lite.runs.stages.training import TrainingStage
from agentr_lite.store.demonstrations import Demonstration, add_demonstrations
from agentr_lite.store.records import DemonstrationRow
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.candidates import Candidate
from agentr_lite.train.dataset import build_imitation_set


class ImitateStage(TrainingStage):
    """Trains the model on demonstrations before the first round (behaviour cloning).

    Demonstrations that the environment can make itself are made, verified and stored; those that
    are stored already are used. ``epochs`` and ``learning_rate`` may be its own; everything else
    is as in the recipe's ``train``. The adapter is that of round 0, from which self-training
    starts: round 1 searches with it, and the training of every round starts from it.
    """

    name = "imitate"

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
        demonstrations: list[Candidate] = []
        missing, reasons = 0, []
        total = sum(environment.recipe.imitation.tasks for environment in self.environments)
        self.show_progress("demonstrations", total)
        for environment in self.environments:
            examples = run_examples(self.store, self.run_id, environment)
            chosen = choose_demonstrations(
                self.store,
                environment.env,
                environment.recipe,
                save=partial(self._save, environment.name),
                on_task=partial(self.progress.advance, 1),
                without=[example.task for example in examples],
            )
            demonstrations += self._candidates(environment, chosen.rows, examples)
            missing += chosen.missing
            reasons += [chosen.reason] if chosen.reason else []
        if not demonstrations:
            raise AgentrError(
                "there is nothing to imitate: no training task has a demonstration"
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

    def show_progress(self, unit: str, total: int, *, present: int = 0) -> None:
        self.progress.start(f"imitation, {unit}", total, initial=present)

    def headline(self, summary: Mapping[str, Any]) -> str:
        return f"{summary['steps']} steps"
