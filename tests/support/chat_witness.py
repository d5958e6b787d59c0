"""What the right tokens are, by way of `transformers` and without any code of the program.

Contents without control strings: ``apply_chat_template`` is the witness. It leaves BOS to the
template; where the tokenizer's own rule wants one that the template did not write, it is put in
front, as llama.cpp does.

Contents that spell control strings: a character of private use is put into each spelling, the
conversation is rendered, and the text is cut at the control strings that are left, which are the
template's own. The pieces are tokenized, without that character, by the same tokenizer with
``encode_special_tokens`` set, so that no text in them becomes a control token. A piece holds text
of the template and of a content together: they merge as they do in ``apply_chat_template``.

What an assistant's turn is: its prompt is the rendering up to it, and its answer

    what the template writes between the prompt and the text      (a space; a channel's name)
  + the text as the template shows it                             (perhaps trimmed)
  + what follows, up to and with the string that ends the turn    (a space and ``</s>``)

All three are taken from the conversation rendered with the turn in place. Control tokens between
the prompt and the text (harmony's channel) belong to the prompt: the answer begins in its channel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

from tokenizers import Tokenizer

from tests.support.chat_conversations import Conversation
from tests.support.family_models import FamilyModel

_GUARD = "\ue000"
_MARK = "quizzically"
"""A word that neither templates nor conversations hold."""


class _NewYear(datetime):
    """The program's templates see this date whatever the clock says."""

    @classmethod
    def now(cls, tz: Any = None) -> _NewYear:
        return cls(2025, 1, 1)


