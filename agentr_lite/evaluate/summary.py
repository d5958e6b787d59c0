"""From evaluated episodes to figures with intervals, and to differences from the base model.

Works on the store's rows alone, so that a report can be made from any database at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentr_lite.core.steps import Step
from agentr_lite.evaluate.episodes import OVERFLOW
from agentr_lite.metrics.intervals import Estimate, mcnemar_exact, mean_interval, wilson_interval
from agentr_lite.metrics.measures import LOOP_LENGTHS, repeated_runs, revision_lengths
from agentr_lite.metrics.resampling import clustered_paired_bootstrap, clustered_rate
from agentr_lite.store.records import EvalItemRow


def played_steps(item: EvalItemRow) -> list[Step]:
    """The steps that the actor chose; a prefix that was given is left out."""
    return [played.step for played in item.episode if not played.given]


def is_faulty(item: EvalItemRow) -> bool:
    """Whether the environment broke: such a row says nothing about the actor."""
    return item.error is not None and item.error != OVERFLOW


def summarise(items: Sequence[EvalItemRow]) -> dict[str, Any]:
    """Figures of one evaluation.

    Args:
        items: its rows. Rows whose environment broke are counted as ``faulty`` and left out of
            every figure; rows that overflowed the model's context count as they ended.

    Returns:
        JSON types. ``success`` and ``reward`` are ``{value, low, high, n}`` with 95 % intervals
        (Wilson for one episode a task or where all agree, Student over task means otherwise),
        ``by_level`` the same
        by difficulty; ``steps``, ``repeated_actions`` and ``reflections`` are means an episode;
        ``valid_actions`` and ``repeated_share`` are shares of all played turns;
        ``repeated_runs`` counts by run length; ``revision_length`` is the mean over reflections
        that followed visibly bad steps (None without any), ``revision_lengths`` their number.
    """
    sound = [item for item in items if not is_faulty(item)]
    episodes = [played_steps(item) for item in sound]
    turns = sum(item.steps for item in sound)
    lengths = [n for steps in episodes for n in revision_lengths(steps) if n > 0]
    loops = {str(length): 0 for length in LOOP_LENGTHS}
    for steps in episodes:
        for length, count in repeated_runs(steps).items():
            loops[str(length)] += count
    levels = sorted({item.task.level for item in sound})
    return {
        "episodes": len(items),
        "faulty": len(items) - len(sound),
        "overflowed": sum(item.error == OVERFLOW for item in items),
        "successes": sum(item.success for item in sound),
        "success": _success(sound),
        "reward": _reward(sound),
        "by_level": {
            str(level): {
                "success": _success([i for i in sound if i.task.level == level]),
                "reward": _reward([i for i in sound if i.task.level == level]),
            }
            for level in levels
        },
        "turns": turns,
        "steps": _ratio(turns, len(sound)),
        "invalid_actions": sum(item.invalid_actions for item in sound),
        "valid_actions": _ratio(turns - sum(item.invalid_actions for item in sound), turns),
        "repeated_actions": _ratio(sum(item.repeated_actions for item in sound), len(sound)),
        "repeated_share": _ratio(sum(item.repeated_actions for item in sound), turns),
        "repeated_runs": loops,
        "reflections": _ratio(sum(item.reflections for item in sound), len(sound)),
        "revision_length": _ratio(sum(lengths), len(lengths)),
        "revision_lengths": len(lengths),
    }


def is_graded(figures: Mapping[str, Any]) -> bool:
    """Whether there are rewards between none and all.

    Args:
        figures: see ``summarise``; of an unfinished evaluation there may be none yet.
    """
    success, reward = figures.get("success"), figures.get("reward")
    if not success or not reward:
        return False
    return abs(float(success["value"] - reward["value"])) > 1e-9


def figures_of(
    items: Sequence[EvalItemRow], base: Sequence[EvalItemRow] | None, *, seed: int
) -> dict[str, Any]:
    """``summarise`` with ``versus_base``, the difference from the base model.

    Args:
        items: one evaluation's rows.
        base: the same evaluation's rows of round 0; None where there is nothing to compare with.
        seed: of the bootstrap.
    """
    versus = None if base is None else compare(items, base, seed=seed)
    return {**summarise(items), "versus_base": versus}


def compare(
    items: Sequence[EvalItemRow], base: Sequence[EvalItemRow], *, seed: int
) -> dict[str, Any] | None:
    """The difference from the base model on the same tasks.

    Args:
        items: one evaluation's rows.
        base: the same evaluation's rows of round 0.
        seed: of the bootstrap.

    Returns:
        None where the two share no sound row; else ``pairs``, ``success`` and ``reward`` as
        ``{value, low, high, n}`` (paired bootstrap, clustered by task; -1 to 1 where that tells
        nothing) and, for one episode a task, ``gained``, ``lost`` and ``mcnemar_p``.
    """
    pairs = match(items, base)
    if not pairs:
        return None
    tasks = [now.task.id for now, _ in pairs]
    found: dict[str, Any] = {"pairs": len(pairs)}
    for name, value in (("success", _is_success), ("reward", _reward_of)):
        estimate = clustered_paired_bootstrap(
            [value(now) for now, _ in pairs],
            [value(before) for _, before in pairs],
            tasks,
            seed=seed,
        )
        found[name] = estimate_to_json(_within(estimate, -1.0, 1.0))
    if len(set(tasks)) == len(tasks):
        found["gained"] = sum(now.success and not before.success for now, before in pairs)
        found["lost"] = sum(before.success and not now.success for now, before in pairs)
        found["mcnemar_p"] = mcnemar_exact(found["gained"], found["lost"])
    return found


def match(
    items: Sequence[EvalItemRow], base: Sequence[EvalItemRow]
) -> list[tuple[EvalItemRow, EvalItemRow]]:
    """Rows of the same task and sample, sound on both sides, in the order of ``items``."""
    known = {(item.task.id, item.sample): item for item in base if not is_faulty(item)}
    return [
        (item, known[item.task.id, item.sample])
        for item in items
        if not is_faulty(item) and (item.task.id, item.sample) in known
    ]


def estimate_to_json(estimate: Estimate) -> dict[str, Any]:
    """``{value, low, high, n}``."""
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
    }


def _is_success(item: EvalItemRow) -> float:
    return float(item.success)


def _reward_of(item: EvalItemRow) -> float:
    return item.reward


def _success(items: Sequence[EvalItemRow]) -> dict[str, Any] | None:
    if not items:
        return None
    if len({item.task.id for item in items}) == len(items):
        return estimate_to_json(wilson_interval(sum(item.success for item in items), len(items)))
    # Several samples of one task are not independent trials.
    if len({item.success for item in items}) == 1:
        successes, tasks = [item.success for item in items], [item.task.id for item in items]
        return estimate_to_json(clustered_rate(successes, tasks, seed=0))
    return _mean_by_task(items, [_is_success(item) for item in items])


def _reward(items: Sequence[EvalItemRow]) -> dict[str, Any] | None:
    return _mean_by_task(items, [item.reward for item in items]) if items else None


def _mean_by_task(items: Sequence[EvalItemRow], values: Sequence[float]) -> dict[str, Any]:
    by_task: dict[int, list[float]] = {}
    for item, value in zip(items, values, strict=True):
        by_task.setdefault(item.task.id, []).append(value)
    estimate = mean_interval([sum(of) / len(of) for of in by_task.values()])
    # Rewards and rates lie in [0, 1]; a Student interval does not know that.
    return estimate_to_json(_within(estimate, 0.0, 1.0))


def _within(estimate: Estimate, least: float, most: float) -> Estimate:
    return replace(estimate, low=max(least, estimate.low), high=min(most, estimate.high))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
