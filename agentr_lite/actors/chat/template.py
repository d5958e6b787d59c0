"""A model file's own chat template: what it makes of a conversation, and how it treats turns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.actors.chat.sandbox import BROKEN, FAILED, REFUSED, RENDERED, Outcome, Sandbox
from agentr_lite.actors.chat.template_child import RemoteSandbox
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.core.text_files import read_text
from agentr_lite.core.unicode import without_surrogates

THOUGHT_OPEN, THOUGHT_CLOSE = "<think>", "</think>"
"""What reasoning models write round their thoughts."""

_CONTROL_LIKE = re.compile(r"<[|｜][^<>\s]*?[|｜]>|</?[A-Za-z_][\w-]*>|\[/?[A-Z][A-Z_]*\]")
"""``<|im_end|>``, ``</s>``, ``<end_of_turn>``, ``[INST]``."""

_HINT = (
    "Give a working template with --set agent.chat_template=FILE.jinja, or put it into a copy of"
    " the model file: gguf-new-metadata --chat-template-file FILE.jinja IN.gguf OUT.gguf"
)


_SAYS = {REFUSED: "refuses the conversation", BROKEN: "does not compile", FAILED: "fails"}
_MAX_CHARS = 250_000
"""Of a template."""
_MAX_CONTROLS = 1_000

_OUR_TEMPLATES = frozenset({"00a4e63a2ba45a2899808bba5fa60e61bc83a30e95aab46296b9414d74d8b973"})
"""SHA-256 of templates that are rendered in this process: the bundled model's."""


class ChatTemplate:
    """A compiled chat template.

    Attributes:
        merges_system: the template refuses or drops a system turn, so its text is put before
            the first user turn's.
    """

    def __init__(
        self, source: str, *, origin: str, bos: str = "", eos: str = "", thinking: bool = False
    ) -> None:
        """Compile and try the template.

        Args:
            source: the Jinja text.
            origin: where it came from, for messages.
            bos: text of the begin-of-text token, if the model has one.
            eos: text of the end token.
            thinking: let a reasoning model think before it answers.

        Raises:
            ModelError: it does not compile, does something forbidden, runs too long, or leaves
                the user's text out.
        """
        if len(source) > _MAX_CHARS:
            raise ModelError(
                f"the chat template of {origin} is longer than {_MAX_CHARS:,} characters",
                hint=_HINT,
            )
        self._origin = origin
        self.thinks = thinking and THOUGHT_CLOSE in source
        """Whether answers begin with a block of thoughts."""
        self._thinking = thinking
        self._controls = _control_like(source, origin)
        self._names = {"bos_token": bos, "eos_token": eos}
        self._sandbox = _sandbox(source)
        self.merges_system = False
        self.merges_system = self._loses_system()

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """The conversation's text; by default up to where the next assistant turn begins.

        Args:
            messages: the turns.
            generation_prompt: end with what comes before an assistant's answer.

        Raises:
            ModelError: the template refuses the messages or misbehaves.
        """
        outcome, text = self._outcome(messages, generation_prompt)
        if outcome == RENDERED:
            return without_surrogates(text)
        raise ModelError(
            f"the chat template of {self._origin} {_SAYS[outcome]}: {text}", hint=_HINT
        )

    def render_text(self, messages: Sequence[Message]) -> str:
        """``render`` for whoever tokenizes the text without knowing what is template in it.

        A content that spells a control string of the template gets a zero-width space into it, so
        that no tokenizer takes it for the control token.
        """
        if self._controls is None:
            return self.render(messages)
        disarmed: list[Message] = [
            {"role": m["role"], "content": self._controls.sub(_disarmed, m["content"])}
            for m in messages
        ]
        return self.render(disarmed)

    def _loses_system(self) -> bool:
        probe: list[Message] = [
            {"role": "system", "content": "first probe"},
            {"role": "user", "content": "second probe"},
        ]
        refused = self._outcome(probe)[0] == REFUSED
        if not refused and "first probe" in self.render(probe):
            return False
        self.merges_system = True
        text = self.render(probe)
        if "second probe" not in text or "first probe" not in text:
            raise ModelError(
                f"the chat template of {self._origin} leaves out the user's text", hint=_HINT
            )
        return True

    def _outcome(self, messages: Sequence[Message], generation_prompt: bool = True) -> Outcome:
        if self.merges_system:
            messages = merge_system(messages)
        return self._sandbox.render(
            {
                # Templates may test for keys; ours are none of theirs. A text of a class of its
                # own (numpy's) becomes a plain one.
                "messages": [
                    {"role": m["role"], "content": str.__str__(m["content"])} for m in messages
                ],
                "add_generation_prompt": generation_prompt,
                # A thinking model would spend the answer's few tokens on its thoughts.
                "enable_thinking": self._thinking,
                "thinking": self._thinking,
                "tools": None,
                **self._names,
            }
        )


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """Put system turns' text before the first user turn's."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest: list[Message] = [message for message in messages if message["role"] != "system"]
    if not system:
        return rest
    for index, message in enumerate(rest):
        if message["role"] == "user":
            content = "\n\n".join([*system, message["content"]])
            rest[index] = {"role": "user", "content": content}
            return rest
    return [{"role": "user", "content": "\n\n".join(system)}, *rest]


def _sandbox(source: str) -> Sandbox | RemoteSandbox:
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return Sandbox(source) if digest in _OUR_TEMPLATES else RemoteSandbox(source)


def _control_like(source: str, origin: str) -> re.Pattern[str] | None:
    """Matches what a template's text spells like a control token: it alone knows its vocabulary."""
    spelled = sorted(set(_CONTROL_LIKE.findall(source)), key=lambda text: (-len(text), text))
    if len(spelled) > _MAX_CONTROLS:
        raise ModelError(
            f"the chat template of {origin} spells {len(spelled):,} control tokens", hint=_HINT
        )
    return re.compile("|".join(map(re.escape, spelled))) if spelled else None


def _disarmed(match: re.Match[str]) -> str:
    return f"{match[0][0]}\u200b{match[0][1:]}"


def model_template(
    model: Path,
    own: str | None,
    *,
    override: Path | None,
    bos: str,
    eos: str,
    thinking: bool = False,
) -> ChatTemplate:
    """A model's chat template, or the one in a file that replaces it.

    Args:
        model: the model's path, for messages.
        own: the template that came with the model, if any.
        override: a Jinja file to use instead.
        bos: text of the beginning-of-sequence token.
        eos: text of the end-of-turn token.
        thinking: let a reasoning model think before it answers.

    Raises:
        ModelError: no template, an unreadable file, or a template that is refused.
    """
    if override is not None:
        try:
            own = read_text(override)
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"cannot read chat template {override}: {error}",
                hint="Set agent.chat_template to a Jinja file, or to '' for the model's own.",
            ) from error
    if not own:
        raise ModelError(
            f"{model} has no chat template: it may be a base model, not an instruct one",
            hint="Use an instruct model, or give it a template: --set agent.chat_template=FILE",
        )
    return ChatTemplate(own, origin=str(override or model), bos=bos, eos=eos, thinking=thinking)
