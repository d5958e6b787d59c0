"""Execute spliced trajectories, and search for a true continuation where the splice was only text.

A good suffix was observed in a state in which the bad actions never happened. So every splice is
replayed from reset through the agent loop, and its observations are recorded again. Where the
replay does not earn alpha, a recovery search samples continuations from the state after the
revision turn.
Source: ours; Agent-R (arXiv 2501.11425) joins the texts without executing them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from agentr_lite.actors.base import Actor, Completion, GenerateRequest, Sampling
from agentr_lite.agent.boundary import guarded_reset
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.state import State, enter_state, take_state
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import AnswerFormat
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.core.usage import ModelCall
from agentr_lite.envs.base import Environment
from agentr_lite.splice.pairs import is_good
from agentr_lite.splice.trajectories import FlaggedStep

FULL_REWARD = 1.0


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of executing a spliced trajectory."""

    steps: tuple[Step, ...]
    """As executed; ends early where the episode did."""
    reward: float
    """The last step's, as everywhere: in [0, 1]."""
    state: State | None
    """The state right after the revision turn; None where the episode ended before it."""
    signal_index: int
    """Index of the revision turn in ``steps``, if it was reached."""
    problem: str = ""
    """Why the trajectory cannot be used at all; empty where it can or could be recovered."""


def replay(
    env: Environment,
    task: Task,
    spliced: Sequence[FlaggedStep],
    *,
    signal_index: int,
    form: AnswerFormat,
    grammar: TurnGrammar,
) -> Replay:
    """Take a spliced trajectory's turns again from reset.

    Args:
        env: the environment; its episode is replaced.
        task: the task of the tree.
        spliced: prefix, bad steps, revision turn, good suffix; only the turns' texts are used.
        signal_index: where the revision turn is among them.
        form: how actions are read from turns.
        grammar: of the agent's turns in ``env``.

    Raises:
        EnvironmentFault: the environment's code failed.
    """
    guarded_reset(env, task)
    steps: list[Step] = []
    state: State | None = None
    for index, item in enumerate(spliced):
        step = take_step(env, item.step.text, item.step.token_ids, item.step.thinking, form=form)
        steps.append(step)
        if step.ended and index <= signal_index:
            return Replay(
                tuple(steps),
                step.reward,
                None,
                signal_index,
                problem=f"the episode ended at step {index + 1}, before the revision",
            )
        if index == signal_index:
            state = take_state(env, grammar)
        if step.ended:
            break
    return Replay(tuple(steps), final_reward(steps), state, signal_index)


def final_reward(steps: Sequence[Step]) -> float:
    """The reward of an episode: that of its last step in the environment.

    Turns that the environment never saw (no action, a reflection) earn nothing and lose nothing.
    """
    return next((step.reward for step in reversed(steps) if step.kind == "act"), 0.0)


@dataclass(slots=True)
class Recovery:
    """One failed splice for which a continuation is searched."""

    opening: Opening
    steps: tuple[Step, ...]
    """Executed so far: prefix, bad steps, revision turn."""
    state: State | None
    """The state after them; None where no continuation is sampled."""
    alpha: float
    """Least reward that counts as recovered (``pairs.is_good``)."""
    max_steps: int
    """Longest continuation, in steps."""
    seed: Callable[[int, int], int]
    """(attempt, step) to sampling seed."""
    tree_id: int = 0
    node_idx: int = 0
    """The tree's node at t', for the record of the calls."""
    attempts: list[Attempt] = field(default_factory=list)
    """Filled by ``recover``."""

    @property
    def best(self) -> Attempt | None:
        """The best successful attempt: most reward, then fewest steps, then first; or None."""
        good = [
            attempt
            for attempt in self.attempts
            if not attempt.fault and is_good(attempt.reward, self.alpha)
        ]
        return min(good, key=lambda item: (-item.reward, len(item.steps)), default=None)

    @property
    def outcome(self) -> str:
        """One line about the attempts, for the revision's row."""
        tried = f"{len(self.attempts)} recovery attempts"
        if self.best is not None:
            return f"recovered in {len(self.best.steps)} steps; {tried}"
        faults = [item.fault for item in self.attempts if item.fault]
        if faults:
            return f"none of {tried} succeeded; {faults[0]}"
        best = max((item.reward for item in self.attempts), default=0.0)
        return f"none of {tried} succeeded; best reward {best:g}, needed {self.alpha:g}"


