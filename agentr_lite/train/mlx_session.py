"""The MLX side of LoRA training: model, adapter layers, optimizer, steps, validation.

Import this after ``agentr_lite.actors.mlx.blas.use_fast_blas``: it imports MLX.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from agentr_lite.actors.mlx.device import load_model, on_cpu, quiet, wire_memory
from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE
from agentr_lite.core.errors import AgentrError, ModelError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.seeds import stream_seed
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import Tokenized
from agentr_lite.train.bfloat16 import bfloat16_products, check_bfloat16
from agentr_lite.train.branches import branches_possible, takes_branches
from agentr_lite.train.cpu import fast_steps
from agentr_lite.train.dpo import Floats, PreferenceLoss
from agentr_lite.train.loss import Halves, comes_apart
from agentr_lite.train.memory import MemoryPlan
from agentr_lite.train.parts import PairPart, Part, make_pair_part, make_part, split, split_pairs
from agentr_lite.train.preferences import TokenizedPair
from agentr_lite.train.targets import PROJECTIONS, targets
from agentr_lite.train.team import Alone
from agentr_lite.train.workers import Differentiated, Workers

_OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class PairBatches:
    """The pairs of some steps."""

    pairs: Sequence[TokenizedPair]
    """What ``plan`` indexes."""
    plan: Sequence[Sequence[int]]
    """Those of each step."""
    references: Floats
    """Log-likelihoods of chosen and rejected before the training, in nats; shape (pairs, 2)."""
    loss: PreferenceLoss
    weight: float
    """Factor on this loss."""


class Session:
    """A model with LoRA layers in training.

    Attributes:
        on_gpu: whether MLX computes on a GPU.
        memory: how batches are computed; it changes the speed and the memory, not the result.
        products: what matrix products are computed in, once ``prepare`` has been called.
        team: the processes that train together.
    """

    def __init__(self, model_dir: Path) -> None:
        """Load the model and its tokenizer.

        Raises:
            ModelError: the directory is missing, incomplete or of an unknown kind.
        """
        self.model, self.tokenizer = load_model(model_dir)
        self.config: dict[str, Any] = {}
        self.on_gpu = not on_cpu()
        self.memory = MemoryPlan()
        self.team = Alone()
        self.products: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def prepare(
        self, settings: TrainSettings, *, seed: int, steps: int, start_adapter: Path | None
    ) -> None:
        """Put adapter layers on the model and make the optimizer.

        Args:
            settings: rank, scale, layers, learning rate, warm-up, the gradient's largest norm, and
                the precision of products on a CPU.
            seed: of the adapter's initial values.
            steps: optimizer steps of the whole training, for the schedule.
            start_adapter: an adapter directory to start from.

        Raises:
            ModelError: the model has no place for adapters, or ``start_adapter`` does not fit.
            UsageError: this machine cannot compute products of that precision.
        """
        if settings.products == "bfloat16" and not self.on_gpu:
            check_bfloat16()
            self.products = bfloat16_products
        mx.random.seed(stream_seed(seed, "lora"))
        # mlx-lm draws from numpy's global generator in places.
        np.random.seed(stream_seed(seed, "lora", "numpy"))
        self.config = _add_adapters(self.model, settings)
        if start_adapter is not None:
            self._start_from(start_adapter)
        warmup = round(settings.warmup * steps)
        self.optimizer = _ClippedAdamW(
            settings.clip_norm, _schedule(settings.learning_rate, steps, warmup)
        )
        self.optimizer.init(self.model.trainable_parameters())
        mx.eval(self.model.parameters(), self.optimizer.state)

    @cached_property
    def takes_branches(self) -> bool:
        """Whether the sequences of a pair become one row, and what they share is computed once."""
        self.model.eval()
        with quiet(), fast_steps(), branches_possible():
            possible = takes_branches(Halves(self.model, apart=comes_apart(self.model)))
        return all(self.team.gather(possible))

    def run(
        self,
        examples: Sequence[Tokenized],
        plan: Sequence[Sequence[int]],
        on_step: Callable[[float, Mapping[int, tuple[float, float]]], None],
        *,
        pairs: PairBatches | None = None,
    ) -> None:
        """Take one optimizer step for each batch of ``plan``.

        Args:
            examples: what ``plan`` indexes.
            plan: rows of each batch.
            on_step: called with each step's loss (in nats a token, or DPO's, or their sum), and
                with the log-likelihoods, in nats, of the chosen and the rejected continuation of
                each of the step's pairs.
            pairs: those of each step.

        Raises:
            AgentrError: the loss is not a number any more.
        """
        packed = pairs is not None and self.takes_branches
        self.model.train()
        with self._computing() as workers:
            for number, rows in enumerate(plan):
                groups: list[list[Part]] = [list(self._parts(examples, rows))]
                factors = [1.0]
                if pairs is not None:
                    groups.append(list(self._pair_parts(pairs, pairs.plan[number], packed)))
                    factors.append(pairs.weight)
                steps = workers.several_gradients(groups)
                loss = sum(by * step.loss for by, step in zip(factors, steps, strict=True))
                self.optimizer.update(self.model, _weighted(steps, factors))
                mx.eval(self.model.trainable_parameters(), self.optimizer.state)
                on_step(_finite(loss), steps[-1].likelihoods)

    def validate(self, examples: Sequence[Tokenized]) -> float:
        """Mean loss over the examples, in nats a token.

        Raises:
            AgentrError: it is not a number.
        """
        self.model.eval()
        with self._computing() as workers:
            loss = workers.loss(list(self._parts(examples, range(len(examples)))))
        return _finite(loss)

    def likelihoods(self, pairs: Sequence[TokenizedPair]) -> Floats:
        """Log-likelihoods of chosen and rejected continuations in nats, shape (pairs, 2).

        Raises:
            AgentrError: one is not a number.
        """
        packed = self.takes_branches
        self.model.eval()
        rows = range(len(pairs))
        everything = PairBatches(pairs, [rows], np.zeros((len(pairs), 2)), PreferenceLoss(), 1.0)
        with self._computing() as workers:
            found = workers.likelihoods(list(self._pair_parts(everything, rows, packed)))
        result = np.array([found[row] for row in rows]).reshape(-1, 2)
        _finite(float(result.sum()))
        return result

    def _parts(self, examples: Sequence[Tokenized], rows: Sequence[int]) -> Iterator[Part]:
        lengths = [len(example.tokens) for example in examples]
        for part in split(lengths, rows, most_tokens=self.memory.part_tokens):
            yield make_part([examples[row] for row in part])

    def _pair_parts(
        self, pairs: PairBatches, rows: Sequence[int], packed: bool
    ) -> Iterator[PairPart]:
        most = self.memory.part_tokens
        for part in split_pairs(pairs.pairs, rows, most_tokens=most, packed=packed):
            yield make_pair_part(pairs.pairs, part, pairs.references, pairs.loss, packed=packed)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[Workers]:
        with quiet(), fast_steps(), branches_possible(), self.products():
            unwire = wire_memory()
            workers = Workers(
                self.model,
                count=self.memory.workers,
                recomputed=self.memory.recomputed,
                team=self.team,
            )
            try:
                yield workers
            finally:
                workers.close()
                unwire()

    def save(self, folder: Path) -> None:
        """Write the adapter as mlx-lm does, and the optimizer's state beside it.

        Raises:
            AgentrError: the folder cannot be written.
        """
        _save(folder / ADAPTER_FILE, dict(tree_flatten(self.model.trainable_parameters())))
        (folder / CONFIG_FILE).write_text(json.dumps(self.config, indent=2) + "\n")
        _save(folder / _OPTIMIZER_FILE, dict(tree_flatten(self.optimizer.state)))

    def restore(self, folder: Path) -> None:
        """Continue from what ``save`` wrote."""
        self.model.load_weights(str(folder / ADAPTER_FILE), strict=False)
        state: Any = mx.load(str(folder / _OPTIMIZER_FILE))
        self.optimizer.state = tree_unflatten(list(state.items()))
        self.optimizer.init(self.model.trainable_parameters())
        mx.eval(self.model.parameters(), self.optimizer.state)

    def synchronise(self) -> None:
        """Take the adapter and the optimizer's state of the team's process 0."""
        self.model.update(self.team.same(self.model.trainable_parameters()))
        self.optimizer.state = self.team.same(self.optimizer.state)
        self.optimizer.init(self.model.trainable_parameters())
        mx.eval(self.model.parameters(), self.optimizer.state)

    def _start_from(self, folder: Path) -> None:
        path = folder / ADAPTER_FILE
        try:
            weights: Any = mx.load(str(path))
            config = load_json((folder / CONFIG_FILE).read_text("utf-8"))
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"cannot start from adapter {folder}: {error}") from error
        scale = (config.get("lora_parameters") or {}).get("scale")
        if scale != self.config["lora_parameters"]["scale"]:
            raise ModelError(
                f"adapter {folder} has scale {scale}, the recipe"
                f" {self.config['lora_parameters']['scale']}",
                hint="Set train.scale to the adapter's, or train.start to base.",
            )
        parameters = tree_flatten(self.model.trainable_parameters())
        ours = {name: value.shape for name, value in parameters}
        theirs = {name: value.shape for name, value in weights.items()}
        if ours != theirs:
            differing = sorted(set(ours.items()) ^ set(theirs.items()))
            raise ModelError(
                f"adapter {folder} does not fit train.rank and train.layers"
                f" (first difference: {differing[0][0]})",
                hint="Set them to the adapter's, or train.start to base.",
            )
        self.model.load_weights(list(weights.items()), strict=False)


def _add_adapters(model: Any, settings: TrainSettings) -> dict[str, Any]:
    """Freeze the model, add LoRA layers, and return mlx-lm's adapter configuration."""
    total = len(model.layers)
    layers = total if settings.layers < 0 else min(settings.layers, total)
    if layers == 0:
        raise ModelError("train.layers is 0: nothing to train", hint="-1 trains all layers.")
    keys = targets(model)
    parameters = {"rank": settings.rank, "scale": settings.scale, "dropout": 0.0, "keys": keys}
    model.freeze()
    linear_to_lora_layers(model, layers, {**parameters, "keys": set(keys)})
    if not tree_flatten(model.trainable_parameters()):
        raise ModelError(
            "the model has none of the projections that get adapters",
            hint=f"Looked for {', '.join(PROJECTIONS)} in each layer.",
        )
    return {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}


