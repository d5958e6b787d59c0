"""Pairs of continuations of one conversation, of which the first is preferred to the second."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.core.messages import Message


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
