"""A recorded tree search as a load for engines: all requests in order, with their answers.

A part of ``python -m benchmarks.engine`` and of others. ``record`` records a real search, which can
be replayed on any model. An engine's cost depends on the tree of token prefixes, the lengths of the
answers and the agreement of siblings.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.actors.base import GenerateRequest, GenerateResult
from agentr_lite.actors.llamacpp.actor import LlamaCppActor
from agentr_lite.actors.llamacpp.model import Model
from agentr_lite.actors.registry import STARTER, resolve_model
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.runs.stages.tasks import round_tasks
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave

RECORDED = Path(__file__).parent / "data" / "textcraft_wave.json.gz"
"""One wave of the default recipe with the first starter; from ``benchmarks.engine --record``."""
CONTEXT = 2048
"""``agent.context_tokens`` of that recipe."""


@dataclass(frozen=True)
class Call:
    """The expansion of one node: a prompt and the answers sampled for it."""

    tree: int
    prompt: list[int]
    samples: list[list[int]]
    """Tokens of each answer, with its end-of-turn token."""
    parent: tuple[int, int] | None = None
    """(call, sample) whose prompt and answer are the start of this prompt; calls are numbered over
    all ticks. None: the call is the tree's first."""

    def all_tokens(self) -> list[list[int]]:
        """The prompt and the answers."""
        return [self.prompt, *self.samples]


@dataclass(frozen=True)
class Workload:
    """Ticks of calls; the calls of a tick are sent at the same time."""

    ticks: list[list[Call]]

    @property
    def calls(self) -> list[Call]:
        """All calls, in order."""
        return [call for tick in self.ticks for call in tick]

    @property
    def answer_tokens(self) -> int:
        """Total tokens of all answers."""
        return sum(len(sample) for call in self.calls for sample in call.samples)

    @property
    def nodes(self) -> int:
        """Number of distinct answers; equal siblings become one node."""
        return sum(len(set(map(tuple, call.samples))) for call in self.calls)

    def unique_tokens(self) -> int:
        """Tokens in the trie of all prompts and answers: the least that has to be decoded.

        The last token of an answer is drawn and need not be decoded.
        """
        trie: dict[tuple[int, int], int] = {}
        for call in self.calls:
            prompt = _walk(trie, 0, call.prompt)
            for sample in call.samples:
                _walk(trie, prompt, sample[:-1])
        return len(trie)

    def trees(self, count: int) -> Workload:
        """The load of the first ``count`` trees."""
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
        """The first ``count`` ticks of the search, with all trees side by side."""
        return Workload(self.ticks[:count])

    def one_tree_after_another(self) -> Workload:
        """The same calls, tree by tree, which suits an engine that remembers only one prompt."""
        order = sorted(range(len(self.calls)), key=lambda i: self.calls[i].tree)
        place = {old: new for new, old in enumerate(order)}
        moved = []
        for old in order:
            call = self.calls[old]
            parent = call.parent and (place[call.parent[0]], call.parent[1])
            moved.append([Call(call.tree, call.prompt, call.samples, parent)])
        return Workload(moved)

    def spelled_for(self, path: Path) -> Workload:
        """The same load in tokens that another model has, none of which ends its answers.

        Args:
            path: the model's GGUF file. With the recording's vocabulary, nothing is changed.
        """
        used = {token for call in self.calls for tokens in call.all_tokens() for token in tokens}
        model = Model(path, n_gpu_layers=0)
        try:
            starter = resolve_model(STARTER).gguf
            if path == starter or (model.n_vocab > max(used) and _begins_like(model, starter)):
                return self
            words = [t for t in range(model.n_vocab) if t not in model.end_tokens]
        finally:
            model.close()
        if len(words) <= max(used):
            raise SystemExit(f"{path} has only {len(words):,} tokens, the load {max(used) + 1:,}")
        return Workload(
            [
                [
                    Call(
                        call.tree,
                        [words[t] for t in call.prompt],
                        [[words[t] for t in sample] for sample in call.samples],
                        call.parent,
                    )
                    for call in tick
                ]
                for tick in self.ticks
            ]
        )

    def save(self, path: Path) -> None:
        """Write gzipped JSON, in which a prompt is what it adds to its parent."""
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


def _begins_like(model: Model, other: Path) -> bool:
    """Whether a vocabulary begins with another model's, as the synthetic models' do."""
    known = Model(other, n_gpu_layers=0)
    try:
        some = range(0, known.n_vocab, max(1, known.n_vocab // 64))
        return all(model.token_text(token) == known.token_text(token) for token in some)
    finally:
        known.close()


def _walk(trie: dict[tuple[int, int], int], node: int, tokens: Sequence[int]) -> int:
    """Follow tokens down a trie of (node, token) -> child, and add missing nodes."""
    for token in tokens:
        # Nodes are numbered in the order in which they are added; the root is 0.
        node = trie.setdefault((node, token), len(trie) + 1)
    return node


class _Recorder(LlamaCppActor):
    """Records the tokens of every request and answer."""

    def __init__(self, path: Path, context_tokens: int) -> None:
        super().__init__(path, context_tokens=context_tokens)
        self.ticks: list[list[tuple[list[int], list[list[int]]]]] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        results = super().generate(requests)
        tick = []
        for request, result in zip(requests, results, strict=True):
            prompt = self._encoder.fit(
                request.messages, self.context_tokens - request.sampling.max_tokens
            ).tokens
            assert prompt is not None
            tick.append((prompt, [list(c.token_ids) for c in result.completions]))
        self.ticks.append(tick)
        return results


def record(recipe_name: str, overrides: Sequence[str]) -> Workload:
    """Search with a recipe in one wave, and record all requests to the model.

    Args:
        recipe_name: the recipe; its model must run on llama.cpp.
        overrides: ``key=value``, as for ``--set``.
    """
    recipe = load_recipe(recipe_name, list(overrides))
    if len(recipe.env) > 1:
        raise SystemExit("a recording needs a recipe with one environment")
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
    """Find each prompt's parent: the longest earlier prompt and answer at its start."""
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
