"""Checks that an environment keeps the protocol's promises, and that its game can be learnt.

The checks follow from how search (snapshots), splicing (replay) and evaluation (rewards, splits)
use an environment.

Source: the idea is that of Gymnasium's environment checker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from agentr_lite.core.errors import AgentrError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.checks import game, promises
from agentr_lite.envs.checks.finding import UNTRIED, Finding, Outcome, found
from agentr_lite.envs.checks.playing import Script, limited, script_for, spread
from agentr_lite.envs.faults import raised_at
from agentr_lite.envs.foreign import text_of

__all__ = ["UNTRIED", "Finding", "Outcome", "check_environment"]

_LOG = logging.getLogger(__name__)


def check_environment(
    env: Environment,
    *,
    other: Callable[[], Environment] | None = None,
    episodes: int = 50,
    max_steps: int = 20,
    solve_all: bool = True,
    limits: Mapping[str, int] | None = None,
    limits_of: str = "the recipe",
) -> list[Finding]:
    """Play an environment's tasks and report broken promises.

    Args:
        env: the environment; an episode in progress is lost.
        other: makes another instance with the same settings, to restore snapshots into.
        episodes: number of tasks, spread over all splits, on which determinism and snapshots are
            checked.
        max_steps: longest episode in these checks.
        solve_all: try the oracle on every task of every split, not only on ``episodes``.
        limits: option to the longest episode that it allows, in steps, to compare the oracle's
            solutions with; None: this is not asked, and there is no finding ``limits``.
        limits_of: whose limits they are.

    Returns:
        One finding for each check, always in the same order. If the environment's code raises an
        error or takes longer than its ``time_limit_s``, that is a finding, not an exception.
    """
    source, env = env, limited(env)

    def guarded(check: str, run: Callable[[], Finding]) -> Finding:
        return _guarded(check, run, source)

    tasks: dict[str, list[Task]] = {}
    splits = guarded("splits", lambda: promises.check_splits(env, tasks))
    everything = [task for split in SPLITS for task in tasks.get(split, ())]
    sample = spread(everything, episodes)
    solutions: dict[str, list[str]] = {}
    oracle = guarded(
        "oracle",
        lambda: game.check_oracle(env, everything if solve_all else sample, solutions),
    )
    scripts: list[Script] = []
    begun = guarded("rewards", lambda: _begin_all(env, sample, solutions, max_steps, scripts))
    instructions = guarded("instructions", lambda: promises.check_instructions(env))
    rewards = guarded("rewards", lambda: promises.check_rewards(env, scripts))
    determinism = guarded("determinism", lambda: promises.check_determinism(env, scripts))
    snapshots = guarded("snapshots", lambda: promises.check_snapshots(env, other, scripts))
    saves = snapshots.ok is True
    findings = [
        splits,
        instructions,
        begun if begun.failed else rewards,
        determinism,
        snapshots,
        oracle,
        guarded("seeds", lambda: promises.check_seeds(env, scripts)),
        guarded("actions", lambda: game.check_actions(env, scripts, saves=saves)),
        guarded("repeats", lambda: game.check_repeats(env, scripts, saves=saves)),
    ]
    if limits is not None:
        findings.append(game.check_limits(solutions, limits, limits_of))
    return findings


def _guarded(check: str, run: Callable[[], Finding], env: Environment) -> Finding:
    try:
        return run()
    except AgentrError as error:
        return Finding(check, "failed", 0, error.message)
    # The boundary: everything that an environment's code raises is reported.
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _LOG.debug("environment '%s': %s", env.name, check, exc_info=error)
        said = f"raised {type(error).__name__}: {text_of(error)}{raised_at(error, env)}"
        return Finding(check, "failed", 0, said)


def _begin_all(
    env: Environment,
    sample: Sequence[Task],
    solutions: Mapping[str, Sequence[str]],
    max_steps: int,
    scripts: list[Script],
) -> Finding:
    """Choose actions for each task. Fills ``scripts``, up to a task that cannot be started."""
    for task in sample:
        scripts.append(script_for(env, task, solutions.get(task.name), max_steps))
    return found("rewards", len(sample))
