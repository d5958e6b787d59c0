"""Many trees in lockstep over one actor: a deterministic event loop, without threads or clocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agentr_lite.actors.base import Actor, GenerateRequest, GenerateResult
from agentr_lite.core.errors import ModelError
from agentr_lite.search.simulate import TreeSearch

OnTick = Callable[[], None]


def run_wave(searches: Sequence[TreeSearch], actor: Actor, *, on_tick: OnTick | None = None) -> int:
    """Run all searches of a wave to their ends.

    Each tick collects what every unfinished tree wants, in tree order, hands the actor one batch,
    and applies the results in tree order. The actor's cache is cleared first, so that the same
    wave meets the same batches whatever ran before it.

    Args:
        searches: the wave, in task order.
        actor: who generates.
        on_tick: called after each tick (and once before the first), between any two of which an
            interrupt loses nothing that it has saved.

    Returns:
        How many batches the actor was handed.

    Raises:
        ModelError: the actor did not answer what it was asked, or failed.
    """
    actor.reset_cache()
    batches = 0
    while True:
        if on_tick:
            on_tick()
        waiting = [(search, search.wanted) for search in searches if search.wanted is not None]
        if not waiting:
            return batches
        requests = [request for _, request in waiting]
        before = actor.usage.model_ms
        results = actor.generate(requests)
        _check(actor, requests, results)
        batches += 1
        # The actor's own measure: the search itself looks at no clock.
        took = actor.usage.model_ms - before
        for (search, _), result in zip(waiting, results, strict=True):
            search.feed(replace(result, batch_ms=took, batch_size=len(requests)))


def _check(
    actor: Actor, requests: Sequence[GenerateRequest], results: Sequence[GenerateResult]
) -> None:
    asked = [len(request.seeds) for request in requests]
    given = [len(result.completions) for result in results]
    if asked != given:
        raise ModelError(
            f"{type(actor).__name__} was asked for {asked} samples and gave {given}",
            hint="This is a fault of the actor's back end; please report it.",
        )