@dataclass(slots=True)
class Attempt:
    """One sampled continuation."""

    state: State | None
    steps: list[Step] = field(default_factory=list)
    live: bool = True
    fault: str = ""

    @property
    def reward(self) -> float:
        """Of the continuation's last step in the environment; in [0, 1]."""
        return final_reward(self.steps)


def recover(
    env: Environment,
    actor: Actor,
    recoveries: Sequence[Recovery],
    *,
    attempts: int,
    sampling: Sampling,
    form: AnswerFormat,
    grammar: TurnGrammar,
) -> list[tuple[int, ModelCall]]:
    """Sample continuations for all ``recoveries`` in lockstep: one batch of requests a step.

    An attempt ends with its episode, at ``max_steps``, or as soon as another one of the same
    recovery has earned the full reward, since it could only be longer. An environment fault ends
    its attempt alone.

    Args:
        env: the environment; its episode is replaced.
        actor: the current model.
        recoveries: where to start from; their ``attempts`` are filled in.
        attempts: continuations a recovery, >= 0.
        sampling: how to draw them. Its grammar does not count.
        form: how actions are read from them.
        grammar: of the agent's turns in ``env``.

    Returns:
        (tree id, record) of each request, in the order of asking.
    """
    calls: list[tuple[int, ModelCall]] = []
    for item in recoveries:
        live = item.max_steps > 0
        item.attempts = [Attempt(item.state, live=live) for _ in range(attempts)]
    while groups := list(_live_groups(recoveries)):
        requests = [_request(item, members, sampling) for item, members in groups]
        for (item, members), request, result in zip(
            groups, requests, actor.generate(requests), strict=True
        ):
            call = result.call(item.node_idx, request.seeds)
            calls.append((item.tree_id, call))
            for number, answer in zip(members, result.completions, strict=True):
                _advance(env, item, item.attempts[number], answer, form, grammar)
        for item in recoveries:
            if any(attempt.reward >= FULL_REWARD for attempt in item.attempts):
                for attempt in item.attempts:
                    attempt.live = False
    return calls


def _live_groups(recoveries: Iterable[Recovery]) -> Generator[tuple[Recovery, list[int]]]:
    """Live attempts, those with the same conversation together: their prompt is decoded once."""
    for item in recoveries:
        groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for number, attempt in enumerate(item.attempts):
            if attempt.live:
                key = tuple((step.text, step.observation) for step in attempt.steps)
                groups.setdefault(key, []).append(number)
        for members in groups.values():
            yield item, members


def _request(item: Recovery, members: Sequence[int], sampling: Sampling) -> GenerateRequest:
    first = item.attempts[members[0]]
    taken = first.steps
    messages: list[Message] = conversation(item.opening, [*item.steps, *taken])
    seeds = tuple(item.seed(number, len(taken)) for number in members)
    grammar = first.state.grammar if first.state else ""
    return GenerateRequest(messages, seeds, replace(sampling, grammar=grammar))


def _advance(
    env: Environment,
    item: Recovery,
    attempt: Attempt,
    answer: Completion,
    form: AnswerFormat,
    grammar: TurnGrammar,
) -> None:
    if answer.finish_reason == "overflow":
        attempt.fault = "the conversation no longer fits the context"
        attempt.live = False
        return
    try:
        if attempt.state is not None:
            enter_state(env, attempt.state)
        step = take_step(env, answer.text, answer.drawn_ids, answer.thinking, form=form)
        attempt.state = None if step.ended else take_state(env, grammar)
    except EnvironmentFault as fault:
        attempt.fault = fault.message
        attempt.live = False
        return
    attempt.steps.append(step)
    attempt.live = not step.ended and len(attempt.steps) < item.max_steps
