"""Upstream Agent-R's search compared with ours: the same trees, grown in another way.

    python -m benchmarks.upstream --tasks 4

Upstream (arXiv 2501.11425 and its released code) grows one tree at a time. Each candidate of a node
is a separate call with the whole conversation. Each child starts its episode again and repeats it.
Each node keeps the whole conversation. Here, this is done with our model, seeds, selection and
merging. So the trees are equal, unless the model rounds differently in another batch and this
decides a near tie. Only the cost differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.actors.base import Actor, GenerateRequest, GenerateResult, Sampling
from agentr_lite.agent.boundary import guarded_reset
from agentr_lite.agent.conversation import opening_messages, turns
from agentr_lite.agent.step import take_step
from agentr_lite.console.streams import emit, say
from agentr_lite.console.tables import Align, format_table
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.registry import make_env
from agentr_lite.recipe.loading import load_recipe
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.actors import open_actor
from agentr_lite.runs.stages.tasks import round_tasks, train_tasks
from agentr_lite.search.context import search_context
from agentr_lite.search.mcts import action_key, uct_score
from agentr_lite.search.scheduler import TreeSearch, run_wave

Turns = tuple[str, ...]
"""The agent's turns from reset to a node."""


@dataclass(slots=True)
class Cost:
    """The cost of a search."""

    batches: int = 0
    """Number of calls of the model."""
    calls: int = 0
    """Number of conversations in these calls."""
    prompt_tokens: int = 0
    """Prompt tokens in these conversations."""
    decoded_tokens: int = 0
    """Prompt tokens that were really decoded."""
    output_tokens: int = 0
    resets: int = 0
    steps: int = 0
    """Steps of the environment."""
    restores: int = 0
    kept_bytes: int = 0
    """Bytes of text in the trees' nodes."""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    """Processor time of all threads, which varies less than wall time on a busy machine."""
    model_seconds: float = 0.0


class CountingActor:
    """Counts the requests to an actor.

    Args:
        inner: the actor that answers.
        cost: the counters.
        forgetful: forget all prefixes before each call, like a server without a prefix cache.
    """

    def __init__(self, inner: Actor, cost: Cost, *, forgetful: bool = False) -> None:
        self.inner = inner
        self.cost = cost
        self.forgetful = forgetful

    @property
    def usage(self) -> Any:
        """See ``Actor.usage``."""
        return self.inner.usage

    def reset_cache(self) -> None:
        """See ``Actor.reset_cache``."""
        self.inner.reset_cache()

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """See ``Actor.generate``."""
        if self.forgetful:
            self.inner.reset_cache()
        before = dataclasses.replace(self.inner.usage)
        results = self.inner.generate(requests)
        now = self.inner.usage
        self.cost.batches += 1
        self.cost.calls += len(requests)
        self.cost.prompt_tokens += sum(result.prompt_tokens for result in results)
        self.cost.decoded_tokens += now.decoded_prompt_tokens - before.decoded_prompt_tokens
        self.cost.output_tokens += now.output_tokens - before.output_tokens
        self.cost.model_seconds += (now.model_ms - before.model_ms) / 1000
        return results


class CountingEnvironment(Environment):
    """Counts the calls of an environment."""

    def __init__(self, inner: Environment, cost: Cost) -> None:
        self._inner = inner
        self._cost = cost
        self.time_limit_s = inner.time_limit_s

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the inner environment."""
        return self._inner.name

    def tasks(self, split: str) -> Sequence[Task]:
        """See ``Environment.tasks``."""
        return self._inner.tasks(split)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """See ``Environment.reset``."""
        self._cost.resets += 1
        return self._inner.reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        """See ``Environment.step``."""
        self._cost.steps += 1
        return self._inner.step(action)

    def instructions(self, *, brief: bool = False) -> str:
        """See ``Environment.instructions``."""
        return self._inner.instructions(brief=brief)

    def snapshot(self) -> Any:
        """See ``Environment.snapshot``."""
        return self._inner.snapshot()

    def restore(self, snapshot: Any) -> None:
        """See ``Environment.restore``."""
        self._cost.restores += 1
        self._inner.restore(snapshot)


@dataclass(slots=True)
class UpstreamNode:
    """A node as upstream keeps it, with the whole conversation up to it."""

    idx: int
    parent: UpstreamNode | None
    conversation: list[Message]
    steps: list[Step]
    """All actions from reset, which are repeated for each child."""
    reward: float = 0.0
    ended: bool = False
    visits: int = 0
    value_sum: float = 0.0
    closed: bool = False
    expanded: bool = False
    children: list[UpstreamNode] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The mean reward, which ``uct_score`` reads."""
        return self.value_sum / self.visits if self.visits else 0.0