class Witness:
    """Tokens of one model's conversations."""

    def __init__(self, model: FamilyModel) -> None:
        from transformers import PreTrainedTokenizerFast

        self._family = model.family
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(str(model.hf))
        # Straight from the library: transformers sets the switch anew in every call.
        self._plain = Tokenizer.from_file(str(model.hf / "tokenizer.json"))
        self._plain.encode_special_tokens = True
        longest_first = sorted(model.control, key=len, reverse=True)
        self._control = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self.control_ids = frozenset(self.tokenizer.convert_tokens_to_ids(list(model.control)))

    def prompt(self, messages: Sequence[Any]) -> list[int]:
        """Ids of the prompt for the next assistant's turn."""
        opening = self._opening(messages)
        if self._control.search(opening):
            return self._encode(self._rendered(messages, prompt=True) + opening, first=True)
        if not any(self._control.search(message["content"]) for message in messages):
            ids = self._apply(messages, prompt=True, tokenize=True)
            return self._with_bos(ids)
        return self._encode(self._rendered(messages, prompt=True), first=True)

    def score(self, messages: Sequence[Any], continuation: str) -> list[int]:
        """Ids of the prompt and of an answer to it, without the end of the turn."""
        prompt, opening, text, _ = self._turn(messages, continuation)
        return self._joined(prompt, opening + text)[0]

    def training(self, messages: Sequence[Any]) -> list[tuple[list[int], list[bool]]]:
        """Sequences to learn every assistant's turn from, each with its mask.

        One sequence where the tokens of each turn are the beginning of the next prompt's; else
        one for each turn.
        """
        turns: list[tuple[list[int], int]] = []
        joint = True
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt, opening, text, ending = self._turn(messages[:index], message["content"])
            if turns:
                before = turns[-1][0]
                joint = joint and self._encode(prompt, first=True)[: len(before)] == before
            turns.append(self._joined(prompt, opening + text + ending))
        if not joint:
            return [(ids, _mask(len(ids), [(start, len(ids))])) for ids, start in turns]
        whole = turns[-1][0]
        return [(whole, _mask(len(whole), [(start, len(ids)) for ids, start in turns]))]

    def last_turn(self, messages: Sequence[Any]) -> tuple[list[int], list[bool]]:
        """A sequence to learn only the last turn from, with its mask."""
        prompt, *answer = self._turn(messages[:-1], messages[-1]["content"])
        ids, start = self._joined(prompt, "".join(answer))
        return ids, _mask(len(ids), [(start, len(ids))])

    def keeps_prompt(self, messages: Sequence[Any]) -> bool:
        """Whether each turn, as text, is the beginning of the next prompt."""
        done = ""
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt, *answer = self._turn(messages[:index], message["content"])
                if not prompt.startswith(done):
                    return False
                done = prompt + "".join(answer)
        return True

    def harmless(self, messages: Sequence[Any]) -> Conversation:
        """The same conversation with words in the place of control strings."""
        return [{**m, "content": self._control.sub("word", m["content"])} for m in messages]

    def count(self, ids: Sequence[int]) -> int:
        """Control tokens in ``ids``."""
        return sum(token in self.control_ids for token in ids)

    def answer(self, messages: Sequence[Any], text: str) -> tuple[str, str, str]:
        """The parts of an answer: before the text, the text, the end of the turn."""
        return self._turn(messages, text)[1:]

    def _turn(self, messages: Sequence[Any], text: str) -> tuple[str, str, str, str]:
        """The prompt of a turn, and the three parts of its answer, all guarded."""
        prompt = self._rendered(messages, prompt=True)
        before, after = self._around(messages, _MARK, follow=False)
        if self._family.turn_end not in after:
            # The template leaves the end to the turn that comes next.
            after = self._around(messages, _MARK, follow=True)[1]
        ending = after[: after.index(self._family.turn_end) + len(self._family.turn_end)]
        shown = self._rendered([*messages, {"role": "assistant", "content": text}], prompt=False)
        rest = self._around(messages, _MARK, follow=False)[1]
        assert shown.startswith(before) and shown.endswith(rest)
        opening = self._opening(messages)
        if self._control.search(opening):
            prompt, opening = prompt + opening, ""
        return (
            prompt,
            opening,
            shown[len(before) : len(shown) - len(rest)],
            ending,
        )

    def _opening(self, messages: Sequence[Any]) -> str:
        """What stands between the prompt and an assistant's text, with the turn in place.

        Seen after the user's last text: what comes before it may differ between the two.
        """
        marked = [*messages[:-1], {**messages[-1], "content": _MARK + " asked"}]
        prompt = self._rendered(marked, prompt=True).rpartition(" asked")[2]
        placed = self._around(marked, _MARK + " said", follow=False)[0].rpartition(" asked")[2]
        return placed[len(prompt) :] if placed.startswith(prompt) else ""

    def _around(self, messages: Sequence[Any], text: str, *, follow: bool) -> tuple[str, str]:
        """What is rendered before and after an assistant's harmless text."""
        turns = [*messages, {"role": "assistant", "content": text}]
        if follow:
            turns.append({"role": "user", "content": "next"})
        before, found, after = self._rendered(turns, prompt=False).rpartition(text)
        assert found
        return before, after

    def _rendered(self, messages: Sequence[Any], *, prompt: bool) -> str:
        guarded = [{**m, "content": self._guarded(m["content"])} for m in messages]
        return str(self._apply(guarded, prompt=prompt, tokenize=False))

    def _guarded(self, text: str) -> str:
        while self._control.search(text):
            text = self._control.sub(lambda match: match[0][0] + _GUARD + match[0][1:], text)
        return text

    def _apply(self, messages: Sequence[Any], *, prompt: bool, tokenize: bool) -> Any:
        from transformers.utils import chat_template_utils

        turns = [dict(message) for message in messages]
        if self._family.refuses_system and turns[0]["role"] == "system":
            turns[1]["content"] = f"{turns[0]['content']}\n\n{turns[1]['content']}"
            del turns[0]
        with patch.object(chat_template_utils, "datetime", _NewYear):
            return self.tokenizer.apply_chat_template(
                turns,
                add_generation_prompt=prompt,
                tokenize=tokenize,
                return_dict=False,
                enable_thinking=False,
            )

    def _joined(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """Ids of both, and where the answer's begin.

        The prompt keeps the ids that it has by itself: they are what was there when the answer
        was generated.
        """
        first = self._encode(prompt, first=True)
        both = self._encode(prompt + answer, first=True)
        if both[: len(first)] == first:
            return both, len(first)
        return first + self._encode(answer, first=False), len(first)

    def _encode(self, guarded: str, *, first: bool) -> list[int]:
        ids: list[int] = []
        for piece in self._control.split(guarded):
            if self._control.fullmatch(piece):
                ids.append(self.tokenizer.convert_tokens_to_ids(piece))
            elif piece:
                plain = piece.replace(_GUARD, "")
                ids += self._plain.encode(plain, add_special_tokens=False).ids
        return self._with_bos(ids) if first else ids

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.bos_token_id
        return [bos, *ids] if self._family.adds_bos and ids[:1] != [bos] else list(ids)


def _mask(length: int, spans: Sequence[tuple[int, int]]) -> list[bool]:
    return [any(start <= index < end for start, end in spans) for index in range(length)]
