"""The prefix tree: which token prefixes have their keys and values in the cache.

Every node is a segment of tokens below its parent's; every cell of the cache belongs to exactly
one node or one branch. A sequence id marks the cells of a whole path from the root: each leaf
owns one, inner nodes use that of a leaf below them. So an id is spent on each leaf only, and a
fork is a copy of cell *marks*, not of cells.

Source: the idea of a radix tree over cached prefixes with eviction of the least recently used
leaves is SGLang's RadixAttention (arXiv 2312.07104); the mapping to llama.cpp's sequences is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentr_lite.actors.llamacpp.nodes import NO_SEQUENCE, Branch, Memory, Node


class PrefixTree:
    """Residency, pins, eviction and exact cell accounting.

    Attributes:
        capacity: cells that may be used.
        used: cells in use, computed or about to be in the current batch.
        pinned: tokens of nodes that may not be evicted, computed or not.
    """

    def __init__(self, memory: Memory, *, capacity: int, sequences: int) -> None:
        self._memory = memory
        self.capacity = capacity
        self._sequences = sequences
        self._reset()

    def _reset(self) -> None:
        self.root = Node([], 0, None)
        self.used = 0
        self.pinned = 0
        self._clock = 0
        self._free = list(range(self._sequences - 1, -1, -1))
        self._owners: dict[int, Node] = {}
        self._branches: set[Branch] = set()

    def clear(self) -> None:
        """Forget everything, pinned or not."""
        self._memory.clear()
        self._reset()

    # Prompts

    def insert(self, tokens: Sequence[int]) -> tuple[Node, int]:
        """Find or make the path of ``tokens``.

        Returns:
            The node at whose end the path ends, pinned; how many of the tokens were there
            already, computed or being computed for another request.
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
        """The nodes on the path to ``node`` that still need decoding, top first."""
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
            self._owners[node.sequence] = node
        return node.sequence

    def continues(self, node: Node) -> bool:
        """Whether ``writable(node)`` would go on with its parent's id, without a fork."""
        parent = node.parent
        assert parent is not None
        if node.sequence != NO_SEQUENCE:
            return node.sequence == parent.sequence
        return parent.sequence != NO_SEQUENCE and self._owners.get(parent.sequence) is parent

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
        """Note that ``count`` more of ``node``'s tokens take cells (see ``make_room``)."""
        self._clock += count
        node.decoded += count
        self.used += count

    # Branches

    def fork(self, node: Node) -> Branch:
        """A new branch below a complete node."""
        self.pin(node)
        sequence = self._allocate()
        if node.sequence != NO_SEQUENCE:
            self._memory.copy_sequence(node.sequence, sequence, node.end)
        branch = Branch(node, sequence)
        self._branches.add(branch)
        return branch

    def extend(self, branch: Branch, token: int) -> None:
        """Note that ``token`` takes the branch's next cell (see ``make_room``)."""
        self._clock += 1
        branch.tokens.append(token)
        self.used += 1

    def commit(self, branch: Branch) -> Node:
        """Move a branch's tokens into the tree.

        Where the tree has them already, the branch's cells are given up for the tree's.

        Returns:
            The node at whose end the branch ended, pinned in place of the branch's pin.
        """
        tokens, sequence, above = branch.tokens, branch.sequence, branch.node
        self._branches.discard(branch)
        node, matched = self._match(above, tokens)
        if not node.complete:
            raise RuntimeError("a branch meets a prefix that is still being decoded")
        if matched == len(tokens):
            self._release(sequence)
            self.used -= matched
        else:
            if matched:
                start, end = above.end, above.end + matched
                self._memory.remove(sequence, start, end)
                self._memory.copy_range(node.sequence, sequence, start, end)
                self.used -= matched
            child = Node(tokens[matched:], node.end, node)
            child.decoded = len(child.tokens)
            child.sequence = sequence
            self._owners[sequence] = child
            node.children[child.tokens[0]] = child
            old = node.sequence
            if old != NO_SEQUENCE and self._owners.get(old) is node:
                self._rename(node, old, sequence)
                del self._owners[old]
                self._release(old)
            node = child
        self.pin(node)
        self.unpin(above)
        return node

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
            stale = [node for node in self._owners.values() if not node.pins and node.stamp < limit]
            if not stale:
                return
            for node in stale:
                self._evict_leaf(node)

    def _allocate(self) -> int:
        while not self._free:
            if not self._evict():
                raise RuntimeError("all sequence ids are pinned")
        return self._free.pop()

    def _release(self, sequence: int) -> None:
        self._memory.remove(sequence)
        self._free.append(sequence)

    def _evict(self) -> bool:
        oldest: Node | None = None
        for node in self._owners.values():
            if not node.pins and (oldest is None or node.stamp < oldest.stamp):
                oldest = node
        if oldest is None:
            return False
        self._evict_leaf(oldest)
        return True

    def _evict_leaf(self, leaf: Node) -> None:
        sequence = leaf.sequence
        parent = leaf.parent
        assert parent is not None and not leaf.children
        del parent.children[leaf.tokens[0]]
        self.used -= leaf.decoded
        del self._owners[sequence]
        if parent.sequence == sequence:
            heir = next(
                (c.sequence for c in parent.children.values() if c.sequence != NO_SEQUENCE), None
            )
            if heir is None:
                # The parent is the path's last computed node now.
                self._owners[sequence] = parent
                self._memory.remove(sequence, parent.end)
                return
            self._rename(parent, sequence, heir)
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
        upper.children[node.tokens[size]] = node
        parent.children[upper.tokens[0]] = upper
        node.tokens = node.tokens[size:]
        node.start += size
        node.decoded -= upper.decoded
        node.parent = upper
        return upper

    # Checks

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def check_integrity(self) -> None:
        """Recount everything.

        Raises:
            RuntimeError: the tree's books and its contents disagree (a bug).
        """
        problems = []
        cells = sum(len(branch.tokens) for branch in self._branches)
        pinned = 0
        marks: dict[int, Node] = {}
        pins: dict[Node, int] = {}
        for branch in self._branches:
            walk: Node | None = branch.node
            while walk is not None:
                pins[walk] = pins.get(walk, 0) + 1
                walk = walk.parent
        for node in self.nodes():
            cells += node.decoded
            pinned += len(node.tokens) if node.pins else 0
            parent = node.parent
            if parent is None or parent.children.get(node.tokens[0]) is not node:
                problems.append("a node is not its parent's child")
            elif node.start != parent.end or (node.decoded and not parent.complete):
                problems.append("a node does not start where its parent ends")
            if not node.pins and not node.complete:
                problems.append("an incomplete node is not pinned")
            if node.pins < pins.get(node, 0) or node.pins < sum(
                child.pins for child in node.children.values()
            ):
                problems.append("a node has fewer pins than users")
            if node.decoded and node.sequence == NO_SEQUENCE:
                problems.append("computed cells without a sequence")
            if node.sequence != NO_SEQUENCE and not any(
                child.sequence == node.sequence for child in node.children.values()
            ):
                if node.sequence in marks:
                    problems.append("two leaves own one sequence")
                marks[node.sequence] = node
        if marks != self._owners:
            problems.append("owners disagree with the leaves")
        held = [branch.sequence for branch in self._branches] + list(marks)
        if sorted(held + self._free) != list(range(self._sequences)):
            problems.append("sequence ids are lost or held twice")
        if cells != self.used:
            problems.append(f"{self.used} cells counted, {cells} found")
        if pinned != self.pinned:
            problems.append(f"{self.pinned} pinned tokens counted, {pinned} found")
        if self.used > self.capacity:
            problems.append(f"{self.used} cells of {self.capacity} used")
        if problems:
            raise RuntimeError("prefix tree: " + "; ".join(sorted(set(problems))))
