"""How fast every environment is, and whether it passes the checks.

    python -m benchmarks.environments [NAME ...] [--tasks N] [--check] [--json]

Each environment plays the oracle's episodes on evenly spaced training tasks, or random valid
actions if it has no oracle. With ``--check``, ``envs check`` also checks all of its tasks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import click

from agentr_lite.console.streams import emit_json, emit_table, say
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment

UPSTREAM: Mapping[str, Mapping[str, str]] = {
    "textcraft": {"steps/s": "60,000-100,000", "reset ms": "1.1-2.4", "return ms": "none"},
    "sciworld": {"steps/s": "4-23", "reset ms": "60-550", "return ms": "none"},
    "textworld": {"steps/s": "200", "return ms": "31 (a copy)"},
    "webshop": {"steps/s": "43", "return ms": "none"},
}
"""Figures of the original implementations on a machine with 2 cores; they cannot save a state."""

EXTRA: Mapping[str, Mapping[str, Any]] = {
    "gymnasium:FrozenLake-v1": {"make": {"is_slippery": False}},
}
"""Adapters, each with an environment to adapt."""

_EPISODE_STEPS = 30
_RETURNS = 20


class Figures(NamedTuple):
    """The figures of one environment; times are in ms."""

    environment: str
    make_ms: float
    """To make the instance and list its tasks."""
    first_reset_ms: float
    """To reset to a new task, for which the environment builds or loads what it needs."""
    reset_ms: float
    steps_per_s: float
    snapshot_ms: float
    return_ms: float
    """To restore a state other than the current one and take a step from there."""
    tasks: int
    steps: int


def measure(
    name: str, options: Mapping[str, Any], count: int, progress: Callable[[str], None]
) -> Figures:
    """Play ``count`` tasks.

    Args:
        name: name of the environment.
        options: its options.
        count: number of tasks.
        progress: called with the name of each task.

    Raises:
        AgentrError: the environment cannot be made or played.
    """
    from agentr_lite.envs.registry import make_env

    started = time.perf_counter()
    env = make_env(name, options)
    try:
        every = env.tasks("train")
        make_ms = (time.perf_counter() - started) * 1e3
        tasks = [every[index * len(every) // count] for index in range(min(count, len(every)))]
        first, again, steps, saves, returns = [], [], [], [], []
        for task in tasks:
            progress(f"{name}: {task.name}")
            first.append(_timed(partial(env.reset, task)))
            actions = _actions(env, task)
            again.append(_timed(partial(env.reset, task)))
            states = []
            for action in actions:
                started = time.perf_counter()
                state = env.snapshot()
                saved = time.perf_counter()
                result = env.step(action)
                steps.append((time.perf_counter() - saved) * 1e3)
                saves.append((saved - started) * 1e3)
                states.append((state, action))
                if result.terminated or result.truncated:
                    break
            random.Random(1).shuffle(states)
            returns += [_timed(partial(_return, env, *pair)) for pair in states[:_RETURNS]]
    finally:
        env.close()
    return Figures(
        environment=name,
        make_ms=make_ms,
        first_reset_ms=_mean(first),
        reset_ms=_mean(again),
        steps_per_s=1e3 / _mean(steps),
        snapshot_ms=_mean(saves),
        return_ms=_mean(returns),
        tasks=len(tasks),
        steps=len(steps),
    )


def _return(env: Environment, state: Any, action: str) -> None:
    # Some environments do the work of restoring only in the next step.
    env.restore(state)
    env.step(action)


def _actions(env: Environment, task: Task) -> list[str]:
    try:
        return env.solve(task)[:_EPISODE_STEPS]
    except NotImplementedError:
        env.reset(task)
        valid = env.valid_actions() or ["look"]
        return [random.Random(index).choice(valid) for index in range(_EPISODE_STEPS)]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def check(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``envs check`` on all tasks; returns failures, numbers of cases and seconds."""
    from agentr_lite.envs.checker import check_environment
    from agentr_lite.envs.registry import make_env

    started = time.perf_counter()
    env = make_env(name, options)
    try:
        findings = check_environment(env, other=lambda: make_env(name, options))
    finally:
        env.close()
    return {
        "environment": name,
        "failed": [finding.check for finding in findings if finding.failed],
        "cases": {finding.check: finding.cases for finding in findings},
        "wall_s": time.perf_counter() - started,
    }


@click.command()
@click.argument("names", nargs=-1)
@click.option("--tasks", default=5, show_default=True, help="Number of tasks per environment.")
@click.option("--check", "checked", is_flag=True, help="Also check every task of each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(names: tuple[str, ...], tasks: int, checked: bool, as_json: bool) -> None:
    """Print a table of figures on stdout; environments that cannot run here are left out."""
    from agentr_lite.envs.registry import env_names

    figures: list[Figures] = []
    checks: list[dict[str, Any]] = []
    for name in names or (*env_names(), *EXTRA):
        options = EXTRA.get(name, {})
        try:
            figures.append(measure(name, options, tasks, say))
            checks += [check(name, options)] if checked else []
        except AgentrError as error:
            say(f"{name} is left out: {error.message}")
    if as_json:
        emit_json({"figures": [row._asdict() for row in figures], "checks": checks})
        return
    emit_table(
        ["environment", "made ms", "first ms", "reset ms", "steps/s", "snapshot ms", "return ms"],
        [
            [
                row.environment,
                f"{row.make_ms:.0f}",
                f"{row.first_reset_ms:.3g}",
                f"{row.reset_ms:.3g}",
                f"{row.steps_per_s:,.0f}",
                f"{row.snapshot_ms:.3g}",
                f"{row.return_ms:.3g}",
            ]
            for row in figures
        ],
        keep=["environment"],
    )
    emit_table(
        ["upstream's", "steps/s", "reset ms", "return ms"],
        [
            [name, *(UPSTREAM[name].get(key, "–") for key in ("steps/s", "reset ms", "return ms"))]
            for name in sorted({row.environment for row in figures} & set(UPSTREAM))
        ],
    )
    if checks:
        emit_table(
            ["environment", "check", "tasks of the oracle", "wall s"],
            [
                [
                    row["environment"],
                    ", ".join(row["failed"]) or "sound",
                    row["cases"]["oracle"],
                    f"{row['wall_s']:.0f}",
                ]
                for row in checks
            ],
        )


if __name__ == "__main__":
    main()
