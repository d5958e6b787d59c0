"""Checks of the game itself: actions without effect, rewards that are paid twice, its length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.checks.finding import SHOWN_EXAMPLES, UNTRIED_HINT, Finding, found
from agentr_lite.envs.checks.playing import Places, Script, Turn, begin, play, spread, turn_of

_TASKS = 10
_STATES = 4
"""States of an episode in which the valid actions are tried."""
_ACTIONS = 8
"""Valid actions that are tried in each of these states."""
_REPEATS = 3
"""Rewarded actions of an episode that are repeated."""
_EXACT = 1e-9
ORACLE_HINT = (
    "Implement solve(): the oracle's solutions show whether tasks can be solved, and how long it"
    " takes."
)


def check_oracle(
    env: Environment, tasks: Sequence[Task], solutions: dict[str, list[str]]
) -> Finding:
    """The oracle's actions end each episode with reward 1. Fills ``solutions``."""
    problems = []
    one_per_step = False
    for task in tasks:
        try:
            actions = env.solve(task)
        except NotImplementedError:
            return found(
                "oracle", 0, untried=("there is no solve(), which is optional", ORACLE_HINT)
            )
        solutions[task.name] = actions
        turns = list(play(env, task, actions))
        last, total = turns[-1], sum(turn.reward for turn in turns)
        if last.terminated and last.reward == 1.0:
            continue
        said = f"{task.name}: ends with reward {last.reward:g}"
        if last.reward < 1.0 and abs(total - 1.0) < _EXACT:
            one_per_step = True
            said += ", though the rewards of its steps sum to 1"
        elif not last.terminated:
            said += ", and the episode is not terminated"
        problems.append(said)
    hint = (
        "The rewards look like one per step, but the episode's reward is that of its last step:"
        " return what has been earned so far."
        if one_per_step
        else ""
    )
    return found("oracle", len(tasks), problems, hint=hint)


@dataclass(slots=True)
class _Effects:
    """What came of the actions that were tried."""

    tried: int = 0
    refused: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def note(self, where: str, action: str, before: Turn, after: Turn, *, listed: bool) -> None:
        """Judge one action in one state."""
        self.tried += 1
        if after.invalid:
            whose = "valid_actions() lists" if listed else "the oracle takes"
            self.refused.append(f"{where}: {whose} {action!r}, which step() flags as invalid")
        elif _changes_nothing(before, after):
            self.idle.append(f"{action!r} in {where}")


def check_actions(env: Environment, scripts: Sequence[Script], *, saves: bool) -> Finding:
    """Valid actions are not refused, and they change something.

    Args:
        env: the environment.
        scripts: what to play.
        saves: whether its snapshots can be relied on.
    """
    effects = _Effects()
    lists = False
    for script in spread(scripts, _TASKS):
        places = Places(env, script.task, saves=saves)
        last = begin(env, script.task)
        tried_at = set(spread(range(len(script.real) + 1), _STATES))
        for index in range(len(script.real) + 1):
            where = f"{script.task.name}, step {index + 1}"
            choices = (env.valid_actions() or []) if index in tried_at else []
            lists = lists or bool(choices)
            mark = places.mark(script.real[:index]) if choices else None
            for action in spread(choices, _ACTIONS):
                effects.note(where, action, last, turn_of(env, env.step(action)), listed=True)
                places.go_back(mark)
            if index == len(script.real):
                break
            before, last = last, turn_of(env, env.step(script.real[index]))
            if script.by_oracle:
                effects.note(where, script.real[index], before, last, listed=False)
            if last.ended:
                break
    remarks = []
    if effects.idle:
        remarks.append(
            f"{_share(effects.idle, effects.tried)} change neither observation nor state:"
            f" {', '.join(effects.idle[:SHOWN_EXAMPLES])}"
        )
    refused = effects.refused
    if refused and not env.lists_exactly:
        remarks.append(f"{_share(refused, effects.tried)} are refused, as expected: {refused[0]}")
        refused = []
    return found(
        "actions",
        effects.tried,
        refused,
        remarks=remarks,
        note="" if lists else "only the oracle's: there is no valid_actions()",
        hint="List only what step() accepts in the current state."
        if refused
        else "Do not list what has no effect, or flag it as `invalid` in info; or let the"
        " observation say what it does.",
        untried=("", "") if effects.tried else ("no action is known", UNTRIED_HINT),
    )


def _share(some: Sequence[str], tried: int) -> str:
    return f"{len(some)} of {tried} actions ({len(some) / tried:.0%})"


def _changes_nothing(before: Turn, after: Turn) -> bool:
    if after.ended or after.reward != before.reward or after.state != before.state:
        return False
    # The first observation of an episode may hold the task as well.
    return after.observation in before.observation


