"""The loop of a training: segments of steps, with a validation and a checkpoint after each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import Tokenized, plan_batches
from agentr_lite.train.checkpoint import CheckpointFolder, TrainingState
from agentr_lite.train.dpo import Floats, PairSizes, PreferenceLoss, pair_figures
from agentr_lite.train.parts import pair_tokens
from agentr_lite.train.preferences import TokenizedPair

if TYPE_CHECKING:
    from agentr_lite.train.mlx_session import Session

BEST = "best"
"""The folder of the best adapter so far, in a checkpoint."""

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Material:
    """What a training learns from and is measured by, and in which steps.

    An epoch takes each example and each pair once. The larger of the two sets says how many steps
    that takes; the other one is spread evenly over them. The plan ends before the step that would
    exceed ``train.max_tokens``.
    """

    examples: Sequence[Tokenized]
    held_out: Sequence[Tokenized]
    pairs: Sequence[TokenizedPair] = ()
    held_out_pairs: Sequence[TokenizedPair] = ()
    plan: Sequence[Sequence[int]] = field(init=False)
    """The examples of each step."""
    pair_plan: Sequence[Sequence[int]] = field(init=False)
    """The pairs of each step; empty without pairs."""
    steps_an_epoch: int = field(init=False)

    settings: TrainSettings = field(kw_only=True)
    seed: int = field(kw_only=True)

    def __post_init__(self) -> None:
        settings = self.settings
        lengths = [len(example.tokens) for example in self.examples]
        pair_lengths = [pair.length for pair in self.pairs]
        plan = partial(
            plan_batches,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            seed=self.seed,
        )
        by_pair = plan(pair_lengths, beside=len(lengths), stream="pairs") if self.pairs else []
        object.__setattr__(self, "plan", plan(lengths, beside=len(pair_lengths)))
        object.__setattr__(self, "pair_plan", by_pair)
        longest = max(len(lengths), len(pair_lengths))
        object.__setattr__(self, "steps_an_epoch", -(-longest // settings.batch_size))
        if settings.max_tokens:
            steps = self._affordable(settings.max_tokens)
            object.__setattr__(self, "plan", self.plan[:steps])
            object.__setattr__(self, "pair_plan", self.pair_plan[:steps])

    def _affordable(self, most: int) -> int:
        """How many of the first steps take at most ``most`` tokens together; at least one."""
        lengths = [len(example.tokens) for example in self.examples]
        pair_lengths = [pair_tokens([pair], packed=True) for pair in self.pairs]
        tokens = 0
        for step, rows in enumerate(self.plan):
            pairs = self.pair_plan[step] if self.pair_plan else ()
            tokens += sum(lengths[row] for row in rows) + sum(pair_lengths[row] for row in pairs)
            if tokens > most:
                return max(1, step)
        return len(self.plan)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return len(self.plan)

    def tokens(self, begin: int, end: int) -> int:
        """Tokens of some steps; of a pair, what its continuations share counts once."""
        rows = (len(self.examples[row].tokens) for step in self.plan[begin:end] for row in step)
        pairs = (
            pair_tokens([self.pairs[row]], packed=True)
            for step in self.pair_plan[begin:end]
            for row in step
        )
        return sum(rows) + sum(pairs)


class Training:
    """The loop over segments: train, validate, save, perhaps stop."""

    def __init__(
        self, session: Session, material: Material, state: TrainingState, report: Report
    ) -> None:
        """
        Args:
            session: prepared, and at the state's step.
            material: what to learn, with the recipe's settings.
            state: is kept up to date.
            report: as in ``train_lora``.
        """
        self._session = session
        self._material = material
        self._settings = material.settings
        self._state = state
        self._report = report
        self._loss = PreferenceLoss.of(material.settings)
        self._pair_weight = (
            material.settings.dpo_weight if material.settings.objective == "sft+dpo" else 1.0
        )

    def begin(self, checkpoint: CheckpointFolder) -> None:
        """Compute what the model says before any training, and save it."""
        material, state = self._material, self._state
        began = time.perf_counter()
        pairs = [*material.pairs, *material.held_out_pairs]
        if pairs:
            state.references = self._session.likelihoods(pairs).tolist()
        state.seconds += time.perf_counter() - began
        self.validate_and_save(checkpoint)

    def run(self, checkpoint: CheckpointFolder) -> None:
        """Train to the end of the plan or to the early stop; the checkpoint then is the result."""
        from agentr_lite.train.mlx_session import PairBatches

        state, material = self._state, self._material
        segment = max(1, -(-material.steps // self._settings.validations))
        while state.step < material.steps and not self._should_stop():
            began = time.perf_counter()
            start = state.step
            end = min(start + segment, material.steps)
            pairs = PairBatches(
                material.pairs,
                material.pair_plan[start:end],
                self._references(held_out=False),
                self._loss,
                self._pair_weight,
            )
            self._session.run(
                material.examples,
                material.plan[start:end],
                self._on_step,
                pairs=pairs if material.pairs else None,
            )
            state.tokens += material.tokens(start, end)
            state.seconds += time.perf_counter() - began
            self.validate_and_save(checkpoint)

    def validate_and_save(self, checkpoint: CheckpointFolder) -> None:
        """Take the validation loss, if it is due, and replace the checkpoint."""
        state = self._state
        if (self._material.held_out or self._material.held_out_pairs) and self._validates():
            began = time.perf_counter()
            loss = self._validation_loss()
            state.seconds += time.perf_counter() - began
            state.valid_losses.append((state.step, loss))
            self._report({"event": "valid", "step": state.step, "valid_loss": loss})
        improved = (
            self._settings.patience == 0
            or not state.valid_losses
            or state.validations_since_best == 0
        )

        def write(folder: Path) -> None:
            self._session.save(folder)
            kept = folder if improved else checkpoint.path / BEST
            (folder / BEST).mkdir()
            for name in (ADAPTER_FILE, CONFIG_FILE):
                shutil.copyfile(kept / name, folder / BEST / name)

        checkpoint.save(state, write)

    def _validation_loss(self) -> float:
        """The objective on what is held out; a set of which nothing is held out adds nothing."""
        material, loss = self._material, 0.0
        if material.held_out:
            loss += self._session.validate(material.held_out)
        if material.held_out_pairs:
            figures = pair_figures(
                self._state.step,
                self._loss,
                self._session.likelihoods(material.held_out_pairs),
                self._references(held_out=True),
                PairSizes.of(material.held_out_pairs),
            )
            self._state.valid_pair_figures.append(figures)
            loss += self._pair_weight * figures.loss
        return loss

    def _should_stop(self) -> bool:
        patience = self._settings.patience
        return patience > 0 and self._state.validations_since_best >= patience

    def _validates(self) -> bool:
        """Whether the validation loss is due: no decision depends on it without patience."""
        state = self._state
        if self._settings.patience or not state.valid_losses or state.step == self._material.steps:
            return True
        an_epoch = self._material.steps_an_epoch
        return state.step // an_epoch > state.valid_losses[-1][0] // an_epoch

    def _on_step(self, loss: float, likelihoods: Mapping[int, tuple[float, float]]) -> None:
        state, material = self._state, self._material
        state.step += 1
        state.train_losses.append((state.step, loss))
        row = {"event": "step", "step": state.step, "steps": material.steps, "loss": loss}
        if likelihoods:
            rows = list(likelihoods)
            figures = pair_figures(
                state.step,
                self._loss,
                np.array([likelihoods[row] for row in rows]),
                self._references(held_out=False)[rows],
                PairSizes.of([material.pairs[row] for row in rows]),
            )
            state.pair_figures.append(figures)
            row["margin"] = figures.margin
        self._report(row)

    def _references(self, *, held_out: bool) -> Floats:
        """Log-likelihoods before the training, of the pairs trained on or of those held out."""
        every = np.array(self._state.references or [], np.float64).reshape(-1, 2)
        trained = len(self._material.pairs)
        return every[trained:] if held_out else every[:trained]
