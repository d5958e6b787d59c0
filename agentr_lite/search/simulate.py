"""One tree's search as a coroutine: it says what it wants generated and goes on with the answer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

from agentr_lite.actors.base import Completion, GenerateRequest, GenerateResult, Sampling
from agentr_lite.agent.boundary import environment_boundary, guarded_reset
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.grammar import turn_grammar
from agentr_lite.agent.step import take_step
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, Snapshot
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.search.mcts import (
    Select,
    action_key,
    backward,
    close_exhausted,
    merge_candidates,
    open_children,
    samples_wanted,
    select_uct,
)
from agentr_lite.search.tree import Node, Tree
from agentr_lite.store.trees import NewCall

Wants = Generator[GenerateRequest, GenerateResult, None]


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What all trees of a round share."""

    env: Environment
    """One instance serves all trees: every step begins with ``restore``."""
    instructions: str
    settings: SearchSettings
    sampling: Sampling
    seed: int
    """The run's seed."""
    round_index: int


def search_context(recipe: Recipe, env: Environment, round_index: int) -> SearchContext:
    """The context that a recipe asks for.

    Raises:
        EnvironmentFault: the environment has no instructions.
    """
    with environment_boundary(env, "instructions()"):
        instructions = env.instructions(brief=recipe.agent.brief)
    settings = recipe.search
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        max_tokens=recipe.agent.max_tokens,
        grammar=turn_grammar(recipe.agent.grammar, env),
    )
    return SearchContext(env, instructions, settings, sampling, recipe.seed, round_index)


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
            select: which child to go on with; default: UCT with the recipe's ``c``.
        """
        self.tree = Tree(task, context.instructions, "")
        self._context = context
        self._select = select or partial(select_uct, c=context.settings.c)
        self._wants = self._run()
        self.wanted: GenerateRequest | None = next(self._wants, None)

    def feed(self, result: GenerateResult) -> None:
        """Go on with the answer to ``wanted``."""
        try:
            self.wanted = self._wants.send(result)
        except StopIteration:
            self.wanted = None

    def _run(self) -> Wants:
        tree, settings = self.tree, self._context.settings
        try:
            self._reset()
            while tree.simulations < settings.simulations and not tree.root.closed:
                yield from self._simulate()
        except EnvironmentFault as fault:
            # A broken environment costs its task, not the run; the nodes so far are true.
            tree.error = fault.message
        if tree.error is None:
            tree.error = _silence(tree)

    def _reset(self) -> None:
        env, task = self._context.env, self.tree.task
        self.tree.root.observation = guarded_reset(env, task)
        with environment_boundary(env, "snapshot()"):
            self.tree.root.snapshot = env.snapshot()

    def _simulate(self) -> Wants:
        """Walk from the root to a terminal node, expanding on the way, and back it up."""
        settings = self._context.settings
        node = self.tree.root
        while not node.ended:
            missing = samples_wanted(node, settings.width, settings.descent)
            if missing:
                result = yield self._request(node, missing)
                self._expand(node, result)
            if not open_children(node):
                # Every new candidate repeated a child that is closed: nothing is left here.
                close_exhausted(node, settings.width)
                return
            node = self._select(node)
        backward(node)
        close_exhausted(node, settings.width)
        self.tree.simulations += 1

    def _request(self, node: Node, samples: int) -> GenerateRequest:
        context, tree = self._context, self.tree
        messages = conversation(tree.instructions, tree.root.observation, node.steps())
        seeds = tuple(
            stream_seed(
                context.seed, "search", context.round_index, tree.task.name, node.idx, sample
            )
            for sample in range(node.sampled, node.sampled + samples)
        )
        return GenerateRequest(messages, seeds, context.sampling)

    def _expand(self, node: Node, result: GenerateResult) -> None:
        """Turn completions into children: merge by action, then one environment step each."""
        tree, settings = self.tree, self._context.settings
        seeds = () if self.wanted is None else self.wanted.seeds
        tree.calls.append(NewCall.answered(node.idx, seeds, result))
        if all(completion.finish_reason == "overflow" for completion in result.completions):
            self._cut_off(node, result.completions)
            return
        texts = [completion.text for completion in result.completions]
        for text, count in merge_candidates(node, texts, merge=settings.merge):
            step, snapshot = self._step(node, text)
            child = tree.add(node, step, snapshot=snapshot)
            child.merged = count
            # At the depth limit the episode is cut and keeps the reward it stands at.
            child.truncated |= child.depth >= settings.depth and not child.terminated
            if child.ended:
                child.snapshot = None
        if node.sampled >= settings.width:
            node.snapshot = None

    def _cut_off(self, node: Node, completions: tuple[Completion, ...]) -> None:
        """The conversation does not fit the model any more: the episode is truncated here."""
        # Asking again would be in vain: as good as fully expanded.
        node.sampled = max(node.sampled + len(completions), self._context.settings.width)
        step = Step(
            "",
            None,
            "The conversation no longer fits the model's context.",
            truncated=True,
            invalid=True,
            kind="none",
        )
        self.tree.add(node, step).merged = len(completions)
        node.snapshot = None

    def _step(self, node: Node, text: str) -> tuple[Step, Snapshot]:
        env = self._context.env
        if action_key(text)[0] != "act":
            return take_step(env, text), node.snapshot
        with environment_boundary(env, "restore()"):
            env.restore(node.snapshot)
        step = take_step(env, text)
        with environment_boundary(env, "snapshot()"):
            return step, env.snapshot()


def _silence(tree: Tree) -> str | None:
    """The error of a tree in which no turn ever held an action."""
    turns = sum(node.merged for node in tree.nodes)
    if turns and all(node.kind in ("root", "none") for node in tree.nodes):
        return f"no action in {turns} turns"
    return None
