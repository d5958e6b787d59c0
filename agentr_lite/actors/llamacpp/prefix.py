"""The prefix tree: which token prefixes have their keys and values in the cache.

A segment is a run of tokens below its parent segment. Every used cell of the cache belongs to
exactly one segment or one branch. A sequence id marks the cells of a whole path from the root:
each leaf in the cache owns one id, and the segments above it use the id of a leaf below them. So
only leaves cost ids, and a fork copies cell *marks*, not cells::

    root ── system prompt ─┬─ task A ─┬─ turn 1      id 3, owned by turn 1
            id 3           │  id 3    └─ turn 1'     id 5, owned by turn 1'
                           └─ task B                 id 4, owned by task B

Evicted segments stay in the tree while their cells are kept in RAM.

Source: SGLang's RadixAttention (arXiv 2312.07104) has the idea of a radix tree over cached prefixes
that evicts the least recently used leaves. The mapping to llama.cpp's sequences is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentr_lite.actors.llamacpp.segments import NO_SEQUENCE, Branch, Memory, Segment
from agentr_lite.actors.llamacpp.spill import Spill


class PrefixTree:
    """Residency, pins, eviction and exact cell accounting.

    Attributes:
        capacity: most cells that may be used.
        used: cells in use: computed, or about to be computed in the current batch.
        pinned: tokens of segments that may not be evicted, computed or not.
        spill: the evicted segments whose cells are kept in RAM.
        sequences: number of sequence ids; they run from 0 to ``sequences - 1``.
        free: ids not in use.
        owners: for every id of a segment, the lowest segment in the cache on its path.
        branches: the continuations that grow at the moment; each has its own id.
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
        self.root = Segment([], 0, None)
        self.used = 0
        self.pinned = 0
        self._clock = 0
        self.spill.clear()
        self.free = list(range(self.sequences - 1, -1, -1))
        self.owners: dict[int, Segment] = {}
        self.branches: set[Branch] = set()

    def clear(self) -> None:
        """Forget everything, pinned or not."""
        self._memory.clear()
        self._reset()

    # Prompts

    def insert(self, tokens: Sequence[int]) -> tuple[Segment, int]:
        """Find or make the path of ``tokens``.

        Returns:
            The segment at whose end the path ends, pinned; and how many of the tokens were in the
            tree already: computed, saved, or being computed for another request.
        """
        segment, matched = self._match(self.root, tokens)
        if matched < len(tokens):
            child = Segment(list(tokens[matched:]), segment.end, segment)
            segment.children[child.tokens[0]] = child
            segment = child
        self.pin(segment)
        return segment, matched

    def pin(self, segment: Segment) -> None:
        """Protect ``segment`` and the path to it from eviction, and note the use."""
        self._clock += 1
        walk: Segment | None = segment
        while walk is not None:
            walk.stamp = self._clock
            if walk.pins == 0:
                self.pinned += len(walk.tokens)
            walk.pins += 1
            walk = walk.parent

    def unpin(self, segment: Segment) -> None:
        """Take back one ``pin``."""
        walk: Segment | None = segment
        while walk is not None:
            walk.pins -= 1
            if walk.pins == 0:
                self.pinned -= len(walk.tokens)
            walk = walk.parent

    def incomplete(self, segment: Segment) -> list[Segment]:
        """The segments on the path to ``segment`` whose cells are not in the cache, top first."""
        path = []
        walk: Segment | None = segment
        # Parents complete before their children, so the walk can stop at the first complete one.
        while walk is not None and not walk.complete:
            path.append(walk)
            walk = walk.parent
        return path[::-1]

    def writable(self, segment: Segment) -> int:
        """The sequence id to decode ``segment``'s tokens with; its parent is complete."""
        if segment.sequence == NO_SEQUENCE:
            parent = segment.parent
            assert parent is not None
            if self.continues(segment):
                segment.sequence = parent.sequence
            else:
                segment.sequence = self._allocate()
                if parent.sequence != NO_SEQUENCE:
                    self._memory.copy_sequence(parent.sequence, segment.sequence, parent.end)
            self.owners[segment.sequence] = segment
        return segment.sequence

    def continues(self, segment: Segment) -> bool:
        """Whether ``writable(segment)`` would keep its parent's id, without a fork."""
        parent = segment.parent
        assert parent is not None
        if segment.sequence != NO_SEQUENCE:
            return segment.sequence == parent.sequence
        return parent.sequence != NO_SEQUENCE and self.owners.get(parent.sequence) is parent

    def unpinned(self, tokens: Sequence[int]) -> int:
        """How many more tokens ``insert(tokens)`` would pin."""
        segment, at = self.root, 0
        while at < len(tokens):
            child = segment.children.get(tokens[at])
            if child is None or not child.pins:
                break
            same = 1
            limit = min(len(child.tokens), len(tokens) - at)
            while same < limit and child.tokens[same] == tokens[at + same]:
                same += 1
            segment, at = child, at + same
            if same < len(child.tokens):
                break
        return len(tokens) - at

    def advance(self, segment: Segment, count: int) -> None:
        """Note that ``count`` more of ``segment``'s tokens take cells (see ``make_room``).

        Its saved cells are dropped: restored later, they would duplicate the computed ones.
        """
        if segment.saved is not None:
            self.spill.drop(segment)
        self._clock += count
        segment.decoded += count
        self.used += count

    def restore(self, segment: Segment) -> bool:
        """Bring a saved segment's cells back; its parent is complete.

        Returns:
            False if nothing is saved or there is too little room: the tokens must be decoded.
        """
        saved = segment.saved
        # Cells that were saved together are restored together for a moment, even those of the
        # other half of a split segment.
        if saved is None or not self.make_room(saved.tokens):
            return False
        size = len(segment.tokens)
        sequence = self.writable(segment)
        self._memory.load(saved.data, sequence, segment.start, segment.end)
        self.spill.drop(segment)
        self.spill.restored_tokens += size
        segment.decoded = size
        self.used += size
        return True

    # Branches

    def fork(self, segment: Segment) -> Branch:
        """A new branch below a complete segment."""
        self.pin(segment)
        sequence = self._allocate()
        if segment.sequence != NO_SEQUENCE:
            self._memory.copy_sequence(segment.sequence, sequence, segment.end)
        branch = Branch(segment, sequence)
        self.branches.add(branch)
        return branch

    def extend(self, branch: Branch, token: int) -> None:
        """Note that ``token`` takes the branch's next cell (see ``make_room``)."""
        self._clock += 1
        branch.tokens.append(token)
        self.used += 1

    def commit(self, branch: Branch) -> Segment:
        """Move a branch's tokens into the tree.

        ``above`` is the segment from which the branch grew; ``resident`` is the lowest segment on
        the branch's path whose cells are all in the cache; ``matched`` of the branch's tokens are
        in the tree. Each range may be empty::

            position   0 ........ above.end .... resident.end .. above.end+matched ...... end
            the tree   | cells          | cells          | tokens, no cells |               |
            the branch | the same cells | its own cells  | its own cells    | its own cells |
                       |                |                |                  |               |
            commit     | changes        | frees the      | gives the        | makes a new   |
                       | nothing        | branch's cells | branch's cells   | segment of    |
                       |                | (``twice``)    | to the segments  | the rest      |

        Tokens have no cells where the tree saved them in RAM or will compute them for a prompt.
        The branch's id then marks the whole path, or is released if ``resident`` is the end. The
        branch pinned the path to ``above``; now the path to the end is pinned.

        Returns:
            The segment at whose end the branch ended, pinned.
        """
        tokens, sequence, above = branch.tokens, branch.sequence, branch.segment
        self.branches.discard(branch)
        segment, matched = self._match(above, tokens)
        resident, lowest = segment, segment
        while not resident.complete:
            if resident.sequence != NO_SEQUENCE:
                self._vacate(resident)
            self._adopt(resident, sequence)
            assert resident.parent is not None
            resident = resident.parent
        if matched < len(tokens):
            lowest = Segment(tokens[matched:], segment.end, segment)
            segment.children[lowest.tokens[0]] = lowest
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

    def _adopt(self, segment: Segment, sequence: int) -> None:
        """Give cells that a branch has computed to ``segment``."""
        if segment.saved is not None:
            self.spill.drop(segment)
        segment.decoded = len(segment.tokens)
        segment.sequence = sequence

    # Room

    def make_room(self, cells: int) -> bool:
        """Evict least recently used leaves until ``cells`` more fit; False if that fails."""
        while self.used + cells > self.capacity:
            if not self._evict():
                return False
        return True

    def expire(self, age: int) -> None:
        """Evict segments that were not used while the last ``age`` tokens were decoded."""
        limit = self._clock - age
        while True:
            stale = [
                segment
                for segment in self.owners.values()
                if not segment.pins and segment.stamp < limit
            ]
            if not stale:
                return
            for segment in stale:
                self._evict_leaf(segment)

    def _allocate(self) -> int:
        while not self.free:
            if not self._evict():
                raise RuntimeError("all sequence ids are pinned")
        return self.free.pop()

    def _release(self, sequence: int) -> None:
        self._memory.remove(sequence)
        self.free.append(sequence)

    def _evict(self) -> bool:
        oldest: Segment | None = None
        for segment in self.owners.values():
            if not segment.pins and (oldest is None or segment.stamp < oldest.stamp):
                oldest = segment
        if oldest is None:
            return False
        self._evict_leaf(oldest)
        return True

    def _evict_leaf(self, leaf: Segment) -> None:
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

    def _vacate(self, leaf: Segment) -> None:
        """Free the cells of the lowest segment of a path."""
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
                # The parent is now the path's last computed segment.
                self.owners[sequence] = parent
                self._memory.remove(sequence, parent.end)
            else:
                self._rename(parent, sequence, heir)
                self._release(sequence)
        else:
            self._release(sequence)

    def _rename(self, segment: Segment, old: int, new: int) -> None:
        walk: Segment | None = segment
        while walk is not None and walk.sequence == old:
            walk.sequence = new
            walk = walk.parent

    def _match(self, top: Segment, tokens: Sequence[int]) -> tuple[Segment, int]:
        """Walk down from ``top``'s end; split a segment where the walk ends inside it."""
        segment, at, total = top, 0, len(tokens)
        while at < total:
            child = segment.children.get(tokens[at])
            if child is None:
                break
            stored = child.tokens
            size = len(stored)
            if list(tokens[at : at + size]) == stored:
                segment, at = child, at + size
                continue
            same = 1
            limit = min(size, total - at)
            while same < limit and stored[same] == tokens[at + same]:
                same += 1
            segment, at = self._split(child, same), at + same
            break
        return segment, at

    def _split(self, segment: Segment, size: int) -> Segment:
        """Cut ``segment`` after ``size`` tokens; returns the new upper half."""
        parent = segment.parent
        assert parent is not None and 0 < size < len(segment.tokens)
        upper = Segment(segment.tokens[:size], segment.start, parent)
        upper.decoded = min(size, segment.decoded)
        upper.sequence, upper.pins, upper.stamp = segment.sequence, segment.pins, segment.stamp
        if segment.saved is not None:
            self.spill.split(upper, segment)
        upper.children[segment.tokens[size]] = segment
        parent.children[upper.tokens[0]] = upper
        segment.tokens = segment.tokens[size:]
        segment.start += size
        segment.decoded -= upper.decoded
        segment.parent = upper
        if not segment.decoded and segment.sequence != NO_SEQUENCE:
            # The lower half has no cells yet, so the id marks the end of the upper one.
            self.owners[segment.sequence] = upper
            segment.sequence = NO_SEQUENCE
        return upper

    def segments(self) -> Iterator[Segment]:
        """All segments but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            segment = stack.pop()
            yield segment
            stack.extend(segment.children.values())
