"""Played episodes with a verdict on each step, and the training examples that are made of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, Protocol

from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.turns import REFLECT_REPLY, is_reflection, parse_action
from agentr_lite.core.messages import Message
from agentr_lite.core.steps import Step
from agentr_lite.splice.critic import CRITIC_ANSWERS, judge_message

Verdict = Literal["Good", "Bad", "Uncertain"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a player says, and whether it was right."""

    text: str
    verdict: Verdict
    """Before the observation is known; an action that fails is bad in any case."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A played episode with the verdict on each step."""

    env: str
    instructions: str
    opening: str
    """The first observation."""
    steps: list[Step]
    verdicts: list[Verdict]
    reward: float
    """The last step's."""

    @property
    def solved(self) -> bool:
        """Whether it earned everything."""
        return self.reward >= 1.0


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One training example."""

    messages: list[Message]
    loss: list[bool]
    """Per message: whether it is a target. Only assistant turns are."""
    kind: str
    """``play``, ``judge`` or ``drill``."""
    env: str
    """Which environment's; empty for drills."""


class Demonstrator(Protocol):
    """Who plays an episode."""

    def next_turn(self) -> Turn:
        """What it says next."""

    def observe(self, observation: str) -> None:
        """Tell it what came of its turn."""


def take_turn(
    player: Demonstrator, steps: list[Step], verdicts: list[Verdict]
) -> tuple[Turn, str] | None:
    """The player's next turn and the action in it.

    Returns:
        None for a reflection, which concerns no environment: it is answered and noted already.
    """
    turn = player.next_turn()
    action = parse_action(turn.text)
    if action is None:
        raise ValueError(f"the demonstrator said no action: {turn.text!r}")
    if not is_reflection(action):
        return turn, action
    steps.append(Step(turn.text, action, REFLECT_REPLY, kind="reflect"))
    verdicts.append(turn.verdict)
    player.observe(REFLECT_REPLY)
    return None


def demonstration(episode: Episode, rng: random.Random, *, judged: bool) -> Demonstration:
    """An episode as an example: the play itself, or the critic's question about one step.

    Args:
        episode: with at least one step.
        rng: which step is judged.
        judged: ask about a step and stop there.

    Raises:
        ValueError: a verdict that the critic does not know.
    """
    if judged:
        cut = _judged_step(episode, rng)
        steps = episode.steps[: cut + 1]
        messages = judge_message(conversation(episode.instructions, episode.opening, steps))
        verdict = episode.verdicts[cut]
        if verdict not in CRITIC_ANSWERS:
            raise ValueError(f"not a verdict: {verdict!r}")
        messages.append({"role": "assistant", "content": verdict})
        kind = "judge"
    else:
        messages = conversation(episode.instructions, episode.opening, episode.steps)
        # The last observation answers nothing and is answered by nothing.
        messages.pop()
        kind = "play"
    loss = [message["role"] == "assistant" for message in messages]
    return Demonstration(messages, loss, kind, episode.env)


def _judged_step(episode: Episode, rng: random.Random) -> int:
    """A step to judge: half of the time a bad one, if there is any."""
    bad = [index for index, verdict in enumerate(episode.verdicts) if verdict == "Bad"]
    if bad and rng.random() < 0.5:
        return rng.choice(bad[:2])
    return rng.randrange(len(episode.steps))
