"""Grows a recorded search to any number of nodes; a part of ``python -m benchmarks.nodes``.

Roots, groups of sibling answers (and so how often siblings agree), observations and the length of
simulations are drawn from the recording. No conversation becomes longer than in the recording. Each
simulation starts from a leaf that is drawn evenly from the tree's open leaves.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from benchmarks.workload import Call, Workload


@dataclass
class _Tree:
    """A tree during its growth."""

    root: list[int]
    begun: bool = False
    leaves: list[tuple[int, int]] = field(default_factory=list)
    """(call, sample) of distinct answers that have not been continued."""
    leaf: tuple[int, int] | None = None
    """The answers from which the current simulation continues."""
    steps_left: int = 0


def grown(recorded: Workload, nodes: int, *, trees: int, seed: int = 1) -> Workload:
    """Grow a search whose distinct answers are ``nodes`` nodes of trees in lockstep.

    Args:
        recorded: the recording from which all parts are drawn.
        nodes: minimum number of nodes.
        trees: number of trees side by side.
        seed: seed of all draws.

    Raises:
        ValueError: no tree can grow further; more trees are needed.
    """
    rng = random.Random(seed)
    pieces = _Pieces(recorded)
    # Use every root before repeating one: equal roots would be one prefix.
    roots = rng.sample(pieces.roots, len(pieces.roots))
    forest = [_Tree(roots[number % len(roots)]) for number in range(trees)]
    calls: list[Call] = []
    ticks: list[list[Call]] = []
    count = 0
    while count < nodes:
        tick = []
        for number, tree in enumerate(forest):
            call = _next_call(number, tree, calls, pieces, rng)
            if call is None:
                continue
            index = len(calls)
            calls.append(call)
            tick.append(call)
            first = {tuple(tokens): k for k, tokens in reversed([*enumerate(call.samples)])}
            new = [(index, k) for k in sorted(first.values())]
            count += len(new)
            tree.leaf = rng.choice(new)
            tree.leaves += [leaf for leaf in new if leaf != tree.leaf]
        if not tick:
            raise ValueError(f"{trees} trees end at {count} nodes")
        ticks.append(tick)
    return Workload(ticks)


class _Pieces:
    """The parts of a recording."""

    def __init__(self, recorded: Workload) -> None:
        calls = recorded.calls
        self.roots = [call.prompt for call in calls if call.parent is None]
        self.answers = [call.samples for call in calls]
        self.longest = max(len(call.prompt) for call in calls)
        """Maximum tokens of a prompt; beyond them, an episode ends."""
        self.observations: list[list[int]] = []
        simulations: list[int] = []
        last: dict[int, int] = {}  # tree to its last call
        current: dict[int, int] = {}  # tree to the current simulation
        for index, call in enumerate(calls):
            if call.parent is not None:
                parent, sample = call.parent
                known = len(calls[parent].prompt) + len(calls[parent].samples[sample])
                self.observations.append(call.prompt[known:])
            if call.parent is None or last.get(call.tree) != call.parent[0]:
                current[call.tree] = len(simulations)
                simulations.append(0)
            simulations[current[call.tree]] += 1
            last[call.tree] = index
        self.simulations = simulations
        """Number of calls of each simulation."""


def _next_call(
    number: int,
    tree: _Tree,
    calls: list[Call],
    pieces: _Pieces,
    rng: random.Random,
) -> Call | None:
    """The next expansion of a tree; None: no leaf can be expanded."""
    answers = rng.choice(pieces.answers)
    if not tree.begun:
        tree.begun = True
        tree.steps_left = rng.choice(pieces.simulations) - 1
        return Call(number, tree.root, answers)
    while tree.leaf is not None or tree.leaves:
        leaf = tree.leaf
        tree.leaf = None
        if leaf is not None and tree.steps_left == 0:
            tree.leaves.append(leaf)
            leaf = None
        if leaf is None:
            at = rng.randrange(len(tree.leaves))
            tree.leaves[at], tree.leaves[-1] = tree.leaves[-1], tree.leaves[at]
            leaf = tree.leaves.pop()
            tree.steps_left = rng.choice(pieces.simulations)
        tree.steps_left -= 1
        parent, sample = leaf
        prompt = [
            *calls[parent].prompt,
            *calls[parent].samples[sample],
            *rng.choice(pieces.observations),
        ]
        if len(prompt) <= pieces.longest:
            return Call(number, prompt, answers, leaf)
        tree.steps_left = 0  # too deep: the episode ends here
    return None
