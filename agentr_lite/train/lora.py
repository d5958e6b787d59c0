"""LoRA training: examples in, an adapter for MLX and for llama.cpp out."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentr_lite.actors.chat.encoder import History
from agentr_lite.actors.llamacpp.machine import available_bytes, physical_cores
from agentr_lite.actors.llamacpp.trial import note_made
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE, convert_adapter
from agentr_lite.core.errors import AgentrError
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import (
    Tokenized,
    TrainExample,
    chat_encoder,
    plan_batches,
    tokenize_all,
)
from agentr_lite.train.checkpoint import CheckpointFolder, TrainingState, fingerprint
from agentr_lite.train.memory import directory_shape, plan_memory

if TYPE_CHECKING:
    from agentr_lite.train.mlx_session import Session

GGUF_FILE = "adapter.gguf"
_BEST = "best"

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainResult:
    """What a training gave."""

    adapter_dir: Path
    """adapters.safetensors and adapter_config.json, as mlx-lm reads them."""
    gguf_path: Path
    """The same adapter for llama.cpp."""
    train_losses: list[tuple[int, float]]
    """(step, loss in nats a token), one a step."""
    valid_losses: list[tuple[int, float]]
    """(steps taken, loss); the first is the model before training. Empty without examples."""
    steps: int
    """Optimizer steps taken."""
    best_step: int
    """The step whose adapter was kept: the best by validation, or the last."""
    stopped_early: bool
    tokens: int
    """Tokens trained on, padding left out."""
    seconds: float
    dropped: int
    """Sequences left out: too long, or without a turn that carries loss."""


def train_lora(
    model_dir: Path,
    train: Sequence[TrainExample],
    valid: Sequence[TrainExample],
    settings: TrainSettings,
    *,
    seed: int,
    out_dir: Path,
    start_adapter: Path | None = None,
    chat_template: Path | None = None,
    history: History = "exact",
    thinking: bool = False,
    on_report: Report | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train a LoRA adapter on the flagged turns of ``train``.

    The same arguments on the same machine give the same adapter, cut and resumed or not.

    Args:
        model_dir: the base's weights in Hugging Face's or MLX's format.
        train: what to learn.
        valid: held out; its loss decides when to stop and which adapter to keep, unless
            ``settings.patience`` is 0: then the last one is kept.
        settings: from the recipe; ``eta``, ``general`` and ``validation`` are the caller's.
        seed: of the adapter's initial values and of the order of the examples.
        out_dir: for the adapter and, while training, the checkpoint.
        start_adapter: adapter directory to start from.
        chat_template: a Jinja file to use instead of the model's own template.
        history: how finished turns become tokens, as in play.
        thinking: turns begin with thoughts, as in play.
        on_report: called with ``{"event": "start" | "step" | "valid" | "end", "step": n, ...}``;
            ``steps`` and ``loss`` at a step, ``valid_loss`` at a validation.
        resume: continue from the checkpoint in ``out_dir`` if it belongs to this same training. A
            checkpoint of other settings, other data or another model is replaced.

    Raises:
        ModelError: the model or the adapter cannot be used.
        AgentrError: nothing to train on, too little memory, the training diverged, or the disk is
            full.
    """
    blas = use_fast_blas()
    # Not earlier: it imports MLX, which must find the fast BLAS loaded.
    from agentr_lite.train.mlx_session import Session

    report: Report = on_report or (lambda _: None)
    free = available_bytes()
    session = Session(model_dir)
    encoder = chat_encoder(
        session.tokenizer,
        origin=str(model_dir),
        override=chat_template,
        history=history,
        thinking=thinking,
    )
    examples, dropped = tokenize_all(encoder, train, settings.max_length)
    held_out, dropped_valid = tokenize_all(encoder, valid, settings.max_length)
    if not examples:
        raise AgentrError(
            f"nothing to train on: of {len(train)} examples {dropped.too_long} are longer than"
            f" {settings.max_length} tokens and {dropped.no_loss} have no turn to learn",
            hint="Raise train.max_length, or collect more data.",
        )
    memory = plan_memory(
        directory_shape(model_dir),
        settings,
        longest=max(_lengths([*examples, *held_out])),
        cores=physical_cores(),
        gpu=session.on_gpu,
        free=free,
    )
    plan = plan_batches(_lengths(examples), settings.batch_size, settings.epochs, seed)
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = CheckpointFolder(out_dir)
    mark = fingerprint(model_dir, settings, seed, start_adapter, [examples, held_out])
    saved = checkpoint.load(mark) if resume else None
    if saved and saved.finished and not (out_dir / GGUF_FILE).exists():
        saved = None
    state = saved or TrainingState(mark)
    report(
        {
            "event": "start",
            "step": state.step,
            "steps": len(plan),
            "examples": len(examples),
            "validation_examples": len(held_out),
            "dropped": dataclasses.asdict(dropped),
            "memory": dataclasses.asdict(memory),
            "fast_blas": blas.fast,
            "blas": blas.reason,
        }
    )
    if not state.finished:
        session.prepare(settings, seed=seed, steps=len(plan), start_adapter=start_adapter)
        session.memory = memory
        training = _Training(session, examples, held_out, plan, settings, state, report)
        if saved:
            session.restore(checkpoint.path)
        else:
            training.validate_and_save(checkpoint)
        training.run(checkpoint)
        _export(checkpoint, model_dir, out_dir)
        note_made(out_dir / GGUF_FILE)
        state.finished = True
        # The optimizer's state, the larger part of the folder, is not needed any more.
        checkpoint.save(state, lambda _: None)
    best = state.best if settings.patience else None
    result = TrainResult(
        adapter_dir=out_dir,
        gguf_path=out_dir / GGUF_FILE,
        train_losses=state.train_losses,
        valid_losses=state.valid_losses,
        steps=state.step,
        best_step=best[0] if best else state.step,
        stopped_early=state.step < len(plan),
        tokens=state.tokens,
        seconds=state.seconds,
        dropped=dropped.total + dropped_valid.total,
    )
    report({"event": "end", "step": result.steps, "best_step": result.best_step})
    return result


