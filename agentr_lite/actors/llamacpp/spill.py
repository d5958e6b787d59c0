"""What was evicted from the cache but kept in RAM, within a budget of bytes.

Copying a prefix's cells out and back takes milliseconds where computing them takes seconds, so an
evicted prefix is worth keeping as long as there is memory for it.
"""

from __future__ import annotations

from agentr_lite.actors.llamacpp.nodes import CellBytes, Node, Saved


class Spill:
    """The nodes of one prefix tree whose cells are in RAM, oldest first.

    Nodes are evicted from the leaves up, so a node is always younger here than those below it: the
    oldest has no children.

    Attributes:
        budget_bytes: most that may be held; 0 = nothing is kept.
        used_bytes: what is held.
        spilled_tokens: tokens put here since the beginning.
        restored_tokens: tokens brought back since the beginning.
    """

    def __init__(self, budget_bytes: int = 0) -> None:
        self.budget_bytes = budget_bytes
        self.spilled_tokens = 0
        self.restored_tokens = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything that is held."""
        self.used_bytes = 0
        # A dictionary for its order.
        self._nodes: dict[Node, None] = {}

    def __contains__(self, node: Node) -> bool:
        return node in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def put(self, node: Node, data: CellBytes) -> None:
        """Hold a node's cells; may exceed the budget until ``over_budget`` is heeded."""
        self._hold(node, Saved(data, len(node.tokens)))
        self.used_bytes += data.nbytes
        self.spilled_tokens += len(node.tokens)

    def drop(self, node: Node) -> None:
        """Let go of a node's cells: they are in the cache again, or nobody wants them."""
        saved = node.saved
        assert saved is not None
        del self._nodes[node]
        node.saved = None
        saved.users -= 1
        if not saved.users:
            self.used_bytes -= saved.data.nbytes

    def split(self, upper: Node, lower: Node) -> None:
        """``upper`` was cut off the top of ``lower``, which is held: hold both."""
        assert lower.saved is not None
        self._hold(upper, lower.saved)

    def over_budget(self) -> Node | None:
        """The node to give up next; None while all fits, or if all are in use."""
        if self.used_bytes <= self.budget_bytes:
            return None
        return next((node for node in self._nodes if not node.pins), None)

    def _hold(self, node: Node, saved: Saved) -> None:
        node.saved = saved
        saved.users += 1
        self._nodes[node] = None
