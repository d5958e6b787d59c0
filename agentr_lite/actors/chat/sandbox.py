"""Compiles and renders a chat template in Jinja's sandbox, which keeps it from everything else.

The sandbox bounds neither time nor memory: a template that may be anybody's is rendered in a child
process (``template_child``).

Source: the names and whitespace rules follow Hugging Face transformers' ``apply_chat_template``;
the templates in model files are written for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDERED, REFUSED, BROKEN, FAILED = "rendered", "refused", "broken", "failed"
"""What became of a rendering: the text; the template called ``raise_exception``; it does not
compile; it compiles and raises."""

Outcome = tuple[str, str]
"""One of the words above, and the text or the reason."""

_MAX_CHARS = 4_000_000
_REASON_CHARS = 300
_DATE = datetime(2025, 1, 1)
"""The date that ``strftime_now`` formats: the clock must not change a result."""


class Refusal(TemplateError):
    """The template itself called ``raise_exception``."""


class Sandbox:
    """One template, compiled at its first use."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._template: Any = None

    def render(self, variables: Mapping[str, Any]) -> Outcome:
        """Render the template; whatever it raises is an outcome.

        Args:
            variables: what the template may read.
        """
        stage = BROKEN
        try:
            if self._template is None:
                self._template = _environment().from_string(self._source)
            stage = FAILED
            return RENDERED, self._text(variables)
        except Refusal as error:
            return REFUSED, _one_line(error)
        except MemoryError:
            return stage, "it takes too much memory"
        except Exception as error:  # Jinja and Python's compiler raise nearly anything
            return stage, _one_line(error) or type(error).__name__

    def _text(self, variables: Mapping[str, Any]) -> str:
        parts: list[str] = []
        size = 0
        for part in self._template.generate(**variables):
            parts.append(part)
            size += len(part)
            if size > _MAX_CHARS:
                raise TemplateError("its output does not end")
        return "".join(parts)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _DATE.strftime
    environment.filters["tojson"] = _tojson
    # The same conversation must always be the same text.
    environment.filters.pop("random")
    environment.globals.pop("lipsum")
    return environment


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's text for trainers; here its body is rendered."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str = "") -> NoReturn:
    raise Refusal(str(message))


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _one_line(error: Exception) -> str:
    return " ".join(str(error)[:_REASON_CHARS].split())
