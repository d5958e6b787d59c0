"""Estimates how much memory a run takes, and compares it with what is free."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from agentr_lite.actors.llamacpp.gguf_header import Header
from agentr_lite.actors.mlx.spec import is_mlx
from agentr_lite.actors.openai.spec import is_server
from agentr_lite.actors.registry import expand, resolve_model
from agentr_lite.core.errors import AgentrError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.actors import most_live_tokens
from agentr_lite.runs.checks.checklist import Checklist
from agentr_lite.runs.checks.model import PROCESSES
from agentr_lite.runs.weights import given_weights

_PROGRAM_BYTES = 300_000_000


@dataclass(frozen=True)
class _Unloaded:
    """A model's file, for the plan of its caches."""

    header: Header

    @property
    def n_params(self) -> int:
        return self.header.parameters()


def check_memory(checks: Checklist, recipe: Recipe, *, trains: bool, searches: bool) -> None:
    """Note what playing and training take; warn of a training that may not fit.

    Args:
        checks: for the findings.
        recipe: the run's.
        trains: whether the run trains.
        searches: whether it searches trees.
    """
    if not is_server(expand(recipe.model)):
        with checks.refusals("memory to play"):
            checks.passed("memory to play", _playing(recipe, searches=searches))
    if trains and not checks.is_refused(PROCESSES):
        try:
            checks.passed("memory to train", _training(recipe))
        except AgentrError as error:
            # The examples may be shorter than the recipe allows; the training itself knows.
            checks.warned("memory to train", error.message, error.hint or "")


def _playing(recipe: Recipe, *, searches: bool) -> str:
    from agentr_lite.actors.llamacpp.machine import physical_cores

    live = most_live_tokens(recipe, searches=searches)
    files = resolve_model(recipe.model)
    if is_mlx(expand(recipe.model)):
        return f"caches of at most {live:,} tokens, or a quarter of what is free"
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.llamacpp.plan import plan_lanes
    from agentr_lite.runs.window_memory import window_memory

    header = read_header(files.gguf)
    trained_on = header.architecture_value("context_length")
    context = min(recipe.agent.context_tokens, trained_on or recipe.agent.context_tokens)
    plan = plan_lanes(
        _Unloaded(header),
        context_tokens=context,
        n_cells=None,
        gpu=False,
        n_threads=physical_cores(),
        live_tokens=live,
        streams=False if recipe.agent.deterministic else None,
        windowed=False if recipe.agent.deterministic else None,
    )
    cell = header.cell_bytes() - (header.window_cell_bytes() if plan.window else 0)
    cells = plan.count * (plan.n_cells * cell + plan.streams * plan.state_bytes)
    evicted = plan.count * (plan.spill_bytes + plan.copy_bytes)
    total = _PROGRAM_BYTES + header.file_bytes + cells
    held = f" of {plan.count * plan.streams} conversations" if plan.streams else ""
    if plan.state_bytes:
        what = "windows" if plan.window else "the state of recurrent layers"
        held += f" (each with {plan.state_bytes / 1e6:,.1f} MB for {what})"
    windows = window_memory(header, context)
    return (
        f"about {_gb(total)}, of these {_gb(cells)} for caches{held}; at most {_gb(evicted)} more"
        f" for evicted prefixes{' and states' if plan.state_bytes else ''}"
        + (f"; {windows}" if windows else "")
    )


def _training(recipe: Recipe) -> str:
    """What a training takes.

    Raises:
        AgentrError: it does not fit, if an example is as long as the recipe allows.
    """
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.llamacpp.machine import available_bytes, physical_cores
    from agentr_lite.train.hosts import training_hosts
    from agentr_lite.train.memory import directory_shape, header_shape, plan_memory

    weights = given_weights(recipe)
    shape = (
        header_shape(read_header(resolve_model(recipe.model).gguf))
        if weights is None
        else directory_shape(weights)
    )
    if shape is None:
        return "not known: config.json does not say the model's sizes"
    # The two sequences of a pair are computed together; at worst, they share nothing.
    pairs = recipe.train.objective != "sft"
    longest = recipe.train.max_length * (2 if pairs else 1)
    # MLX is not asked: importing it takes a while.
    gpu = sys.platform == "darwin"
    hosts = training_hosts(recipe.train)
    plan = plan_memory(
        shape,
        recipe.train,
        longest=longest,
        cores=physical_cores(),
        gpu=gpu,
        team=hosts.count,
        beside=hosts.here,
    )
    each = f" in each of {hosts.here} processes" if hosts.here > 1 else ""
    again = f"{plan.recomputed} of {shape.layers} layers are computed twice"
    return (
        f"about {_gb(plan.peak_bytes)}{each} for {'pairs' if pairs else 'examples'} of {longest:,}"
        f" tokens, {plan.workers} at a time"
        f" ({again}); {_gb(available_bytes())} are free"
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
