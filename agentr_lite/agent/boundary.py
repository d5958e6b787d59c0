"""The boundary around an environment: whose error it was, and how long a call may take."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.faults import raised_at
from agentr_lite.envs.limits import time_limit

_LOG = logging.getLogger(__name__)


@contextmanager
def environment_boundary(env: Environment, call: str) -> Generator[None]:
    """Turn whatever an environment raises into a fault that names it, and limit its time.

    What the environment prints goes to stderr, because stdout is for data. The fault names the
    line of the environment's code; the whole traceback is logged, which ``--debug`` shows.

    Args:
        env: whose code runs in the block.
        call: what is called, for the message, e.g. ``restore()``.

    Raises:
        EnvironmentFault: the block raised an exception, would have ended the process, or took
            longer than the environment's ``time_limit_s``.
    """
    try:
        with time_limit(env.time_limit_s, env.name, call), redirect_stdout(sys.stderr):
            yield
    except EnvironmentFault:
        raise
    except (Exception, SystemExit) as error:
        _LOG.debug("environment '%s': %s", env.name, call, exc_info=error)
        said = f"{call} raised {type(error).__name__}: {error}{raised_at(error, env)}"
        raise EnvironmentFault(env.name, said) from error


def guarded_step(env: Environment, action: str) -> StepResult:
    """``env.step`` behind a boundary that says whose error it was."""
    with environment_boundary(env, f"step({action!r})"):
        # A plugin may return a plain tuple or numpy's numbers.
        result = StepResult(*env.step(action))
        result = result._replace(
            reward=float(result.reward),
            terminated=bool(result.terminated),
            truncated=bool(result.truncated),
            info=dict(result.info),
        )
    # Not a number is in no range.
    if not isinstance(result.observation, str) or not 0.0 <= result.reward <= 1.0:
        raise EnvironmentFault(
            env.name,
            f"step({action!r}) returned reward {result.reward!r} and a"
            f" {type(result.observation).__name__} as observation;"
            " needed: a number in [0, 1] and a str",
        )
    _check_text(env, f"step({action!r})", result.observation)
    return result


def guarded_reset(env: Environment, task: Task) -> str:
    """The first observation of ``task``, with the same checks as ``guarded_step``.

    Raises:
        EnvironmentFault: the environment's code raised, or gave no text.
    """
    call = f"reset({task.name!r})"
    with environment_boundary(env, call):
        # The default seed, in search as in replay and evaluation: a task is the same each time.
        observation, _ = env.reset(task)
    if not isinstance(observation, str):
        raise EnvironmentFault(
            env.name,
            f"{call} returned a {type(observation).__name__} as observation; needed: a str",
        )
    _check_text(env, call, observation)
    return observation


def guarded_tasks(env: Environment, split: str) -> list[Task]:
    """A split's tasks.

    Raises:
        EnvironmentFault: the environment's code raised, returned something other than a task, or
            gave two tasks the same name.
    """
    call = f"tasks({split!r})"
    with environment_boundary(env, call):
        tasks = list(env.tasks(split))
    names: set[str] = set()
    for task in tasks:
        if not isinstance(task, Task):
            raise EnvironmentFault(env.name, f"{call} returned a {type(task).__name__} as a task")
        if task.name in names:
            raise EnvironmentFault(env.name, f"{call} returned two tasks '{task.name}'")
        names.add(task.name)
    return tasks


def _check_text(env: Environment, call: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EnvironmentFault(
            env.name,
            f"{call} returned text that is not valid Unicode (a lone {text[error.start]!r})",
            hint="Decode bytes with errors='replace'.",
        ) from error
