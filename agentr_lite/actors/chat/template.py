"""Renders a model file's own chat template, in a sandbox, because the file may be untrusted.

Source: the template's names and whitespace rules follow Hugging Face transformers'
``apply_chat_template``; the templates in model files are written for it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message, spoken

THOUGHT_OPEN, THOUGHT_CLOSE = "<think>", "</think>"
"""What reasoning models write round their thoughts."""

_BUDGET_S = 5.0
_MAX_CHARS = 4_000_000
_MAX_REPEAT = 10_000
_TICK = "_tick"
_DATE = datetime(2025, 1, 1)
"""The date that ``strftime_now`` formats: the clock must not change a result."""

_CONTROL_LIKE = re.compile(r"<[|｜][^<>\s]*?[|｜]>|</?[A-Za-z_][\w-]*>|\[/?[A-Z][A-Z_]*\]")
"""``<|im_end|>``, ``</s>``, ``<end_of_turn>``, ``[INST]``."""

_HINT = (
    "Give a working template with --set agent.chat_template=FILE.jinja, or put it into a copy of"
    " the model file: gguf-new-metadata --chat-template-file FILE.jinja IN.gguf OUT.gguf"
)


class Refusal(TemplateError):
    """The template itself called ``raise_exception``."""


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
        self._origin = origin
        self.thinks = thinking and THOUGHT_CLOSE in source
        """Whether answers begin with a block of thoughts."""
        self._thinking = thinking
        self._controls = _control_like(source)
        self._names = {"bos_token": bos, "eos_token": eos}
        self._deadline = 0.0
        environment = _Environment(self._tick)
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _DATE.strftime
        environment.filters["tojson"] = _tojson
        environment.filters["format"] = _format
        environment.filters["center"] = _center
        # Its line ends can be of any length; no template needs it.
        environment.filters.pop("wordwrap")
        environment.globals.pop("lipsum", None)
        try:
            self._template = environment.from_string(source)
        except (TemplateSyntaxError, RecursionError) as error:
            raise ModelError(
                f"the chat template of {origin} does not compile: {_one_line(error)}", hint=_HINT
            ) from error
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
        try:
            return self._render(messages, generation_prompt)
        except Refusal as error:
            raise ModelError(
                f"the chat template of {self._origin} refuses the conversation: {_one_line(error)}",
                hint=_HINT,
            ) from error

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
        try:
            text = self._render(probe)
        except Refusal:
            text = ""
        if "first probe" not in text:
            self.merges_system = True
            text = self.render(probe)
            if "second probe" not in text or "first probe" not in text:
                raise ModelError(
                    f"the chat template of {self._origin} leaves out the user's text", hint=_HINT
                )
            return True
        return False

    def _render(self, messages: Sequence[Message], generation_prompt: bool = True) -> str:
        if self.merges_system:
            messages = merge_system(messages)
        self._deadline = time.monotonic() + _BUDGET_S
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(
                # Templates may test for keys; ours is none of theirs.
                messages=spoken(messages),
                add_generation_prompt=generation_prompt,
                # A thinking model would spend the answer's few tokens on its thoughts.
                enable_thinking=self._thinking,
                thinking=self._thinking,
                tools=None,
                **self._names,
            ):
                parts.append(part)
                size += len(part)
                if size > _MAX_CHARS:
                    raise SecurityError("its output does not end")
        except Refusal:
            raise
        except (TemplateError, ArithmeticError, RecursionError, MemoryError) as error:
            raise self._fault(error) from error
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise self._fault(error) from error
        return "".join(parts)

    def _fault(self, error: Exception) -> ModelError:
        reason = _one_line(error) or type(error).__name__
        return ModelError(f"the chat template of {self._origin} fails: {reason}", hint=_HINT)

    def _tick(self) -> str:
        if time.monotonic() > self._deadline:
            raise SecurityError(f"it runs for more than {_BUDGET_S:g} s")
        return ""


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


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, which checks the clock in every loop iteration and macro call."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self, tick: Any) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.globals[_TICK] = tick

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        bodies: list[nodes.For | nodes.Macro] = [
            *tree.find_all(nodes.For),
            *tree.find_all(nodes.Macro),
        ]
        for node in bodies:
            call = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(call).set_lineno(node.lineno))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                repeats = isinstance(value, str | list | tuple) and isinstance(times, int)
                if repeats and len(value) * times > _MAX_REPEAT:
                    raise SecurityError("it repeats a text too often")
        if operator == "**" and (abs(left) > 1_000 or abs(right) > 64):
            raise SecurityError("it raises a number too high")
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's text for trainers; here its body is rendered."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _control_like(source: str) -> re.Pattern[str] | None:
    """Matches what a template's text spells like a control token: it alone knows its vocabulary."""
    spelled = sorted(set(_CONTROL_LIKE.findall(source)), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, spelled))) if spelled else None


def _disarmed(match: re.Match[str]) -> str:
    return f"{match[0][0]}\u200b{match[0][1:]}"


def _refuse(message: str = "") -> NoReturn:
    raise Refusal(str(message))


def _format(text: str, *args: Any, **named: Any) -> str:
    """Jinja's filter ``format``: the printf style, with bounded widths."""
    _check_format(str(text))
    return str(text) % (named or args)


def _center(text: str, width: int = 80) -> str:
    """Jinja's filter ``center``, with a bounded width."""
    if width > _MAX_REPEAT:
        raise SecurityError("it pads to too large a width")
    return str(text).center(width)


def _check_format(text: str) -> None:
    """Refuse widths that would make a text of any length from a number."""
    for width in re.findall(r"%[^%a-zA-Z]*", text):
        if "*" in width or any(int(n) > _MAX_REPEAT for n in re.findall(r"\d+", width)):
            raise SecurityError("it formats with too large a width")


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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
            own = override.read_text("utf-8")
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
