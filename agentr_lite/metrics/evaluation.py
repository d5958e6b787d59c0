"""The figures of one evaluation, with intervals, and their difference from the base model.

They are computed from the store's rows alone, so that a report can be made from any database at any
time. ``EvalFigures`` is what an evaluation's ``summary`` holds as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from agentr_lite.metrics.episodes import (
    LOOP_LENGTHS,
    OVERFLOW,
    is_faulty,
    is_graded,
    played_steps,
    repeated_runs,
    revision_lengths,
)
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.intervals import mcnemar_exact, mean_interval, wilson_interval
from agentr_lite.metrics.resampling import clustered_paired_bootstrap, clustered_rate
from agentr_lite.store.decoding import DamagedError, record
from agentr_lite.store.records import EvalItemRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well episodes ended; None where there are none."""

    success: Estimate | None
    reward: Estimate | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        """What ``to_json`` wrote."""
        return cls(_estimate(values.get("success")), _estimate(values.get("reward")))

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {"success": _json(self.success), "reward": _json(self.reward)}


@dataclass(frozen=True, slots=True)
class VersusBase:
    """The difference from the base model on the same tasks."""

    pairs: int
    """Episodes that both have."""
    success: Estimate
    """The interval is a paired bootstrap over tasks, and -1 to 1 where that tells nothing."""
    reward: Estimate
    """The same for rewards."""
    gained: int | None = None
    """Tasks solved now and not by the base; None where tasks are played several times."""
    lost: int | None = None
    """Tasks solved by the base and not now."""
    mcnemar_p: float | None = None
    """Two-sided p-value of McNemar's exact test."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VersusBase:
        """What ``to_json`` wrote."""
        typed = {
            "pairs": values["pairs"],
            "success": Estimate.from_json(values["success"]),
            "reward": Estimate.from_json(values["reward"]),
            **{name: values.get(name) for name in ("gained", "lost", "mcnemar_p")},
        }
        return record(cls, typed, "evals")

    def to_json(self) -> dict[str, Any]:
        """JSON types; counts of tasks only where there are any."""
        values = {"pairs": self.pairs, "success": self.success.to_json()}
        values["reward"] = self.reward.to_json()
        if self.gained is not None:
            values |= {"gained": self.gained, "lost": self.lost, "mcnemar_p": self.mcnemar_p}
        return values


@dataclass(frozen=True, slots=True)
class EvalFigures:
    """Figures of one evaluation.

    Episodes whose environment broke are counted as ``faulty`` and left out of everything else.
    Episodes that outgrew the model's context count as they ended.
    """

    episodes: int
    faulty: int
    overflowed: int
    successes: int
    success: Estimate | None
    """95 % interval: Wilson for one episode a task or where all agree, else Student over the means
    of tasks. None without episodes."""
    reward: Estimate | None
    """95 % interval: Student over the means of tasks."""
    by_level: Mapping[int, Outcome]
    """Difficulty to outcome."""
    turns: int
    """Played turns."""
    steps: float | None
    """Mean per episode."""
    invalid_actions: int
    valid_actions: float | None
    """Share of all played turns."""
    repeated_actions: float | None
    """Mean per episode."""
    repeated_share: float | None
    """Share of all played turns."""
    repeated_runs: Mapping[int, int]
    """Length of the repeated run of actions to how often one was repeated."""
    reflections: float | None
    """Mean per episode."""
    revision_length: float | None
    """Mean over the reflections that followed visibly bad steps; None without any."""
    revision_lengths: int
    """How many such reflections there are."""
    versus_base: VersusBase | None = None
    by_env: Mapping[str, EvalFigures] | None = None
    """Each environment's figures by its name; None where the run has one environment."""
    settings: Mapping[str, Any] | None = None
    """What the episodes were played with; None where that is not stored."""

    @property
    def graded(self) -> bool:
        """Whether there are rewards between none and all."""
        if self.success is None or self.reward is None:
            return False
        return is_graded(self.success.value, self.reward.value)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvalFigures:
        """An evaluation's stored summary; one that is not finished has no figures.

        Raises:
            DamagedError: it is no such summary.
        """
        try:
            return cls._from_json(values)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise DamagedError("the figures of an evaluation are damaged") from error

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> EvalFigures:
        versus, by_env = values.get("versus_base"), values.get("by_env")
        typed: dict[str, Any] = {
            "success": _estimate(values.get("success")),
            "reward": _estimate(values.get("reward")),
            "by_level": {
                int(level): Outcome.from_json(of)
                for level, of in (values.get("by_level") or {}).items()
            },
            "repeated_runs": {
                int(length): count for length, count in (values.get("repeated_runs") or {}).items()
            },
            "versus_base": VersusBase.from_json(versus) if versus else None,
            "by_env": (
                None
                if by_env is None
                else {name: cls.from_json(by_env[name]) for name in sorted(by_env)}
            ),
            "settings": values.get("settings"),
        }
        numbers: dict[str, Any] = {
            **{name: values.get(name) or 0 for name in COUNTS},
            **{name: values.get(name) for name in MEANS},
        }
        return record(cls, {**numbers, **typed}, "evals")

    def to_json(self) -> dict[str, Any]:
        """JSON types; ``by_env`` and ``settings`` only where there are any."""
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {
            "success": _json(self.success),
            "reward": _json(self.reward),
            "by_level": {str(level): of.to_json() for level, of in self.by_level.items()},
            "repeated_runs": {str(length): n for length, n in self.repeated_runs.items()},
            "versus_base": self.versus_base.to_json() if self.versus_base else None,
        }
        if self.by_env is None:
            del values["by_env"]
        else:
            values["by_env"] = {name: of.to_json() for name, of in self.by_env.items()}
        if self.settings is None:
            del values["settings"]
        else:
            values["settings"] = dict(self.settings)
        return values


