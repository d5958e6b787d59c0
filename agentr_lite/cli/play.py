"""``agentr-lite play``: a person plays an environment in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.env_options import env_settings
from agentr_lite.errors import UsageError
from agentr_lite.output import Styled, clean, emit, say

if TYPE_CHECKING:
    from agentr_lite.envs.base import Environment, Task

_HELP = "? hint   ?? the whole way   :task show it again   :undo one step   :quit"


@click.command()
@click.argument("name", metavar="ENV")
@click.option("--task", help="Which task, by name. Default: one at random.")
@click.option("--split", help="Choose from this split. Default: train.")
@click.option("--level", type=int, help="Choose a task of this level.")
@click.option("--seed", type=click.IntRange(0), help="Make the random choice repeatable.")
@env_settings
def play(
    name: str,
    task: str | None,
    split: str | None,
    level: int | None,
    seed: int | None,
    settings: dict[str, Any],
) -> None:
    """Play one task of ENV yourself, one action a line.

    `?` asks the oracle for a hint, `:undo` takes a step back, `:quit` or the end of the input
    leaves the game.
    """
    from agentr_lite.envs.registry import find_task, make_env

    env = make_env(name, settings)
    try:
        chosen = (
            find_task(env, task, split)
            if task is not None
            else _random_task(env, split or "train", level, seed)
        )
        _Game(env, chosen).run()
    finally:
        env.close()


def _random_task(env: Environment, split: str, level: int | None, seed: int | None) -> Task:
    import random

    tasks = [one for one in env.tasks(split) if level is None or one.level == level]
    if not tasks:
        levels = sorted({one.level for one in env.tasks(split)})
        raise UsageError(
            f"{env.name} has no task of level {level} in its {split} split",
            hint=f"Levels: {', '.join(map(str, levels))}.",
        )
    return random.Random(seed).choice(tasks)


class _Game:
    """One episode: what the person may do besides acting, and how it ends."""

    def __init__(self, env: Environment, task: Task) -> None:
        self._env = env
        self._task = task
        self._observation, _ = env.reset(task)
        self._past = [env.snapshot()]
        self._over = False

    def run(self) -> None:
        say(f"Task {self._task.name} (level {self._task.level}). {_HELP}")
        emit(clean(self._observation))
        while not self._over:
            line = self._read()
            if line is None or line in (":quit", ":q"):
                say(f"Left after {self._steps}.")
                return
            self._turn(line)

    @property
    def _steps(self) -> str:
        count = len(self._past) - 1
        return f"{count} step" + ("" if count == 1 else "s")

    def _read(self) -> str | None:
        """The next line, or None at the end of the input."""
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            if sys.stdin.isatty():
                click.echo(err=True)
            return None
        return line.rstrip("\r\n")

    def _turn(self, line: str) -> None:
        if not line.strip():
            say(_HELP)
        elif line in ("?", "??"):
            self._hint(everything=line == "??")
        elif line == ":task":
            emit(clean(self._observation))
        elif line == ":undo":
            self._undo()
        elif line.startswith(":"):
            say(f"No such command. {_HELP}")
        else:
            self._act(line)

    def _act(self, action: str) -> None:
        result = self._env.step(action)
        self._past.append(self._env.snapshot())
        emit(clean(result.observation))
        if result.terminated or result.truncated:
            self._over = True
            say(
                Styled(f"Done in {self._steps}, reward {result.reward:g}.", fg="green", bold=True)
                if result.reward > 0
                else Styled(f"Over after {self._steps}, reward {result.reward:g}.", fg="red")
            )
            self._compare()

    def _compare(self) -> None:
        """How many steps the oracle would have taken."""
        try:
            best = len(self._env.solve(self._task))
        except NotImplementedError:
            return
        say(f"The oracle's way takes {best} step" + ("." if best == 1 else "s."))

    def _undo(self) -> None:
        if len(self._past) == 1:
            say("Nothing to undo.")
            return
        self._past.pop()
        self._env.restore(self._past[-1])
        say(f"One step back. {clean(self._env.describe_state())}".rstrip())

    def _hint(self, *, everything: bool) -> None:
        try:
            plan = self._env.plan()
        except NotImplementedError:
            say(f"{self._env.name} gives no hints.")
            return
        if everything:
            say("\n".join(plan) or "Nothing is left to do.")
        elif plan:
            left = f"{len(plan)} to go" if len(plan) > 1 else "the last one"
            say(f"Try: {plan[0]}   ({left})")
        else:
            say("Nothing is left to do.")
