"""Pairs of continuations of one conversation, of which the first is preferred to the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.actors.chat.encoder import ChatEncoder
from agentr_lite.core.messages import Message
from agentr_lite.train.batches import Tokenized, TrainExample, tokenize_sequences


@dataclass(frozen=True)
class PreferenceExample:
    """Two continuations of one conversation, and which of their turns count."""

    messages: list[Message]
    """What the two share. It ends with the turn after which they part, which is not the
    assistant's."""
    chosen: list[Message]
    """The preferred continuation. It begins with an assistant turn."""
    chosen_loss: list[bool]
    """One a message of ``chosen``; only assistant turns may be True."""
    rejected: list[Message]
    """The other continuation. It begins with an assistant turn."""
    rejected_loss: list[bool]
    """One a message of ``rejected``; only assistant turns may be True."""
    weight: float = 1.0
    """Factor on the loss of this pair, > 0."""

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1]["role"] == "assistant":
            raise ValueError("the shared messages do not end with what an assistant turn answers")
        for name, turns, flags in (
            ("chosen", self.chosen, self.chosen_loss),
            ("rejected", self.rejected, self.rejected_loss),
        ):
            if not turns or turns[0]["role"] != "assistant":
                raise ValueError(f"the {name} continuation does not begin with an assistant turn")
            if len(flags) != len(turns):
                raise ValueError(f"{len(flags)} loss flags for {len(turns)} {name} messages")
            for message, flag in zip(turns, flags, strict=True):
                if flag and message["role"] != "assistant":
                    raise ValueError(f"a {message['role']} turn cannot carry loss")
        if not self.weight > 0:
            raise ValueError(f"weight {self.weight} is not positive")


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """One pair as tokens, each continuation with the conversation before it.

    A continuation is one sequence, or one for each learnt turn where the chat template rewrites
    finished turns. Its log-likelihood is the sum over the masked tokens of its sequences.
    """

    chosen: list[Tokenized]
    rejected: list[Tokenized]
    weight: float = 1.0

    @property
    def continuations(self) -> tuple[list[Tokenized], list[Tokenized]]:
        """The chosen one's sequences, and the rejected one's."""
        return self.chosen, self.rejected

    @property
    def length(self) -> int:
        """Tokens of all sequences together."""
        return sum(len(row.tokens) for rows in self.continuations for row in rows)


@dataclass
class DroppedPairs:
    """Pairs left out, by reason."""

    too_long: int = 0
    no_loss: int = 0
    """A continuation has no turn that carries loss."""
    ties: int = 0
    """Both continuations have the same tokens and the same masks."""

    @property
    def total(self) -> int:
        """All pairs left out."""
        return self.too_long + self.no_loss + self.ties

    def __add__(self, other: DroppedPairs) -> DroppedPairs:
        return DroppedPairs(
            self.too_long + other.too_long, self.no_loss + other.no_loss, self.ties + other.ties
        )


def tokenize_pairs(
    encoder: ChatEncoder, pairs: Sequence[PreferenceExample], max_length: int
) -> tuple[list[TokenizedPair], DroppedPairs]:
    """Tokenize all pairs; those that cannot be learnt from are counted, not kept.

    Args:
        encoder: from ``chat_encoder``.
        pairs: the pairs.
        max_length: of each continuation with the conversation before it, in tokens.

    Raises:
        ModelError: the template refuses a conversation.
    """
    kept: list[TokenizedPair] = []
    dropped = DroppedPairs()
    for pair in pairs:
        if not any(pair.chosen_loss) or not any(pair.rejected_loss):
            dropped.no_loss += 1
            continue
        chosen = _sequences(encoder, pair, pair.chosen, pair.chosen_loss, max_length)
        rejected = _sequences(encoder, pair, pair.rejected, pair.rejected_loss, max_length)
        if chosen is None or rejected is None:
            dropped.too_long += 1
        elif chosen == rejected:
            dropped.ties += 1
        else:
            kept.append(TokenizedPair(chosen, rejected, pair.weight))
    return kept, dropped


def _sequences(
    encoder: ChatEncoder,
    pair: PreferenceExample,
    turns: list[Message],
    flags: list[bool],
    max_length: int,
) -> list[Tokenized] | None:
    """A continuation's tokens; None where they are too many."""
    whole = TrainExample([*pair.messages, *turns], [False] * len(pair.messages) + flags)
    fitting, too_long = tokenize_sequences(encoder, whole, max_length)
    return None if too_long else fitting
