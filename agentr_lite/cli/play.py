"""``agentr-lite play``: a person plays an environment in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import database_path, db_option, oracle_actions, usage_errors_kept
from agentr_lite.cli.completion import complete_environments
from agentr_lite.cli.env_options import env_settings
from agentr_lite.console.streams import emit, say
from agentr_lite.console.text import Styled, clean
from agentr_lite.core.errors import UsageError
from agentr_lite.core.unicode import without_surrogates

if TYPE_CHECKING:
    from pathlib import Path

    from agentr_lite.core.tasks import Task
    from agentr_lite.envs.base import Environment, Snapshot

_HELP = "? hint   ?? the whole way   :task show it again   :undo one step   :quit"
_RECORD_HELP = ":think WHY before an action says why you take it"


@click.command()
@click.argument("name", metavar="ENV", shell_complete=complete_environments)
@click.option("--task", help="Name of the task. Default: a random task.")
@click.option("--split", help="Choose from this split. Default: train.")
@click.option("--level", type=int, help="Choose a task of this level.")
@click.option("--seed", type=click.IntRange(0), help="Make the random choice repeatable.")
@click.option(
    "--record",
    is_flag=True,
    help="Keep the game as a demonstration if it earns the full reward. ENV has the settings of its"
    " recipe then.",
)
@env_settings
@db_option
def play(
    name: str,
    task: str | None,
    split: str | None,
    level: int | None,
    seed: int | None,
    record: bool,
    settings: dict[str, Any],
    db: Path | None,
) -> None:
    """Play one task of ENV yourself, one action a line.

    `?` asks the oracle for a hint, `:undo` takes a step back, `:quit` or the end of the input
    leaves the game.

    With --record, a training task that you solve becomes a demonstration (`agentr-lite demos`).
    `:think WHY` before an action gives it a thought.
    """
    from agentr_lite.agent.boundary import guarded_tasks
    from agentr_lite.envs.registry import find_task, make_env
    from agentr_lite.runs.closing import closed_at_end

    if record:
        settings = _recipe_settings(name) | settings
    with closed_at_end(make_env(name, settings)) as env, usage_errors_kept():
        chosen = (
            find_task(env, task, split, listing=guarded_tasks)
            if task is not None
            else _random_task(env, split or "train", level, seed)
        )
        if record and chosen.split != "train":
            raise UsageError(
                f"'{chosen.name}' is a {chosen.split} task; only training tasks may be"
                " demonstrated",
                hint="Leave out --record, or choose a task of the train split.",
            )
        game = _Game(env, chosen, records=record)
        game.run()
        if record:
            _keep(env, chosen, game.turns, database_path(db))


def _recipe_settings(name: str) -> dict[str, Any]:
    """The options that an environment has in a run of its own recipe."""
    from agentr_lite.runs.choice import Chosen
    from agentr_lite.runs.targets import recipe_for

    recipe = recipe_for((name,), Chosen(None, ()))
    # Not an environment, or several: then making it says so.
    return {} if recipe is None or len(recipe.env) > 1 else dict(recipe.environment.options)


def _keep(env: Environment, task: Task, turns: list[str], database: Path) -> None:
    """Store a game, if it earns the full reward when it is played again."""
    from agentr_lite.imitate.collect import verify_turns
    from agentr_lite.store import Store
    from agentr_lite.store.demonstrations import add_demonstrations

    verified = verify_turns(env, task, turns, source="person")
    if verified.demonstration is None:
        say(f"Not kept: {verified.reason}.")
        return
    with Store.open(database) as store:
        added = add_demonstrations(store, env.name, [verified.demonstration])
    say("Kept as a demonstration." if added else "You have shown this before; it is kept once.")


def _random_task(env: Environment, split: str, level: int | None, seed: int | None) -> Task:
    import random

    from agentr_lite.agent.boundary import guarded_tasks

    members = guarded_tasks(env, split)
    tasks = [task for task in members if level is None or task.level == level]
    if not tasks:
        levels = sorted({task.level for task in members})
        raise UsageError(
            f"{env.name} has no task of level {level} in its {split} split",
            hint=f"Levels: {', '.join(map(str, levels))}.",
        )
    return random.Random(seed).choice(tasks)


class _Game:
    """One episode, with the person's other commands: hint, undo, quit."""

    def __init__(self, env: Environment, task: Task, *, records: bool = False) -> None:
        from agentr_lite.agent.boundary import guarded_reset

        self._help = f"{_HELP}\n{_RECORD_HELP}" if records else _HELP
        self._thought = ""
        self.turns: list[str] = []
        """The assistant turns of what was played and not taken back."""

        self._env = env
        self._task = task
        self._observation = guarded_reset(env, task)
        self._past = [self._snapshot()]
        self._records = records
        self._over = False

    def run(self) -> None:
        say(f"Task {self._task.name} (level {self._task.level}). {self._help}")
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
        return without_surrogates(line.rstrip("\r\n"))

    def _turn(self, line: str) -> None:
        if not line.strip():
            say(self._help)
        elif line in ("?", "??"):
            self._hint(everything=line == "??")
        elif line == ":task":
            emit(clean(self._observation))
        elif line == ":undo":
            self._undo()
        elif self._records and line.startswith(":think "):
            self._thought = line.removeprefix(":think ").strip()
        elif line.startswith(":"):
            say(f"No such command. {self._help}")
        else:
            self._act(line)

    def _snapshot(self) -> Snapshot:
        from agentr_lite.agent.boundary import environment_boundary

        with environment_boundary(self._env, "snapshot()"):
            return self._env.snapshot()

    def _act(self, action: str) -> None:
        from agentr_lite.agent.boundary import guarded_step
        from agentr_lite.core.steps import turn_text
        from agentr_lite.envs.base import PLAIN_THOUGHT

        result = guarded_step(self._env, action)
        self._past.append(self._snapshot())
        self.turns.append(turn_text(self._thought or PLAIN_THOUGHT, action))
        self._thought = ""
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
        actions = oracle_actions(self._env, self._task)
        if actions is None:
            return
        best = len(actions)
        say(f"The oracle's way takes {best} step" + ("." if best == 1 else "s."))

    def _undo(self) -> None:
        if len(self._past) == 1:
            say("Nothing to undo.")
            return
        from agentr_lite.agent.boundary import environment_boundary, guarded_state

        self._past.pop()
        self.turns.pop()
        with environment_boundary(self._env, "restore()"):
            self._env.restore(self._past[-1])
        say(f"One step back. {clean(guarded_state(self._env))}".rstrip())

    def _hint(self, *, everything: bool) -> None:
        plan = oracle_actions(self._env)
        if plan is None:
            say(f"{self._env.name} gives no hints.")
            return
        if everything:
            say("\n".join(plan) or "Nothing is left to do.")
        elif plan:
            left = f"{len(plan)} to go" if len(plan) > 1 else "the last one"
            say(f"Try: {plan[0]}   ({left})")
        else:
            say("Nothing is left to do.")
