"""Recounts a prefix tree's books: for tests, after any amount of work."""

from __future__ import annotations

from agentr_lite.actors.llamacpp.nodes import NO_SEQUENCE, Node, Saved
from agentr_lite.actors.llamacpp.prefix import PrefixTree


def check_integrity(tree: PrefixTree) -> None:
    """Compare what the tree counts with what it holds.

    Raises:
        RuntimeError: they disagree (a bug).
    """
    problems = []
    cells = sum(len(branch.tokens) for branch in tree.branches)
    pinned = 0
    marks: dict[int, Node] = {}
    pins: dict[Node, int] = {}
    saved: dict[Saved, int] = {}
    for branch in tree.branches:
        walk: Node | None = branch.node
        while walk is not None:
            pins[walk] = pins.get(walk, 0) + 1
            walk = walk.parent
    for node in tree.nodes():
        cells += node.decoded
        pinned += len(node.tokens) if node.pins else 0
        parent = node.parent
        if parent is None or parent.children.get(node.tokens[0]) is not node:
            problems.append("a node is not its parent's child")
        elif node.start != parent.end or (node.decoded and not parent.complete):
            problems.append("a node does not start where its parent ends")
        if not node.pins and not node.complete and node.saved is None:
            problems.append("an incomplete node is not pinned")
        if (node.saved is not None) != (node in tree.spill):
            problems.append("the spill's list and the nodes disagree")
        if node.saved is not None:
            saved[node.saved] = saved.get(node.saved, 0) + 1
            if node.decoded or node.sequence != NO_SEQUENCE:
                problems.append("a node is in the cache and saved")
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
    if marks != tree.owners:
        problems.append("owners disagree with the leaves")
    held = [branch.sequence for branch in tree.branches] + list(marks)
    if sorted(held + tree.free) != list(range(tree.sequences)):
        problems.append("sequence ids are lost or held twice")
    if any(one.users != count for one, count in saved.items()) or tree.spill.used_bytes != sum(
        one.data.nbytes for one in saved
    ):
        problems.append("saved cells are miscounted")
    if cells != tree.used:
        problems.append(f"{tree.used} cells counted, {cells} found")
    if pinned != tree.pinned:
        problems.append(f"{tree.pinned} pinned tokens counted, {pinned} found")
    if tree.used > tree.capacity:
        problems.append(f"{tree.used} cells of {tree.capacity} used")
    if problems:
        raise RuntimeError("prefix tree: " + "; ".join(sorted(set(problems))))
