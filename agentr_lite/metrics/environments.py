"""The figures of an evaluation over several environments: each one's own, and the mean over them.

The environments count alike, however many tasks each has: a mean over all episodes would mostly
describe the environment with the most tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.evaluation import COUNTS, MEANS, EvalFigures, VersusBase, figures_of
from agentr_lite.metrics.intervals import mcnemar_exact, mean_of_estimates
from agentr_lite.store.records import EvalItemRow


def figures_by_env(
    items: Sequence[EvalItemRow],
    base: Sequence[EvalItemRow] | None,
    names: Sequence[str],
    *,
    seed: int,
) -> EvalFigures:
    """An evaluation's figures as means over several environments; see ``evaluation.figures_of``.

    Args:
        items: one evaluation's rows, of all environments.
        base: the same evaluation's rows of round 0; None where there is nothing to compare with.
        names: the environments.
        seed: of the bootstrap.

    Returns:
        Counts are sums; all other figures are means in which each environment counts alike.
        ``by_level`` is empty, as no two environments count difficulty in the same way. ``by_env``
        leaves out environments without episodes.
    """
    by_env = {}
    for name in names:
        mine = [item for item in items if item.task.env == name]
        theirs = None if base is None else [item for item in base if item.task.env == name]
        if mine:
            by_env[name] = figures_of(mine, theirs, seed=seed)
    return replace(mean_figures(list(by_env.values())), by_env=by_env)


def mean_figures(figures: Sequence[EvalFigures]) -> EvalFigures:
    """The mean of several environments' figures; see ``figures_by_env``."""
    loops: Counter[int] = Counter()
    for each in figures:
        # `+` would drop the counts that are 0.
        loops.update(each.repeated_runs)
    numbers: Mapping[str, Any] = {
        **{name: sum(getattr(each, name) for each in figures) for name in COUNTS},
        **{name: _mean([getattr(each, name) for each in figures]) for name in MEANS},
    }
    versus = [each.versus_base for each in figures if each.versus_base]
    return EvalFigures(
        **numbers,
        success=_mean_estimate([each.success for each in figures]),
        reward=_mean_estimate([each.reward for each in figures]),
        repeated_runs=dict(loops),
        by_level={},
        versus_base=_mean_difference(versus) if versus else None,
    )


def _mean_difference(differences: Sequence[VersusBase]) -> VersusBase:
    """The mean of differences from the base.

    McNemar's test pools the tasks that changed: by chance alone, a task of any environment is as
    likely gained as lost.
    """
    mean = VersusBase(
        sum(each.pairs for each in differences),
        mean_of_estimates([each.success for each in differences]),
        mean_of_estimates([each.reward for each in differences]),
    )
    flips = [(each.gained, each.lost) for each in differences]
    gained = [gained for gained, _ in flips if gained is not None]
    lost = [lost for _, lost in flips if lost is not None]
    if len(gained) < len(differences):
        return mean
    return replace(
        mean,
        gained=sum(gained),
        lost=sum(lost),
        mcnemar_p=mcnemar_exact(sum(gained), sum(lost)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_estimate(estimates: Sequence[Estimate | None]) -> Estimate | None:
    known = [estimate for estimate in estimates if estimate]
    return mean_of_estimates(known) if known else None
