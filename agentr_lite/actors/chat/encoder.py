"""Conversations to tokens: the same ones to play, to score and to train on.

A conversation is a head (system prompt, examples and task) and exchanges: an answer of the
assistant and the reply to it. ``History`` says how exchanges become tokens:

* ``exact``: the answer's tokens as the model drew them, between pieces of the chat template. A
  conversation is then always a prefix of its continuations, whatever the template does::

      head                                  answer 1  piece                             answer 2
      <|im_start|>user\\n...assistant\\n      Thought…  <|im_end|>\\n<|im_start|>user\\n…   Thought…

* ``template``: as the template renders the whole conversation. Templates that rewrite finished
  turns (they drop thoughts, trim white space) then change tokens that were played.

Contents never become control tokens (``tokenizer.Guard``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.actors.chat.template import THOUGHT_CLOSE, THOUGHT_OPEN, ChatTemplate
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.chat.turn_format import TurnFormat, keeps_thoughts, read_turn_format
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message

History = Literal["exact", "template"]

_Key = tuple[tuple[str, ...], ...]
_KEPT_PIECES = 20_000
_KEPT_HEADS = 512
"""A head is asked for at every turn of its task, and a search plays tens of tasks together."""


class RewrittenTurns(ModelError):
    """The template shows a finished turn otherwise than it was generated."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as tokens."""

    tokens: list[int] | None
    """None: it does not fit even with all droppable turns dropped."""
    dropped_turns: int = 0
    """Assistant turns left out, each with the user turn that answers it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer and what was said to it."""

    answer: Message
    reply: Sequence[Message]
    """The turns up to the next answer; empty after the last one."""


