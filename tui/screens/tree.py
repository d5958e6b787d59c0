"""One search tree with the detail of a node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widget import Widget

from agentr_lite.agent.states import stored_episode
from agentr_lite.core.errors import UsageError
from agentr_lite.store import Store
from agentr_lite.store.first_errors import BadPathCut, cuts_of_tree
from agentr_lite.store.inspection import (
    expansion_calls,
    find_nodes,
    load_nodes,
    newest_tree,
    node_labels,
    tree_shape,
)
from agentr_lite.store.records import JudgementRow, NodeRow, RunRow, TreeRow
from agentr_lite.store.runs import get_run, stage_status
from agentr_lite.store.trees import get_tree, path_nodes, tree_opening

from ..layout.documents import (
    MAX_STEPS,
    StepView,
    lay_out_conversation,
    lay_out_step,
    plain_text,
    view_of_node,
)
from ..layout.figures import counted
from ..layout.first_errors import NO_PAIR, TreeErrors, why_no_pair
from ..layout.lines import Line, Span, one_line
from ..layout.node_set import NodeSet
from ..layout.tree_rows import TreeRows
from ..navigation import ToSplices, ToSteps, ToTree
from ..widgets.document_view import DocumentView
from ..widgets.line_list import LineList
from ..widgets.tree_view import TreeView
from .asking import ASK_CRITIC, AskingScreen
from .filter import ASK

_SEARCH_PAUSE_S = 0.25
_QUICK_SEARCH = 5_000
"""Nodes up to which each typed letter is searched for at once."""


class TreeScreen(AskingScreen):
    """The tree on the left (or above), the node under the cursor on the right (or below)."""

    HINT = (
        "A search tree. The best path is bold; n is the number of visits, value the mean reward."
        " A good leaf earned at least the round's α. Enter steps through the trajectory at the"
        " cursor."
    )
    PROMPT = "find turns and answers that contain …   enter: first match, n and N: next, previous"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "walk", "Walk", id="tree.walk"),
        Binding("space", "fold", "Fold", id="tree.fold"),
        Binding("s", "sort", "Sort", show=False, id="tree.sort"),
        ASK,
        Binding("g", "leaf(True)", "Good", id="tree.next_good"),
        Binding("G", "leaf(True, True)", "Previous good leaf", show=False, id="tree.previous_good"),
        Binding("b", "leaf(False)", "Bad", id="tree.next_bad"),
        Binding("B", "leaf(False, True)", "Previous bad leaf", show=False, id="tree.previous_bad"),
        Binding("e", "error", "Error", id="tree.next_error"),
        ASK_CRITIC,
        Binding("E", "error(True)", "Previous error", show=False, id="tree.previous_error"),
        Binding("n", "match", "Next match", show=False, id="tree.next_match"),
        Binding("N", "match(True)", "Previous match", show=False, id="tree.previous_match"),
        Binding("o", "best", "Best path", show=False, id="tree.best"),
        Binding("c", "conversation", "Chat", id="tree.conversation"),
        Binding("d", "detail", "Detail", show=False, id="tree.detail"),
        Binding("v", "splices", "Splices", id="tree.splices"),
        Binding("y", "copy", "Copy", show=False, id="tree.copy"),
        Binding("Y", "copy(True)", "Copy the conversation", show=False, id="tree.copy_all"),
    ]

    def __init__(self, store: Store, tree_id: int) -> None:
        """
        Args:
            store: the database.
            tree_id: the tree.

        Raises:
            UsageError: no such tree.
        """
        super().__init__(store, tree_id)
        self._tree = self._read()
        self._before_task = tree_opening(store, tree_id).before_task
        self._alpha = 1.0
        self._whole = False
        self._searched = ""
        self._pause: Timer | None = None
        self._shown: tuple[int, bool] | None = None
        self._judgements: dict[int, list[JudgementRow]] = {}
        self._cuts: list[BadPathCut] = []
        self._no_pair = ""

    def body(self) -> Iterable[Widget]:
        with Container(id="panes"):
            yield TreeView(
                TreeRows(tree_shape(self.store, self.tree_id)),
                lambda idxs: node_labels(self.store, self.tree_id, idxs),
                self._tree.task.goal,
                id="tree",
            )
            yield DocumentView(id="detail")

    def on_mount(self) -> None:
        self._open_best(self.tree_view)
        super().on_mount()
        self._open_first_error(self.tree_view)

    @property
    def tree_view(self) -> TreeView:
        """The tree."""
        return self.query_one(TreeView)

    def refresh_data(self) -> None:
        tree = self._read()
        run = get_run(self.store, tree.run_id)
        self._alpha = _alpha(run, tree.round)
        judgements: dict[int, list[JudgementRow]] = defaultdict(list)
        for judgement in self.read_judgements(run):
            judgements[judgement.node_idx].append(judgement)
        cuts = cuts_of_tree(self.store, self.tree_id)
        grown = tree != self._tree
        if grown:
            shape = tree_shape(self.store, self.tree_id)
            rows = self.tree_view.tree_rows
            self.tree_view.refresh_tree(lambda: rows.refresh(shape))
            self._mark_matches()
        if grown or judgements != self._judgements or cuts != self._cuts:
            self._judgements, self._cuts = dict(judgements), cuts
            shape = self.tree_view.tree_rows.shape
            self.tree_view.mark_errors(TreeErrors.of(shape, self._judgements, cuts))
            self._shown = None
        self._tree = tree
        self._no_pair = self._why_no_pair()
        self.show_asking(run)
        self._show_node()
        self._show_captions()

    def can_ask(self) -> bool:
        """Whether the tree has failed episodes only, of which the critic has said nothing."""
        rows = self.tree_view.tree_rows
        return (
            not self._judgements
            and not rows.leaves(good=True, alpha=self._alpha)
            and bool(rows.leaves(good=False, alpha=self._alpha))
        )

    def asking_changed(self) -> None:
        """Show the node again: its notes say what the critic can be asked."""
        self._shown = None
        self._show_node()

    def answered(self) -> None:
        """Show the verdicts, and open the path to the first error."""
        self.reread()
        self._open_first_error(self.tree_view)
        if self._judgements and not self.tree_view.errors.first:
            self.notify("The critic judged no step of this tree bad.", markup=False)

    def _why_no_pair(self) -> str:
        """Why splicing paired nothing in this tree; empty where it did, or has not come here."""
        tree = self._tree
        splicing = stage_status(self.store, tree.run_id, tree.round, "splice")
        if self._cuts or splicing is None or not splicing.finished or tree.error:
            return ""
        leaves = self.tree_view.tree_rows.leaves
        return why_no_pair(
            len(leaves(good=True, alpha=self._alpha)), len(leaves(good=False, alpha=self._alpha))
        )

    def follow(self) -> None:
        """Go to the run's newest tree."""
        newest = newest_tree(self.store, self._tree.run_id)
        if newest is not None and newest != self.tree_id:
            self.navigator.open_screen(ToTree(newest), replace=True)

    def _read(self) -> TreeRow:
        try:
            return get_tree(self.store, self.tree_id)
        except KeyError as error:
            raise UsageError("this tree no longer exists: its round was searched again") from error

    def _show_captions(self) -> None:
        tree = self._tree
        searched = counted(tree.simulations, "simulation")
        self.crumbs(
            [tree.run_id, f"round {tree.round}", tree.task.name],
            ((f"{counted(tree.node_count, 'node')} · {searched} ", "dim"),),
        )
        rows = self.tree_view.tree_rows
        good = len(rows.leaves(good=True, alpha=self._alpha))
        bad = len(rows.leaves(good=False, alpha=self._alpha))
        left: list[Span] = [(f"{good} good", "good"), (" · ", "dim"), (f"{bad} bad", "bad")]
        left.append((f" leaves (α {self._alpha:.2g}) · {_ORDERS[rows.sort]}", "dim"))
        if self.needle:
            left += [*self.needle_note(), (f" {len(self.tree_view.matches)} found", "dim")]
        if tree.error:
            left += [(" · ", "dim"), (f"failed: {one_line(tree.error)}", "odd")]
        if rows.least_visits:
            left += [(" · ", "dim"), (f"n ≥ {rows.least_visits}", "match")]
        if not rows.compact:
            left += [(" · ", "dim"), ("chains unfolded", "match")]
        if self._no_pair:
            left += [(" · ", "dim"), (f"no pair: {self._no_pair}", "partial")]
        self.caption(tuple(left))

    def _open_best(self, view: TreeView) -> None:
        rows = view.tree_rows
        best = rows.best_leaf()
        if best is not None:
            rows.reveal(best)
            view.best_path = frozenset(rows.path(best))
        elif len(rows.shape):
            # No reward in this tree: the path that the search rated highest.
            rows.reveal(rows.descend(0))
        view.recount()

    def _open_first_error(self, view: TreeView) -> None:
        """Open the path to the first error as well, and fold no chain out for it."""
        rows, errors = view.tree_rows, view.errors.first
        if errors:
            first = min(errors, key=lambda idx: (rows.depth(idx), idx))
            rows.reveal(rows.row_of(first))
            view.recount()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        self._show_node()
        self._show_captions()

    def _show_node(self) -> None:
        """Fill the detail pane, unless it shows the node already."""
        node = self.tree_view.node if self._whole else self.tree_view.focus_node
        if self._shown == (node, self._whole) or not len(self.tree_view.tree_rows.shape):
            return
        self._shown = (node, self._whole)
        pane = self.query_one("#detail", DocumentView)
        if self._whole:
            views, earlier = self._end_of_path(node)
            pane.show(
                lambda width: lay_out_conversation(views, width, earlier=earlier), at_end=True
            )
        else:
            view = self._view(node)
            pane.show(lambda width: lay_out_step(view, width))

    def _view(self, idx: int) -> StepView:
        parent = self.tree_view.tree_rows.shape.parent[idx]
        nodes = load_nodes(self.store, self.tree_id, {idx, parent} - {-1})
        saw = nodes[parent].observation if parent >= 0 else self._before_task
        calls = expansion_calls(self.store, self.tree_id, [parent])
        view = view_of_node(
            nodes[idx],
            saw=saw,
            call=calls.get(parent),
            judgements=self._judgements.get(idx, ()),
            is_cut=idx in self.tree_view.errors.cuts,
        )
        notes: list[Line] = []
        chain = self.tree_view.tree_rows.chain(self.tree_view.tree_rows.row_of(idx))
        if len(chain) > 1:
            text = f"the first bad step of {len(chain)} in this row; → gives each its own row"
            if idx == chain[-1]:
                text = f"the last of {len(chain)} steps in this row; → gives each its own row"
            notes.append(((text, "dim"),))
        if idx == 0 and self._no_pair:
            notes.append(((NO_PAIR[self._no_pair], "partial"),))
        if idx == 0:
            notes += self.asking_notes()
        return replace(view, facts=(*view.facts, *notes)) if notes else view

    def _end_of_path(self, leaf: int) -> tuple[list[StepView], int]:
        """As much of a path as a conversation shows, and how many steps come before it."""
        path = self.tree_view.tree_rows.path(leaf)
        earlier = len(path) - 1 - MAX_STEPS
        if earlier <= 0:
            return self._path(leaf), 0
        # Reading thousands of texts would hold up the key.
        read = load_nodes(self.store, self.tree_id, path[-MAX_STEPS - 1 :])
        return self._views([read[idx] for idx in path[-MAX_STEPS - 1 :]]), earlier

    def _path(self, leaf: int) -> list[StepView]:
        nodes = path_nodes(self.store, self.tree_id, leaf)
        return [view_of_node(nodes[0], saw=self._before_task), *self._views(nodes)]

    def _views(self, nodes: Sequence[NodeRow]) -> list[StepView]:
        """The steps of a path after its first node."""
        calls = expansion_calls(self.store, self.tree_id, [node.idx for node in nodes[:-1]])
        views = []
        for before, node in pairwise(nodes):
            views.append(
                view_of_node(
                    node,
                    saw=before.observation,
                    call=calls.get(before.idx),
                    judgements=self._judgements.get(node.idx, ()),
                    is_cut=node.idx in self.tree_view.errors.cuts,
                )
            )
        return views

    def action_walk(self) -> None:
        """Step through the trajectory at the cursor, to its best end."""
        view = self.tree_view
        if not view.count:
            return
        if view.tree_rows.rows[view.cursor] < 0:
            view.action_open()
            return
        leaf = view.tree_rows.descend(view.node)
        crumbs = [self._tree.run_id, self._tree.task.name, f"to node {leaf}"]
        at = view.tree_rows.depth(view.focus_node)
        run, task = get_run(self.store, self._tree.run_id), self._tree.task
        origin = stored_episode(run.recipe, task.env, task.split, task.name)
        self.go_to(ToSteps(crumbs, self._path(leaf), at, origin))

    def action_open(self) -> None:
        """Open or close the node, after a double click."""
        self.tree_view.action_fold()

    def action_fold(self) -> None:
        """Open or close the node."""
        self.tree_view.action_fold()

    def action_sort(self) -> None:
        """Next order of siblings."""
        self.tree_view.action_sort()

    def action_leaf(self, good: bool, back: bool = False) -> None:
        """Go to the next good or bad leaf."""
        view = self.tree_view
        leaves = view.tree_rows.leaves(good=good, alpha=self._alpha)
        target = view.tree_rows.next_of(leaves, view.node, back=back)
        if target is None:
            what = f"earned α = {self._alpha:.2g} or more" if good else "fell short"
            self.notify(f"No leaf {what}.", timeout=3)
            return
        view.go_to_node(target)

    def action_error(self, back: bool = False) -> None:
        """Go to the next step that was judged bad, or t′."""
        view = self.tree_view
        errors = NodeSet.of(view.errors.nodes, len(view.tree_rows.shape))
        target = view.tree_rows.next_of(errors, view.focus_node, back=back)
        if target is None:
            self.notify(self.why_no_error(judged=bool(self._judgements)), timeout=3)
            return
        view.go_to_node(target)

    def action_best(self) -> None:
        """Open the best path and go to its end."""
        view = self.tree_view
        best = view.tree_rows.best_leaf()
        if best is None:
            self.notify("No leaf of this tree earned a reward.", timeout=3)
            return
        view.go_to_node(best)

    def typed(self, needle: str) -> None:
        """Mark the matches while the user types; in a large tree, when the typing pauses."""
        self.needle = needle
        if self._pause is not None:
            self._pause.stop()
        if needle and len(self.tree_view.tree_rows.shape) > _QUICK_SEARCH:
            self._pause = self.set_timer(_SEARCH_PAUSE_S, self._find)
        else:
            self._find()

    def _find(self) -> None:
        # Once per needle: enter is usually pressed after the pause that started the search.
        if self.needle != self._searched:
            self._mark_matches()
            self.reread()

    def _mark_matches(self) -> None:
        needle, view = self.needle, self.tree_view
        matches = find_nodes(self.store, self.tree_id, needle) if needle else []
        view.matches = NodeSet.of(matches, len(view.tree_rows.shape))
        view.refresh()
        self._searched = needle

    def entered(self, needle: str) -> None:
        """Go to the first match from the cursor on."""
        self.needle = needle
        if self._pause is not None:
            self._pause.stop()
        self._find()
        matches = self.tree_view.matches
        if matches and self.tree_view.node not in matches:
            self.action_match()
        elif needle and not matches:
            text = f"No turn and no answer contains '{one_line(needle)}'."
            self.notify(text, markup=False, timeout=3)

    def action_match(self, back: bool = False) -> None:
        """Go to the next match."""
        view = self.tree_view
        target = view.tree_rows.next_of(view.matches, view.node, back=back)
        if target is None:
            self.notify("There is no search yet: press / to start one.", timeout=3)
            return
        view.go_to_node(target)

    def action_conversation(self) -> None:
        """Show the whole conversation to the node, or its step alone."""
        self._whole = not self._whole
        self._show_node()

    def action_detail(self) -> None:
        """Hide the detail pane, or show it again."""
        pane = self.query_one("#detail", DocumentView)
        pane.display = not pane.display
        self.tree_view.focus()

    def action_splices(self) -> None:
        """Open the tree's splices."""
        self.go_to(ToSplices(self._tree.run_id, tree_id=self.tree_id))

    def action_copy(self, whole: bool = False) -> None:
        """Copy the node's turn and answer to the clipboard, or the conversation up to them."""
        node = self.tree_view.node if whole else self.tree_view.focus_node
        views = self._path(node) if whole else [self._view(node)]
        self.copy(plain_text(views), f"node {node}")


_ORDERS = {"order": "in search order", "visits": "most visits first", "value": "best first"}


def _alpha(run: RunRow, round_index: int) -> float:
    """The least reward of a good trajectory in a round, from the run's recipe."""
    values = run.recipe.get("splice", {}).get("alpha") or [1.0]
    return float(values[min(round_index, len(values)) - 1])