COUNTS = (
    "episodes",
    "faulty",
    "overflowed",
    "successes",
    "turns",
    "invalid_actions",
    "revision_lengths",
)
"""Figures that are sums over episodes."""
MEANS = (
    "steps",
    "valid_actions",
    "repeated_actions",
    "repeated_share",
    "reflections",
    "revision_length",
)
"""Figures that are means or shares."""


def summarise(items: Sequence[EvalItemRow]) -> EvalFigures:
    """Figures of one evaluation in one environment, without a comparison.

    Args:
        items: its rows, with their episodes.
    """
    sound = [item for item in items if not is_faulty(item)]
    episodes = [played_steps(item) for item in sound]
    turns = sum(item.steps for item in sound)
    lengths = [n for steps in episodes for n in revision_lengths(steps) if n > 0]
    loops = dict.fromkeys(LOOP_LENGTHS, 0)
    for steps in episodes:
        for length, count in repeated_runs(steps).items():
            loops[length] += count
    by_level = {
        level: [item for item in sound if item.task.level == level]
        for level in sorted({item.task.level for item in sound})
    }
    invalid = sum(item.invalid_actions for item in sound)
    repeated = sum(item.repeated_actions for item in sound)
    return EvalFigures(
        episodes=len(items),
        faulty=len(items) - len(sound),
        overflowed=sum(item.error == OVERFLOW for item in items),
        successes=sum(item.success for item in sound),
        success=_success(sound),
        reward=_reward(sound),
        by_level={level: Outcome(_success(of), _reward(of)) for level, of in by_level.items()},
        turns=turns,
        steps=_ratio(turns, len(sound)),
        invalid_actions=invalid,
        valid_actions=_ratio(turns - invalid, turns),
        repeated_actions=_ratio(repeated, len(sound)),
        repeated_share=_ratio(repeated, turns),
        repeated_runs=loops,
        reflections=_ratio(sum(item.reflections for item in sound), len(sound)),
        revision_length=_ratio(sum(lengths), len(lengths)),
        revision_lengths=len(lengths),
    )


def figures_of(
    items: Sequence[EvalItemRow], base: Sequence[EvalItemRow] | None, *, seed: int
) -> EvalFigures:
    """``summarise`` with the difference from the base model.

    Args:
        items: one evaluation's rows.
        base: the same evaluation's rows of round 0; None where there is nothing to compare with.
        seed: of the bootstrap.
    """
    versus = None if base is None else compare(items, base, seed=seed)
    return replace(summarise(items), versus_base=versus)


def compare(
    items: Sequence[EvalItemRow], base: Sequence[EvalItemRow], *, seed: int
) -> VersusBase | None:
    """The difference from the base model on the same tasks.

    Args:
        items: one evaluation's rows.
        base: the same evaluation's rows of round 0.
        seed: of the bootstrap.

    Returns:
        None where the two share no sound row.
    """
    pairs = match(items, base)
    if not pairs:
        return None
    tasks = [now.task.id for now, _ in pairs]
    success, reward = (
        _within(
            clustered_paired_bootstrap(
                [value(now) for now, _ in pairs],
                [value(before) for _, before in pairs],
                tasks,
                seed=seed,
            ),
            -1.0,
            1.0,
        )
        for value in (_is_success, _reward_of)
    )
    if len(set(tasks)) < len(tasks):
        return VersusBase(len(pairs), success, reward)
    gained = sum(now.success and not before.success for now, before in pairs)
    lost = sum(before.success and not now.success for now, before in pairs)
    return VersusBase(len(pairs), success, reward, gained, lost, mcnemar_exact(gained, lost))


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


def _is_success(item: EvalItemRow) -> float:
    return float(item.success)


def _reward_of(item: EvalItemRow) -> float:
    return item.reward


def _success(items: Sequence[EvalItemRow]) -> Estimate | None:
    if not items:
        return None
    if len({item.task.id for item in items}) == len(items):
        return wilson_interval(sum(item.success for item in items), len(items))
    # Several samples of one task are not independent trials.
    if len({item.success for item in items}) == 1:
        successes, tasks = [item.success for item in items], [item.task.id for item in items]
        return clustered_rate(successes, tasks, seed=0)
    return _mean_by_task(items, [_is_success(item) for item in items])


def _reward(items: Sequence[EvalItemRow]) -> Estimate | None:
    return _mean_by_task(items, [item.reward for item in items]) if items else None


def _mean_by_task(items: Sequence[EvalItemRow], values: Sequence[float]) -> Estimate:
    by_task: dict[int, list[float]] = {}
    for item, value in zip(items, values, strict=True):
        by_task.setdefault(item.task.id, []).append(value)
    estimate = mean_interval([sum(of) / len(of) for of in by_task.values()])
    # Rewards and rates lie in [0, 1]; a Student interval does not know that.
    return _within(estimate, 0.0, 1.0)


def _within(estimate: Estimate, least: float, most: float) -> Estimate:
    return replace(estimate, low=max(least, estimate.low), high=min(most, estimate.high))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _estimate(values: Mapping[str, Any] | None) -> Estimate | None:
    return Estimate.from_json(values) if values else None


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    return estimate.to_json() if estimate else None
