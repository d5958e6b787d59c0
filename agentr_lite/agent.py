"""From chat messages to environment steps and back: the one agent loop of the project.

Search, recovery, replay and evaluation all step through here, so the revision turn and an answer
without an action mean the same in the training data as in the evaluation.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Literal

from agentr_lite.actors.base import Message
from agentr_lite.envs.base import Environment, StepResult, Task
from agentr_lite.envs.limits import time_limit
from agentr_lite.errors import EnvironmentFault, UsageError
from agentr_lite.gbnf import FROM_ENVIRONMENT, check_grammar

REFLECT = "reflect"
"""The action of a revision turn: the agent loop answers it, the environment never sees it."""

REFLECT_REPLY = "Go on."
NO_ACTION_REPLY = "No action found. End your answer with one line: Action: <action>"

REFLECTIONS: tuple[str, ...] = (
    "Something went wrong in my last steps. I will go back to the goal and try another way.",
    "That was a mistake. I should check what I have and what is still missing.",
    "My last action did not bring me closer to the goal. I need a different plan.",
    "I took a wrong turn. Let me think again about what the goal needs.",
    "This is not working. I will stop repeating it and start from what I know.",
    "I see an error in what I did. I should correct it before I go on.",
    "I have lost the thread. Let me read the task again and choose better.",
    "I made a wrong choice there. A better step is possible from here.",
    "That step was not useful. I will look at the task once more and fix it.",
    "I was careless. I will now do the step that the goal really asks for.",
)
"""Revision signals. Source: the idea of Agent-R section 3.2; the wording is ours."""

_ACTION = re.compile(r"^\s*Action:[ \t]*(\S.*?)\s*$", re.MULTILINE)

_TURN = f"""\
root ::= "Thought: " thought "\\nAction: " (action | reflect)
thought ::= [^\\n]+
reflect ::= "{REFLECT}"
"""

StepKind = Literal["act", "reflect", "none"]


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the agent and what came of it."""

    text: str
    """The whole assistant turn, thought and action."""
    action: str | None
    """What was done; None where the turn holds no action."""
    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    invalid: bool = False
    """The action was missing, not understood or not possible."""
    kind: StepKind = "act"
    disaster: bool = False
    """The environment calls the action a fatal mistake."""


def parse_action(text: str) -> str | None:
    """The first ``Action:`` line's content, or None."""
    found = _ACTION.search(text)
    return found.group(1) if found else None


def is_reflection(action: str | None) -> bool:
    """Whether ``action`` is the revision turn's."""
    return action is not None and action.strip().lower().rstrip(".") == REFLECT


def reflection_turn(signal: str) -> str:
    """The assistant turn that carries a revision signal."""
    return f"Thought: {signal}\nAction: {REFLECT}"


def take_step(env: Environment, text: str) -> Step:
    """Carry out one assistant turn.

    Raises:
        EnvironmentFault: the environment's code raised, or returned a reward outside [0, 1].
    """
    action = parse_action(text)
    if action is None:
        return Step(text, None, NO_ACTION_REPLY, invalid=True, kind="none")
    if is_reflection(action):
        return Step(text, action, REFLECT_REPLY, kind="reflect")
    result = guarded_step(env, action)
    return Step(
        text,
        action,
        result.observation,
        reward=result.reward,
        terminated=result.terminated,
        truncated=result.truncated,
        invalid=bool(result.info.get("invalid")),
        disaster=bool(result.info.get("disaster")),
    )


@contextmanager
def environment_boundary(env: Environment, call: str) -> Generator[None]:
    """Turn whatever an environment raises into a fault that names it, and limit its time.

    What it prints goes to stderr: stdout is for data.

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
        raise EnvironmentFault(
            env.name, f"{call} raised {type(error).__name__}: {error}"
        ) from error


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
        EnvironmentFault: the environment's code raised, or something is no task, or two tasks
            have one name.
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
            f"{call} returned text that is no Unicode (a lone {text[error.start]!r})",
            hint="Decode bytes with errors='replace'.",
        ) from error


def turn_grammar(setting: str, env: Environment) -> str:
    """GBNF that every turn of the agent follows; empty: any turn.

    Args:
        setting: a recipe's ``agent.grammar``, resolved: GBNF text, ``env`` or nothing.
        env: whose actions.

    Raises:
        UsageError: ``env``, but the environment knows no grammar, or it is wrong.
        EnvironmentFault: the environment's code raised.
    """
    if setting != FROM_ENVIRONMENT:
        return setting
    with environment_boundary(env, "grammar()"):
        rules = env.grammar()
    if not isinstance(rules, str) or not rules.strip():
        raise UsageError(
            f"environment '{env.name}' knows no grammar of its actions",
            hint="Set agent.grammar to a GBNF file, or to '' for none.",
        )
    text = f"{_TURN}{rules.strip()}\n"
    check_grammar(text, origin=f"of environment '{env.name}'")
    return text


def opening(instructions: str, first_observation: str) -> list[Message]:
    """The turns before the agent's first: system prompt and task."""
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": first_observation},
    ]


def turns(steps: Iterable[Step]) -> list[Message]:
    """Assistant and user turns of ``steps``, in order."""
    messages: list[Message] = []
    for step in steps:
        messages.append({"role": "assistant", "content": step.text})
        messages.append({"role": "user", "content": step.observation})
    return messages


def conversation(
    instructions: str, first_observation: str, steps: Sequence[Step] = ()
) -> list[Message]:
    """The whole chat after ``steps``; it ends with a user turn."""
    return opening(instructions, first_observation) + turns(steps)
