"""LoRA training: examples in, an adapter for MLX and for llama.cpp out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentr_lite.actors.chat.encoder import History
from agentr_lite.actors.llamacpp.machine import available_bytes, physical_cores
from agentr_lite.actors.llamacpp.trial import note_made
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE, convert_adapter
from agentr_lite.core.errors import AgentrError, ModelError
from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.train.batches import TrainExample, chat_encoder, tokenize_all
from agentr_lite.train.checkpoint import (
    CheckpointFolder,
    NoCheckpoint,
    TrainingState,
    fingerprint,
)
from agentr_lite.train.dpo import FALLING_HINT, PairFigures, falling_likelihood
from agentr_lite.train.loop import BEST, Material, Report, Training
from agentr_lite.train.memory import directory_shape, plan_memory
from agentr_lite.train.parts import pair_tokens
from agentr_lite.train.preferences import DroppedPairs, PreferenceExample, tokenize_pairs

if TYPE_CHECKING:
    from agentr_lite.train.team import Alone

GGUF_FILE = "adapter.gguf"


@dataclass(frozen=True)
class TrainResult:
    """What a training gave."""

    adapter_dir: Path
    """adapters.safetensors and adapter_config.json, as mlx-lm reads them."""
    gguf_path: Path
    """The same adapter for llama.cpp."""
    train_losses: list[tuple[int, float]]
    """(step, loss), one a step; in nats a token for ``sft``, a pair for ``dpo``, or their sum."""
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
    pair_figures: list[PairFigures] = field(default_factory=list)
    """Of each step that has pairs."""
    valid_pair_figures: list[PairFigures] = field(default_factory=list)
    """Of the held-out pairs at each validation."""
    dropped_pairs: DroppedPairs = field(default_factory=DroppedPairs)
    """Pairs left out, held-out ones too."""
    warning: str = ""
    """What the pairs' figures warn of, and what to do; empty if nothing."""


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
    pairs: Sequence[PreferenceExample] = (),
    valid_pairs: Sequence[PreferenceExample] = (),
    team: Alone | None = None,
) -> TrainResult:
    """Train a LoRA adapter on the flagged turns of ``train``, on ``pairs``, or on both.

    The same arguments on the same machine give the same adapter, cut and resumed or not.

    An epoch takes each example and each pair once. With ``sft+dpo`` a step takes a batch of
    examples and a batch of pairs: the larger set, ``batch_size`` at a time, says how many steps an
    epoch has, and the other one is spread evenly over them.

    Args:
        model_dir: the base's weights in Hugging Face's or MLX's format.
        train: what to learn; not looked at with ``dpo``.
        valid: held out; its loss decides when to stop and which adapter to keep, unless
            ``settings.patience`` is 0: then the last one is kept. With ``sft+dpo``, the sum of its
            loss and that of ``valid_pairs`` decides; of a set that is empty, nothing is added.
        settings: from the recipe; ``eta``, ``general`` and ``validation`` are the caller's.
        seed: of the adapter's initial values and of the order of the examples.
        out_dir: for the adapter and, while training, the checkpoint.
        start_adapter: adapter directory to start from.
        chat_template: a Jinja file to use instead of the model's own template.
        history: how finished turns become tokens, as in play.
        thinking: turns begin with thoughts, as in play.
        on_report: called with ``{"event": "start" | "step" | "valid" | "end", "step": n, ...}``;
            ``steps`` and ``loss`` at a step, and ``margin`` if it has pairs; ``valid_loss`` at a
            validation; ``warning`` at the end.
        resume: continue from the checkpoint in ``out_dir`` if it belongs to this same training. A
            checkpoint of other settings, other data or another model is replaced.
        pairs: what to prefer; not looked at with ``sft``. The log-likelihoods to compare with are
            those of the model from which the training starts, computed once.
        valid_pairs: held out.
        team: the processes that train together, each of which calls this function with the same
            arguments; None: this one, alone. ``train.launch`` starts those that the settings ask
            for.

    Raises:
        ModelError: the model or the adapter cannot be used.
        AgentrError: nothing to train on, too little memory, the training diverged, or the disk is
            full.
    """
    blas = use_fast_blas()
    # Not earlier: it imports MLX, which must find the fast BLAS loaded.
    from agentr_lite.train.mlx_session import Session
    from agentr_lite.train.team import Alone

    team = team or Alone()
    report: Report = on_report if on_report and team.rank == 0 else lambda _: None
    free_bytes = available_bytes()
    # No process loads the model before all have looked.
    team.gather(None)
    session = Session(model_dir)
    session.team = team
    encoder = chat_encoder(
        session.tokenizer,
        origin=str(model_dir),
        override=chat_template,
        history=history,
        thinking=thinking,
    )
    takes_examples, takes_pairs = settings.objective != "dpo", settings.objective != "sft"
    used = (train, valid) if takes_examples else ((), ())
    examples, dropped = tokenize_all(encoder, used[0], settings.max_length)
    held_out, dropped_valid = tokenize_all(encoder, used[1], settings.max_length)
    if takes_examples and not examples:
        raise AgentrError(
            f"nothing to train on: of {len(train)} examples {dropped.too_long} are longer than"
            f" {settings.max_length} tokens and {dropped.no_loss} have no turn to learn",
            hint="Raise train.max_length, or collect more data.",
        )
    used_pairs = (pairs, valid_pairs) if takes_pairs else ((), ())
    compared, dropped_pairs = tokenize_pairs(encoder, used_pairs[0], settings.max_length)
    held_out_pairs, dropped_valid_pairs = tokenize_pairs(
        encoder, used_pairs[1], settings.max_length
    )
    if takes_pairs and not compared:
        raise _no_pairs(len(pairs), dropped_pairs, settings)
    material = Material(examples, held_out, compared, held_out_pairs, settings=settings, seed=seed)
    packed = takes_pairs and session.takes_branches
    memory = plan_memory(
        directory_shape(model_dir),
        settings,
        longest=_longest(material, packed=packed),
        cores=physical_cores(),
        gpu=session.on_gpu,
        free=free_bytes,
        team=team.size,
        beside=team.beside,
    )
    # All processes cut a batch into the same parts.
    memory = dataclasses.replace(memory, part_tokens=min(team.gather(memory.part_tokens)))
    material_rows = [examples, held_out], [compared, held_out_pairs] if takes_pairs else []
    if team.size > 1:
        _check_alike(team, fingerprint(model_dir, settings, seed, None, *material_rows))
    checkpoint: CheckpointFolder = NoCheckpoint(out_dir)
    kept: dict[str, Any] = {}
    if team.rank == 0:
        out_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = CheckpointFolder(out_dir)
        mark = fingerprint(model_dir, settings, seed, start_adapter, *material_rows)
        saved = checkpoint.load(mark) if resume else None
        if saved and saved.finished and not (out_dir / GGUF_FILE).exists():
            saved = None
        kept = {"resumed": saved is not None, **dataclasses.asdict(saved or TrainingState(mark))}
    kept = team.share(kept)
    resumed = kept.pop("resumed")
    state = TrainingState.of(kept)
    begun = {
        "event": "start",
        "step": state.step,
        "steps": material.steps,
        "examples": len(examples),
        "validation_examples": len(held_out),
        "dropped": dataclasses.asdict(dropped),
        "memory": dataclasses.asdict(memory),
        "fast_blas": blas.fast,
        "blas": blas.reason,
        "workers": team.size,
    }
    if takes_pairs:
        begun |= {
            "pairs": len(compared),
            "validation_pairs": len(held_out_pairs),
            "dropped_pairs": dataclasses.asdict(dropped_pairs),
            "prefixes_shared": packed,
        }
    report(begun)
    if not state.finished:
        # The files lie where process 0 is; the others take its arrays.
        start = start_adapter if team.rank == 0 else None
        session.prepare(settings, seed=seed, steps=material.steps, start_adapter=start)
        session.memory = memory
        training = Training(session, material, state, report)
        if resumed and team.rank == 0:
            session.restore(checkpoint.path)
        if team.size > 1:
            session.synchronise()
        if not resumed:
            training.begin(checkpoint)
        training.run(checkpoint)
        if team.rank == 0:
            _export(checkpoint, model_dir, out_dir)
            note_made(out_dir / GGUF_FILE)
        state.finished = True
        # The optimizer's state, the larger part of the folder, is not needed any more.
        checkpoint.save(state, lambda _: None)
    best = state.best if settings.patience else None
    warning = falling_likelihood(
        state.pair_figures,
        [row for row in state.valid_pair_figures if best is None or row.step <= best[0]],
    )
    result = TrainResult(
        adapter_dir=out_dir,
        gguf_path=out_dir / GGUF_FILE,
        train_losses=state.train_losses,
        valid_losses=state.valid_losses,
        steps=state.step,
        best_step=best[0] if best else state.step,
        stopped_early=state.step < material.steps,
        tokens=state.tokens,
        seconds=state.seconds,
        dropped=dropped.total + dropped_valid.total,
        pair_figures=state.pair_figures,
        valid_pair_figures=state.valid_pair_figures,
        dropped_pairs=dropped_pairs + dropped_valid_pairs,
        warning=f"{warning}. {FALLING_HINT}" if warning else "",
    )
    end = {"event": "end", "step": result.steps, "best_step": result.best_step}
    report({**end, "warning": result.warning})
    return result


