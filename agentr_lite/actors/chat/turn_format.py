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

from agentr_lite.actors.chat.template import ChatTemplate
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
    end: str
    """What ends an answer in the history, up to its first control token."""
    end_space: str
    """White space that ``end`` begins with."""
    last_end: tuple[int, ...]
    """Tokens that end the last answer of a conversation."""
    end_length: int
    """Tokens of ``end``."""
    end_tokens: frozenset[int]
    """Control tokens at which an answer is over."""
    is_kept: bool
    """Answers stand in the rendered history as they are given."""

    def after_answer(self, template: ChatTemplate, reply: Sequence[Message]) -> str:
        """What follows an answer, up to where the next one begins.

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
        return text[at + len(_ANSWER) :] + self.opening

    def answer_in(self, later: str, prompt: str, content: str) -> str | None:
        """An answer with its end, as a later rendering shows it after its prompt.

        Args:
            later: a rendering that holds the answer.
            prompt: what comes before the answer.
            content: the answer's text.

        Returns:
            None where the rendering does not begin with prompt and answer.
        """
        if not later.startswith(prompt):
            return None
        rest = later[len(prompt) :]
        for text in dict.fromkeys((content, content.strip(), self.lead + content.strip())):
            if rest.startswith(text + self.end):
                return text + self.end
            # The last turn may end otherwise than those before it.
            if rest.startswith(text) and rest[len(text) :].strip() and self.end not in rest:
                return rest
        return None


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
        return TurnFormat("", "", eos, "", ids, len(ids), frozenset(ids[:1]), False)
    between = shown[0].removeprefix(prompt) if shown[0].startswith(prompt) else ""
    opening, lead = ("", between) if not between.strip() else (between, "")
    end = _up_to_control(replied[2].partition(_REPLY["content"])[0], tokenizer)
    last_end = _up_to_control(shown[2], tokenizer) or end or eos
    end_ids = tokenizer.template_text(end)
    last_ids = tuple(tokenizer.template_text(last_end))
    controls = {ids[-1] for ids in (end_ids, last_ids) if ids}
    space = end[: len(end) - len(end.lstrip())]
    return TurnFormat(opening, lead, end, space, last_ids, len(end_ids), frozenset(controls), True)


def _assistant() -> Message:
    return {"role": "assistant", "content": _ANSWER}


def _up_to_control(text: str, tokenizer: Tokenizer) -> str:
    """``text`` up to the end of its first control token; empty where there is none."""
    pattern = tokenizer.control_pattern
    match = pattern.search(text) if pattern is not None else None
    return text[: match.end()] if match is not None else ""