class _Training:
    """The loop over segments: train, validate, save, perhaps stop."""

    def __init__(
        self,
        session: Session,
        examples: Sequence[Tokenized],
        held_out: Sequence[Tokenized],
        plan: Sequence[Sequence[int]],
        settings: TrainSettings,
        state: TrainingState,
        report: Report,
    ) -> None:
        self._session = session
        self._examples = examples
        self._held_out = held_out
        self._plan = plan
        self._settings = settings
        self._state = state
        self._report = report

    def run(self, checkpoint: CheckpointFolder) -> None:
        """Train to the end of the plan or to the early stop; the checkpoint then is the result."""
        state = self._state
        segment = max(1, -(-len(self._plan) // self._settings.validations))
        while state.step < len(self._plan) and not self._should_stop():
            began = time.perf_counter()
            start = state.step
            batches = self._plan[start : start + segment]
            self._session.run(self._examples, batches, self._on_step)
            state.tokens += sum(len(self._examples[i].tokens) for rows in batches for i in rows)
            state.seconds += time.perf_counter() - began
            self.validate_and_save(checkpoint)

    def _should_stop(self) -> bool:
        patience = self._settings.patience
        return patience > 0 and self._state.validations_since_best >= patience

    def _validates(self) -> bool:
        """Whether the validation loss is due: no decision depends on it without patience."""
        state, steps = self._state, len(self._plan)
        if self._settings.patience or not state.valid_losses or state.step == steps:
            return True
        an_epoch = -(-len(self._examples) // self._settings.batch_size)
        return state.step // an_epoch > state.valid_losses[-1][0] // an_epoch

    def _on_step(self, loss: float) -> None:
        state = self._state
        state.step += 1
        state.train_losses.append((state.step, loss))
        self._report({"event": "step", "step": state.step, "steps": len(self._plan), "loss": loss})

    def validate_and_save(self, checkpoint: CheckpointFolder) -> None:
        """Take the validation loss, if it is due, and replace the checkpoint."""
        state = self._state
        if self._held_out and self._validates():
            began = time.perf_counter()
            loss = self._session.validate(self._held_out)
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
            kept = folder if improved else checkpoint.path / _BEST
            (folder / _BEST).mkdir()
            for name in (ADAPTER_FILE, CONFIG_FILE):
                shutil.copyfile(kept / name, folder / _BEST / name)

        checkpoint.save(state, write)


def _export(checkpoint: CheckpointFolder, model_dir: Path, out_dir: Path) -> None:
    """Put the best adapter where it belongs, in both formats."""
    for name in (ADAPTER_FILE, CONFIG_FILE):
        shutil.copyfile(checkpoint.path / _BEST / name, out_dir / name)
    convert_adapter(out_dir, model_dir, out_dir / GGUF_FILE)


def _lengths(examples: Sequence[Tokenized]) -> list[int]:
    return [len(example.tokens) for example in examples]