def _schedule(peak: float, steps: int, warmup: int) -> Callable[[mx.array], mx.array]:
    """Linear warm-up to ``peak``, then a cosine to 0 after the last step."""

    def at(step: mx.array) -> mx.array:
        now = step.astype(mx.float32)
        rising = (now + 1) / max(warmup, 1)
        done = (now - warmup) / max(steps - warmup, 1)
        falling = 0.5 * (1 + mx.cos(math.pi * mx.clip(done, 0, 1)))
        return peak * mx.where(now < warmup, rising, falling)

    return at


class _ClippedAdamW(optim.AdamW):
    """AdamW on clipped gradients: mlx-lm's loop does no clipping itself."""

    def __init__(self, clip_norm: float, learning_rate: Callable[[mx.array], mx.array]) -> None:
        super().__init__(learning_rate=learning_rate, bias_correction=True)
        self._clip_norm = clip_norm

    def apply_gradients(self, gradients: dict[str, Any], parameters: Any) -> Any:
        if self._clip_norm > 0:
            gradients, _ = optim.clip_grad_norm(gradients, self._clip_norm)
        return super().apply_gradients(gradients, parameters)


def _weighted(steps: Sequence[Differentiated], factors: Sequence[float]) -> Any:
    """The weighted sum of gradients, those of no parts left out."""
    parts = [
        # Not multiplied by 1: a loss alone takes no more memory than before.
        step.gradient if by == 1 else tree_map(lambda each, by=by: by * each, step.gradient)
        for step, by in zip(steps, factors, strict=True)
        if step.gradient is not None
    ]
    return parts[0] if len(parts) == 1 else tree_map(mx.add, *parts)


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise AgentrError(
            "training diverged: the loss is not a number",
            hint="Lower train.learning_rate or train.scale.",
        )
    return loss


def _save(path: Path, arrays: dict[str, Any]) -> None:
    try:
        mx.save_safetensors(str(path), arrays)
    except RuntimeError as error:
        raise AgentrError(
            f"cannot write {path}: {error}", hint="Is the disk full, or the folder read-only?"
        ) from error
