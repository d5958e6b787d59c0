"""A search tree in memory: the data that ``mcts`` works on.

    node 0 (root)                       idx counts nodes in the order they were made
    ├── node 1  "get 2 oak logs"  ×3    ×3: merged, candidates with the same action
    │   ├── node 3  "craft 4 planks"    its conversation: the turns of nodes 1 and 3
    │   └── node 4  "inventory"  ■      ■: terminated or truncated; no children
    └── node 2  "inventory"  ×1         sampled of node 0 = 3 + 1, its children's merged

A node holds its own turn only; its conversation is the path from the root.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from agentr_lite.agent.state import State
from agentr_lite.core.steps import Step, StepKind
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import ModelCall


class Node:
    """One turn of the agent and the state it led to.

    Attributes:
        idx: position in ``Tree.nodes``, from 0; parents come before their children.
        parent: None at the root.
        depth: turns from the root; 0 at the root.
        kind: ``root``, ``act``, ``reflect`` (a revision turn) or ``none`` (no action).
        step: what was said and done, as the environment answered it; None at the root.
        observation: what the agent saw after it.
        reward: of the episode if it ended here, in [0, 1]. A turn that the environment never saw
            keeps its parent's.
        terminated: the environment ended the episode.
        truncated: the episode was cut: by the environment, by the depth limit, or because the
            conversation no longer fits the model.
        visits: simulations that ended at or below this node, >= 0.
        value_sum: sum of their rewards, in [0, visits].
        merged: sampled candidates with this action, >= 1; 0 at the root.
        sampled: candidates asked for here so far, >= 0.
        closed: nothing below is left to visit.
        children: in the order they were first sampled.
        state: from which the episode goes on; None once no more children can come.
    """

    __slots__ = (
        "children",
        "closed",
        "depth",
        "idx",
        "kind",
        "merged",
        "observation",
        "parent",
        "reward",
        "sampled",
        "state",
        "step",
        "terminated",
        "truncated",
        "value_sum",
        "visits",
    )

    def __init__(
        self,
        idx: int,
        parent: Node | None,
        step: Step | None,
        observation: str,
        *,
        state: State | None = None,
    ) -> None:
        self.idx = idx
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.kind: Literal["root"] | StepKind = "root" if step is None else step.kind
        self.step = step
        self.observation = observation
        self.reward = 0.0 if step is None else step.reward
        self.terminated = step is not None and step.terminated
        self.truncated = step is not None and step.truncated
        self.visits = 0
        self.value_sum = 0.0
        self.merged = 0 if step is None else 1
        self.sampled = 0
        self.closed = False
        self.children: list[Node] = []
        self.state = state

    @property
    def ended(self) -> bool:
        """Whether the episode is over here."""
        return self.terminated or self.truncated

    @property
    def value(self) -> float:
        """Mean reward over the visits, in [0, 1]; 0 before the first visit."""
        return self.value_sum / self.visits if self.visits else 0.0

    @property
    def outcome(self) -> Step | None:
        """``step`` with the node's own ``reward`` and ``truncated``: what is stored of it."""
        if self.step is None:
            return None
        return dataclasses.replace(self.step, reward=self.reward, truncated=self.truncated)

    def path(self) -> list[Node]:
        """The nodes from the root to this one, both included."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def steps(self) -> list[Step]:
        """The turns from the root to this node."""
        return [node.step for node in self.path() if node.step is not None]


class Tree:
    """A task's tree.

    Attributes:
        task: what is searched.
        instructions: the system prompt.
        nodes: by ``idx``; the root first.
        calls: the model calls that made them, in order; one for each expansion.
        simulations: simulations that reached a terminal node; equals ``root.visits``.
        error: why the search of this task failed; None where it did not.
    """

    __slots__ = ("calls", "error", "instructions", "nodes", "simulations", "task")

    def __init__(self, task: Task, instructions: str, observation: str) -> None:
        self.task = task
        self.instructions = instructions
        self.nodes = [Node(0, None, None, observation)]
        self.calls: list[ModelCall] = []
        self.simulations = 0
        self.error: str | None = None

    @property
    def root(self) -> Node:
        """Where the episode begins."""
        return self.nodes[0]

    def add(self, parent: Node, step: Step, *, state: State | None = None) -> Node:
        """Append a child to ``parent``."""
        node = Node(len(self.nodes), parent, step, step.observation, state=state)
        if step.kind != "act":
            # The environment saw nothing, so the episode keeps what it had earned.
            node.reward = parent.reward
        self.nodes.append(node)
        parent.children.append(node)
        return node
