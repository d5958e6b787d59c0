"""Monte Carlo tree search over agent turns: select, expand, simulate, backward, in this order.

    search_tree ─▶ simulate ─▶ expand   candidates from the model, one environment step each
                      │  ▲        │
                      │  └─ select ◀┘   the child to continue with, until the episode ends
                      └──▶ backward     the reward to every node of the path

No model is called here: ``simulate`` is a coroutine that yields what it wants generated and is sent
the answer, so that ``scheduler`` can ask for many trees in one batch.

Both descents use the same functions. They differ in how many candidates a node gets:

* ``paper``: every node on the way down gets ``width`` candidates, so each simulation expands all
  levels from where it leaves the known tree to a terminal node.
* ``textbook``: only nodes that an earlier simulation has visited (and the root) get ``width``;
  beyond them the walk is a rollout with one candidate a node. The rollout's nodes stay in the tree:
  they cost nothing extra, their trajectory is there to be spliced, and when a later simulation
  comes back to one of them, the candidate it has counts as the first of its ``width``.

Source: Agent-R (arXiv 2501.11425) section 3.1; UCT: Kocsis and Szepesvári 2006. The separation
into select, expand and backward follows google-deepmind/mctx.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Literal

from agentr_lite.actors.base import Completion, GenerateRequest, GenerateResult
from agentr_lite.agent.boundary import guarded_reset
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.state import State, enter_state, take_state
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import PLAIN, AnswerFormat, is_reflection, parse_action
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.openings import Opening
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step, StepKind
from agentr_lite.search.context import SearchContext
from agentr_lite.search.tree import Node, Tree

Descent = Literal["paper", "textbook"]

Select = Callable[[Node], Node]
"""The open child to continue with; called with a node that has at least one."""

Requests = Generator[GenerateRequest, GenerateResult, None]
"""A coroutine that yields what it wants generated and is sent the answer."""

ActionKey = tuple[StepKind, str]


def search_tree(tree: Tree, context: SearchContext, select: Select) -> Requests:
    """Reset the environment and simulate until the budget is used or everything is visited.

    Args:
        tree: with its root alone; it grows in place.
        context: settings that all trees share.
        select: which child to continue with.
    """
    env, settings = context.env, context.settings
    try:
        tree.root.observation = guarded_reset(env, tree.task)
        tree.root.state = take_state(env, context.grammar)
        while tree.simulations < settings.simulations and not tree.root.closed:
            yield from simulate(tree, context, select)
    except EnvironmentFault as fault:
        # A broken environment costs its task, not the run; the nodes so far are true.
        tree.error = fault.message
    if tree.error is None:
        tree.error = _error_without_actions(tree)


# Select


def uct_score(node: Node, c: float) -> float:
    """``Q + c sqrt(ln N_parent / N)`` of a visited node.

    Args:
        node: a visited node other than the root.
        c: exploration constant, >= 0.
    """
    parent_visits = node.parent.visits if node.parent else node.visits
    return node.value + c * math.sqrt(math.log(parent_visits) / node.visits)


def select_uct(node: Node, c: float) -> Node:
    """The open child to continue with: unvisited ones first, then the highest UCT score.

    Ties go to the child that was sampled first.

    Args:
        node: a node with at least one open child.
        c: exploration constant, >= 0.

    Raises:
        ValueError: no open child.
    """
    candidates = open_children(node)
    if not candidates:
        raise ValueError(f"node {node.idx} has no open child to select")
    for child in candidates:
        if child.visits == 0:
            return child
    return max(candidates, key=lambda child: uct_score(child, c))


def open_children(node: Node) -> list[Node]:
    """Children below which something is left to visit, in order."""
    return [child for child in node.children if not child.closed]


# Expand


def samples_wanted(node: Node, width: int, descent: Descent) -> int:
    """How many more candidates a node needs before a child of it can be selected.

    Args:
        node: a node at which the episode has not ended.
        width: candidates of a fully expanded node.
        descent: see the module's docstring.
    """
    in_tree = descent == "paper" or node.visits > 0 or node.parent is None
    return max(0, (width if in_tree else 1) - node.sampled)


def expansion_request(
    tree: Tree, node: Node, samples: int, context: SearchContext
) -> GenerateRequest:
    """Ask for candidates: the conversation up to ``node``, and one seed a candidate.

    A candidate's seed depends on its place in the tree alone, not on when it is asked for.
    """
    seeds = tuple(
        stream_seed(context.seed, "search", context.round_index, tree.task.name, node.idx, sample)
        for sample in range(node.sampled, node.sampled + samples)
    )
    opening = Opening(tree.instructions, tree.root.observation, context.examples)
    messages = conversation(opening, node.steps())
    grammar = node.state.grammar if node.state else ""
    return GenerateRequest(messages, seeds, replace(context.sampling, grammar=grammar))


def expand(
    tree: Tree,
    node: Node,
    request: GenerateRequest,
    result: GenerateResult,
    context: SearchContext,
) -> None:
    """Turn completions into children: merge them by action, then one environment step each.

    Args:
        tree: the tree of ``node``.
        node: what is expanded.
        request: from ``expansion_request``.
        result: the answer to it.
        context: settings that all trees share.

    Raises:
        EnvironmentFault: the environment's code failed.
    """
    settings = context.settings
    tree.calls.append(result.call(node.idx, request.seeds))
    if all(completion.finish_reason == "overflow" for completion in result.completions):
        _truncate(tree, node, result.completions, settings.width)
        return
    texts = [completion.text for completion in result.completions]
    # Of equal texts the first one's tokens count, as everything else of it does.
    drawn = {answer.text: answer for answer in reversed(result.completions)}
    for text, count in merge_candidates(node, texts, merge=settings.merge, form=context.form):
        step, state = _step_from(node, drawn[text], context)
        child = tree.add(node, step, state=state)
        child.merged = count
        # At the depth limit the episode is cut and keeps the reward it has earned.
        child.truncated |= child.depth >= settings.depth and not child.terminated
        if child.ended:
            child.state = None
    if node.sampled >= settings.width:
        node.state = None


def merge_candidates(
    node: Node, texts: Sequence[str], *, merge: bool = True, form: AnswerFormat = PLAIN
) -> list[tuple[str, int]]:
    """Count candidates that repeat a child's action, and group the rest by action.

    Args:
        node: the node being expanded; its children's ``merged`` and its ``sampled`` are counted up.
        texts: sampled turns, in order.
        merge: off: every candidate is a new one.
        form: how actions are read from turns.

    Returns:
        (text, how many candidates have its action) for each new action; the first text is kept.
    """
    node.sampled += len(texts)
    if not merge:
        return [(text, 1) for text in texts]
    children = {action_key(child.step.text, form): child for child in node.children if child.step}
    new: dict[ActionKey, tuple[str, int]] = {}
    for text in texts:
        key = action_key(text, form)
        if key in children:
            children[key].merged += 1
        else:
            first, count = new.get(key, (text, 0))
            new[key] = (first, count + 1)
    return list(new.values())


def action_key(text: str, form: AnswerFormat = PLAIN) -> ActionKey:
    """What siblings are merged by: the action without differences in white space.

    All turns without an action are alike to the environment, and so are all revision turns.
    """
    action = parse_action(text, form)
    if action is None:
        return ("none", "")
    if is_reflection(action):
        return ("reflect", "")
    return ("act", " ".join(action.split()))


def _step_from(node: Node, turn: Completion, context: SearchContext) -> tuple[Step, State | None]:
    """Carry out a turn in a node's state; returns it with the state after it, unless that ends."""
    env, form, state = context.env, context.form, node.state
    takes_action = action_key(turn.text, form)[0] == "act"
    if takes_action and state is not None:
        enter_state(env, state)
    step = take_step(env, turn.text, turn.drawn_ids, turn.thinking, form=form)
    if takes_action:
        state = None if step.ended else take_state(env, context.grammar)
    return step, state


