"""The boundary around an environment: whose error it was, and how long a call may take."""

from __future__ import annotations

import itertools
import logging
import operator
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.interruptions import interruption_kept
from agentr_lite.core.tasks import Task
from agentr_lite.core.unicode import without_surrogates
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.faults import raised_at
from agentr_lite.envs.foreign import text_of
from agentr_lite.envs.limits import time_limit

_LOG = logging.getLogger(__name__)
MAX_TASKS = 1_000_000
"""Of one split; more would be a list without an end."""
MAX_ACTIONS = 100_000
"""Of an oracle."""
MAX_LEVEL = 2**31


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
        KeyboardInterrupt: the user stopped the work, even where the environment caught that.
    """
    try:
        with (
            interruption_kept(),
            time_limit(env.time_limit_s, env.name, call),
            redirect_stdout(sys.stderr),
        ):
            yield
    except EnvironmentFault:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = f"{call} raised {type(error).__name__}: {text_of(error)}{raised_at(error, env)}"
        _LOG.debug("environment '%s': %s", env.name, call, exc_info=error)
        raise EnvironmentFault(env.name, said) from error


def guarded_step(env: Environment, action: str) -> StepResult:
    """``env.step`` behind a boundary that says whose error it was."""
    # A terminal or a server may send half a character; no environment could answer it.
    action = without_surrogates(action)
    with environment_boundary(env, f"step({action!r})"):
        # A plugin may return a plain tuple or numpy's numbers.
        # One more than there are: what has no end is given up.
        parts: Any = itertools.islice(env.step(action), 6)
        result = StepResult(*parts)
        result = result._replace(
            reward=float(result.reward),
            terminated=bool(result.terminated),
            truncated=bool(result.truncated),
            info=_plain_info(result.info),
        )
        # Not a number is in no range.
        if not isinstance(result.observation, str) or not 0.0 <= result.reward <= 1.0:
            raise EnvironmentFault(
                env.name,
                f"step({action!r}) returned reward {result.reward!r} and a"
                f" {type(result.observation).__name__} as observation;"
                " needed: a number in [0, 1] and a str",
            )
        text = _checked_text(env, f"step({action!r})", result.observation)
    return result._replace(observation=text)


def guarded_reset(env: Environment, task: Task, *, seed: int = 0) -> str:
    """The first observation of ``task``, with the same checks as ``guarded_step``.

    Search, replay and evaluation use the default seed: a task is the same each time.

    Raises:
        EnvironmentFault: the environment's code raised, or gave no text.
    """
    call = f"reset({task.name!r})"
    with environment_boundary(env, call):
        observation, _ = env.reset(task, seed=seed)
        return _checked_text(env, call, observation, "observation")


def guarded_tasks(env: Environment, split: str) -> list[Task]:
    """A split's tasks.

    Raises:
        EnvironmentFault: the environment's code raised, returned something other than a task, or
            gave two tasks the same name.
    """
    call = f"tasks({split!r})"
    with environment_boundary(env, call):
        listed = list(itertools.islice(env.tasks(split), MAX_TASKS + 1))
        if len(listed) > MAX_TASKS:
            raise EnvironmentFault(env.name, f"{call} returned more than {MAX_TASKS:,} tasks")
        tasks = [_checked_task(env, call, task) for task in listed]
    names: set[str] = set()
    for task in tasks:
        if task.name in names:
            raise EnvironmentFault(env.name, f"{call} returned two tasks '{task.name}'")
        names.add(task.name)
    return tasks


def guarded_instructions(env: Environment, *, brief: bool) -> str:
    """The system prompt.

    Raises:
        EnvironmentFault: the environment's code raised, or gave no text.
    """
    with environment_boundary(env, "instructions()"):
        return _checked_text(env, "instructions()", env.instructions(brief=brief))


def guarded_state(env: Environment) -> str:
    """The hidden state in one line.

    Raises:
        EnvironmentFault: the environment's code raised, or gave no text.
    """
    with environment_boundary(env, "describe_state()"):
        return _checked_text(env, "describe_state()", str(env.describe_state()))


def guarded_actions(env: Environment, task: Task | None = None) -> list[str] | None:
    """The oracle's actions for a task, or from the current state; None where there is no oracle.

    Raises:
        EnvironmentFault: the environment's code raised, took too long, or gave no texts.
    """
    if task is None:
        return _guarded_texts(env, "plan()", env.plan, "an action")
    return _guarded_texts(env, f"solve({task.name!r})", lambda: env.solve(task), "an action")


def guarded_demonstration(env: Environment, task: Task) -> list[str] | None:
    """The turns of the environment's expert for a task; None where there is no expert.

    Raises:
        EnvironmentFault: the environment's code raised, took too long, or gave no texts.
    """
    call = f"demonstrate({task.name!r})"
    return _guarded_texts(env, call, lambda: env.demonstrate(task), "a turn")


def _guarded_texts(
    env: Environment, call: str, texts: Callable[[], Iterable[str]], what: str
) -> list[str] | None:
    with environment_boundary(env, call):
        try:
            listed = list(itertools.islice(texts(), MAX_ACTIONS + 1))
        except NotImplementedError:
            return None
        if len(listed) > MAX_ACTIONS:
            raise EnvironmentFault(env.name, f"{call} returned more than {MAX_ACTIONS:,} actions")
        return [_checked_text(env, call, text, what) for text in listed]


def guarded_valid_actions(env: Environment) -> list[str] | None:
    """What ``env.valid_actions`` lists in the present state; None where it cannot list them.

    Raises:
        EnvironmentFault: the environment's code raised, took too long, or gave no texts of one
            line.
    """
    call = "valid_actions()"
    with environment_boundary(env, call):
        listed = env.valid_actions()
        if listed is None:
            return None
        actions = list(itertools.islice(listed, MAX_ACTIONS + 1))
        if len(actions) > MAX_ACTIONS:
            raise EnvironmentFault(env.name, f"{call} returned more than {MAX_ACTIONS:,} actions")
        texts = [_checked_text(env, call, action, "an action") for action in actions]
    for text in texts:
        if not text.strip() or len(text.splitlines()) > 1:
            raise EnvironmentFault(
                env.name, f"{call} returned {text!r}; an action is one line of text"
            )
    return texts


def _plain_info(info: Any) -> dict[str, Any]:
    """The information of a step; what we read of it in our own types."""
    plain = dict(info)
    for key in ("invalid", "disaster"):
        if key in plain:
            plain[key] = bool(plain[key])
    return plain


def _checked_task(env: Environment, call: str, task: Any) -> Task:
    """A task in our own types; the same object where it has them already."""
    if not isinstance(task, Task):
        raise EnvironmentFault(env.name, f"{call} returned a {type(task).__name__} as a task")
    texts = {
        field: _checked_text(env, call, getattr(task, field), f"a task's {field}")
        for field in ("name", "split", "goal")
    }
    if not texts["name"]:
        raise EnvironmentFault(env.name, f"{call} returned a task without a name")
    if not isinstance(task.payload, Mapping):
        raise EnvironmentFault(
            env.name,
            f"{call} returned a {type(task.payload).__name__} as a task's payload;"
            " needed: a mapping",
        )
    try:
        # numpy's whole numbers are numbers, too.
        level = operator.index(task.level)
    except TypeError:
        level = MAX_LEVEL
    if isinstance(task.level, bool) or abs(level) >= MAX_LEVEL:
        raise EnvironmentFault(
            env.name,
            f"{call} returned a {type(task.level).__name__} as a task's level;"
            " needed: a whole number",
        )
    fields = (task.name, task.split, task.goal, task.level)
    if [type(field) for field in fields] == [str, str, str, int]:
        return task
    return Task(**texts, level=level, payload=task.payload)


def _checked_text(env: Environment, call: str, text: Any, what: str = "text") -> str:
    if not isinstance(text, str):
        raise EnvironmentFault(
            env.name, f"{call} returned a {type(text).__name__} as {what}; needed: a str"
        )
    _check_text(env, call, text)
    return str.__str__(text)


def _check_text(env: Environment, call: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EnvironmentFault(
            env.name,
            f"{call} returned text that is not valid Unicode (a lone {text[error.start]!r})",
            hint="Decode bytes with errors='replace'.",
        ) from error
