"""Checks that an environment keeps the protocol's promises.

The checks follow from how search (snapshots), splicing (replay) and evaluation (rewards, splits)
use an environment.

Source: the idea is that of Gymnasium's environment checker.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any, cast

from agentr_lite.core.errors import AgentrError, GrammarError
from agentr_lite.core.gbnf import check_grammar
from agentr_lite.core.interruptions import interruption_kept
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.faults import raised_at
from agentr_lite.envs.foreign import text_of
from agentr_lite.envs.limits import bounded, time_limit

_LOG = logging.getLogger(__name__)
_NONSENSE = ("", "  ", "inventory", "go \x1b[2J", "get 1 nothing", "x" * 500, "工作 £ \u202e")
_SHOWN_EXAMPLES = 3
_LISTS = ("tasks", "solve", "plan", "valid_actions")
"""Calls that give lists."""
UNTRIED = (
    "no real action was tried; implement valid_actions() or solve() so that rewards, determinism"
    " and snapshots are checked"
)
"""The remark on an environment for which only refused or nonsensical actions were tried."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """``splits``, ``instructions``, ``rewards``, ``determinism``, ``snapshots`` or ``oracle``."""
    ok: bool
    cases: int
    """Number of tasks, steps or states that were checked."""
    detail: str = ""
    """The problems, with the first examples; or a remark."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """The visible result of one step, in comparable form."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    state: str
    invalid: bool = field(default=False, compare=False)


def check_environment(
    env: Environment,
    *,
    other: Callable[[], Environment] | None = None,
    episodes: int = 50,
    max_steps: int = 20,
    solve_all: bool = True,
) -> list[Finding]:
    """Play an environment's tasks and report broken promises.

    Args:
        env: the environment; an episode in progress is lost.
        other: makes another instance with the same settings, to restore snapshots into.
        episodes: number of tasks, spread over all splits, on which determinism and snapshots are
            checked.
        max_steps: longest episode in these checks.
        solve_all: try the oracle on every task of every split, not only on ``episodes``.

    Returns:
        One finding for each check, always in the same order. If the environment's code raises an
        error or takes longer than its ``time_limit_s``, that is a finding, not an exception.
    """
    source, env = env, _limited(env)

    def guarded(check: str, run: Callable[[], Finding]) -> Finding:
        return _guarded(check, run, source)

    tasks: dict[str, list[Task]] = {}
    findings = [guarded("splits", lambda: _check_splits(env, tasks))]
    everything = [task for split in SPLITS for task in tasks.get(split, ())]
    sample = _spread(everything, episodes)
    scripts: dict[str, list[str]] = {}
    oracle = guarded(
        "oracle", lambda: _check_oracle(env, everything if solve_all else sample, scripts)
    )
    played: list[tuple[Task, list[str]]] = []
    begun = guarded("rewards", lambda: _begin_all(env, sample, scripts, max_steps, played))
    findings.append(guarded("instructions", lambda: _check_instructions(env)))
    rewards = guarded("rewards", lambda: _check_rewards(env, played))
    findings.append(rewards if begun.ok else begun)
    findings.append(guarded("determinism", lambda: _check_determinism(env, played)))
    findings.append(guarded("snapshots", lambda: _check_snapshots(env, other, played)))
    findings.append(oracle)
    return findings


