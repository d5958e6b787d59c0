"""How much memory a training takes, and how its batches are computed to stay below that.

The estimate follows what is alive at the worst moment, in the backward pass of a layer::

    fixed       Python and libraries | weights | adapter, its gradients and moments
    a worker    the input of every layer | all of one layer | some logits
    more        all of further layers, which are then not computed again

The factors were fitted to the peaks that ``python -m benchmarks.memory`` prints. MLX is not
imported here, so that a plan can be shown without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.llamacpp.machine import available_bytes
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.json_values import read_json_object
from agentr_lite.recipe.groups import TrainSettings

PART_TOKENS = {"cpu": 512, "gpu": 8192}
"""Rows share a part up to this many tokens with padding. A CPU gains nothing from more."""
_PROGRAM_BYTES = 280_000_000
_FREE_SHARE = 0.5
"""Share of the free memory that a training takes, if the recipe does not say."""
_FLOAT = 4
_WIDTHS, _ATTENTION, _FEED_FORWARD = 15, 9, 14
"""Numbers that a layer's passes hold for a token: so many times each of its widths."""
_BLOCK, _BLOCK_MATRICES, _BLOCK_VECTORS, _BLOCK_STATES = 32, 8, 8, 4
"""The size of a block of linear attention (``actors.mlx.delta``); arrays that its passes hold, by
their shape: block x block, block x width, and states, one a block."""
_SCAN, _SCAN_MATRICES = 256, 6
"""The same for the recurrence of Mamba 2: tokens at a time, and arrays of their square."""
_KEPT = 0.75
"""Share of these that is kept of a layer which is not computed again."""
_ADAPTER_COPIES = 9
"""The adapter, its two moments, their successors, and sums of gradients."""
_MIXED_COPIES = 2
"""So many more where two losses have a gradient each."""
_LEARNT = {"sft": "examples", "dpo": "pairs", "sft+dpo": "examples and pairs"}
_LOGITS = 3
_LOGITS_BYTES = 32 << 20
"""So many arrays of logits, each at most of this size."""
_GPU_RECOMPUTES = 150_000_000
"""On a GPU, models of this many parameters compute all layers again."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model on which its memory depends."""

    layers: int
    width: int
    queries: int
    """Width of all heads' queries together."""
    keys: int
    """The same of their keys; the values are as wide."""
    feed_forward: int
    vocabulary: int
    tied: bool
    """The vocabulary has one matrix for input and output."""
    recurrent: int = 0
    """Numbers that the passes of a recurrent layer hold for a token, its MLP's left out."""

    @property
    def parameters(self) -> int:
        """How many numbers the matrices hold."""
        layer = self.width * (2 * self.queries + 2 * self.keys + 3 * self.feed_forward)
        return self.layers * layer + self.vocabulary * self.width * (1 if self.tied else 2)

    def adapter_parameters(self, rank: int, layers: int) -> int:
        """How many numbers an adapter holds; ``layers`` as in ``train.layers``."""
        sides = 7 * self.width + 2 * self.queries + 2 * self.keys + 3 * self.feed_forward
        return rank * sides * (self.layers if layers < 0 else min(layers, self.layers))

    def layer_numbers(self) -> int:
        """Numbers that one layer's passes hold for a token."""
        attention = self.queries + 2 * self.keys
        mixing = max(_ATTENTION * attention, self.recurrent)
        return _WIDTHS * self.width + mixing + _FEED_FORWARD * self.feed_forward


@dataclass(frozen=True)
class MemoryPlan:
    """How a training computes its batches. No result depends on it, on a CPU to the last bit."""

    workers: int = 1
    """Parts that are computed at a time."""
    recomputed: int = 1 << 30
    """So many of the first layers compute their activations again in the backward pass."""
    part_tokens: int = PART_TOKENS["cpu"]
    """Rows share a part up to this many tokens."""
    peak_bytes: int = 0
    """Estimate of the process's largest memory."""


