"""Demonstrated episodes with a verdict on each step, and the training examples made from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.turns import REFLECT_REPLY, is_reflection, parse_action
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Opening
from agentr_lite.core.steps import Step
from agentr_lite.core.verdicts import VERDICTS, Verdict
from agentr_lite.envs.expert import Move
from agentr_lite.splice.critic import CRITIC_ANSWERS, judge_message

ANSWERS: Mapping[Verdict, str] = dict(zip(VERDICTS, CRITIC_ANSWERS, strict=True))
"""Verdict to the critic's answer in the demonstrations."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode with a verdict on each step."""

    env: str
    instructions: str
    opening: str
    """The first observation."""
    steps: list[Step]
    verdicts: list[Verdict]
    reward: float
    """The reward of the last step."""

    @property
    def solved(self) -> bool:
        """Whether the episode earned the full reward."""
        return self.reward >= 1.0


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One training example."""

    messages: list[Message]
    loss: list[bool]
    """For each message, whether it is a target; only assistant turns are."""
    kind: str
    """``play``, ``judge`` or ``drill``."""
    env: str
    """The environment; empty for drills."""


class Demonstrator(Protocol):
    """A scripted player of one environment."""

    def next_move(self) -> Move:
        """The player's next turn."""

    def observe(self, observation: str) -> None:
        """Take in the observation after a turn."""


def take_turn(
    player: Demonstrator, steps: list[Step], verdicts: list[Verdict]
) -> tuple[Move, str] | None:
    """The player's next turn and its action.

    Returns:
        None for a reflection: it does not reach the environment, and its step and verdict have been
        appended already.

    Raises:
        ValueError: the turn has no action.
    """
    turn = player.next_move()
    action = parse_action(turn.text)
    if action is None:
        raise ValueError(f"the player's turn has no action: {turn.text!r}")
    if not is_reflection(action):
        return turn, action
    steps.append(Step(turn.text, action, REFLECT_REPLY, kind="reflect"))
    verdicts.append(turn.verdict)
    player.observe(REFLECT_REPLY)
    return None


def demonstration(episode: Episode, rng: random.Random, *, judged: bool) -> Demonstration:
    """Make a training example: the episode itself, or the critic's question about one step.

    Args:
        episode: with at least one step.
        rng: chooses the step that is judged.
        judged: end with the critic's question about one step and its answer.

    Raises:
        ValueError: the critic has no such verdict.
    """
    if judged:
        last = _judged_step(episode, rng)
        steps = episode.steps[: last + 1]
        opening = Opening(episode.instructions, episode.opening)
        messages = judge_message(conversation(opening, steps))
        verdict = episode.verdicts[last]
        if verdict not in ANSWERS:
            raise ValueError(f"not a verdict: {verdict!r}")
        messages.append({"role": "assistant", "content": ANSWERS[verdict]})
        kind = "judge"
    else:
        messages = conversation(Opening(episode.instructions, episode.opening), episode.steps)
        # No turn follows the last observation.
        messages.pop()
        kind = "play"
    loss = [message["role"] == "assistant" for message in messages]
    return Demonstration(messages, loss, kind, episode.env)


def _judged_step(episode: Episode, rng: random.Random) -> int:
    """Index of the step to judge: with probability 0.5 a bad step, if there is one."""
    bad = [index for index, verdict in enumerate(episode.verdicts) if verdict == "bad"]
    if bad and rng.random() < 0.5:
        return rng.choice(bad[:2])
    return rng.randrange(len(episode.steps))
