"""Many trees in lockstep over one actor: a deterministic event loop, without threads or clocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from agentr_lite.actors.base import Actor, GenerateRequest, GenerateResult
from agentr_lite.core.errors import ModelError
from agentr_lite.core.tasks import Task
from agentr_lite.search.context import SearchContext
from agentr_lite.search.mcts import Select, search_tree, select_uct
from agentr_lite.search.tree import Tree

OnTick = Callable[[], None]


class TreeSearch:
    """A tree and the search that grows it.

    Attributes:
        tree: the tree so far.
        wanted: what to generate next; None where the search is over.
    """

    def __init__(self, task: Task, context: SearchContext, *, select: Select | None = None) -> None:
        """Reset the environment and walk to the first request.

        Args:
            task: what to search.
            context: settings that all trees share.
            select: which child to continue with; default: UCT with the recipe's ``c``.
        """
        self.tree = Tree(task, context.instructions, "")
        select = select or partial(select_uct, c=context.settings.c)
        self._requests = search_tree(self.tree, context, select)
        self.wanted: GenerateRequest | None = next(self._requests, None)

    def feed(self, result: GenerateResult) -> None:
        """Continue with the answer to ``wanted``."""
        try:
            self.wanted = self._requests.send(result)
        except StopIteration:
            self.wanted = None


def run_wave(searches: Sequence[TreeSearch], actor: Actor, *, on_tick: OnTick | None = None) -> int:
    """Run all searches of a wave to their ends.

    Each tick collects what every unfinished tree wants, in tree order, hands the actor one batch,
    and applies the results in tree order. The actor's cache is cleared first, so that the same
    wave meets the same batches whatever ran before it.

    Args:
        searches: the wave, in task order.
        actor: generates the candidates.
        on_tick: called before the first tick and after each. What it has saved survives an
            interrupt.

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
        batch_ms = actor.usage.model_ms - before
        for (search, _), result in zip(waiting, results, strict=True):
            search.feed(replace(result, batch_ms=batch_ms, batch_size=len(requests)))


def _check(
    actor: Actor, requests: Sequence[GenerateRequest], results: Sequence[GenerateResult]
) -> None:
    wanted = [len(request.seeds) for request in requests]
    returned = [len(result.completions) for result in results]
    if wanted != returned:
        raise ModelError(
            f"{type(actor).__name__} was asked for {wanted} samples and gave {returned}",
            hint="This is a fault of the actor's back end; please report it.",
        )
