"""Checks of what the protocol promises: splits, prompts, results, determinism, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from agentr_lite.core.errors import GrammarError
from agentr_lite.core.gbnf import check_grammar
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.checks.finding import UNTRIED, UNTRIED_HINT, Finding, found
from agentr_lite.envs.checks.playing import NONSENSE, Script, Turn, limited, play, spread, turn_of

SEEDED_EPISODES = 10
"""Tasks on which other seeds than 0 are tried."""


def check_splits(env: Environment, tasks: dict[str, list[Task]]) -> Finding:
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
    return found("splits", len(owner), problems, note=sizes)


def check_instructions(env: Environment) -> Finding:
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
    return found("instructions", 2, problems)


def check_rewards(env: Environment, scripts: Iterable[Script]) -> Finding:
    """Results have the right types, rewards are in [0, 1], and nonsense raises no error."""
    problems = []
    steps = 0
    tried = False
    for script in scripts:
        observation, _ = env.reset(script.task)
        if not isinstance(observation, str):
            problems.append(f"{script.task.name}: reset gave a {type(observation).__name__}")
        for action in (*NONSENSE, *script.mixed):
            result = env.step(action)
            steps += 1
            problem = _result_problem(result)
            if problem:
                problems.append(f"{script.task.name}: {action!r}: {problem}")
            elif action not in NONSENSE:
                tried = tried or not result.info.get("invalid")
            if result.terminated or result.truncated:
                break
    return found("rewards", steps, problems, untried=_unless(tried, steps))


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


def check_determinism(env: Environment, scripts: Sequence[Script]) -> Finding:
    """The same task, seed and actions give the same episode."""
    problems = []
    tried = False
    seeded = spread(scripts, SEEDED_EPISODES)
    for seed, chosen in ((0, scripts), (1, seeded)):
        for script in chosen:
            first, second = (
                list(play(env, script.task, script.mixed, seed=seed)) for _ in range(2)
            )
            tried = tried or any(map(_is_real, script.mixed, first[1:]))
            if first != second:
                pairs = enumerate(zip(first, second, strict=False))
                at = next((i for i, (one, other) in pairs if one != other), len(first))
                which = f" with seed {seed}" if seed else ""
                problems.append(f"{script.task.name}: two episodes{which} differ at step {at}")
    return found("determinism", len(scripts), problems, untried=_unless(tried, len(scripts)))


def check_seeds(env: Environment, scripts: Sequence[Script]) -> Finding:
    """Different seeds give different episodes somewhere; many games have no chance in them."""
    tried, differing = False, 0
    chosen = spread(scripts, SEEDED_EPISODES)
    for script in chosen:
        first, *others = (
            list(play(env, script.task, script.mixed, seed=seed)) for seed in (1, 2, 3)
        )
        tried = tried or any(map(_is_real, script.mixed, first[1:]))
        differing += any(other != first for other in others)
    remark = (
        f"three seeds give the same episodes in all {len(chosen)} tasks: the game has no chance in"
        " it, or reset() ignores its seed"
    )
    return found(
        "seeds",
        len(chosen),
        remarks=[] if differing else [remark],
        note=f"the seed matters in {differing} of {len(chosen)} tasks",
        hint="If the game has chance in it, draw from random.Random(seed), made in reset().",
        # The first observation may depend on the seed, too.
        untried=_unless(tried or differing > 0, len(chosen)),
    )


def check_snapshots(
    env: Environment, other: Callable[[], Environment] | None, scripts: Iterable[Script]
) -> Finding:
    """After ``restore`` of any state, the episode continues in the same way, in any instance."""
    problems = []
    states = 0
    tried = False
    for script in scripts:
        env.reset(script.task)
        snapshots, turns = [env.snapshot()], list[Turn]()
        for action in script.mixed:
            turns.append(turn_of(env, env.step(action)))
            snapshots.append(env.snapshot())
            tried = tried or _is_real(action, turns[-1])
            if turns[-1].ended:
                break
        # Backwards, so that each restore has something to undo.
        elsewhere = limited(other()) if other is not None else None
        for index in reversed(range(len(turns))):
            for place, instance in (("", env), (" in another instance", elsewhere)):
                if instance is None:
                    continue
                states += 1
                instance.restore(snapshots[index])
                if turn_of(instance, instance.step(script.mixed[index])) != turns[index]:
                    problems.append(
                        f"{script.task.name}: step {index + 1} differs after restore{place}"
                    )
        if elsewhere is not None:
            elsewhere.close()
    return found("snapshots", states, problems, untried=_unless(tried, states))


def _is_real(action: str, turn: Turn) -> bool:
    return action not in NONSENSE and not turn.invalid


def _unless(tried: bool, cases: int) -> tuple[str, str]:
    """Why a check counts as not tried where no real action was; empty where one was."""
    return ("", "") if tried or not cases else (UNTRIED, UNTRIED_HINT)
