"""The speed of our ScienceWorld, compared with the package's own interface.

    python -m benchmarks.sciworld [--kinds N] [--steps N] [--json]

Both play the same solutions, game by game in turns, so that other programs affect both equally.
This needs Java.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from agentr_lite.console.streams import emit_json, emit_table, say
from agentr_lite.core.tasks import Task
from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.envs.sciworld.games import games

_LOCKSTEP_ROUNDS = 3


@dataclass
class Clock:
    """Seconds spent, and the number of items."""

    seconds: float = 0.0
    count: int = 0
    each: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], Any], count: int = 1) -> Any:
        """Run ``work``, which does ``count`` items."""
        started = time.perf_counter()
        result = work()
        took = time.perf_counter() - started
        self.seconds += took
        self.count += count
        self.each.append(took / count)
        return result

    @property
    def ms(self) -> float:
        """Mean milliseconds per item."""
        return self.seconds / self.count * 1e3

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.count / self.seconds


@click.command()
@click.option(
    "--kinds", default=8, show_default=True, help="Number of kinds; one game of each is played."
)
@click.option("--steps", default=12, show_default=True, help="Maximum steps of each game.")
@click.option("--episodes", default=12, show_default=True, help="Number of episodes in lockstep.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(kinds: int, steps: int, episodes: int, as_json: bool) -> None:
    """Print a table of figures on stdout."""
    tasks = _one_of_each_kind(kinds)
    env = SciWorld()
    start = Clock()
    start.time(lambda: env.reset(tasks[0]))
    solutions = [env.solve(task)[:steps] for task in tasks]
    package, package_start = _package()
    ours, theirs, reset, their_reset = Clock(), Clock(), Clock(), Clock()
    for task, actions in zip(tasks, solutions, strict=True):
        _play_package(package, task, actions, their_reset, theirs)
        _play_ours(env, task, actions, reset, ours)
    (our_pid,) = env._pool.pids
    their_pid = package._gateway.java_process.pid
    memory = _resident_mib(our_pid), _resident_mib(their_pid)
    package.close()
    restore = _restore(env, tasks, solutions)
    held = _lockstep(env, tasks, episodes)
    env.close()
    with_one = SciWorld(worlds=1)
    single = _lockstep(with_one, tasks, episodes)
    with_one.close()
    rows: list[list[Any]] = [
        ["steps", ours.rate, theirs.rate, "/s", f"{ours.rate / theirs.rate:.1f} times"],
        ["start and first reset", start.ms, package_start.ms, "ms", "theirs without the reset"],
        ["reset of a game not seen before", reset.ms, their_reset.ms, "ms", "theirs with load"],
        ["restore 8 steps deep and step", restore.ms, None, "ms", "the package has no restore"],
        [f"steps, {episodes} episodes in turn", held.rate, None, "/s", "each on a simulator"],
        [f"steps, {episodes} episodes in turn", single.rate, None, "/s", "on one: all replayed"],
        ["memory of the Java process", memory[0], memory[1], "MiB", f"{len(tasks)} games held"],
    ]
    if as_json:
        emit_json(
            [
                {"figure": name, "ours": mine, "package": other, "unit": unit, "note": note}
                for name, mine, other, unit, note in rows
            ]
        )
        return
    emit_table(
        ["figure", "ours", "package", "unit", "note"],
        [
            [name, f"{mine:.1f}", None if other is None else f"{other:.1f}", unit, note]
            for name, mine, other, unit, note in rows
        ],
    )
    say(f"{len(tasks)} games, {ours.count} steps each way, Python {sys.version.split()[0]}")


def _one_of_each_kind(count: int) -> list[Task]:
    """The last variation of each of ``count`` kinds, which are spread over all kinds."""
    last = {game.kind.name: game.task for game in games()}
    names = list(last)
    return [last[names[index * len(names) // count]] for index in range(min(count, len(names)))]


def _package() -> tuple[Any, Clock]:
    from scienceworld import ScienceWorldEnv

    clock = Clock()
    return clock.time(lambda: ScienceWorldEnv("", envStepLimit=100)), clock


def _play_package(
    package: Any, task: Task, actions: Sequence[str], reset: Clock, steps: Clock
) -> None:
    def begin() -> None:
        package.load(task.payload["task"], task.payload["variation"], "")
        package.reset()

    reset.time(begin)
    steps.time(lambda: [package.step(action) for action in actions], len(actions))


def _play_ours(
    env: SciWorld, task: Task, actions: Sequence[str], reset: Clock, steps: Clock
) -> None:
    reset.time(lambda: env.reset(task))
    steps.time(lambda: [env.step(action) for action in actions], len(actions))


def _restore(env: SciWorld, tasks: Sequence[Task], solutions: Sequence[Sequence[str]]) -> Clock:
    """Restore states that the simulator has left, each with one step from there."""
    clock = Clock()
    for task, actions in zip(tasks, solutions, strict=True):
        env.reset(task)
        for action in actions[:8]:
            env.step(action)
        held = env.snapshot()
        env.step("look around")

        def again(held: Any = held) -> None:
            env.restore(held)
            env.step("inventory")

        clock.time(again)
    return clock


def _lockstep(env: SciWorld, tasks: Sequence[Task], episodes: int) -> Clock:
    """Play episodes that take turns, as in search and evaluation."""
    snapshots = []
    for index in range(episodes):
        env.reset(tasks[index % len(tasks)])
        env.step(f"wait{1 if index else ''}")
        # Each episode takes other actions.
        for _ in range(index // len(tasks)):
            env.step("inventory")
        snapshots.append(env.snapshot())
    clock = Clock()
    for _ in range(_LOCKSTEP_ROUNDS):
        for index, snapshot in enumerate(snapshots):

            def go_on(snapshot: Any = snapshot) -> None:
                env.restore(snapshot)
                env.step("look around")

            clock.time(go_on)
            snapshots[index] = env.snapshot()
    return clock


def _resident_mib(pid: int) -> float:
    """Memory of a process, as the operating system reports it."""
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return int(shown.stdout) / 1024


if __name__ == "__main__":
    main()