def check_repeats(env: Environment, scripts: Sequence[Script], *, saves: bool) -> Finding:
    """No reward is given twice: for the same action again, or after the end.

    Args:
        env: the environment.
        scripts: what to play.
        saves: whether its snapshots can be relied on.
    """
    paid = _Paid(env, saves=saves)
    for script in scripts:
        paid.play(script)
    return found(
        "repeats",
        paid.cases,
        _one_of_each(paid.problems),
        remarks=_one_of_each(paid.remarks),
        hint="Reward what has been reached, not the action: a reward is that of the state, and an"
        " episode's reward is that of its last step.",
        untried=("", "")
        if paid.cases
        else ("no action that was tried earned a reward or ended an episode", ORACLE_HINT),
    )


class _Paid:
    """Looks for rewards that are given twice."""

    def __init__(self, env: Environment, *, saves: bool) -> None:
        self._env = env
        self._saves = saves
        self.cases = 0
        self.problems: dict[str, list[str]] = defaultdict(list)
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def play(self, script: Script) -> None:
        """Play a script, with a second try of what is rewarded."""
        places = Places(self._env, script.task, saves=self._saves)
        last = begin(self._env, script.task)
        repeated = 0
        for index, action in enumerate(script.real):
            before, last = last, turn_of(self._env, self._env.step(action))
            where = f"{script.task.name}, step {index + 1}"
            if last.ended:
                for again in dict.fromkeys((action, script.real[0])):
                    self._after_end(where, again, last)
                return
            if last.reward < before.reward:
                self._note_fall(where, action, before.reward, last.reward)
            elif last.reward > before.reward and repeated < _REPEATS:
                repeated += 1
                mark = places.mark(script.real[: index + 1])
                self._again(where, action, last, turn_of(self._env, self._env.step(action)))
                places.go_back(mark)

    def _again(self, where: str, action: str, first: Turn, second: Turn) -> None:
        self.cases += 1
        if second.reward <= first.reward:
            return
        said = (
            f"{where}: {action!r} again raises the reward again,"
            f" from {first.reward:g} to {second.reward:g}"
        )
        # Where the state shows it, it may be the next step on the way to the goal.
        if first.state and first.state == second.state:
            self.problems["again"].append(f"{said}, and changes nothing")
        else:
            self.remarks["again"].append(said)

    def _note_fall(self, where: str, action: str, before: float, after: float) -> None:
        if after == 0:
            self.remarks["fall"].append(
                f"{where}: the reward falls from {before:g} to 0 with {action!r}: is it a reward of"
                " the step alone?"
            )

    def _after_end(self, where: str, action: str, last: Turn) -> None:
        self.cases += 1
        try:
            after = turn_of(self._env, self._env.step(action))
        except Exception as error:
            # The loop takes no step after the end, so this is worth knowing and no more.
            self.remarks["raises"].append(
                f"{where}: a step after the end raises {type(error).__name__}"
            )
            return
        if after.reward > last.reward:
            self.problems["late"].append(
                f"{where}: {action!r} after the end raises the reward from {last.reward:g} to"
                f" {after.reward:g}"
            )
        elif after.reward > 0 and not (after == last and after.state):
            self.remarks["late"].append(
                f"{where}: {action!r} after the end earns {after.reward:g} again"
            )


def _one_of_each(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """The first example of each kind, and how many more there are."""
    return [
        examples[0] + (f" (and {len(examples) - 1} more)" if examples[1:] else "")
        for examples in kinds.values()
    ]


def check_limits(
    solutions: Mapping[str, Sequence[str]], limits: Mapping[str, int], origin: str
) -> Finding:
    """The longest solution fits into the longest episode that the settings allow.

    Args:
        solutions: the oracle's, by task.
        limits: option, such as ``search.depth``, to its value, in steps.
        origin: whose values they are.
    """
    if not solutions:
        return found(
            "limits", 0, untried=("how long a solution is can be known from solve()", ORACLE_HINT)
        )
    longest = max(solutions, key=lambda name: len(solutions[name]))
    steps = len(solutions[longest])
    short = {option: value for option, value in limits.items() if value < steps}
    values = ", ".join(f"{option} {value}" for option, value in limits.items())
    raised = " and ".join(f"{option} ({value})" for option, value in short.items())
    too_long = sum(len(way) > min(limits.values()) for way in solutions.values())
    options = " ".join(f"--set {option}={steps}" for option in short)
    return found(
        "limits",
        len(solutions),
        remarks=[
            f"the longest solution takes {steps} steps ('{longest}'): raise {raised};"
            f" {too_long} of {len(solutions)} solutions are too long for {origin}"
        ]
        if short
        else [],
        note=f"the longest solution takes {steps} steps; {origin}: {values}",
        hint=f"In the recipe, or with {options}.",
    )
