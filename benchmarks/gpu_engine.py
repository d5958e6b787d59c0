"""Does the engine compute on a GPU what it computes on the processor?

    python -m benchmarks.gpu_engine --model FILE.gguf      # a part of benchmarks.gpu

Each check is a row: its name, whether it holds, and the figures. A check that raises an error is a
row as well. The exit code is 1 if a check does not hold. The limits are far above rounding and far
below what a wrong kernel gives, see ``LIMIT`` and ``MEAN_LIMIT``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from agentr_lite.actors.base import GenerateRequest, Sampling, ScoreRequest
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.library import gpus
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.envs.registry import make_env
from benchmarks import tables

LIMIT = 0.25
"""Largest difference of a likely token's log-probability, in nats."""
MEAN_LIMIT = 0.05
"""Largest difference of the mean log-likelihood of a text's tokens."""
WIDTHS = range(1, 33)
_LIKELY = 20
_PREFIX = 192
_STEPS = 2
_ROUNDS = 4
_LEAK_BYTES = 32 << 20
_TASKS = 12
_TOKENS = 32

Verdict = tuple[bool, str]
Rows = npt.NDArray[np.float32]


def main() -> None:
    """Run all checks and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=resolve_model("starter").gguf)
    path = parser.parse_args().model
    cards = [f"{gpu.name} ({gpu.total_bytes / 2**30:.0f} GiB)" for gpu in gpus()]
    tables.begin(f"The engine on {', '.join(cards) or 'NO GPU'}: {path.name}", ["", "", ""])
    checks: list[tuple[str, Callable[[], Verdict]]] = [
        ("greedy answers and likelihoods as on the processor", lambda: as_on_processor(path)),
        ("the same with a LoRA adapter", lambda: adapter_as_on_processor(path)),
        ("batches of 1 to 32, flash attention on", lambda: widths(path, flash=True)),
        ("batches of 1 to 32, flash attention off", lambda: widths(path, flash=False)),
        ("cells saved to RAM and restored", lambda: saved_and_restored(path)),
        ("the same calls give the same bits", lambda: repeats(path)),
        ("agent.deterministic: alone as together", lambda: alone_as_together(path)),
        ("a cache that is too small for all", lambda: small_cache(path)),
        ("memory back after close", lambda: memory_returns(path)),
        ("a cache larger than the memory is refused", lambda: too_large(path)),
    ]
    held = [_check(name, check) for name, check in checks]
    tables.note(f"{sum(held)} of {len(held)} checks hold.")
    sys.exit(0 if all(held) else 1)


def _check(name: str, check: Callable[[], Verdict]) -> bool:
    try:
        holds, detail = check()
    except Exception as error:
        traceback.print_exc()
        holds, detail = False, " ".join(f"{type(error).__name__}: {error}".split())
    tables.row([name, "ok" if holds else "FAILED", detail])
    return holds


def conversations() -> list[list[Message]]:
    """The beginnings of some TextCraft episodes."""
    env = make_env("textcraft", {})
    try:
        talks: list[list[Message]] = []
        for task in env.tasks("train")[:_TASKS]:
            observation, _ = env.reset(task, seed=1)
            talks.append(
                [
                    {"role": "system", "content": env.instructions()},
                    {"role": "user", "content": observation},
                ]
            )
        return talks
    finally:
        env.close()


def open_actor(path: Path, **settings: Any) -> LlamaCppActor:
    """The engine with its defaults, tuned or not."""
    return LlamaCppActor(path, **{"context_tokens": 2048, "tuned": False, **settings})


def answers(
    actor: LlamaCppActor, talks: Sequence[list[Message]], temperature: float = 0.0
) -> list[str]:
    """One answer to each conversation, all in one call."""
    sampling = Sampling(temperature=temperature, max_tokens=_TOKENS)
    requests = [GenerateRequest(talk, (1 + i,), sampling) for i, talk in enumerate(talks)]
    return [result.completions[0].text for result in actor.generate(requests)]


def likelihoods(
    actor: LlamaCppActor, talks: Sequence[list[Message]], texts: Sequence[str]
) -> list[float]:
    """The mean log-likelihood of each text's tokens."""
    asked = [ScoreRequest(talk, (text,)) for talk, text in zip(talks, texts, strict=True)]
    counts = [len(actor.encoder.answer(text)) for text in texts]
    scores = [result.log_likelihoods[0] for result in actor.score(asked)]
    return [score / count for score, count in zip(scores, counts, strict=True)]


