"""How fast TextCraft is: loading, resets, steps, snapshots, the oracle.

    python -m benchmarks.textcraft [--recipes-dir DIR] [--seconds S] [--json]

The episodes are the oracle's on the training tasks, with one failing action in each.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import click

from agentr_lite.console.streams import emit_json, emit_table, say

_LOAD = """
import time
started = time.perf_counter()
from agentr_lite.envs.textcraft import TextCraft
imported = time.perf_counter()
TextCraft({directory!r}).tasks("train")
print((time.perf_counter() - imported) * 1e3, (imported - started) * 1e3)
"""

_UPSTREAM = {
    "load": "30-95 ms",
    "first reset of a task": "1.1-2.4 ms",
    "steps": "60-100 k/s",
    "reset": "1.1-2.4 ms",
}
"""Figures of the original implementation with the 1.16.5 data on a machine with 2 cores."""


@click.command()
@click.option("--recipes-dir", help="A Minecraft data pack instead of the bundled book.")
@click.option("--seconds", default=1.0, show_default=True, help="Minimum seconds per figure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(recipes_dir: str | None, seconds: float, as_json: bool) -> None:
    """Print a table of figures on stdout."""
    from agentr_lite.envs.textcraft import TextCraft

    load_ms, import_ms = _load(recipes_dir)
    env = TextCraft(recipes_dir)
    tasks = env.tasks("train")
    first_ms = _per_call(lambda: [TextCraft(recipes_dir).reset(task) for task in tasks], 0)
    episodes = []
    for task in tasks:
        actions = env.solve(task)
        episodes.append((task, [*actions[:-1], "get 1 nothing", actions[-1]]))

    def resets() -> None:
        for task in tasks:
            env.reset(task)

    def play() -> None:
        for task, actions in episodes:
            env.reset(task)
            for action in actions:
                env.step(action)

    def save_and_restore() -> None:
        for task, actions in episodes:
            env.reset(task)
            for action in actions[:2]:
                held = env.snapshot()
                env.step(action)
                env.restore(held)

    def step_without_saving() -> None:
        for task, actions in episodes:
            env.reset(task)
            for action in actions[:2]:
                env.step(action)

    def solve() -> None:
        for task in tasks:
            env.solve(task)

    steps = sum(len(actions) for _, actions in episodes)
    saves = 2 * len(episodes)
    saved_us = (
        _per_call(save_and_restore, seconds) - _per_call(step_without_saving, seconds)
    ) * 1e3
    figures = {
        "import": (import_ms, "ms"),
        "load": (load_ms, "ms"),
        "first reset of a task": (first_ms / len(tasks), "ms"),
        "reset": (_per_call(resets, seconds) / len(tasks) * 1e3, "µs"),
        "steps": (steps / _per_call(play, seconds), "k/s"),
        "snapshot and restore": (saved_us / saves, "µs"),
        "solve": (_per_call(solve, seconds) / len(tasks) * 1e3, "µs"),
    }
    if as_json:
        emit_json({name: {"value": value, "unit": unit} for name, (value, unit) in figures.items()})
        return
    emit_table(
        ["figure", "value", "unit", "original"],
        [
            [name, f"{value:.2f}", unit, _UPSTREAM.get(name)]
            for name, (value, unit) in figures.items()
        ],
    )
    say(f"{len(tasks)} training tasks, {steps} steps a pass, Python {sys.version.split()[0]}")


def _load(recipes_dir: str | None) -> tuple[float, float]:
    """Milliseconds to load the recipes and to import the package, in a fresh process."""
    code = _LOAD.format(directory=recipes_dir)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    load_ms, import_ms = done.stdout.split()
    return float(load_ms), float(import_ms)


def _per_call(run: Callable[[], object], seconds: float) -> float:
    """Milliseconds of the fastest call in ``seconds``; at least one call is made."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, (now - started) * 1e3)
        if now >= end:
            return best


if __name__ == "__main__":
    main()