class _Limited:
    """An environment whose calls are all under its time limit, as in a run."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._env, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            shown = [a.name if isinstance(a, Task) else a for a in arguments]
            what = f"{name}({', '.join(repr(a) for a in shown if isinstance(a, str))})"
            # An environment's output must not be mixed with data on stdout.
            with (
                interruption_kept(),
                time_limit(self._env.time_limit_s, self._env.name, what),
                redirect_stdout(sys.stderr),
            ):
                given = attribute(*arguments, **named)
                # Within the limit: a generator does its work while it is read.
                listed = name in _LISTS and given is not None
                return bounded(given, self._env.name, what) if listed else given

        return call


def _limited(env: Environment) -> Environment:
    return cast(Environment, _Limited(env))


def _guarded(check: str, run: Callable[[], Finding], env: Environment) -> Finding:
    try:
        return run()
    except AgentrError as error:
        return Finding(check, False, 0, error.message)
    # The boundary: everything that an environment's code raises is reported.
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _LOG.debug("environment '%s': %s", env.name, check, exc_info=error)
        said = f"raised {type(error).__name__}: {text_of(error)}{raised_at(error, env)}"
        return Finding(check, False, 0, said)


def _finding(check: str, cases: int, problems: Sequence[str], remark: str = "") -> Finding:
    shown = "; ".join(problems[:_SHOWN_EXAMPLES])
    more = len(problems) - _SHOWN_EXAMPLES
    detail = shown + (f"; … {more} more" if more > 0 else "")
    return Finding(check, not problems, cases, detail or remark)


def _check_splits(env: Environment, tasks: dict[str, list[Task]]) -> Finding:
    """Tasks have unique names, a stable order, and belong to one split. Fills ``tasks``."""
    problems = []
    owner: dict[str, str] = {}
    for split in SPLITS:
        tasks[split] = list(env.tasks(split))
        if [task.name for task in env.tasks(split)] != [task.name for task in tasks[split]]:
            problems.append(f"{split}: the second call gave another order")
        for task in tasks[split]:
            if task.split != split:
                problems.append(f"task '{task.name}' of {split} says it is of {task.split}")
            if task.name in owner:
                problems.append(f"task '{task.name}' is in {owner[task.name]} and in {split}")
            owner[task.name] = split
    if not owner:
        problems.append("no tasks at all")
    sizes = ", ".join(f"{split} {len(tasks[split])}" for split in SPLITS)
    return _finding("splits", len(owner), problems, sizes)


def _check_instructions(env: Environment) -> Finding:
    """There are prompts of both lengths, and a grammar, if there is one, can be parsed."""
    problems = []
    for brief in (False, True):
        text = env.instructions(brief=brief)
        if not isinstance(text, str) or not text.strip():
            problems.append(f"instructions(brief={brief}) is empty")
    rules = env.grammar()
    if not isinstance(rules, str):
        problems.append(f"grammar() returned a {type(rules).__name__}")
    elif rules.strip():
        try:
            # As the agent loop uses it: `action` must exist and be complete.
            check_grammar(f"{rules.strip()}\nroot ::= action\n", origin="of grammar()")
        except GrammarError as error:
            problems.append(error.message)
    return _finding("instructions", 2, problems)


def _check_rewards(env: Environment, played: Iterable[tuple[Task, list[str]]]) -> Finding:
    """Results have the right types, rewards are in [0, 1], and nonsense raises no error."""
    problems = []
    steps = 0
    for task, script in played:
        observation, _ = env.reset(task)
        if not isinstance(observation, str):
            problems.append(f"{task.name}: reset gave a {type(observation).__name__}")
        for action in (*_NONSENSE, *script):
            result = env.step(action)
            steps += 1
            problem = _result_problem(result)
            if problem:
                problems.append(f"{task.name}: {action!r}: {problem}")
            if result.terminated or result.truncated:
                break
    return _finding("rewards", steps, problems)


def _result_problem(result: StepResult) -> str:
    if not isinstance(result.observation, str):
        return f"observation is a {type(result.observation).__name__}"
    if isinstance(result.reward, bool) or not isinstance(result.reward, int | float):
        return f"reward is a {type(result.reward).__name__}"
    if not 0.0 <= result.reward <= 1.0:
        return f"reward {result.reward} is outside [0, 1]"
    if not isinstance(result.terminated, bool) or not isinstance(result.truncated, bool):
        return "terminated and truncated must be bool"
    if not isinstance(result.info, dict):
        return f"info is a {type(result.info).__name__}"
    return ""


def _check_determinism(env: Environment, played: Iterable[tuple[Task, list[str]]]) -> Finding:
    """The same task, seed and actions give the same episode; notes whether an action was real."""
    problems = []
    episodes = 0
    tried = False
    for task, script in played:
        episodes += 1
        first, second = (list(_play(env, task, script)) for _ in range(2))
        tried = tried or any(
            action not in _NONSENSE and not turn.invalid
            for action, turn in zip(script, first[1:], strict=False)
        )
        if first != second:
            at = next(
                i for i, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1
            )
            problems.append(f"{task.name}: two episodes differ at step {at}")
    return _finding("determinism", episodes, problems, "" if tried or not episodes else UNTRIED)


def _check_snapshots(
    env: Environment,
    other: Callable[[], Environment] | None,
    played: Iterable[tuple[Task, list[str]]],
) -> Finding:
    """After ``restore`` of any state, the episode continues in the same way, in any instance."""
    problems = []
    states = 0
    for task, script in played:
        env.reset(task)
        snapshots, turns = [env.snapshot()], []
        for action in script:
            turns.append(_turn(env, env.step(action)))
            snapshots.append(env.snapshot())
            if turns[-1].terminated or turns[-1].truncated:
                break
        # Backwards, so that each restore has something to undo.
        elsewhere = _limited(other()) if other is not None else None
        for index in reversed(range(len(turns))):
            for place, instance in (("", env), (" in another instance", elsewhere)):
                if instance is None:
                    continue
                states += 1
                instance.restore(snapshots[index])
                if _turn(instance, instance.step(script[index])) != turns[index]:
                    problems.append(f"{task.name}: step {index + 1} differs after restore{place}")
        if elsewhere is not None:
            elsewhere.close()
    return _finding("snapshots", states, problems)


def _check_oracle(
    env: Environment, tasks: Sequence[Task], scripts: dict[str, list[str]]
) -> Finding:
    """The oracle's actions end each episode with reward 1. Fills ``scripts``."""
    problems = []
    for task in tasks:
        try:
            actions = env.solve(task)
        except NotImplementedError:
            return Finding("oracle", True, 0, "none (solve is optional)")
        scripts[task.name] = actions
        *_, last = _play(env, task, actions)
        if not last.terminated or last.reward != 1.0:
            problems.append(f"{task.name}: ends with reward {last.reward:g}")
    return _finding("oracle", len(tasks), problems)


