"""A search tree as the page's script reads it, and as a drawing that needs no script."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from agentr_lite.console.outcomes import LEGEND, ROOT, STEP, Mark, turn_mark, verdict_words
from agentr_lite.console.text import truncate
from agentr_lite.report.charts.svg import el, picture
from agentr_lite.report.render.excerpts import Excerpts, shorten
from agentr_lite.store.database import Store
from agentr_lite.store.inspection import TreeShape, expansion_calls, load_nodes, tree_shape
from agentr_lite.store.records import JudgementRow, NodeRow, TreeRow
from agentr_lite.store.splices import list_judgements

NODE_LIMIT = 1_500
"""Nodes of one tree that a page holds; of a larger one, those that were visited most."""

MARKS: tuple[Mark, ...] = (STEP, ROOT, *LEGEND)
"""The marks that ``mark`` of a record is an index into."""

_SHADES = 5
_WIDTH, _COLUMN, _TALL = 720.0, 46.0, 150.0


def tree_record(store: Store, tree: TreeRow, texts: Excerpts) -> tuple[dict[str, Any], Markup]:
    """A tree for the page.

    Args:
        store: its database.
        tree: the tree.
        texts: collects the nodes' texts.

    Returns:
        The record, with lists by place (0 is the root, parents before children): ``idx`` (the
        node's number in the database), ``parent`` (place; -1 at the root), ``depth``, ``visits``,
        ``value`` in [0, 1], ``reward`` (null before the episode's end), ``mark``, ``merged``,
        ``action``, ``text`` and ``observation`` (places in the texts; -1: none), ``hidden``
        (children left out); and ``best``, the places of the best path; ``verdicts`` and ``calls``
        by place. Then the drawing.
    """
    shape = tree_shape(store, tree.id)
    judgements: dict[int, list[JudgementRow]] = {}
    for judgement in list_judgements(store, tree.run_id, tree_id=tree.id):
        judgements.setdefault(judgement.node_idx, []).append(judgement)
    best = best_path(shape)
    kept = kept_nodes(shape, {*best, *judgements})
    nodes = load_nodes(store, tree.id, kept)
    calls = expansion_calls(store, tree.id, kept)
    place = {idx: at for at, idx in enumerate(kept)}
    rows = [nodes[idx] for idx in kept]
    children, shown = (
        _child_counts(shape.parent, range(len(shape))),
        _child_counts(shape.parent, kept),
    )
    record: dict[str, Any] = {
        "idx": kept,
        "parent": [-1 if row.parent_idx is None else place[row.parent_idx] for row in rows],
        "depth": [row.depth for row in rows],
        "visits": [row.visits for row in rows],
        "value": [round(row.value, 4) for row in rows],
        "reward": [row.reward if row.ended else None for row in rows],
        "mark": [MARKS.index(turn_mark(row)) for row in rows],
        "merged": [row.merged for row in rows],
        "action": [-1 if row.action is None else texts.add(row.action) for row in rows],
        "text": [texts.add(row.text) if row.text else -1 for row in rows],
        "observation": [texts.add(row.observation) for row in rows],
        "hidden": [children.get(idx, 0) - shown.get(idx, 0) for idx in kept],
        "best": [place[idx] for idx in best],
        "verdicts": {
            str(place[idx]): [_verdict(row, texts) for row in of_node]
            for idx, of_node in judgements.items()
        },
        "calls": {
            str(place[idx]): {
                "prompt": call.prompt_tokens,
                "cached": call.cached_tokens,
                "output": call.output_tokens,
                "seeds": call.seeds,
                "dropped": call.dropped_turns,
            }
            for idx, call in calls.items()
        },
        "nodes": len(shape),
    }
    return record, draw_tree(rows, record["parent"], frozenset(record["best"]), tree)


def best_steps(store: Store, tree: TreeRow, path: Sequence[int]) -> list[tuple[str, str]]:
    """(action, observation) of the nodes of a path, without the root."""
    nodes = load_nodes(store, tree.id, path[1:])
    return [
        (shorten(nodes[idx].action or "(no action)", 300), shorten(nodes[idx].observation, 300))
        for idx in path[1:]
    ]


def best_path(shape: TreeShape) -> list[int]:
    """From the root to the end with the highest reward, the shortest first; empty without one."""
    depth = _depths(shape.parent)
    ends = [i for i in range(len(shape)) if shape.ended(i) and shape.reward[i] > 0]
    if not ends:
        return []
    at = max(ends, key=lambda i: (shape.reward[i], -depth[i], shape.visits[i], -i))
    path = [at]
    while shape.parent[path[-1]] >= 0:
        path.append(shape.parent[path[-1]])
    return path[::-1]


def kept_nodes(shape: TreeShape, wanted: Collection[int], limit: int = NODE_LIMIT) -> list[int]:
    """The nodes of a tree that a page holds: all, or the most visited ones and the wanted ones.

    Args:
        shape: the tree.
        wanted: nodes to keep in any case, with the way to them.
        limit: how many in all; exceeded only by what is wanted.

    Returns:
        Ascending; with every node its parent.
    """
    if len(shape) <= limit:
        return list(range(len(shape)))
    kept: set[int] = {0}
    for idx in wanted:
        while idx >= 0 and idx not in kept:
            kept.add(idx)
            idx = shape.parent[idx]
    # A parent has no fewer visits than its child and a lower number: it comes first.
    for idx in sorted(range(len(shape)), key=lambda i: (-shape.visits[i], i)):
        if len(kept) >= limit:
            break
        if shape.parent[idx] in kept:
            kept.add(idx)
    return sorted(kept)


def draw_tree(
    nodes: Sequence[NodeRow], parents: Sequence[int], best: Collection[int], tree: TreeRow
) -> Markup:
    """The visited nodes as boxes: one column for each step, heights by visits, shades by value."""
    columns = max((row.depth for row in nodes if row.visits), default=0) + 1
    wide = min(_COLUMN, _WIDTH / columns)
    unit = _TALL / max(1, nodes[0].visits if nodes else 1)
    top = [0.0] * len(nodes)
    used = [0.0] * len(nodes)
    boxes = []
    for at, row in enumerate(nodes):
        if not row.visits:
            continue
        if at:
            top[at] = used[parents[at]]
            used[parents[at]] += row.visits * unit
        used[at] = top[at]
        mark = turn_mark(row)
        tall = row.visits * unit
        on_best = at in best
        title = (
            f"step {row.depth}: {mark.glyph} {truncate(row.action or mark.word, 80)}"
            f" · visits {row.visits} · value {row.value:.2f}"
        )
        shade = min(_SHADES - 1, int(row.value * _SHADES))
        class_ = f"cell v{shade}" + (" on" if on_best else "")
        # Half a gap is left on each side; a thin box stays visible.
        box = el(
            "rect",
            el("title", title),
            x=row.depth * wide + 0.75,
            y=top[at] + 0.75,
            width=max(0.5, wide - 1.5),
            height=max(0.5, tall - 1.5),
            rx=min(2.0, wide / 4),
            class_=class_,
            data_at=str(at),
        )
        boxes.append(box)
        if row.ended and tall >= 11 and wide >= 11:
            boxes.append(
                el(
                    "text",
                    mark.glyph,
                    x=row.depth * wide + wide / 2,
                    y=top[at] + tall / 2 + 4,
                    class_=f"end e{shade}",
                    text_anchor="middle",
                )
            )
    label = (
        f"Tree of {tree.task.name}, round {tree.round}: {len(nodes)} nodes over"
        f" {columns - 1} steps, {tree.simulations} simulations, best reward {tree.best_reward:.3g}"
    )
    # The drawing is always as wide, so that a small tree is not enlarged.
    return picture(_WIDTH, _TALL, *boxes, label=label)


def _verdict(row: JudgementRow, texts: Excerpts) -> dict[str, Any]:
    return {
        "verdict": row.verdict,
        "words": verdict_words(row.verdict, row.scores, asked=row.critic != "none"),
        "reason": -1 if row.reason is None else texts.add(row.reason),
    }


def _child_counts(parents: Sequence[int], places: Collection[int] | range) -> Mapping[int, int]:
    counts: dict[int, int] = {}
    for idx in places:
        counts[parents[idx]] = counts.get(parents[idx], 0) + 1
    return counts


def _depths(parents: Sequence[int]) -> list[int]:
    depths = [0] * len(parents)
    for idx, parent in enumerate(parents):
        if parent >= 0:
            depths[idx] = depths[parent] + 1
    return depths
