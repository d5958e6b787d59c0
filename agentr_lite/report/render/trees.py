"""A search tree as indented lines: pure data to text, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agentr_lite.console.outcomes import terminal_style, turn_mark
from agentr_lite.console.text import Styled, clean, truncate
from agentr_lite.store.records import NodeRow, TreeRow

_PIPE, _TEE, _ELBOW, _BLANK = "│  ", "├─ ", "└─ ", "   "
_LEVEL = len(_PIPE)
"""Terminal columns of a level of indentation."""
_ROOM = 42
"""Columns that indentation leaves to a node: its number, sign, action and figures."""


@dataclass(frozen=True, slots=True)
class TreeView:
    """What to show of a tree."""

    everything: bool = False
    """Also nodes that no simulation visited."""
    observations: bool = False
    """What the environment answered, below each action."""
    max_depth: int | None = None
    """Do not go deeper than so many steps."""


def tree_heading(tree: TreeRow) -> str:
    """One line about a tree."""
    task = tree.task
    parts = [
        f"tree {tree.id}",
        f"round {tree.round}",
        f"{task.name} (level {task.level}): {task.goal}",
        f"best {tree.best_reward:.3g}",
        f"{tree.simulations} simulations",
        f"{tree.node_count} nodes",
    ]
    if tree.error:
        parts.append(f"failed: {tree.error}")
    return clean(" · ".join(parts), keep="")


def render_tree(
    nodes: Sequence[NodeRow], view: TreeView | None = None, *, width: int | None = None
) -> Iterator[str]:
    """The nodes below the root, one a line, with what is hidden said in its place.

    ``console.outcomes`` defines the signs.

    Args:
        nodes: by ``idx``, the root first.
        view: what to show; default: visited nodes and ends.
        width: terminal columns to fit; None: as long as they are. Actions are cut, and deep nodes
            begin at the left again: ``⋯24`` stands for 24 levels of indentation.

    Yields:
        Lines with ANSI styles.
    """
    view = view or TreeView()
    children: dict[int, list[NodeRow]] = {}
    for node in nodes[1:]:
        children.setdefault(node.parent_idx or 0, []).append(node)
    # A stack, not recursion: a chain may be deeper than Python's limit.
    stack: list[tuple[NodeRow | str, str, str]] = _below(nodes[0], children, view, "")
    while stack:
        item, lead, indent = stack.pop()
        left_out = _levels_left_out(lead, width)
        shown = _indented(lead, left_out)
        if isinstance(item, str):
            yield Styled(item, dim=True).paint(shown + item)
            continue
        yield _line(item, shown, width)
        if view.observations:
            text = clean(item.observation.replace("\n", " / "), keep="")
            inner = _indented(f"{indent}{_BLANK}", left_out)
            yield _shortened(inner, text, width, Styled("", dim=True))
        stack += _below(item, children, view, indent)


def _levels_left_out(lead: str, width: int | None) -> int:
    """How many outer levels of indentation a line leaves out, so that its node keeps its room.

    It is a multiple of what fits, so lines of neighbouring depths begin below each other.
    """
    if width is None:
        return 0
    fitting = max(2, (width - _ROOM) // _LEVEL - 1)
    return (len(lead) // _LEVEL - 1) // fitting * fitting


def _indented(lead: str, left_out: int) -> str:
    """The lead without its outer levels; ``⋯24`` says how many they are."""
    return f"⋯{left_out:<3}{lead[left_out * _LEVEL :]}" if left_out else lead


def _below(
    node: NodeRow, children: Mapping[int, list[NodeRow]], view: TreeView, indent: str
) -> list[tuple[NodeRow | str, str, str]]:
    """What stands below ``node``, last first, as (item, line's lead, its children's indent)."""
    below = children.get(node.idx, [])
    if view.max_depth is not None and node.depth >= view.max_depth and below:
        return [(f"… {_count(below, children)} deeper", indent + _ELBOW, indent + _BLANK)]
    shown: list[NodeRow | str] = [
        child for child in below if view.everything or child.visits or child.ended
    ]
    hidden = len(below) - len(shown)
    if hidden:
        shown.append(f"… {hidden} never visited")
    items = []
    for position, item in enumerate(shown):
        last = position == len(shown) - 1
        items.append(
            (item, indent + (_ELBOW if last else _TEE), indent + (_BLANK if last else _PIPE))
        )
    return items[::-1]


def _count(below: Sequence[NodeRow], children: Mapping[int, list[NodeRow]]) -> int:
    """Nodes at and below the given ones."""
    count, stack = 0, list(below)
    while stack:
        count += 1
        stack += children.get(stack.pop().idx, [])
    return count


def _line(node: NodeRow, lead: str, width: int | None) -> str:
    mark = turn_mark(node)
    style = terminal_style(mark)
    action = "(no action)" if node.action is None else node.action
    numbers = f"  n={node.visits}"
    if node.visits:
        numbers += f" v={node.value:.2f}"
    if node.ended:
        numbers += f" r={node.reward:.3g}"
    if node.merged > 1:
        numbers += f" ×{node.merged}"
    text = clean(f"{node.idx} {mark.glyph} {action}", keep="")
    if width is not None:
        text = truncate(text, max(8, width - len(lead) - len(numbers)))
    return lead + style.paint(text) + Styled("", dim=True).paint(numbers)


def _shortened(lead: str, text: str, width: int | None, style: Styled) -> str:
    return lead + style.paint(text if width is None else truncate(text, max(8, width - len(lead))))
