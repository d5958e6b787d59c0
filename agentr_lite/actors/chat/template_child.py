"""The child process that renders the chat templates of model files and of users' files.

A template may loop for ever or ask for any amount of memory, in Jinja's compiler, in a filter or
in a method of a text: a list of what is harmful would never be complete. So the child is limited,
and killed where the limits do not help. A process has one child for all of its templates.
"""

from __future__ import annotations

import atexit
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from typing import Any

from agentr_lite.actors.chat.sandbox import FAILED, Outcome, Sandbox
from agentr_lite.core.child import Child, ChildLost, limit_memory, serve

_LIMIT_S = 5.0
"""For one rendering, and for the compilation."""
_MEMORY_BYTES = 400_000_000
"""Python with Jinja has about 30 MB; a conversation of a million characters takes few more."""
_KEPT_TEMPLATES = 16
_UNKNOWN = "unknown"


class RemoteSandbox:
    """``Sandbox`` in the child process."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._key = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()

    def render(self, variables: Mapping[str, Any]) -> Outcome:
        """As ``Sandbox.render``; a child that is lost is a failure of the template.

        Args:
            variables: of the types that ``marshal`` has.
        """
        question = (self._key, dict(variables))
        try:
            outcome, text = _child().ask((*question, None), _LIMIT_S)
            if outcome == _UNKNOWN:
                outcome, text = _child().ask((*question, self._source), _LIMIT_S)
        except ChildLost as error:
            return FAILED, f"it {error}"
        return outcome, text


@cache
def _child() -> Child:
    child = Child(__name__, memory_bytes=_MEMORY_BYTES)
    atexit.register(child.close)
    return child


class _Templates:
    """What the child has compiled, by the digest of the source."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, Sandbox] = OrderedDict()

    def answer(self, question: tuple[str, dict[str, Any], str | None]) -> Outcome:
        key, variables, source = question
        if source is not None:
            self._compiled[key] = Sandbox(source)
            if len(self._compiled) > _KEPT_TEMPLATES:
                self._compiled.popitem(last=False)
        sandbox = self._compiled.get(key)
        if sandbox is None:
            return _UNKNOWN, ""
        self._compiled.move_to_end(key)
        return sandbox.render(variables)


def main() -> None:
    """The child's program."""
    limit_memory(_MEMORY_BYTES)
    serve(_Templates().answer)