def _check_alike(team: Alone, mark: str) -> None:
    """Compare what the processes of a team train and learn from.

    Raises:
        ModelError: it differs.
    """
    marks = team.gather(mark)
    if odd := [rank for rank, other in enumerate(marks) if other != marks[0]]:
        raise ModelError(
            f"training process {odd[0] + 1} of {team.size} has other weights, another tokenizer or"
            " another chat template than process 1",
            hint="Copy the model's directory and the template to the same paths on all machines of"
            " train.hosts.",
        )


def _export(checkpoint: CheckpointFolder, model_dir: Path, out_dir: Path) -> None:
    """Put the best adapter where it belongs, in both formats."""
    for name in (ADAPTER_FILE, CONFIG_FILE):
        shutil.copyfile(checkpoint.path / BEST / name, out_dir / name)
    convert_adapter(out_dir, model_dir, out_dir / GGUF_FILE)


def _longest(material: Material, *, packed: bool) -> int:
    """Tokens of the longest example, or of the longest pair, whose sequences go together."""
    examples = (len(row.tokens) for row in (*material.examples, *material.held_out))
    pairs = (
        pair_tokens([pair], packed=packed) for pair in (*material.pairs, *material.held_out_pairs)
    )
    return max((*examples, *pairs))


def _no_pairs(given: int, dropped: DroppedPairs, settings: TrainSettings) -> AgentrError:
    """The error of a training on pairs that has none."""
    if not given:
        return AgentrError(
            f"train.objective is {settings.objective}, but there is no pair to learn from",
            hint="Collect more data, or set train.objective to sft.",
        )
    return AgentrError(
        f"no pair to learn from: of {given} pairs {dropped.too_long} are longer than"
        f" {settings.max_length} tokens, {dropped.ties} have two equal continuations and"
        f" {dropped.no_loss} have one without a turn to learn",
        hint="Raise train.max_length, collect more data, or set train.objective to sft.",
    )
