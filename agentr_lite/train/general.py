"""General chat data from JSONL files, to be mixed in with the agent's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentr_lite.actors.chat.encoder import ChatEncoder, RewrittenTurns
from agentr_lite.actors.registry import resolve_model
from agentr_lite.core.errors import ModelError, RecipeError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.messages import Message
from agentr_lite.core.text_files import read_text
from agentr_lite.recipe.groups import STARTER_GENERAL
from agentr_lite.train.batches import TrainExample, split_turns

_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant"}


def load_general(spec: str) -> dict[int, TrainExample]:
    """Read the general data of a recipe.

    A line is ``{"messages": [{"role", "content"}, …], "loss": [true, …]}`` or, as ShareGPT has it,
    ``{"conversations": [{"from", "value"}, …]}``. A turn may carry its own ``loss`` (true, false)
    or ``weight`` (0, 1) instead. Without flags all assistant turns are learnt, which makes every
    file of ``agentr-lite export`` in one of the two layouts readable here.

    Args:
        spec: ``train.general``: a JSONL file, ``starter`` for the bundled sample, or empty.

    Returns:
        Line number, from 1, to example; blank lines are left out. Empty for an empty ``spec``.

    Raises:
        RecipeError: the file cannot be read, or a line is malformed; names file and line.
    """
    if not spec:
        return {}
    path = general_path(spec)
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the general data {path}: {error}",
            hint="Set train.general to a JSONL file of chats, or to '' for none.",
        ) from error
    examples = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            examples[number] = parse_example(load_json(line))
        except (ValueError, RecursionError) as error:
            raise RecipeError(
                f"general data {path}, line {number}: {error}",
                hint='Each line needs {"messages": [{"role": "user", "content": "…"}, …]}.',
            ) from error
    return examples


def parse_example(data: Any) -> TrainExample:
    """One line of general data.

    Raises:
        ValueError: another shape; the message says which part.
    """
    if not isinstance(data, Mapping):
        raise ValueError("not a JSON object")
    if "messages" in data:
        turns = _turns(data["messages"])
        messages = [_message(turn, "role", "content") for turn in turns]
    elif "conversations" in data:
        turns = _turns(data["conversations"])
        messages = [_message(turn, "from", "value") for turn in turns]
    else:
        raise ValueError("neither 'messages' nor 'conversations'")
    loss = data.get("loss")
    if loss is None:
        loss = [
            message["role"] == "assistant" and _flag(turn)
            for message, turn in zip(messages, turns, strict=True)
        ]
    elif not isinstance(loss, list) or not all(isinstance(flag, bool) for flag in loss):
        raise ValueError("'loss' must be a list of true and false")
    if len(loss) != len(messages):
        raise ValueError(f"{len(loss)} loss flags for {len(messages)} messages")
    if any(flag and m["role"] != "assistant" for flag, m in zip(loss, messages, strict=True)):
        raise ValueError("only assistant turns can be learnt, but another one has loss true")
    if not any(loss):
        raise ValueError("nothing to learn: no assistant turn, or none with loss true")
    return TrainExample(messages, loss)


def refused_chats(encoder: ChatEncoder, examples: Mapping[int, TrainExample]) -> dict[int, str]:
    """The chats that training could not make tokens of.

    Args:
        encoder: with the chat template that training uses.
        examples: from ``load_general``.

    Returns:
        Line number to the template's reason.
    """
    refused = {}
    for line, example in examples.items():
        try:
            try:
                encoder.example(example.messages, example.loss)
            except RewrittenTurns:
                for turn in split_turns(example):
                    encoder.example(turn.messages, turn.loss)
        except ModelError as error:
            # Every reason begins with the template's path; the last part is what differs.
            refused[line] = error.message.rpartition("refuses the conversation: ")[2]
    return refused


def general_path(spec: str) -> Path:
    """The file that ``train.general`` names.

    Args:
        spec: not empty; see ``load_general``.
    """
    if spec != STARTER_GENERAL:
        return Path(spec).expanduser()
    return resolve_model("starter").gguf.parent / "general.jsonl"


def _turns(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError("a conversation must be a list of turns, and not empty")
    return value


def _message(turn: Any, role_key: str, text_key: str) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError("a turn must be a JSON object")
    role, text = turn.get(role_key), turn.get(text_key)
    if role_key == "from":
        role = _SHAREGPT_ROLES.get(str(role), role)
    if role not in _ROLES:
        raise ValueError(f"'{role_key}' must be one of {', '.join(_ROLES)}, not {role!r}")
    if not isinstance(text, str):
        raise ValueError(f"'{text_key}' must be a text")
    return {"role": str(role), "content": text}


def _flag(turn: Mapping[str, Any]) -> bool:
    """Whether an assistant turn that carries its own flag is learnt; without one it is."""
    flag = turn.get("loss", turn.get("weight"))
    if flag is not None and flag not in (0, 1):
        raise ValueError(f"a turn's 'loss' or 'weight' must be true, false, 0 or 1, not {flag!r}")
    return flag is None or bool(flag)
