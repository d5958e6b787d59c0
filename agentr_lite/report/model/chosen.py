"""Which trees and splices of a run are worth showing: named tasks, or a few instructive ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agentr_lite.store.database import Store
from agentr_lite.store.inspection import RevisionOverview, revision_overviews
from agentr_lite.store.records import TreeRow
from agentr_lite.store.trees import list_trees

SPLICES_A_TREE = 2
SPLICES_A_NAMED_TREE = 8
_READABLE_NODES = 80
"""A tree of about this size can be taken in at a glance."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A tree to show."""

    tree: TreeRow
    why: str
    """What makes it worth a look."""
    revisions: Sequence[RevisionOverview] = ()
    """Its splices to show, the most telling first."""
    more_revisions: int = 0
    """How many more it has."""


@dataclass(slots=True)
class _Candidate:
    tree: TreeRow
    revisions: list[RevisionOverview] = field(default_factory=list)

    def having(self, *statuses: str) -> list[RevisionOverview]:
        return [row for row in self.revisions if row.status in statuses]

    @property
    def readable(self) -> float:
        """Higher for a tree that is neither trivial nor huge."""
        return -abs(self.tree.node_count - _READABLE_NODES)


def choose_trees(
    store: Store, run_id: str, *, tasks: Sequence[str] = (), limit: int = 6
) -> list[Choice]:
    """The trees of a run to show.

    Args:
        store: the database.
        run_id: the run.
        tasks: names; all their trees of every round, whatever ``limit`` says.
        limit: how many to choose where no task is named.

    Returns:
        Named tasks in the order of rounds and searches; else the most telling trees first. With
        several environments, about as many of each, one environment after the other. Empty where
        the run has no such trees.
    """
    candidates = {tree.id: _Candidate(tree) for tree in list_trees(store, run_id)}
    for row in revision_overviews(store, run_id):
        candidates[row.tree_id].revisions.append(row)
    known = list(candidates.values())
    if tasks:
        wanted = [candidate for candidate in known if candidate.tree.task.name in tasks]
        return [_choice(candidate, _story(candidate), SPLICES_A_NAMED_TREE) for candidate in wanted]
    by_env: dict[str, list[_Candidate]] = {}
    for candidate in known:
        by_env.setdefault(candidate.tree.task.env, []).append(candidate)
    stories = [_telling(by_env[env], limit) for env in sorted(by_env)]
    shares = [0] * len(stories)
    while sum(shares) < min(limit, sum(map(len, stories))):
        # The next goes to the one that has had the fewest; the first stories are the best.
        open_ = [at for at, choices in enumerate(stories) if shares[at] < len(choices)]
        shares[min(open_, key=shares.__getitem__)] += 1
    return [
        choice for choices, share in zip(stories, shares, strict=True) for choice in choices[:share]
    ]


def _telling(known: Sequence[_Candidate], limit: int) -> list[Choice]:
    """The most telling trees of one environment: of each kind of story one, in turn."""
    chosen: list[Choice] = []
    taken: set[int] = set()
    while len(chosen) < limit and len(taken) < len(known):
        before = len(chosen)
        for why, fits, rank in _STORIES:
            fitting = [
                candidate
                for candidate in known
                if candidate.tree.id not in taken and fits(candidate)
            ]
            if not fitting or len(chosen) >= limit or (fits is _any and len(chosen) > before):
                continue
            best = max(fitting, key=lambda candidate: (*rank(candidate), -candidate.tree.id))
            for candidate in [best, *_elsewhere(best, known, taken)][: limit - len(chosen)]:
                taken.add(candidate.tree.id)
                reason = why if candidate is best else "the same task in another round"
                chosen.append(_choice(candidate, reason, SPLICES_A_TREE))
    return chosen


def task_names(store: Store, run_id: str) -> list[str]:
    """Names of the tasks that a run has trees of."""
    return sorted({tree.task.name for tree in list_trees(store, run_id)})


def _rank(candidate: _Candidate) -> tuple[float, ...]:
    return (candidate.readable,)


def _any(candidate: _Candidate) -> bool:
    """The story of a tree that has no other; it is used only once all others are."""
    return True


def _rank_hard(candidate: _Candidate) -> tuple[float, ...]:
    return (candidate.tree.task.level, candidate.readable)


_STORIES: Sequence[
    tuple[str, Callable[[_Candidate], bool], Callable[[_Candidate], tuple[float, ...]]]
] = (
    (
        "the joined texts failed their replay: a way back was searched",
        lambda candidate: bool(candidate.having("recovered")),
        _rank,
    ),
    (
        "an error is noticed and corrected",
        lambda candidate: any(
            row.revision_length > 1 and row.parting_step > 0
            for row in candidate.having("replayed", "naive")
        ),
        _rank,
    ),
    (
        "a pair was rejected",
        lambda candidate: any(
            not row.reason.startswith("duplicate") for row in candidate.having("rejected")
        ),
        _rank,
    ),
    (
        "never solved",
        lambda candidate: (
            candidate.tree.error is None
            and candidate.tree.best_reward < 1
            and candidate.tree.simulations > 0
        ),
        _rank,
    ),
    ("solved, though hard", lambda candidate: candidate.tree.best_reward >= 1, _rank_hard),
    ("the search itself failed", lambda candidate: candidate.tree.error is not None, _rank),
    ("a search", _any, _rank),
)
"""(what there is to see, which trees show it, which of them shows it best)."""


def _elsewhere(best: _Candidate, known: Sequence[_Candidate], taken: set[int]) -> list[_Candidate]:
    """The same task's tree of the last other round, if the story is one of revision."""
    if not best.having("recovered", "replayed", "naive"):
        return []
    others = [
        candidate
        for candidate in known
        if candidate.tree.task.id == best.tree.task.id and candidate.tree.round != best.tree.round
    ]
    return [candidate for candidate in others[-1:] if candidate.tree.id not in taken]


def _story(candidate: _Candidate) -> str:
    return next(why for why, fits, _ in _STORIES if fits(candidate))


def _choice(candidate: _Candidate, why: str, limit: int) -> Choice:
    order = ("recovered", "replayed", "naive", "rejected")

    def telling(row: RevisionOverview) -> tuple[int, bool, int, int]:
        duplicate = row.reason.startswith("duplicate")
        return (order.index(row.status), duplicate, -row.revision_length, row.id)

    shown = sorted(candidate.revisions, key=telling)[:limit]
    return Choice(candidate.tree, why, shown, len(candidate.revisions) - len(shown))