def directory_shape(folder: Path) -> ModelShape | None:
    """The shape of a model in Hugging Face's or MLX's format, from its ``config.json``.

    Returns:
        None where the file does not say it in the usual words.
    """
    try:
        config: Any = read_json_object(folder / "config.json")
        config = config.get("text_config", config)
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head = int(config.get("head_dim") or width // heads)
        return ModelShape(
            layers=int(config["num_hidden_layers"]),
            width=width,
            queries=head * heads,
            keys=head * int(config.get("num_key_value_heads") or heads),
            feed_forward=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", True)),
            recurrent=_recurrent_numbers(config),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None


def _recurrent_numbers(config: Any) -> int:
    """``ModelShape.recurrent`` by the settings; 0: no layers with large states."""
    if heads := int(config.get("linear_num_value_heads") or 0):
        keys, values = (int(config[f"linear_{side}_head_dim"]) for side in ("key", "value"))
        mixed = 2 * int(config["linear_num_key_heads"]) * keys + 2 * heads * values
        return delta_numbers(heads, keys, values, mixed)
    if heads := int(config.get("mamba_n_heads") or 0):
        mixed = 3 * heads * int(config["mamba_d_head"])
        return scan_numbers(heads, mixed)
    return 0


def delta_numbers(heads: int, keys: int, values: int, mixed: int) -> int:
    """Numbers of linear attention for a token.

    Args:
        heads: of values.
        keys: width of a head's keys.
        values: width of a head's values.
        mixed: width of all projections together.
    """
    in_blocks = heads * (_BLOCK_MATRICES * _BLOCK + _BLOCK_VECTORS * (keys + values))
    return _ATTENTION * mixed + in_blocks + _BLOCK_STATES * heads * keys * values // _BLOCK


def scan_numbers(heads: int, mixed: int) -> int:
    """The same of Mamba 2's recurrence, which mlx-lm computes 256 tokens at a time."""
    return _ATTENTION * mixed + _SCAN_MATRICES * heads * _SCAN


def header_shape(header: Header) -> ModelShape:
    """The shape of a model in a GGUF file."""
    value = header.architecture_value
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    width, heads = value("embedding_length", 1), max(1, value("attention.head_count", 1))
    head = value("attention.key_length", width // heads)
    return ModelShape(
        layers=value("block_count", 1),
        width=width,
        queries=head * heads,
        keys=head * value("attention.head_count_kv", heads),
        feed_forward=value("feed_forward_length", 4 * width),
        vocabulary=max(shapes.get("token_embd.weight", (0,))),
        tied="output.weight" not in shapes,
        recurrent=_header_numbers(header),
    )


def _header_numbers(header: Header) -> int:
    """``ModelShape.recurrent`` by a GGUF file's header."""
    value = header.architecture_value
    heads, inner = value("ssm.time_step_rank"), value("ssm.inner_size")
    if header.architecture == "qwen35":
        keys = value("ssm.state_size")
        mixed = 2 * value("ssm.group_count") * keys + 2 * inner
        return delta_numbers(heads, keys, inner // max(1, heads), mixed)
    return scan_numbers(heads, 3 * inner) if header.architecture == "granitehybrid" else 0


def plan_memory(
    shape: ModelShape | None,
    settings: TrainSettings,
    *,
    longest: int,
    cores: int,
    gpu: bool = False,
    free: int | None = None,
    team: int = 1,
    beside: int = 1,
) -> MemoryPlan:
    """Choose how batches are computed.

    Args:
        shape: of the model; None: unknown, and then the memory is not limited.
        settings: ``memory``, ``batch_size``, ``rank``, ``layers``, ``objective``.
        longest: tokens of the longest example, or of the longest pair: its sequences are computed
            together, and what they share counts once if the model can compute it once.
        cores: that may be used.
        gpu: whether MLX computes on a GPU; then only the size of the parts is chosen.
        free: bytes of free memory before the model is loaded; default: ask the system.
        team: processes that train together. All but the first keep the gradients of their parts
            until it is their turn to add them.
        beside: how many of these this machine has. Each gets its share of cores and memory.

    Raises:
        AgentrError: not even one example at a time fits.
    """
    cores = max(1, cores // beside)
    if shape is None:
        workers = 1 if gpu else max(1, min(cores, settings.batch_size))
        return MemoryPlan(workers, part_tokens=PART_TOKENS["gpu" if gpu else "cpu"])
    free = (available_bytes() if free is None else free) // beside
    budget = round(settings.memory * 1e9 / beside) or int(_FREE_SHARE * free)
    adapter = _FLOAT * shape.adapter_parameters(settings.rank, settings.layers)
    copies = _ADAPTER_COPIES + (_MIXED_COPIES if settings.objective == "sft+dpo" else 0)
    if team > 1:
        copies += -(-settings.batch_size // team)
    fixed = _PROGRAM_BYTES + _FLOAT * shape.parameters + copies * adapter
    if gpu:
        return _plan_gpu(shape, fixed, budget if settings.memory else 0, longest)
    tokens = max(longest, PART_TOKENS["cpu"])
    layer = _FLOAT * tokens * shape.layer_numbers()
    logits = _LOGITS * min(_LOGITS_BYTES, _FLOAT * tokens * shape.vocabulary)
    worker = _FLOAT * tokens * shape.layers * shape.width + layer + logits + 2 * adapter
    # Explicit limits are the user's; the automatic one may be exceeded if memory is there.
    most = budget if settings.memory else free
    if fixed + worker > most:
        each = f" in each of {beside} processes" if beside > 1 else ""
        raise AgentrError(
            f"training on {_LEARNT[settings.objective]} of up to {longest:,} tokens needs about"
            f" {(fixed + worker) / 1e9:.1f} GB{each}, but"
            + (f" train.memory is {settings.memory:g}" if settings.memory else " less is free"),
            hint="Lower train.max_length, use a smaller model, or set train.memory higher."
            + (" Fewer train.workers need less together." if beside > 1 else ""),
        )
    workers = max(1, min(cores, settings.batch_size, (budget - fixed) // worker))
    a_kept = int(_KEPT * layer)
    kept = max(0, min(shape.layers, (budget - fixed - workers * worker) // (workers * a_kept)))
    return MemoryPlan(
        workers,
        shape.layers - kept,
        peak_bytes=fixed + workers * (worker + kept * a_kept),
    )


def _plan_gpu(shape: ModelShape, fixed: int, budget: int, longest: int) -> MemoryPlan:
    recomputed = shape.layers if shape.parameters >= _GPU_RECOMPUTES else 0
    live = shape.layers if not recomputed else 1
    a_token = _FLOAT * (shape.layers * shape.width + live * shape.layer_numbers())
    part = PART_TOKENS["gpu"]
    while budget and part > longest and fixed + part * a_token > budget:
        part //= 2
    return MemoryPlan(
        1, recomputed, part, fixed + max(part, longest) * a_token + _LOGITS * _LOGITS_BYTES
    )
