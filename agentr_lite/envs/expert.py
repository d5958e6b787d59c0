"""Experts: scripted players that say why they act, and their demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agentr_lite.core.steps import turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.core.verdicts import Verdict
from agentr_lite.envs.base import Environment

MOST_TURNS = 200
"""A demonstration with more turns is given up."""


@dataclass(frozen=True, slots=True)
class Move:
    """One turn of a scripted player."""

    thought: str
    action: str
    verdict: Verdict = "good"
    """What a perfect critic would say before the observation; ``uncertain``: it is a guess."""

    @property
    def text(self) -> str:
        """The whole assistant turn."""
        return turn_text(self.thought, self.action)


class Expert(Protocol):
    """A scripted player of one episode; ``next_move`` and ``observe`` alternate."""

    def next_move(self) -> Move:
        """The player's next turn."""

    def observe(self, observation: str) -> None:
        """Take in the observation after a turn."""

    @property
    def gives_up(self) -> bool:
        """Whether the player knows no way on."""


def expert_turns(env: Environment, task: Task, expert: Expert) -> list[str] | None:
    """Let an expert play a task.

    Args:
        env: its episode is replaced.
        task: what is played.
        expert: a new player of this task.

    Returns:
        The assistant turns, or None if they do not earn the full reward.
    """
    env.reset(task)
    turns: list[str] = []
    while len(turns) < MOST_TURNS:
        move = expert.next_move()
        turns.append(move.text)
        result = env.step(move.action)
        if result.terminated or result.truncated:
            return turns if result.reward >= 1.0 else None
        expert.observe(result.observation)
        if expert.gives_up:
            return None
    return None
