"""What a probe measures; plain data, so that estimates can be made from invented speeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlaySpeed:
    """How fast the model plays, in batches of one width."""

    width: int
    """Answers in a batch; less than the recipe's where the model is slow."""
    answers: int
    """How many were measured."""
    prompt_tokens_s: float
    """New prompt tokens in a second."""
    answer_tokens_s: float
    """Answer tokens in a second, of all answers of a batch together."""
    prompt_tokens: float
    """New prompt tokens of an answer after the first of a conversation, on average."""
    answer_tokens: float
    """Tokens of an answer, on average."""
    cut_share: float
    """Share of the answers that did not end by themselves."""
    env_s: float
    """Seconds that the environment and the rest of the loop take for an answer, on average."""

    def seconds(self, tokens: float) -> float:
        """Seconds for one answer of so many tokens, in a batch."""
        return (
            self.prompt_tokens / self.prompt_tokens_s + tokens / self.answer_tokens_s + self.env_s
        )


@dataclass(frozen=True, slots=True)
class Game:
    """What is known of one environment before a run."""

    eval: PlaySpeed
    """In evaluation."""
    search: PlaySpeed
    """In search, where several answers to one prompt are sampled."""
    opening_tokens: float
    """Tokens of a conversation before the first answer, on average."""
    new_tokens: float
    """How many of them are read for each conversation; what several share is read once."""
    solution_steps: float | None
    """Median length of the oracle's solutions; None: there is no oracle."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """How fast the model trains."""

    tokens_s: float
    source: str
    """What it was measured with, in words."""
    setup_s: float = 0.0
    """Seconds from nothing to the end of the first step: libraries, weights, adapter layers."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """The result of a probe."""

    load_s: float
    """Seconds that loading the model took."""
    play_s: float
    """Seconds that the probe played."""
    games: Mapping[str, Game]
    """By the environment's name in the recipe."""
    training: TrainingSpeed | None
    """None: nothing is trained, or the model's size is not known."""