def upstream_search(
    task: Task, env: Environment, actor: Any, recipe: Recipe, round_index: int = 1
) -> list[UpstreamNode]:
    """Grow one tree as upstream does.

    Args:
        task: the task.
        env: the environment.
        actor: the actor, which is asked for one candidate at a time.
        recipe: its ``search``, ``agent`` and ``seed`` are used.
        round_index: part of the seeds.

    Returns:
        The nodes; the root first, children in the order in which they were made.
    """
    settings = recipe.search
    first = guarded_reset(env, task)
    instructions = env.instructions(brief=recipe.agent.brief)
    root = UpstreamNode(0, None, opening_messages(Opening(instructions, first)), [])
    nodes = [root]
    simulations = 0
    while simulations < settings.simulations and not root.closed:
        node = root
        while not node.ended:
            if not node.expanded:
                _expand(node, nodes, task, env, actor, recipe, round_index)
            open_ones = [child for child in node.children if not child.closed]
            if not open_ones:
                break
            fresh = next((child for child in open_ones if child.visits == 0), None)
            node = fresh or max(open_ones, key=lambda child: uct_score(child, settings.c))  # type: ignore[arg-type]
        if node.ended:
            _back_up(node)
            simulations += 1
        _close(node)
    return nodes


def _expand(
    node: UpstreamNode,
    nodes: list[UpstreamNode],
    task: Task,
    env: Environment,
    actor: Any,
    recipe: Recipe,
    round_index: int,
) -> None:
    settings = recipe.search
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        max_tokens=recipe.agent.max_tokens,
    )
    texts = []
    for sample in range(settings.width):
        seed = stream_seed(recipe.seed, "search", round_index, task.name, node.idx, sample)
        [result] = actor.generate([GenerateRequest(node.conversation, (seed,), sampling)])
        texts.append(result.completions[0].text)
    known: set[tuple[str, str]] = set()
    for text in texts:
        if action_key(text) in known:
            continue
        known.add(action_key(text))
        # There are no snapshots: the episode starts again and is repeated for every child.
        guarded_reset(env, task)
        for done in node.steps:
            take_step(env, done.text)
        step = take_step(env, text)
        depth = len(node.steps) + 1
        child = UpstreamNode(
            len(nodes),
            node,
            [*node.conversation, *turns([step])],
            [*node.steps, step],
            reward=step.reward if step.kind == "act" else node.reward,
            ended=step.terminated or step.truncated or depth >= settings.depth,
        )
        nodes.append(child)
        node.children.append(child)
    node.expanded = True


def _back_up(leaf: UpstreamNode) -> None:
    leaf.closed = True
    node: UpstreamNode | None = leaf
    while node is not None:
        node.visits += 1
        node.value_sum += leaf.reward
        node = node.parent


def _close(node: UpstreamNode | None) -> None:
    """Close nodes whose children are all closed."""
    while node is not None:
        if not node.ended and not (node.expanded and all(c.closed for c in node.children)):
            return
        node.closed = True
        node = node.parent


def run_upstream(
    tasks: Sequence[Task], env: Environment, actor: Actor, recipe: Recipe, *, forgetful: bool
) -> tuple[Cost, list[list[Turns]]]:
    """Search all tasks as upstream does; returns the cost and each tree's turns."""
    cost = Cost()
    asked, played = CountingActor(actor, cost, forgetful=forgetful), CountingEnvironment(env, cost)
    started, worked = time.perf_counter(), time.process_time()
    trees = []
    for task in tasks:
        actor.reset_cache()
        nodes = upstream_search(task, played, asked, recipe)
        cost.kept_bytes += sum(
            len(message["content"].encode()) for node in nodes for message in node.conversation
        )
        trees.append([tuple(step.text for step in node.steps) for node in nodes])
    cost.seconds = time.perf_counter() - started
    cost.processor_seconds = time.process_time() - worked
    return cost, trees