def _truncate(tree: Tree, node: Node, completions: Sequence[Completion], width: int) -> None:
    """End the episode below a node whose conversation no longer fits the model."""
    # Asking again would change nothing, so the node counts as fully expanded.
    node.sampled = max(node.sampled + len(completions), width)
    step = Step(
        "",
        None,
        "The conversation no longer fits the model's context.",
        truncated=True,
        invalid=True,
        kind="none",
    )
    tree.add(node, step).merged = len(completions)
    node.state = None


# Simulate


def simulate(tree: Tree, context: SearchContext, select: Select) -> Requests:
    """Walk from the root to a terminal node, expanding on the way, and back its reward up.

    Args:
        tree: grows in place.
        context: settings that all trees share.
        select: which child to continue with.

    Raises:
        EnvironmentFault: the environment's code failed.
    """
    settings = context.settings
    node = tree.root
    while not node.ended:
        samples = samples_wanted(node, settings.width, settings.descent)
        if samples:
            request = expansion_request(tree, node, samples, context)
            result = yield request
            expand(tree, node, request, result, context)
        if not open_children(node):
            # Every new candidate repeated a child that is closed: nothing is left here.
            close_exhausted(node, settings.width)
            return
        node = select(node)
    backward(node)
    close_exhausted(node, settings.width)
    tree.simulations += 1


# Backward


def backward(leaf: Node) -> None:
    """Add a terminal node's reward to every node from it to the root, and close the leaf.

    Args:
        leaf: a node where the episode ended; it is never selected again.
    """
    for node in reversed(leaf.path()):
        node.visits += 1
        node.value_sum += leaf.reward
    leaf.closed = True


def close_exhausted(node: Node, width: int) -> None:
    """Close ``node`` and its ancestors as far as all of their children are closed.

    Args:
        node: where to begin.
        width: candidates of a fully expanded node; one with fewer stays open, because a later
            simulation will sample more.
    """
    current: Node | None = node
    while current is not None:
        if not current.ended and (current.sampled < width or open_children(current)):
            return
        current.closed = True
        current.state = None
        current = current.parent


def _error_without_actions(tree: Tree) -> str | None:
    """The error of a tree in which no turn ever held an action; None for any other tree."""
    turns = sum(node.merged for node in tree.nodes)
    if turns and all(node.kind in ("root", "none") for node in tree.nodes):
        return f"no action in {turns} turns"
    return None
