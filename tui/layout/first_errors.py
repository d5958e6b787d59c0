"""The first error of a tree: the critic's verdicts on its nodes, t′, and why there is no pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentr_lite.console.outcomes import VERDICT, verdict_shares
from agentr_lite.store.first_errors import BadPathCut, FirstError, TreeSplicing
from agentr_lite.store.inspection import DISASTER, INVALID, KINDS, TreeShape
from agentr_lite.store.records import JudgementRow

from .lines import Span, one_line

CUT_SIGN: Span = (" ◀ t′", "bad")
"""Stands after the last bad step that a revision keeps."""


@dataclass(frozen=True, slots=True)
class TreeErrors:
    """The verdicts on a tree's nodes, and where its bad trajectories are cut."""

    verdicts: Mapping[int, Sequence[JudgementRow]] = field(default_factory=dict)
    """The critic's verdicts by node, in all trajectories."""
    cuts: frozenset[int] = frozenset()
    """The nodes that are t′ of a revision."""
    leads: frozenset[int] = frozenset()
    """The nodes above an error."""
    marked: frozenset[int] = frozenset()
    """The errors and the nodes above them."""

    @classmethod
    def of(
        cls,
        shape: TreeShape,
        verdicts: Mapping[int, Sequence[JudgementRow]],
        cuts: Iterable[BadPathCut],
    ) -> TreeErrors:
        """The errors of a tree.

        Args:
            shape: the tree's numbers.
            verdicts: the critic's, by node.
            cuts: of the tree's revisions.
        """
        cut_nodes = set()
        for cut in cuts:
            path = [cut.leaf_idx]
            while (parent := shape.parent[path[-1]]) >= 0:
                path.append(parent)
            path.reverse()
            # Where nothing could be revised, the path is cut where the pair parts: no error.
            if cut.parting_step < cut.cut_step < len(path):
                cut_nodes.add(path[cut.cut_step])
        found = cls(verdicts, frozenset(cut_nodes))
        leads: set[int] = set()
        nodes = found.nodes
        for idx in nodes:
            while (idx := shape.parent[idx]) >= 0 and idx not in leads:
                leads.add(idx)
        return cls(verdicts, found.cuts, frozenset(leads), frozenset(leads).union(nodes))

    @property
    def nodes(self) -> list[int]:
        """All nodes that were judged bad or are t′, by ``idx``."""
        return sorted({*self.cuts, *(idx for idx in self.verdicts if self.is_bad(idx))})

    @property
    def first(self) -> list[int]:
        """The nodes that were judged bad; where there is none, those that are t′."""
        return [idx for idx in self.nodes if self.is_bad(idx)] or sorted(self.cuts)

    def are_in(self, hidden: Iterable[int]) -> bool:
        """Whether any of some nodes, or of the nodes below them, is an error."""
        return not self.marked.isdisjoint(hidden)

    def is_bad(self, idx: int) -> bool:
        """Whether the critic judged a node bad."""
        return any(judgement.verdict == "bad" for judgement in self.verdicts.get(idx, ()))

    def of_node(self, idx: int) -> JudgementRow | None:
        """The verdict that a node is marked with: a bad one, if there is one."""
        judged = self.verdicts.get(idx, ())
        bad = (judgement for judgement in judged if judgement.verdict == "bad")
        return next(bad, judged[0] if judged else None)

    def first_in(self, chain: Sequence[int], shape: TreeShape) -> int:
        """The node of a chain that shows best what went wrong in it.

        That is the first one that was judged bad; without one, the first t′ (where no step was
        judged bad, a revision keeps the whole path); then the first fatal mistake; then the first
        turn without a possible action; then the last node.
        """
        if len(chain) == 1:
            return chain[0]
        checks: tuple[Callable[[int], bool], ...] = (
            self.is_bad,
            self.cuts.__contains__,
            lambda idx: bool(shape.flags[idx] & DISASTER),
            lambda idx: bool(shape.flags[idx] & INVALID) or KINDS[shape.kind[idx]] == "none",
        )
        for is_wrong in checks:
            wrong = next((idx for idx in chain if is_wrong(idx)), None)
            if wrong is not None:
                return wrong
        return chain[-1]


def verdict_span(judgement: JudgementRow) -> Span:
    """A verdict in six columns at most: ``✗ 98%``, or its sign alone where it has no numbers."""
    mark = VERDICT[judgement.verdict]
    shares = verdict_shares(judgement.scores)
    if judgement.critic == "none" or not shares:
        return (mark.glyph, mark.style)
    return (f"{mark.glyph} {shares[judgement.verdict]:.0%}", mark.style)


def first_error_span(error: FirstError) -> Span:
    """A tree's first error in a line: ``step 3 ✗ 98% get 2 oak logs``."""
    verdict, style = verdict_span(error.judgement)
    action = one_line(error.action) or "(no action)"
    return (f"step {error.judgement.step + 1} {verdict} {action}", style)


def splicing_span(splicing: TreeSplicing) -> Span:
    """The first error of a tree, or why none is known."""
    if splicing.first_error is not None:
        return first_error_span(splicing.first_error)
    if splicing.judged:
        return ("no step judged bad", "dim")
    if not splicing.pairs:
        return (f"no pair: {why_no_pair(splicing.good, splicing.bad)}", "dim")
    return ("the critic was not asked", "dim")


def why_no_pair(good: int, bad: int) -> str:
    """Why splicing found no pair in a tree, in a few words.

    Args:
        good: trajectories that earned at least alpha.
        bad: trajectories that earned less.
    """
    if not good and not bad:
        return "no trajectory ended"
    if not good:
        return "never solved"
    if not bad:
        return "never failed"
    return "nothing to revise"


NO_PAIR = {
    "no trajectory ended": "No pair: no trajectory of this tree came to an end.",
    "never solved": (
        "No pair: no trajectory earned α, so there is no good one that a bad one could be"
        " continued with."
    ),
    "never failed": "No pair: every trajectory earned α, so there is no bad one to revise.",
    "nothing to revise": (
        "No pair: every bad trajectory leaves the good ones with the step that ends it, or earned"
        " nearly as much (β)."
    ),
}
"""``why_no_pair`` as a sentence."""