def run_ours(
    tasks: Sequence[Task], env: Environment, actor: Actor, recipe: Recipe
) -> tuple[Cost, list[list[Turns]]]:
    """Search all tasks in lockstep, as we do; returns the cost and each tree's turns."""
    cost = Cost()
    context = search_context(recipe, CountingEnvironment(env, cost), 1)
    started, worked = time.perf_counter(), time.process_time()
    searches = [TreeSearch(task, context) for task in tasks]
    run_wave(searches, CountingActor(actor, cost))  # type: ignore[arg-type]
    cost.seconds = time.perf_counter() - started
    cost.processor_seconds = time.process_time() - worked
    for search in searches:
        opened = [search.tree.instructions, search.tree.root.observation]
        said = [part for node in search.tree.nodes[1:] for part in _own(node.step)]
        cost.kept_bytes += sum(len(text.encode()) for text in [*opened, *said])
    return cost, [
        [tuple(s.text for s in n.steps()) for n in search.tree.nodes] for search in searches
    ]


def _own(step: Step | None) -> tuple[str, ...]:
    return () if step is None else (step.text, step.observation)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.upstream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", default="textcraft", help="run recipe [default: %(default)s]")
    parser.add_argument("--tasks", type=int, default=4, help="trees [default: %(default)s]")
    parser.add_argument("-k", "--simulations", type=int, default=8)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    options = parser.parse_args(arguments)
    budget = [f"search.{key}={getattr(options, key)}" for key in ("simulations", "width", "depth")]
    recipe = load_recipe(
        options.recipe, [*budget, f"search.tasks={options.tasks}", *options.overrides]
    )
    with closing(make_env(recipe.environment.name, recipe.environment.options)) as env:
        tasks = round_tasks(train_tasks(env), recipe, 1)
        ways: list[tuple[str, Callable[[Actor], tuple[Cost, list[list[Turns]]]]]] = [
            ("ours", lambda actor: run_ours(tasks, env, actor, recipe)),
            (
                "upstream's way, prefixes kept",
                lambda actor: run_upstream(tasks, env, actor, recipe, forgetful=False),
            ),
            (
                "upstream's way",
                lambda actor: run_upstream(tasks, env, actor, recipe, forgetful=True),
            ),
        ]
        results = {}
        for name, way in ways:
            with closing(open_actor(recipe)) as actor:
                results[name] = way(actor)
            say(f"{name}: {results[name][0].seconds:.1f} s")
    emit(report(results, recipe, len(tasks)))
    return 0


def report(results: dict[str, tuple[Cost, list[list[Turns]]]], recipe: Recipe, trees: int) -> str:
    """The table: our search first, the others also as multiples of it.

    Args:
        results: way to cost and trees.
        recipe: the recipe of the search.
        trees: number of trees.
    """
    ours, own_trees = next(iter(results.values()))
    columns = ["", *results]
    lines: list[tuple[str, Callable[[Cost], float], str]] = [
        ("times the model was asked", lambda c: c.batches, ",.0f"),
        ("conversations", lambda c: c.calls, ",.0f"),
        ("prompt tokens in them", lambda c: c.prompt_tokens, ",.0f"),
        ("prompt tokens decoded", lambda c: c.decoded_tokens, ",.0f"),
        ("tokens generated", lambda c: c.output_tokens, ",.0f"),
        ("environment steps", lambda c: c.steps, ",.0f"),
        ("environment resets", lambda c: c.resets, ",.0f"),
        ("snapshots restored", lambda c: c.restores, ",.0f"),
        ("text kept, kB", lambda c: c.kept_bytes / 1000, ",.0f"),
        ("seconds in the model", lambda c: c.model_seconds, ",.1f"),
        ("seconds", lambda c: c.seconds, ",.1f"),
        ("processor seconds", lambda c: c.processor_seconds, ",.1f"),
    ]
    rows: list[list[str]] = []
    for name, value, form in lines:
        row = [name]
        for cost, _ in results.values():
            text = format(value(cost), form)
            multiple = value(cost) / value(ours) if value(ours) else 0.0
            row.append(text if cost is ours or not multiple else f"{text} ({multiple:.1f} x)")
        rows.append(row)
    nodes = [str(sum(len(tree) for tree in mine)) for _, mine in results.values()]
    rows.append(["nodes", *nodes])
    equal = [
        sum(mine == theirs for mine, theirs in zip(own_trees, others, strict=True))
        for _, others in results.values()
    ]
    rows.append(["trees equal to ours", *(f"{count} of {trees}" for count in equal)])
    search = recipe.search
    head = (
        f"{recipe.env_label}, {trees} trees: k = {search.simulations}, width {search.width},"
        f" depth {search.depth}; sums over all trees"
    )
    sides: list[Align] = ["left", *(["right"] * len(results))]  # type: ignore[list-item]
    aligned = format_table(columns, rows, align=sides)
    return f"{head}\n\n{aligned}"


if __name__ == "__main__":
    sys.exit(main())
