"""Recounts what a prefix tree or the streams keep count of, for tests."""

from __future__ import annotations

from agentr_lite.actors.llamacpp.context import Context
from agentr_lite.actors.llamacpp.prefix import PrefixTree
from agentr_lite.actors.llamacpp.segments import NO_SEQUENCE, Saved, Segment
from agentr_lite.actors.llamacpp.shelf import Checkpoints, begins
from agentr_lite.actors.llamacpp.streams import Streams


def check_integrity(tree: PrefixTree) -> None:
    """Compare the tree's counts with its contents.

    Raises:
        RuntimeError: they disagree (a bug).
    """
    problems = []
    cells = sum(len(branch.tokens) for branch in tree.branches)
    pinned = 0
    marks: dict[int, Segment] = {}
    pins: dict[Segment, int] = {}
    saved: dict[Saved, int] = {}
    for branch in tree.branches:
        walk: Segment | None = branch.segment
        while walk is not None:
            pins[walk] = pins.get(walk, 0) + 1
            walk = walk.parent
    for segment in tree.segments():
        cells += segment.decoded
        pinned += len(segment.tokens) if segment.pins else 0
        parent = segment.parent
        if parent is None or parent.children.get(segment.tokens[0]) is not segment:
            problems.append("a segment is not its parent's child")
        elif segment.start != parent.end or (segment.decoded and not parent.complete):
            problems.append("a segment does not start where its parent ends")
        if not segment.pins and not segment.complete and segment.saved is None:
            problems.append("an incomplete segment is not pinned")
        if (segment.saved is not None) != (segment in tree.spill):
            problems.append("the spill's list and the segments disagree")
        if segment.saved is not None:
            saved[segment.saved] = saved.get(segment.saved, 0) + 1
            if segment.decoded or segment.sequence != NO_SEQUENCE:
                problems.append("a segment is in the cache and saved")
        if segment.pins < pins.get(segment, 0) or segment.pins < sum(
            child.pins for child in segment.children.values()
        ):
            problems.append("a segment has fewer pins than users")
        if segment.decoded and segment.sequence == NO_SEQUENCE:
            problems.append("computed cells without a sequence")
        if segment.sequence != NO_SEQUENCE and not any(
            child.sequence == segment.sequence for child in segment.children.values()
        ):
            if segment.sequence in marks:
                problems.append("two leaves own one sequence")
            marks[segment.sequence] = segment
    if marks != tree.owners:
        problems.append("owners disagree with the leaves")
    held = [branch.sequence for branch in tree.branches] + list(marks)
    if sorted(held + tree.free) != list(range(tree.sequences)):
        problems.append("sequence ids are lost or held twice")
    if any(
        cells_in_ram.users != count for cells_in_ram, count in saved.items()
    ) or tree.spill.used_bytes != sum(cells_in_ram.data.nbytes for cells_in_ram in saved):
        problems.append("saved cells are miscounted")
    if cells != tree.used:
        problems.append(f"{tree.used} cells counted, {cells} held")
    if pinned != tree.pinned:
        problems.append(f"{tree.pinned} pinned tokens counted, {pinned} held")
    if tree.used > tree.capacity:
        problems.append(f"{tree.used} cells of {tree.capacity} used")
    if problems:
        raise RuntimeError("prefix tree: " + "; ".join(sorted(set(problems))))


def check_streams(streams: Streams, context: Context | None = None, *, busy: int = 0) -> None:
    """Compare the streams' notes with each other, and with the cells.

    Args:
        streams: the notes.
        context: holds the cells; None: they are not looked at.
        busy: how many streams a continuation grows on.

    Raises:
        RuntimeError: they disagree (a bug).
    """
    problems = []
    ids = sorted(stream.sequence for stream in streams.streams)
    if ids != list(range(len(ids))):
        problems.append("sequence ids are lost or held twice")
    if sum(stream.busy for stream in streams.streams) != busy:
        problems.append(f"not {busy} streams are busy")
    if any(not 0 <= stream.length <= streams.capacity for stream in streams.streams):
        problems.append("a stream is longer than its cells")
    if context is not None:
        for stream in streams.streams:
            if context.last_position(stream.sequence) != stream.length - 1:
                problems.append("a stream's cells are not its tokens'")
            elif context.shortest(stream.sequence) > stream.length:
                problems.append("a stream's window is not whole")
    shelf = streams.shelf
    if shelf.used_bytes != sum(entry.data.nbytes for entry in shelf.entries):
        problems.append("saved cells are miscounted")
    if shelf.used_bytes > shelf.budget_bytes:
        problems.append("more cells are saved than the budget allows")
    # A longer stream does not have the states of its beginnings.
    same_end = isinstance(shelf, Checkpoints)
    if any(
        begins(longer.tokens, shorter.tokens)
        and longer.whole == shorter.whole
        and not (same_end and len(longer.tokens) != len(shorter.tokens))
        for longer in shelf.entries
        for shorter in shelf.entries
        if longer is not shorter
    ):
        problems.append("cells are saved twice")
    if problems:
        raise RuntimeError("streams: " + "; ".join(sorted(set(problems))))