def as_on_processor(path: Path, adapter: Path | None = None) -> Verdict:
    """Compare answers with the processor's, and how likely both find the processor's answers."""
    talks = conversations()
    found: list[tuple[list[str], list[float]]] = []
    texts: list[str] = []
    for layers in (0, -1):
        actor = open_actor(path, n_gpu_layers=layers)
        try:
            if adapter is not None:
                actor.use_adapter(adapter)
            given = answers(actor, talks)
            # An empty answer cannot be scored.
            texts = texts or [text if text.strip() else "Action: inventory" for text in given]
            found.append((given, likelihoods(actor, talks, texts)))
        finally:
            actor.close()
    (on_cpu, cpu_scores), (on_gpu, gpu_scores) = found
    equal = sum(a == b for a, b in zip(on_cpu, on_gpu, strict=True))
    gap = max(abs(a - b) for a, b in zip(cpu_scores, gpu_scores, strict=True))
    detail = (
        f"{equal} of {len(talks)} answers equal; largest gap of a mean log-likelihood {gap:.4f}"
    )
    return gap < MEAN_LIMIT, detail


def adapter_as_on_processor(path: Path) -> Verdict:
    """The same with random adapters on all projections, which must have an effect."""
    with tempfile.TemporaryDirectory() as scratch:
        adapter = Path(scratch) / "adapter.gguf"
        write_adapter(path, adapter)
        holds, detail = as_on_processor(path, adapter)
        talks = conversations()
        actor = open_actor(path)
        try:
            texts = ["Action: inventory"] * len(talks)
            base = likelihoods(actor, talks, texts)
            actor.use_adapter(adapter)
            tuned = likelihoods(actor, talks, texts)
        finally:
            actor.close()
    effect = max(abs(a - b) for a, b in zip(base, tuned, strict=True))
    return holds and effect > 0.01, f"{detail}; the adapter's effect {effect:.4f}"


