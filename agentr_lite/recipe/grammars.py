"""The grammar that a recipe names: the text of its file becomes part of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import GrammarError
from agentr_lite.core.gbnf import FROM_ENVIRONMENT, FROM_VALID_ACTIONS, check_grammar
from agentr_lite.core.text_files import read_text


def with_grammar_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings whose ``agent.grammar`` is a grammar's text instead of its file.

    Args:
        settings: a recipe's plain data, or what one environment has of its own; left as it is.

    Raises:
        GrammarError: see ``read_grammar``.
    """
    agent = settings.get("agent")
    if not isinstance(agent, Mapping) or not isinstance(agent.get("grammar"), str):
        return dict(settings)
    return {**settings, "agent": {**agent, "grammar": read_grammar(agent["grammar"])}}


def read_grammar(value: str) -> str:
    """The checked text that ``agent.grammar`` stands for.

    Args:
        value: GBNF text (it contains ``::=``), the path of a file with GBNF text, ``env``,
            ``actions`` or nothing.

    Returns:
        The text; ``env``, ``actions`` and nothing are returned as they are.

    Raises:
        GrammarError: there is no such file, or the text is wrong.
    """
    if value in ("", FROM_ENVIRONMENT, FROM_VALID_ACTIONS):
        return value
    if "::=" in value:
        check_grammar(value)
        return value
    path = Path(value).expanduser()
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        # A name that is too long is an OSError; a NUL in it, or a file that is not UTF-8, is a
        # ValueError.
        why = getattr(error, "strerror", None) or error
        raise GrammarError(
            f"agent.grammar: cannot read {value!r}: {why}",
            hint="Give a .gbnf file, GBNF text with `root ::= ...`, `env` for the environment's"
            " own, or `actions` for the actions that it lists in each state.",
        ) from error
    check_grammar(text, origin=str(path))
    return text