class ChatEncoder:
    """Makes the tokens of conversations for one model.

    Attributes:
        tokenizer: the model's.
        turn: how the template begins and ends an assistant's turn.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        *,
        eos: str,
        history: History = "exact",
    ) -> None:
        """
        Args:
            template: the model's, or the recipe's.
            tokenizer: the model's.
            eos: spelling of the end token, for templates that end no turn.
            history: how exchanges become tokens.
        """
        self.tokenizer = tokenizer
        self.turn: TurnFormat = read_turn_format(template, tokenizer, eos=eos)
        self._template = template
        self._history = history
        bare = self.answer("x")
        self._lead = tokenizer.text_of(bare).decode("utf-8", "replace").removesuffix("x")
        """What the tokens of an answer spell before its text: SentencePiece's space, too."""
        self._space = self.answer("x" + self.turn.end_space)[len(bare) :]
        """Tokens of the white space between an answer and the token that ends it."""
        self._keeps_thoughts = template.thinks and keeps_thoughts(template)
        """Whether later prompts show what was thought before an answer."""
        self._pieces: OrderedDict[_Key, list[int]] = OrderedDict()
        self._heads: OrderedDict[_Key, list[int]] = OrderedDict()

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end an answer, as the template has it."""
        return self.turn.end_tokens

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens up to where the next answer begins.

        Raises:
            ModelError: the template refuses the conversation.
        """
        split = self._split(messages)
        if split is None or (split[1] and not split[1][-1].reply):
            return self._rendered(messages)
        head, exchanges = split
        return [*self._head(head), *self._exchanges(exchanges)]

    def fit(self, messages: Sequence[Message], limit: int) -> Prompt:
        """``prompt`` within ``limit`` tokens.

        Where it does not fit, answers go together with their replies, oldest first; the head and
        the last exchange stay.

        Raises:
            ModelError: the template refuses the conversation.
        """
        tokens = self.prompt(messages)
        if len(tokens) <= limit:
            return Prompt(tokens)
        head, exchanges = split_exchanges(messages)
        # The fewest to drop: lengths fall with every exchange dropped, so bisection finds it.
        low, high = 1, len(exchanges) - 1
        best = Prompt(None)
        while low <= high:
            middle = (low + high) // 2
            kept = [message for exchange in exchanges[middle:] for message in exchange]
            tokens = self.prompt([*head, *kept])
            if len(tokens) <= limit:
                best = Prompt(tokens, middle)
                high = middle - 1
            else:
                low = middle + 1
        return best

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer's text where no model drew them, as they follow a prompt."""
        tail = self.turn.tail
        before = self.tokenizer.continuation(tail)
        both = self.tokenizer.continuation(tail + self.turn.lead + text)
        if both[: len(before)] == before:
            return both[len(before) :]
        return self.tokenizer.continuation(self.turn.lead + text)

    def answer_text(self, raw: bytes) -> str:
        """The text of an answer, without the white space that the template puts round it.

        Args:
            raw: the bytes of the tokens drawn. Bytes that are no UTF-8 become U+FFFD.
        """
        text = raw.decode("utf-8", "replace")
        return text.removeprefix(self._lead).removesuffix(self.turn.end_space)

    @property
    def thinks(self) -> bool:
        """Whether answers begin with a block of thoughts."""
        return self._template.thinks

    def thoughts(self, text: str) -> list[int]:
        """Tokens of a block of thoughts and its end, as they follow a prompt.

        Args:
            text: what was thought, with the block's beginning where the model wrote it.
        """
        if not text.strip() and THOUGHT_OPEN not in self.turn.tail:
            text = f"{THOUGHT_OPEN}\n"
        tokens = self.tokenizer.continuation(text)
        return [*tokens, *self.tokenizer.template_text(f"{THOUGHT_CLOSE}\n\n")]

    def drawn(self, text: str, tokens: Sequence[int]) -> tuple[int, ...]:
        """``tokens`` if ``text`` does not say them already, else nothing.

        Args:
            text: the answer's text, as the conversation keeps it.
            tokens: as they were drawn, without the end of the turn.
        """
        if self._history != "exact" or list(tokens) == self.answer(text):
            return ()
        spelled = self.tokenizer.text_of(tokens).decode("utf-8", "replace")
        ends_in_space = self.turn.end_space and spelled.endswith(self.turn.end_space)
        # A stop string, or the template, cut the text short: the tokens say more than it.
        if ends_in_space or not spelled.endswith(text):
            return ()
        return tuple(tokens)

    def example(
        self, messages: Sequence[Message], learnt: Sequence[bool]
    ) -> tuple[list[int], list[bool]]:
        """Tokens of a conversation up to its last learnt turn, and which of them are learnt.

        Args:
            messages: the conversation.
            learnt: one flag a message; True on assistant turns only, and on at least one.

        Returns:
            (tokens, mask), of equal length. The mask is set on learnt answers and on the token
            that ends each of them.

        Raises:
            ModelError: the template refuses the conversation.
            RewrittenTurns: in ``template`` history a learnt turn's prompt and text are not the
                beginning of the later turns' prompts.
        """
        last = max(index for index, flag in enumerate(learnt) if flag)
        messages = messages[: last + 1]
        thought = any(messages[i].get("thinking") for i in range(last + 1) if learnt[i])
        if thought and not self._keeps_thoughts:
            return self._thought_example(messages, learnt)
        split = self._split(messages)
        if split is None:
            return self._rendered_example(messages, learnt)
        head, exchanges = split
        tokens = [*self._head(head)]
        mask = [False] * len(tokens)
        index = len(head)
        for exchange in exchanges:
            answer = self._answer_tokens(exchange.answer)
            if exchange.reply:
                piece = self._piece(exchange.reply)
                ended = self.turn.end_length
            else:
                piece = list(self.turn.last_end)
                ended = len(piece)
            flag = learnt[index]
            tokens += [*answer, *piece]
            mask += [flag] * (len(answer) + ended) + [False] * (len(piece) - ended)
            index += 1 + len(exchange.reply)
        return tokens, mask

    def _thought_example(
        self, messages: Sequence[Message], learnt: Sequence[bool]
    ) -> tuple[list[int], list[bool]]:
        """``example`` of one turn with its thoughts, which later prompts do not show."""
        if sum(learnt) > 1:
            raise RewrittenTurns(_REWRITTEN)
        last = messages[-1]
        prompt = self.prompt(messages[:-1])
        answer = [*self.thoughts(last["thinking"]), *self._answer_tokens(last)]
        answer += self.turn.last_end
        return [*prompt, *answer], [False] * len(prompt) + [True] * len(answer)

    def _split(
        self, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], list[Exchange]] | None:
        """Head and exchanges; None where the whole has to be rendered as it is."""
        if self._history != "exact" or not self.turn.is_kept:
            return None
        head, groups = split_exchanges(messages)
        if not head or head[-1]["role"] != "user":
            return None
        if any(group[0]["role"] != "assistant" for group in groups):
            return None
        # Only the last answer may stand without a reply.
        if any(len(group) < 2 for group in groups[:-1]):
            return None
        return head, [Exchange(group[0], group[1:]) for group in groups]

    def _exchanges(self, exchanges: Sequence[Exchange]) -> list[int]:
        tokens: list[int] = []
        for exchange in exchanges:
            tokens += self._answer_tokens(exchange.answer)
            tokens += self._piece(exchange.reply)
        return tokens

    def _answer_tokens(self, message: Message) -> list[int]:
        """An answer up to the token that ends it, as later prompts show it."""
        answer = [*(message.get("token_ids") or self.answer(message["content"])), *self._space]
        thinking = message.get("thinking") if self._keeps_thoughts else None
        return [*self.thoughts(thinking), *answer] if thinking else answer

    def _head(self, messages: Sequence[Message]) -> list[int]:
        """The turns up to the first user turn; the caller leaves the list as it is."""
        key = tuple((m["role"], m["content"], m.get("thinking", "")) for m in messages)
        known = self._heads.get(key)
        if known is None:
            return _keep(self._heads, key, self._rendered(messages), _KEPT_HEADS)
        self._heads.move_to_end(key)
        return known

    def _piece(self, reply: Sequence[Message]) -> list[int]:
        """What the template writes from an answer's end to where the next one begins."""
        key = tuple((message["role"], message["content"]) for message in reply)
        known = self._pieces.get(key)
        if known is None:
            guarded, guard = self.tokenizer.guard(reply)
            text = self.turn.after_answer(self._template, guarded)
            tokens = self.tokenizer.template_text(text, guard)
            return _keep(self._pieces, key, tokens, _KEPT_PIECES)
        self._pieces.move_to_end(key)
        return known

    def _with_thoughts(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The turns with what was thought in their contents, where the template keeps it."""
        if not self._keeps_thoughts:
            return messages
        return [
            {"role": m["role"], "content": f"{m['thinking']}{THOUGHT_CLOSE}\n\n{m['content']}"}
            if m.get("thinking")
            else m
            for m in messages
        ]

    def _rendered(self, messages: Sequence[Message]) -> list[int]:
        messages = self._with_thoughts(messages)
        guarded, guard = self.tokenizer.guard(messages)
        text = self._template.render(guarded) + self.turn.opening
        return self.tokenizer.prompt(text, guard)

    def _rendered_example(
        self, messages: Sequence[Message], learnt: Sequence[bool]
    ) -> tuple[list[int], list[bool]]:
        """``example`` with every prompt as the template renders the whole conversation."""
        tokens: list[int] = []
        mask: list[bool] = []
        for index in range(len(messages)):
            if not learnt[index]:
                continue
            prompt, answer = self._rendered_turn(messages[: index + 1])
            if prompt[: len(tokens)] != tokens:
                raise RewrittenTurns(_REWRITTEN)
            mask += [False] * (len(prompt) - len(tokens)) + [True] * len(answer)
            tokens = [*prompt, *answer]
        return tokens, mask

    def _rendered_turn(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The prompt of the last turn and the turn itself, with its end."""
        messages = self._with_thoughts(messages)
        messages, guard = self.tokenizer.guard(messages)
        prompt = self._template.render(messages[:-1]) + self.turn.opening
        answer = self.turn.shown(self._template, messages)
        tokens = self.tokenizer.prompt(prompt, guard)
        both = self.tokenizer.prompt(prompt + answer, guard)
        # The prompt keeps the tokens that it had when the answer was drawn.
        if both[: len(tokens)] == tokens:
            return tokens, both[len(tokens) :]
        return tokens, self.tokenizer.template_text(answer, guard)


_REWRITTEN = (
    "the chat template rewrites finished turns, so the turns of a conversation cannot be learnt in"
    " one sequence"
)


def _keep(kept: OrderedDict[_Key, list[int]], key: _Key, tokens: list[int], most: int) -> list[int]:
    kept[key] = tokens
    if len(kept) > most:
        kept.popitem(last=False)
    return tokens


def split_exchanges(
    messages: Sequence[Message],
) -> tuple[list[Message], list[list[Message]]]:
    """The turns up to the task, examples included, and the exchanges after it.

    The task is the first user turn that is not part of an example. An exchange starts with an
    assistant turn and ends before the next one.
    """
    own_user_turns = (
        index
        for index, message in enumerate(messages)
        if message["role"] == "user" and not message.get("example")
    )
    first = next(own_user_turns, len(messages) - 1)
    head = list(messages[: first + 1])
    exchanges: list[list[Message]] = []
    for message in messages[first + 1 :]:
        if message["role"] == "assistant" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    return head, exchanges
