"""How servers take a GBNF grammar, and whether one really keeps to it.

Sources: llama.cpp's ``tools/server/README.md`` (``grammar``); vLLM's page on structured outputs
(``structured_outputs``, and ``guided_grammar`` before 0.12); SGLang's (``ebnf``). The latter two
hand the text to XGrammar, whose notation is GBNF.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agentr_lite.actors.openai.client import Refusal
from agentr_lite.actors.openai.servers import ServerKind
from agentr_lite.core.errors import ModelError

_WORD = "qzx"
"""What no model says of itself."""
PROBE = f'root ::= "{_WORD}"'

Form = tuple[str, ...]
"""Key of the request that holds the grammar, and the key in it, and so on."""


def grammar_field(form: Form, text: str) -> Mapping[str, Any]:
    """The part of a request that asks for a grammar."""
    value: Any = text
    for key in reversed(form):
        value = {key: value}
    field: Mapping[str, Any] = value
    return field


async def find_form(
    kind: ServerKind, answer_to: Callable[[Mapping[str, Any]], Awaitable[str]]
) -> Form:
    """The form that the server obeys. Tried out: many servers ignore fields that they do not know.

    Args:
        kind: the make of server.
        answer_to: asks for a short answer with further fields in the request.

    Raises:
        ModelError: it has none, or obeys none.
    """
    said = "it has none" if not kind.grammars else "it ignores them"
    for form in kind.grammars:
        try:
            if (await answer_to(grammar_field(form, PROBE))).strip() == _WORD:
                return form
        except Refusal as refusal:
            if refusal.status not in (400, 404, 422, 501):
                raise
            said = refusal.said
    raise ModelError(
        f"{kind.name} does not hold answers to GBNF grammars: {said}",
        hint="Leave it out with --set agent.grammar='', or use llama-server, vLLM, SGLang, a"
        " GGUF file or an MLX directory.",
    )
