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
        In the order of rounds and searches where tasks are named, else the most telling first; of
        several environments as many each as there are, one environment after the other. Empty
        where the run has no such trees.
    """
    candidates = {tree.id: _Candidate(tree) for tree in list_trees(store, run_id)}
    for row in revision_overviews(store, run_id):
        candidates[row.tree_id].revisions.append(row)
    found = list(candidates.values())
    if tasks:
        named = [one for one in found if one.tree.task.name in tasks]
        return [_choice(one, _story(one), SPLICES_A_NAMED_TREE) for one in named]
    by_env: dict[str, list[_Candidate]] = {}
    for one in found:
        by_env.setdefault(one.tree.task.env, []).append(one)
    stories = [_telling(by_env[env], limit) for env in sorted(by_env)]
    shares = [0] * len(stories)
    while sum(shares) < min(limit, sum(map(len, stories))):
        # The next goes to the one that has had the fewest; the first stories are the best.
        open_ = [at for at, choices in enumerate(stories) if shares[at] < len(choices)]
        shares[min(open_, key=shares.__getitem__)] += 1
    return [
        choice for choices, share in zip(stories, shares, strict=True) for choice in choices[:share]
    ]


def _telling(found: Sequence[_Candidate], limit: int) -> list[Choice]:
    """The most telling trees of one environment: of each kind of story one, in turn."""
    chosen: list[Choice] = []
    taken: set[int] = set()
    while len(chosen) < limit and len(taken) < len(found):
        before = len(chosen)
        for why, fits, rank in _STORIES:
            fitting = [one for one in found if one.tree.id not in taken and fits(one)]
            if not fitting or len(chosen) >= limit or (fits is _any and len(chosen) > before):
                continue
            best = max(fitting, key=lambda one: (*rank(one), -one.tree.id))
            for one in [best, *_elsewhere(best, found, taken)][: limit - len(chosen)]:
                taken.add(one.tree.id)
                told = why if one is best else "the same task in another round"
                chosen.append(_choice(one, told, SPLICES_A_TREE))
    return chosen


def task_names(store: Store, run_id: str) -> list[str]:
    """Names of the tasks that a run has trees of."""
    return sorted({tree.task.name for tree in list_trees(store, run_id)})


def _rank(one: _Candidate) -> tuple[float, ...]:
    return (one.readable,)


def _any(one: _Candidate) -> bool:
    """The story of a tree that has no other; told only once all others are told."""
    return True


def _rank_hard(one: _Candidate) -> tuple[float, ...]:
    return (one.tree.task.level, one.readable)


_STORIES: Sequence[
    tuple[str, Callable[[_Candidate], bool], Callable[[_Candidate], tuple[float, ...]]]
] = (
    (
        "a way back had to be searched: the joined texts failed their replay",
        lambda one: bool(one.having("recovered")),
        _rank,
    ),
    (
        "an error is noticed and mended",
        lambda one: any(
            row.revision_length > 1 and row.parting_step > 0
            for row in one.having("replayed", "naive")
        ),
        _rank,
    ),
    (
        "a pair was rejected",
        lambda one: any(not row.reason.startswith("duplicate") for row in one.having("rejected")),
        _rank,
    ),
    (
        "never solved",
        lambda one: (
            one.tree.error is None and one.tree.best_reward < 1 and one.tree.simulations > 0
        ),
        _rank,
    ),
    ("solved, though hard", lambda one: one.tree.best_reward >= 1, _rank_hard),
    ("the search itself failed", lambda one: one.tree.error is not None, _rank),
    ("a search", _any, _rank),
)
"""(what there is to see, which trees show it, which of them shows it best)."""


def _elsewhere(best: _Candidate, found: Sequence[_Candidate], taken: set[int]) -> list[_Candidate]:
    """The same task's tree of the last other round, if the story is one of revision."""
    if not best.having("recovered", "replayed", "naive"):
        return []
    others = [
        one
        for one in found
        if one.tree.task.id == best.tree.task.id and one.tree.round != best.tree.round
    ]
    return [one for one in others[-1:] if one.tree.id not in taken]


def _story(one: _Candidate) -> str:
    return next(why for why, fits, _ in _STORIES if fits(one))


def _choice(one: _Candidate, why: str, limit: int) -> Choice:
    order = ("recovered", "replayed", "naive", "rejected")

    def telling(row: RevisionOverview) -> tuple[int, bool, int, int]:
        duplicate = row.reason.startswith("duplicate")
        return (order.index(row.status), duplicate, -row.revision_length, row.id)

    shown = sorted(one.revisions, key=telling)[:limit]
    return Choice(one.tree, why, shown, len(one.revisions) - len(shown))
