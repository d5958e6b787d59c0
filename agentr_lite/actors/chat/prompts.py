"""From chat messages to a prompt that fits: rendering, tokenizing, dropping old turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.actors.chat.fragments import Tokenizer
from agentr_lite.actors.chat.template import ChatTemplate
from agentr_lite.core.messages import Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as tokens."""

    tokens: list[int] | None
    """None: it does not fit, even without all turns that may be dropped."""
    dropped_turns: int = 0
    """Number of dropped assistant turns; each is dropped with the user turn that answers it."""


class PromptBuilder:
    """Makes prompts for one model."""

    def __init__(
        self, template: ChatTemplate, tokenizer: Tokenizer, *, context_tokens: int
    ) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens

    def build(self, messages: Sequence[Message], reserve: int) -> Prompt:
        """Render and tokenize a conversation; leave room for an answer of ``reserve`` tokens.

        If it does not fit, assistant turns are dropped together with the user turns that answer
        them, oldest first. The turns up to the task and the last exchange stay.
        """
        limit = self._context_tokens - reserve
        tokens = self._tokens(messages)
        if len(tokens) <= limit:
            return Prompt(tokens)
        head, exchanges = split_exchanges(messages)
        # Each dropped exchange makes the prompt shorter, so bisection finds the fewest to drop.
        low, high = 1, len(exchanges) - 1
        longest = Prompt(None)
        while low <= high:
            middle = (low + high) // 2
            kept = [message for exchange in exchanges[middle:] for message in exchange]
            tokens = self._tokens([*head, *kept])
            if len(tokens) <= limit:
                longest = Prompt(tokens, middle)
                high = middle - 1
            else:
                low = middle + 1
        return longest

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        return self._tokenizer.prompt(self._template.render(messages))


def split_exchanges(
    messages: Sequence[Message],
) -> tuple[list[Message], list[list[Message]]]:
    """The turns up to the first user turn, and the exchanges after it.

    An exchange starts with an assistant turn and ends before the next one.
    """
    first = next((i for i, m in enumerate(messages) if m["role"] == "user"), len(messages) - 1)
    head = list(messages[: first + 1])
    exchanges: list[list[Message]] = []
    for message in messages[first + 1 :]:
        if message["role"] == "assistant" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    return head, exchanges