def write_adapter(model: Path, out: Path, rank: int = 8) -> None:
    """Write a LoRA adapter with random weights for all projections of a model."""
    reader = gguf.GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    rng = np.random.default_rng(1)
    for tensor in reader.tensors:
        if not (tensor.name.startswith("blk.") and len(tensor.shape) == 2):
            continue
        width, rows = (int(size) for size in tensor.shape)
        a = rng.standard_normal((rank, width)) / width**0.5
        b = 0.02 * rng.standard_normal((rows, rank))
        writer.add_tensor(f"{tensor.name}.lora_a", a.astype(np.float32))
        writer.add_tensor(f"{tensor.name}.lora_b", b.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def widths(path: Path, *, flash: bool) -> Verdict:
    """Rows of a batch over shared cells, compared with the same tokens decoded alone.

    Each sequence shares the prefix's cells and decodes tokens of its own. The reference is a
    sequence with its own copy of the prefix, which was computed from its tokens.
    """
    model = Model(path)
    context = Context(
        model, n_cells=8192, n_batch=2048, n_threads=physical_cores(), flash_attention=flash
    )
    try:
        prefix, own = _tokens(model)
        alone = []
        for row in own:
            context.clear()
            context.decode(prefix, range(_PREFIX), [0] * _PREFIX, outputs=0)
            alone.append(_grow(context, [row], [0]))
        context.clear()
        context.decode(prefix, range(_PREFIX), [0] * _PREFIX, outputs=0)
        gaps = {}
        for width in WIDTHS:
            sequences = range(1, width + 1)
            for sequence in sequences:
                context.copy_sequence(0, sequence, _PREFIX)
            together = _grow(context, own[:width], sequences)
            for sequence in sequences:
                context.remove(sequence)
            gaps[width] = max(
                likely_gap(alone[i][step][0], together[step][i])
                for i in range(width)
                for step in range(_STEPS)
            )
    finally:
        context.close()
        model.close()
    worst = max(gaps, key=lambda width: gaps[width])
    detail = f"largest gap {gaps[worst]:.4f} at width {worst}; at 1: {gaps[1]:.4f},"
    narrow = max(gaps[width] for width in range(3, 9))
    detail += f" 3 to 8: {narrow:.4f}, {max(WIDTHS)}: {gaps[max(WIDTHS)]:.4f}"
    return gaps[worst] < LIMIT, detail


def _tokens(model: Model) -> tuple[list[int], list[list[int]]]:
    """A prefix of ``_PREFIX`` tokens, and ``_STEPS`` tokens for each row of the widest batch."""
    text = " ".join(message["content"] for talk in conversations() for message in talk)
    tokens = model.plain(text)
    words = sorted(set(tokens) - model.end_tokens)
    rng = np.random.default_rng(3)
    own = rng.choice(words, (max(WIDTHS), _STEPS)).tolist()
    return tokens[:_PREFIX], own


def _grow(context: Context, rows: Sequence[list[int]], sequences: Sequence[int]) -> list[Rows]:
    """Decode ``_STEPS`` tokens of each row; returns each step's logits, (rows, vocabulary)."""
    return [
        context.decode(
            [row[step] for row in rows],
            [_PREFIX + step] * len(rows),
            sequences,
            outputs=len(rows),
        ).copy()
        for step in range(_STEPS)
    ]


def likely_gap(reference: Rows, other: Rows) -> float:
    """The largest difference of a log-probability among the reference's likeliest tokens."""
    likely = np.argsort(reference)[-_LIKELY:]
    gap = np.abs(_log_softmax(reference)[likely] - _log_softmax(other)[likely])
    # A comparison with NaN is false, so it has to be turned into something large.
    return float(np.nan_to_num(gap, nan=np.inf).max())


def _log_softmax(row: Rows) -> npt.NDArray[np.float64]:
    wide = row.astype(np.float64) - float(row.max())
    return np.asarray(wide - np.log(np.exp(wide).sum()))


def saved_and_restored(path: Path) -> Verdict:
    """The next token's logits before saving a sequence's cells, and after restoring them."""
    model = Model(path)
    context = Context(
        model, n_cells=4096, n_batch=2048, n_threads=physical_cores(), flash_attention=True
    )
    try:
        prefix, own = _tokens(model)
        context.decode(prefix, range(_PREFIX), [0] * _PREFIX, outputs=0)
        before = _grow(context, own[:1], [0])
        context.remove(0, _PREFIX)
        cells = context.save(0, 0, _PREFIX)
        context.clear()
        context.load(cells, 5, 0, _PREFIX)
        after = _grow(context, own[:1], [5])
    finally:
        context.close()
        model.close()
    gap = max(likely_gap(a[0], b[0]) for a, b in zip(before, after, strict=True))
    return gap < LIMIT, f"largest gap {gap:.4f}; {cells.nbytes / _PREFIX / 1024:.1f} KiB a token"


def repeats(path: Path) -> Verdict:
    """Sampled answers and likelihoods, twice from an empty cache."""
    talks, actor = conversations(), open_actor(path)
    try:
        found = []
        for _ in range(2):
            actor.reset_cache()
            texts = answers(actor, talks, temperature=1.0)
            found.append((texts, likelihoods(actor, talks, ["Action: inventory"] * len(talks))))
    finally:
        actor.close()
    return found[0] == found[1], "answers and likelihoods " + (
        "equal" if found[0] == found[1] else "differ"
    )


def alone_as_together(path: Path) -> Verdict:
    """In the deterministic mode, other requests must not change an answer or a likelihood."""
    talks, actor = conversations(), open_actor(path, deterministic=True)
    texts = ["Action: inventory"] * len(talks)
    try:
        together = answers(actor, talks), likelihoods(actor, talks, texts)
        alone: tuple[list[str], list[float]] = ([], [])
        for talk, text in zip(talks, texts, strict=True):
            actor.reset_cache()
            alone[0].extend(answers(actor, [talk]))
            alone[1].extend(likelihoods(actor, [talk], [text]))
    finally:
        actor.close()
    equal = sum(a == b for a, b in zip(together[0], alone[0], strict=True))
    bits = sum(a == b for a, b in zip(together[1], alone[1], strict=True))
    return together == alone, f"{equal} answers and {bits} likelihoods of {len(talks)} equal"


def small_cache(path: Path) -> Verdict:
    """Evictions and restored prefixes must not change how likely an answer is."""
    talks = conversations()
    texts = ["Action: inventory"] * len(talks)
    found = []
    for cells in (None, 2048):
        actor = open_actor(path, n_cells=cells)
        try:
            for _ in range(3):
                answers(actor, talks)
            found.append(likelihoods(actor, talks, texts))
        finally:
            actor.close()
    gap = max(abs(a - b) for a, b in zip(*found, strict=True))
    return gap < MEAN_LIMIT, f"largest gap of a mean log-likelihood {gap:.4f}"


def memory_returns(path: Path) -> Verdict:
    """Open, answer and close several times; only the first time may keep anything."""
    talks, used = conversations(), []
    before = sum(gpu.free_bytes for gpu in gpus())
    for _ in range(_ROUNDS):
        actor = open_actor(path)
        try:
            answers(actor, talks)
            within = before - sum(gpu.free_bytes for gpu in gpus())
        finally:
            actor.close()
        used.append(before - sum(gpu.free_bytes for gpu in gpus()))
    detail = f"{within / 2**20:.0f} MiB while open; kept after each close, in MiB: "
    detail += ", ".join(f"{kept / 2**20:.0f}" for kept in used)
    return used[-1] - used[0] < _LEAK_BYTES, detail


def too_large(path: Path) -> Verdict:
    """A cache of twice the free memory: an error that names it, and no crash."""
    free = sum(gpu.free_bytes for gpu in gpus())
    if not free:
        return True, "no GPU: not tried"
    model = Model(path)
    cells = 2 * free // max(1, model.header.cell_bytes())
    try:
        Context(model, n_cells=cells, n_batch=512, n_threads=1, flash_attention=True).close()
    except ModelError as error:
        return True, f"{cells:,} cells: {error.message[:160]}"
    finally:
        model.close()
    return False, f"{cells:,} cells were accepted"


if __name__ == "__main__":
    main()
