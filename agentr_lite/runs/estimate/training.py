"""How fast a run's model trains: two steps on one sequence, or the speed of a matrix product."""

from __future__ import annotations

import time
from pathlib import Path

from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import AgentrError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.estimate.speeds import TrainingSpeed

_LARGE = 600 << 20
"""Bytes of weights beyond which loading them takes too long for a probe."""
_LONGEST = 512
_SIDE = 1024
_PASSES = 6
"""Floating-point operations for each parameter and token: two forward, four backward.
Source: Kaplan et al., arXiv 2001.08361, section 2.1."""


def training_speed(recipe: Recipe, length: int, seconds: float) -> TrainingSpeed | None:
    """Tokens that a training takes in a second.

    Args:
        recipe: permitted by the checks.
        length: tokens of a usual example.
        seconds: for trying; a step that has begun is not cut.

    Returns:
        None where neither the weights nor the number of parameters is known.
    """
    folder = _weights(recipe)
    if folder is not None and _bytes(folder) <= _LARGE:
        try:
            return _by_steps(
                folder, recipe, min(length, _LONGEST, recipe.train.max_length), seconds
            )
        except AgentrError:
            # The checks of the weights have said what is wrong, or training will.
            return None
    parameters = _parameters(recipe, folder)
    return _by_product(parameters) if parameters else None


def _weights(recipe: Recipe) -> Path | None:
    if recipe.train_model:
        return Path(recipe.train_model).expanduser()
    return resolve_model(recipe.model).train_dir


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))


def _parameters(recipe: Recipe, folder: Path | None) -> int:
    if folder is not None:
        # Most weights have 16 bits.
        return _bytes(folder) // 2
    from agentr_lite.actors.llamacpp.gguf_header import read_header

    return read_header(resolve_model(recipe.model).gguf).parameters()


def _by_steps(folder: Path, recipe: Recipe, length: int, seconds: float) -> TrainingSpeed:
    """
    Raises:
        ModelError: the weights cannot be loaded.
    """
    from agentr_lite.actors.mlx.blas import use_fast_blas

    began = time.perf_counter()
    use_fast_blas()
    # Not earlier: it imports MLX, which must find the fast BLAS loaded.
    from agentr_lite.train.batches import Tokenized
    from agentr_lite.train.mlx_session import Session

    session = Session(folder)
    session.prepare(recipe.train, seed=1, steps=10, start_adapter=None)
    tokens = [1 + index % 50 for index in range(length)]
    # About every second token of a conversation is the agent's own.
    example = Tokenized(tokens, [index % 2 == 1 for index in range(length)])
    rows = recipe.train.batch_size
    # One row first: it warms up, and says whether a whole batch is affordable.
    took = _step(session, example, 1)
    setup_s = time.perf_counter() - began
    if took * rows > seconds:
        rows = 1
    steps, spent = 0, 0.0
    # The mean, not the best: other work on the machine slows a training, too.
    while not steps or spent + spent / steps < seconds:
        spent += _step(session, example, rows)
        steps += 1
    source = f"{steps} training step{'s'[: steps != 1]} of {rows} x {length} tokens"
    return TrainingSpeed(steps * rows * length / spent, source, setup_s)


def _step(session: object, example: object, rows: int) -> float:
    began = time.perf_counter()
    session.run([example], [[0] * rows], lambda loss, likelihoods: None)  # type: ignore[attr-defined]
    return time.perf_counter() - began


def _by_product(parameters: int) -> TrainingSpeed:
    import numpy as np

    matrix = np.full((_SIDE, _SIDE), 0.5, np.float32)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - began)
    flops = 2 * _SIDE**3 / best
    return TrainingSpeed(
        flops / (_PASSES * parameters),
        f"{parameters / 1e6:,.0f} M parameters and a float32 matrix product at"
        f" {flops / 1e9:,.0f} GFLOPS",
    )