def _begin_all(
    env: Environment,
    sample: Sequence[Task],
    scripts: dict[str, list[str]],
    max_steps: int,
    played: list[tuple[Task, list[str]]],
) -> Finding:
    """Choose actions for each task. Fills ``played``, up to a task that cannot be started."""
    for task in sample:
        played.append((task, _script(env, task, scripts, max_steps)))
    return _finding("rewards", len(sample), ())


def _script(
    env: Environment, task: Task, scripts: dict[str, list[str]], max_steps: int
) -> list[str]:
    """Actions to try: the oracle's, or else valid ones, if they are known; and nonsense."""
    known = scripts.get(task.name)
    if known is None:
        known = _walk(env, task, max_steps)
    mixed = [_NONSENSE[4], *known[:1], "inventory", *known[1:]]
    return mixed[: max(max_steps, len(known) + 2)]


def _walk(env: Environment, task: Task, max_steps: int) -> list[str]:
    """An episode of valid actions; each is drawn from those that its state offers."""
    draw = random.Random(task.name)
    env.reset(task)
    actions: list[str] = []
    while len(actions) < max_steps and (choices := env.valid_actions()):
        actions.append(draw.choice(choices))
        result = env.step(actions[-1])
        if result.terminated or result.truncated:
            break
    return actions


def _play(env: Environment, task: Task, actions: Iterable[str]) -> Iterator[_Turn]:
    observation, _ = env.reset(task, seed=0)
    yield _Turn(observation, 0.0, False, False, env.describe_state())
    for action in actions:
        turn = _turn(env, env.step(action))
        yield turn
        if turn.terminated or turn.truncated:
            return


def _turn(env: Environment, result: StepResult) -> _Turn:
    observation, reward, terminated, truncated, info = result
    state = env.describe_state()
    invalid = isinstance(info, dict) and bool(info.get("invalid"))
    return _Turn(observation, float(reward), terminated, truncated, state, invalid)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """``count`` evenly spaced items."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
