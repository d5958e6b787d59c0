"""Figures of an evaluation over several environments: each one's own, and the mean over them.

The environments count alike, however many tasks each has: a mean over all episodes would be a mean
of whatever was asked for most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.metrics.evaluation import estimate_to_json, figures_of
from agentr_lite.metrics.intervals import Estimate, mcnemar_exact, mean_of_estimates
from agentr_lite.store.records import EvalItemRow

_COUNTS = (
    *("episodes", "faulty", "overflowed", "successes", "turns", "invalid_actions"),
    "revision_lengths",
)
_MEANS = (
    *("steps", "valid_actions", "repeated_actions", "repeated_share", "reflections"),
    "revision_length",
)


def figures_by_env(
    items: Sequence[EvalItemRow],
    base: Sequence[EvalItemRow] | None,
    names: Sequence[str],
    *,
    seed: int,
) -> dict[str, Any]:
    """Figures as of one environment (``summary.figures_of``), but means over several.

    Args:
        items: one evaluation's rows, of all environments.
        base: the same evaluation's rows of round 0; None where there is nothing to compare with.
        names: the environments.
        seed: of the bootstrap.

    Returns:
        Counts are sums, all else means in which each environment with episodes counts alike;
        ``by_level`` is empty, as no two environments count difficulty in the same way. ``by_env``
        has each environment's figures by its name, those without episodes left out.
    """
    by_env = {}
    for name in names:
        mine = [item for item in items if item.task.env == name]
        theirs = None if base is None else [item for item in base if item.task.env == name]
        if mine:
            by_env[name] = figures_of(mine, theirs, seed=seed)
    return {**mean_figures(list(by_env.values())), "by_env": by_env}


def mean_figures(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of several environments' figures; see ``figures_by_env``."""
    found: dict[str, Any] = {key: sum(one[key] for one in figures) for key in _COUNTS}
    loops: Counter[str] = Counter()
    for one in figures:
        # Not `+`, which leaves out what is 0.
        loops.update(one["repeated_runs"])
    found |= {key: _mean([one[key] for one in figures]) for key in _MEANS}
    found |= {key: _mean_estimate([one[key] for one in figures]) for key in ("success", "reward")}
    versus = [one["versus_base"] for one in figures if one["versus_base"]]
    return {
        **found,
        "repeated_runs": dict(loops),
        "by_level": {},
        "versus_base": _mean_difference(versus) if versus else None,
    }


def _mean_difference(differences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of differences from the base; see ``summary.compare``.

    McNemar's test pools the tasks that changed: where nothing but chance is at work, each of them
    is as likely gained as lost, in whichever environment.
    """
    found: dict[str, Any] = {"pairs": sum(one["pairs"] for one in differences)}
    for key in ("success", "reward"):
        found[key] = _mean_estimate([one[key] for one in differences])
    if all("gained" in one for one in differences):
        found["gained"] = sum(one["gained"] for one in differences)
        found["lost"] = sum(one["lost"] for one in differences)
        found["mcnemar_p"] = mcnemar_exact(found["gained"], found["lost"])
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_estimate(estimates: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [Estimate(**one) for one in estimates if one]
    return estimate_to_json(mean_of_estimates(known)) if known else None
