"""A search tree in memory. A node holds its own turn; its conversation is the path to the root."""

from __future__ import annotations

from typing import Any

from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Snapshot
from agentr_lite.store.records import NodeKind, NodeRow
from agentr_lite.store.trees import NewCall


class Node:
    """One turn of the agent and the state it led to.

    Attributes:
        idx: position in ``Tree.nodes``; parents come before their children.
        parent: None at the root.
        depth: turns from the root.
        kind: ``root``, ``act``, ``reflect`` (a revision turn) or ``none`` (no action found).
        step: what was said and done; None at the root.
        observation: what the agent saw after it.
        reward: of the episode if it ended here, in [0, 1].
        terminated: the environment ended the episode.
        truncated: the episode was cut: by the environment, by the depth limit, or because the
            conversation no longer fits the model.
        visits: simulations that ended at or below this node.
        value_sum: sum of their rewards.
        merged: sampled candidates with this action; 0 at the root.
        sampled: candidates asked for here so far.
        closed: nothing below is left to visit.
        children: in the order they were first sampled.
        snapshot: the environment's state; None once no more children can come.
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
        "snapshot",
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
        snapshot: Snapshot = None,
    ) -> None:
        self.idx = idx
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.kind: NodeKind = "root" if step is None else step.kind
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
        self.snapshot: Any = snapshot

    @property
    def ended(self) -> bool:
        """Whether the episode is over here."""
        return self.terminated or self.truncated

    @property
    def value(self) -> float:
        """Mean reward over the visits; 0 before the first."""
        return self.value_sum / self.visits if self.visits else 0.0

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

    def to_row(self, tree_id: int = 0) -> NodeRow:
        """The node as the store keeps it."""
        step = self.step
        return NodeRow(
            tree_id=tree_id,
            idx=self.idx,
            parent_idx=None if self.parent is None else self.parent.idx,
            depth=self.depth,
            kind=self.kind,
            action=None if step is None else step.action,
            text="" if step is None else step.text,
            observation=self.observation,
            reward=self.reward,
            terminated=self.terminated,
            truncated=self.truncated,
            invalid=step is not None and step.invalid,
            disaster=step is not None and step.disaster,
            visits=self.visits,
            value_sum=self.value_sum,
            merged=self.merged,
        )


class Tree:
    """A task's tree.

    Attributes:
        task: what is searched.
        instructions: the system prompt.
        nodes: by ``idx``; the root first.
        calls: the model calls that made them, in order.
        simulations: simulations that reached a terminal node.
        error: why the search of this task failed; None where it did not.
    """

    __slots__ = ("calls", "error", "instructions", "nodes", "simulations", "task")

    def __init__(
        self, task: Task, instructions: str, observation: str, *, snapshot: Snapshot = None
    ) -> None:
        self.task = task
        self.instructions = instructions
        self.nodes = [Node(0, None, None, observation, snapshot=snapshot)]
        self.calls: list[NewCall] = []
        self.simulations = 0
        self.error: str | None = None

    @property
    def root(self) -> Node:
        """Where the episode begins."""
        return self.nodes[0]

    def add(self, parent: Node, step: Step, *, snapshot: Snapshot = None) -> Node:
        """Append a child to ``parent``."""
        node = Node(len(self.nodes), parent, step, step.observation, snapshot=snapshot)
        if step.kind != "act":
            # The environment saw nothing: the episode still stands at what it had earned.
            node.reward = parent.reward
        self.nodes.append(node)
        parent.children.append(node)
        return node
