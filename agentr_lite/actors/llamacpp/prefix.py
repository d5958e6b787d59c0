"""The prefix tree: which token prefixes have their keys and values in the cache.

Every node is a segment of tokens below its parent's; every cell of the cache belongs to exactly
one node or one branch. Evicted nodes stay in the tree while their cells are kept in RAM. A sequence
id marks the cells of a whole path from the root: each leaf in the cache owns one, nodes above it
use that of a leaf below them. So an id is spent on each leaf only, and a fork is a copy of cell
*marks*, not of cells.

Source: the idea of a radix tree over cached prefixes with eviction of the least recently used
leaves is SGLang's RadixAttention (arXiv 2312.07104); the mapping to llama.cpp's sequences is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentr_lite.actors.llamacpp.nodes import NO_SEQUENCE, Branch, Memory, Node
from agentr_lite.actors.llamacpp.spill import Spill


class PrefixTree:
    """Residency, pins, eviction and exact cell accounting.

    Attributes:
        capacity: cells that may be used.
        used: cells in use, computed or about to be in the current batch.
        pinned: tokens of nodes that may not be evicted, computed or not.
        spill: what was evicted and is kept in RAM.
        sequences: ids 0 to this may be used.
        free: ids not in use.
        owners: for every id of a node, the lowest node in the cache on its path.
        branches: what grows at the moment, with an id each.
    """

    def __init__(
        self, memory: Memory, *, capacity: int, sequences: int, spill_bytes: int = 0
    ) -> None:
        self._memory = memory
        self.capacity = capacity
        self.sequences = sequences
        self.spill = Spill(spill_bytes)
        self._reset()

    def _reset(self) -> None:
        self.root = Node([], 0, None)
        self.used = 0
        self.pinned = 0
        self._clock = 0
        self.spill.clear()
        self.free = list(range(self.sequences - 1, -1, -1))
        self.owners: dict[int, Node] = {}
        self.branches: set[Branch] = set()

    def clear(self) -> None:
        """Forget everything, pinned or not."""
        self._memory.clear()
        self._reset()

    # Prompts

    def insert(self, tokens: Sequence[int]) -> tuple[Node, int]:
        """Find or make the path of ``tokens``.

        Returns:
            The node at whose end the path ends, pinned; how many of the tokens were there
            already: computed, saved, or being computed for another request.
        """
        node, matched = self._match(self.root, tokens)
        if matched < len(tokens):
            child = Node(list(tokens[matched:]), node.end, node)
            node.children[child.tokens[0]] = child
            node = child
        self.pin(node)
        return node, matched

    def pin(self, node: Node) -> None:
        """Keep ``node`` and the path to it from eviction, and note the use."""
        self._clock += 1
        walk: Node | None = node
        while walk is not None:
            walk.stamp = self._clock
            if walk.pins == 0:
                self.pinned += len(walk.tokens)
            walk.pins += 1
            walk = walk.parent

    def unpin(self, node: Node) -> None:
        """Take back one ``pin``."""
        walk: Node | None = node
        while walk is not None:
            walk.pins -= 1
            if walk.pins == 0:
                self.pinned -= len(walk.tokens)
            walk = walk.parent

    def incomplete(self, node: Node) -> list[Node]:
        """The nodes on the path to ``node`` whose cells are not in the cache, top first."""
        path = []
        walk: Node | None = node
        # Parents complete before their children, so the walk can stop at the first complete one.
        while walk is not None and not walk.complete:
            path.append(walk)
            walk = walk.parent
        return path[::-1]

    def writable(self, node: Node) -> int:
        """The sequence id to decode ``node``'s tokens with; its parent is complete."""
        if node.sequence == NO_SEQUENCE:
            parent = node.parent
            assert parent is not None
            if self.continues(node):
                node.sequence = parent.sequence
            else:
                node.sequence = self._allocate()
                if parent.sequence != NO_SEQUENCE:
                    self._memory.copy_sequence(parent.sequence, node.sequence, parent.end)
            self.owners[node.sequence] = node
        return node.sequence

    def continues(self, node: Node) -> bool:
        """Whether ``writable(node)`` would go on with its parent's id, without a fork."""
        parent = node.parent
        assert parent is not None
        if node.sequence != NO_SEQUENCE:
            return node.sequence == parent.sequence
        return parent.sequence != NO_SEQUENCE and self.owners.get(parent.sequence) is parent

    def unpinned(self, tokens: Sequence[int]) -> int:
        """How many more tokens ``insert(tokens)`` would pin."""
        node, at = self.root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None or not child.pins:
                break
            same = 1
            limit = min(len(child.tokens), len(tokens) - at)
            while same < limit and child.tokens[same] == tokens[at + same]:
                same += 1
            node, at = child, at + same
            if same < len(child.tokens):
                break
        return len(tokens) - at

    def advance(self, node: Node, count: int) -> None:
        """Note that ``count`` more of ``node``'s tokens take cells (see ``make_room``).

        What was saved of them is given up: brought back later, it would stand beside them.
        """
        if node.saved is not None:
            self.spill.drop(node)
        self._clock += count
        node.decoded += count
        self.used += count

    def restore(self, node: Node) -> bool:
        """Bring a saved node's cells back; its parent is complete.

        Returns:
            False if there is nothing saved or too little room: the tokens must be decoded.
        """
        saved = node.saved
        # All that was saved together comes back for a moment, also the other half of a split.
        if saved is None or not self.make_room(saved.tokens):
            return False
        size = len(node.tokens)
        sequence = self.writable(node)
        self._memory.load(saved.data, sequence, node.start, node.end)
        self.spill.drop(node)
        self.spill.restored_tokens += size
        node.decoded = size
        self.used += size
        return True

    # Branches

    def fork(self, node: Node) -> Branch:
        """A new branch below a complete node."""
        self.pin(node)
        sequence = self._allocate()
        if node.sequence != NO_SEQUENCE:
            self._memory.copy_sequence(node.sequence, sequence, node.end)
        branch = Branch(node, sequence)
        self.branches.add(branch)
        return branch

    def extend(self, branch: Branch, token: int) -> None:
        """Note that ``token`` takes the branch's next cell (see ``make_room``)."""
        self._clock += 1
        branch.tokens.append(token)
        self.used += 1

    def commit(self, branch: Branch) -> Node:
        """Move a branch's tokens into the tree.

        Where the cache has them already, the branch's cells are given up for the tree's; where the
        tree has them in RAM only, or is about to compute them for a prompt, the branch's cells
        take their place.

        Returns:
            The node at whose end the branch ended, pinned in place of the branch's pin.
        """
        tokens, sequence, above = branch.tokens, branch.sequence, branch.node
        self.branches.discard(branch)
        node, matched = self._match(above, tokens)
        resident, lowest = node, node
        while not resident.complete:
            if resident.sequence != NO_SEQUENCE:
                self._vacate(resident)
            self._adopt(resident, sequence)
            assert resident.parent is not None
            resident = resident.parent
        if matched < len(tokens):
            lowest = Node(tokens[matched:], node.end, node)
            node.children[lowest.tokens[0]] = lowest
            self._adopt(lowest, sequence)
        twice = resident.end - above.end
        self.used -= twice
        if lowest is resident:
            self._release(sequence)
        else:
            if twice:
                self._memory.remove(sequence, above.end, resident.end)
                self._memory.copy_range(resident.sequence, sequence, above.end, resident.end)
            self.owners[sequence] = lowest
            old = resident.sequence
            if old != NO_SEQUENCE and self.owners.get(old) is resident:
                self._rename(resident, old, sequence)
                del self.owners[old]
                self._release(old)
        self.pin(lowest)
        self.unpin(above)
        return lowest

    def _adopt(self, node: Node, sequence: int) -> None:
        """Take cells that a branch has computed as the node's own."""
        if node.saved is not None:
            self.spill.drop(node)
        node.decoded = len(node.tokens)
        node.sequence = sequence

    # Room

    def make_room(self, cells: int) -> bool:
        """Evict least recently used leaves until ``cells`` more fit; False if that cannot be."""
        while self.used + cells > self.capacity:
            if not self._evict():
                return False
        return True

    def expire(self, age: int) -> None:
        """Evict what was not used while the last ``age`` tokens were decoded."""
        limit = self._clock - age
        while True:
            stale = [node for node in self.owners.values() if not node.pins and node.stamp < limit]
            if not stale:
                return
            for node in stale:
                self._evict_leaf(node)

    def _allocate(self) -> int:
        while not self.free:
            if not self._evict():
                raise RuntimeError("all sequence ids are pinned")
        return self.free.pop()

    def _release(self, sequence: int) -> None:
        self._memory.remove(sequence)
        self.free.append(sequence)

    def _evict(self) -> bool:
        oldest: Node | None = None
        for node in self.owners.values():
            if not node.pins and (oldest is None or node.stamp < oldest.stamp):
                oldest = node
        if oldest is None:
            return False
        self._evict_leaf(oldest)
        return True

    def _evict_leaf(self, leaf: Node) -> None:
        if self.spill.budget_bytes:
            self.spill.put(leaf, self._memory.save(leaf.sequence, leaf.start, leaf.end))
        else:
            assert leaf.parent is not None and not leaf.children
            del leaf.parent.children[leaf.tokens[0]]
        self._vacate(leaf)
        while (surplus := self.spill.over_budget()) is not None:
            self.spill.drop(surplus)
            above = surplus.parent
            assert above is not None and not surplus.children
            del above.children[surplus.tokens[0]]

    def _vacate(self, leaf: Node) -> None:
        """Free the cells of the lowest node of a path."""
        sequence, parent = leaf.sequence, leaf.parent
        assert parent is not None
        self.used -= leaf.decoded
        leaf.decoded, leaf.sequence = 0, NO_SEQUENCE
        del self.owners[sequence]
        if parent.sequence == sequence:
            heir = next(
                (c.sequence for c in parent.children.values() if c.sequence != NO_SEQUENCE), None
            )
            if heir is None:
                # The parent is the path's last computed node now.
                self.owners[sequence] = parent
                self._memory.remove(sequence, parent.end)
            else:
                self._rename(parent, sequence, heir)
                self._release(sequence)
        else:
            self._release(sequence)

    def _rename(self, node: Node, old: int, new: int) -> None:
        walk: Node | None = node
        while walk is not None and walk.sequence == old:
            walk.sequence = new
            walk = walk.parent

    def _match(self, top: Node, tokens: Sequence[int]) -> tuple[Node, int]:
        """Walk down from ``top``'s end; split a node where the walk ends inside it."""
        node, at, total = top, 0, len(tokens)
        while at < total:
            child = node.children.get(tokens[at])
            if child is None:
                break
            segment = child.tokens
            size = len(segment)
            if list(tokens[at : at + size]) == segment:
                node, at = child, at + size
                continue
            same = 1
            limit = min(size, total - at)
            while same < limit and segment[same] == tokens[at + same]:
                same += 1
            node, at = self._split(child, same), at + same
            break
        return node, at

    def _split(self, node: Node, size: int) -> Node:
        """Cut ``node`` after ``size`` tokens; returns the new upper half."""
        parent = node.parent
        assert parent is not None and 0 < size < len(node.tokens)
        upper = Node(node.tokens[:size], node.start, parent)
        upper.decoded = min(size, node.decoded)
        upper.sequence, upper.pins, upper.stamp = node.sequence, node.pins, node.stamp
        if node.saved is not None:
            self.spill.split(upper, node)
        upper.children[node.tokens[size]] = node
        parent.children[upper.tokens[0]] = upper
        node.tokens = node.tokens[size:]
        node.start += size
        node.decoded -= upper.decoded
        node.parent = upper
        return upper

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())
