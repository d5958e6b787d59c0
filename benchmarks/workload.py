"""A tree search as a load for engines: who asked for what, in which order, and what came of it.

Recorded from a real search (``record``) and replayed on any model: what matters to an engine is the
tree of token prefixes, the lengths of the answers and where siblings agree.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.actors.base import GenerateRequest, GenerateResult
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.stages.tasks import round_tasks
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave

RECORDED = Path(__file__).parent / "data" / "textcraft_wave.json.gz"
"""One wave of the default recipe, played by the first starter; ``benchmarks.engine --record``."""
CONTEXT = 2048
"""That recipe's ``agent.context_tokens``."""


@dataclass(frozen=True)
class Call:
    """One node's expansion: a prompt and the answers sampled for it."""

    tree: int
    prompt: list[int]
    samples: list[list[int]]
    """Tokens of each answer, its end-of-turn token included."""
    parent: tuple[int, int] | None = None
    """(call, sample) whose prompt and answer this prompt begins with; calls are counted through
    all ticks. None: the tree's first."""


@dataclass(frozen=True)
class Workload:
    """Ticks of calls: what is asked for at the same time."""

    ticks: list[list[Call]]

    @property
    def calls(self) -> list[Call]:
        """All calls, in order."""
        return [call for tick in self.ticks for call in tick]

    @property
    def answer_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(len(sample) for call in self.calls for sample in call.samples)

    @property
    def nodes(self) -> int:
        """Distinct answers: equal siblings become one node."""
        return sum(len(set(map(tuple, call.samples))) for call in self.calls)

    def unique_tokens(self) -> int:
        """Tokens of the trie of all prompts and answers: what has to be decoded at least.

        The last token of an answer is drawn and need not be decoded.
        """
        trie: dict[tuple[int, int], int] = {}
        for call in self.calls:
            prompt = _walk(trie, 0, call.prompt)
            for sample in call.samples:
                _walk(trie, prompt, sample[:-1])
        return len(trie)

    def trees(self, count: int) -> Workload:
        """The part of the first ``count`` trees."""
        kept: list[list[Call]] = []
        numbers: dict[int, int] = {}
        at = 0
        for tick in self.ticks:
            row = []
            for call in tick:
                if call.tree < count:
                    numbers[at] = len(numbers)
                    parent = call.parent and (numbers[call.parent[0]], call.parent[1])
                    row.append(Call(call.tree, call.prompt, call.samples, parent))
                at += 1
            if row:
                kept.append(row)
        return Workload(kept)

    def first_ticks(self, count: int) -> Workload:
        """The beginning of the search, all trees side by side."""
        return Workload(self.ticks[:count])

    def one_tree_after_another(self) -> Workload:
        """The same calls, each tree's in a row: kinder to an engine that remembers one prompt."""
        order = sorted(range(len(self.calls)), key=lambda i: self.calls[i].tree)
        place = {old: new for new, old in enumerate(order)}
        moved = []
        for old in order:
            call = self.calls[old]
            parent = call.parent and (place[call.parent[0]], call.parent[1])
            moved.append([Call(call.tree, call.prompt, call.samples, parent)])
        return Workload(moved)

    def save(self, path: Path) -> None:
        """Write as gzipped JSON; prompts as what they add to their parent."""
        calls = self.calls
        rows = []
        for call in calls:
            known = 0
            if call.parent is not None:
                parent = calls[call.parent[0]]
                known = len(parent.prompt) + len(parent.samples[call.parent[1]])
            rows.append([call.tree, call.parent, call.prompt[known:], call.samples])
        data = {"ticks": [len(tick) for tick in self.ticks], "calls": rows}
        path.write_bytes(gzip.compress(json.dumps(data).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read what ``save`` wrote."""
        data = json.loads(gzip.decompress(path.read_bytes()))
        calls: list[Call] = []
        for tree, parent, added, samples in data["calls"]:
            begin: list[int] = []
            if parent is not None:
                begin = [*calls[parent[0]].prompt, *calls[parent[0]].samples[parent[1]]]
            calls.append(
                Call(tree, [*begin, *added], samples, tuple(parent) if parent is not None else None)
            )
        ticks, at = [], 0
        for size in data["ticks"]:
            ticks.append(calls[at : at + size])
            at += size
        return cls(ticks)


def _walk(trie: dict[tuple[int, int], int], node: int, tokens: Sequence[int]) -> int:
    """Follow tokens down a trie of (node, token) -> child, making what is missing."""
    for token in tokens:
        # Nodes are numbered as they are made; the root is 0.
        node = trie.setdefault((node, token), len(trie) + 1)
    return node


class _Recorder(LlamaCppActor):
    """Keeps the tokens of every request and answer."""

    def __init__(self, path: Path, context_tokens: int) -> None:
        super().__init__(path, context_tokens=context_tokens)
        self.ticks: list[list[tuple[list[int], list[list[int]]]]] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        results = super().generate(requests)
        tick = []
        for request, result in zip(requests, results, strict=True):
            prompt = self._prompts.build(request.messages, request.sampling.max_tokens).tokens
            assert prompt is not None
            tick.append((prompt, [list(c.token_ids) for c in result.completions]))
        self.ticks.append(tick)
        return results


def record(recipe_name: str, overrides: Sequence[str]) -> Workload:
    """Search as a recipe says, in one wave, and keep what the model was asked.

    Args:
        recipe_name: the recipe; its model must be one for llama.cpp.
        overrides: ``key=value``, as for ``--set``.
    """
    from agentr_lite.actors.registry import resolve_model

    recipe = load_recipe(recipe_name, list(overrides))
    if len(recipe.env) > 1:
        raise SystemExit("a recording is of one environment")
    env = make_env(recipe.environment.name, recipe.environment.options)
    actor = _Recorder(resolve_model(recipe.model).gguf, recipe.agent.context_tokens)
    context = search_context(recipe, env, 1)
    searches = [TreeSearch(task, context) for task in round_tasks(env.tasks("train"), recipe, 1)]
    try:
        run_wave(searches, actor)
    finally:
        actor.close()
        env.close()
    return _linked(actor.ticks)


def _linked(ticks: Sequence[Sequence[tuple[list[int], list[list[int]]]]]) -> Workload:
    """Find each prompt's parent: the longest earlier prompt and answer that it begins with."""
    ends: dict[tuple[int, ...], tuple[int, int]] = {}
    lengths: set[int] = set()
    trees: list[int] = []
    linked: list[list[Call]] = []
    for tick in ticks:
        row = []
        for prompt, samples in tick:
            parent = next(
                (
                    ends[key]
                    for length in sorted(lengths, reverse=True)
                    if length < len(prompt) and (key := tuple(prompt[:length])) in ends
                ),
                None,
            )
            tree = trees[parent[0]] if parent is not None else max(trees, default=-1) + 1
            number = len(trees)
            trees.append(tree)
            row.append(Call(tree, prompt, samples, parent))
            for index, sample in enumerate(samples):
                key = (*prompt, *sample)
                ends.setdefault(key, (number, index))
                lengths.add(len(key))
        linked.append(row)
    return Workload(linked)
