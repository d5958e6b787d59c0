"""How a chat template begins and ends an assistant's turn, read off what it renders.

Families differ in it: ``<|im_end|>``, ``<end_of_turn>``, ``<|end|>``, a space and ``</s>``, or the
next turn's own beginning. The tokenizer's end-of-text token is often another one. So a turn's end
is taken from the template, rendered with an assistant turn in place::

    render([user, assistant])        …<|im_start|>assistant\\nANSWER<|im_end|>\\n
                                                          ^opening  ^last end
    render([user, assistant, user])  …<|im_start|>assistant\\nANSWER<|im_end|>\\n<|im_start|>user…
                                                                   ^after_answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentr_lite.actors.chat.template import THOUGHT_CLOSE, THOUGHT_OPEN, ChatTemplate
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message

_QUESTION: Message = {"role": "user", "content": "probe question 5081"}
_ANSWER = "probe answer 7246"
_REPLY: Message = {"role": "user", "content": "probe reply 3917"}


@dataclass(frozen=True, slots=True)
class TurnFormat:
    """An assistant's turn in one template."""

    opening: str
    """Text with control tokens between the generation prompt and an answer, e.g. harmony's
    ``<|channel|>final<|message|>``. It is added to every prompt."""
    lead: str
    """White space between the generation prompt and an answer: the model draws it itself."""
    tail: str
    """What the template writes between the last control token and an answer, e.g. a line break.
    An answer's first tokens can depend on it."""
    end_space: str
    """White space between an answer and the token that ends it."""
    last_end_text: str
    """What ends the last answer of a conversation, after ``end_space``."""
    last_end: tuple[int, ...]
    """Its tokens."""
    end_length: int
    """Tokens that end an answer in the history: its first control token, or none."""
    end_tokens: frozenset[int]
    """Control tokens at which an answer is over."""
    is_kept: bool
    """Answers stand in the rendered history as they are given."""

    def after_answer(self, template: ChatTemplate, reply: Sequence[Message]) -> str:
        """What follows an answer and its ``end_space``, up to where the next one begins.

        Args:
            template: the one that this was read from.
            reply: the turns after the answer.

        Raises:
            ModelError: the template refuses the turns.
        """
        # Of a conversation, only what is around the answer matters for what follows it.
        messages = [_QUESTION, _assistant(), *reply]
        text = template.render(messages)
        at = text.find(_ANSWER)
        if at < 0:
            raise ModelError("the chat template leaves an assistant turn out of the history")
        return text[at + len(_ANSWER) :].removeprefix(self.end_space) + self.opening

    def shown(self, template: ChatTemplate, messages: Sequence[Message]) -> str:
        """The last turn of a finished conversation as the template writes it, with its end.

        Args:
            template: the one that this was read from.
            messages: a conversation that ends with an assistant's turn.

        Raises:
            ModelError: the template refuses the turns.
        """
        *earlier, last = messages
        placed = template.render([*earlier, _assistant()], generation_prompt=False)
        before, _, after = placed.rpartition(_ANSWER)
        text = template.render(messages, generation_prompt=False)
        if not text.startswith(before) or not text.endswith(after):
            shown = last["content"]
        else:
            shown = text[len(before) : len(text) - len(after)]
        return self.lead + shown + self.end_space + self.last_end_text


def read_turn_format(template: ChatTemplate, tokenizer: Tokenizer, *, eos: str) -> TurnFormat:
    """Find out how a template writes an assistant's turn.

    Args:
        template: the template.
        tokenizer: the model's.
        eos: spelling of the end token, for templates that end no turn.
    """
    prompt = template.render([_QUESTION])
    try:
        last = template.render([_QUESTION, _assistant()], generation_prompt=False)
        history = template.render([_QUESTION, _assistant(), _REPLY])
    except ModelError:
        last = history = ""
    shown = last.partition(_ANSWER)
    replied = history.partition(_ANSWER)
    is_kept = bool(shown[1] and replied[1]) and _REPLY["content"] in replied[2]
    if not is_kept:
        ids = tuple(tokenizer.template_text(eos))
        return TurnFormat(
            opening="",
            lead="",
            tail="",
            end_space="",
            end_length=len(ids),
            last_end_text=eos,
            last_end=ids,
            end_tokens=frozenset(ids[:1]),
            is_kept=False,
        )
    between = shown[0].removeprefix(prompt) if shown[0].startswith(prompt) else ""
    opening, lead = (between, "") if between.strip() else ("", between)
    if template.thinks and not _up_to_control(opening, tokenizer):
        # An empty block of thoughts: a model that thinks writes its own.
        opening = ""
    end = _up_to_control(replied[2].partition(_REPLY["content"])[0], tokenizer)
    last_end = _up_to_control(shown[2], tokenizer) or end or eos
    space = last_end[: len(last_end) - len(last_end.lstrip())]
    last_end = last_end.lstrip()
    end_ids = tokenizer.template_text(end.removeprefix(space))
    last_ids = tuple(tokenizer.template_text(last_end))
    tail = _after_control((prompt + opening).partition(_QUESTION["content"])[2], tokenizer)
    return TurnFormat(
        opening=opening,
        lead=lead,
        tail=tail,
        end_space=space,
        end_length=len(end_ids),
        last_end_text=last_end,
        last_end=last_ids,
        end_tokens=frozenset(ids[-1] for ids in (end_ids, last_ids) if ids),
        is_kept=True,
    )


def keeps_thoughts(template: ChatTemplate) -> bool:
    """Whether the history that a template renders shows the thoughts of finished turns.

    Args:
        template: of a reasoning model.
    """
    thought = "probe thought 6620"
    content = f"{THOUGHT_OPEN}\n{thought}\n{THOUGHT_CLOSE}\n\n{_ANSWER}"
    try:
        history = template.render([_QUESTION, {"role": "assistant", "content": content}, _REPLY])
    except ModelError:
        return False
    return thought in history


def _assistant() -> Message:
    return {"role": "assistant", "content": _ANSWER}


def _after_control(text: str, tokenizer: Tokenizer) -> str:
    """``text`` after its last control token."""
    pattern = tokenizer.control_pattern
    return text if pattern is None else pattern.split(text)[-1]


def _up_to_control(text: str, tokenizer: Tokenizer) -> str:
    """``text`` up to the end of its first control token; empty where there is none."""
    pattern = tokenizer.control_pattern
    match = pattern.search(text) if pattern is not None else None
    return text[: match.end()] if match is not None else ""
