"""Revision and good trajectories in the layouts that other trainers read.

Source: ``openai``: OpenAI's fine-tuning chats, where ``weight`` 0 or 1 on an assistant message
says whether it is trained on; ``sharegpt``: ``conversations`` of ``from``/``value``; ``agent-r``:
the layout of the Agent-R and AgentGym releases (a JSON list; ``loss`` null on turns that are not
the agent's, and no system role); ``per-turn``: chats that end with a turn that is trained on, for
trainers that mask all turns but the last and know no mask by turn; ``dpo``: TRL's conversational
preference format with an explicit prompt (``prompt``, ``chosen``, ``rejected``: lists of messages).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.core.messages import Message, spoken
from agentr_lite.core.preferences import PreferenceKind
from agentr_lite.recipe.groups import SpliceSettings
from agentr_lite.splice.preferences import PreferenceChat, preference_chat
from agentr_lite.splice.trajectories import good_examples
from agentr_lite.store import Store, preferences, splices, trees
from agentr_lite.store.records import PreferenceRow

Format = Literal["openai", "sharegpt", "agent-r", "per-turn"]
Kind = Literal["revision", "good", "all"]

_FROM = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True, slots=True)
class Exported:
    """One conversation with its loss flags."""

    id: str
    """Unique and stable: environment, task, round, kind and row."""
    messages: list[Message]
    loss: list[bool]


def exported(
    store: Store,
    run_id: str,
    *,
    kind: Kind,
    choice: SpliceSettings,
    round_index: int | None = None,
) -> Generator[Exported]:
    """A run's conversations: accepted revisions, then good trajectories.

    Args:
        store: the database.
        run_id: the run.
        kind: which of them.
        choice: which good ones are trained on.
        round_index: only this round's.
    """
    if kind in ("revision", "all"):
        for row in splices.list_revisions(store, run_id, round_index=round_index, accepted=True):
            name = f"{row.env}/{row.task}/{row.round}/revision/{row.id}"
            yield Exported(name, list(row.messages or ()), list(row.loss or ()))
    if kind in ("good", "all"):
        grown = {tree.id: tree for tree in trees.list_trees(store, run_id, round_index=round_index)}
        for path, messages, loss in good_examples(store, run_id, choice, round_index=round_index):
            tree = grown[path.tree_id]
            name = f"{tree.task.env}/{tree.task.name}/{tree.round}/good/{path.id}"
            yield Exported(name, messages, loss)


def render(items: Iterable[Exported], layout: Format) -> Generator[str]:
    """The file's text in pieces that end with a newline: JSONL, or one JSON list for ``agent-r``.

    Args:
        items: the conversations.
        layout: the format.
    """
    if layout == "per-turn":
        for item in items:
            for messages in _per_turn(item):
                yield _json({"messages": messages}) + "\n"
        return
    if layout != "agent-r":
        to_line = _openai if layout == "openai" else _sharegpt
        for item in items:
            yield _json(to_line(item)) + "\n"
        return
    opened = False
    for item in items:
        yield ("[\n" if not opened else ",\n") + _json(_agent_r(item))
        opened = True
    yield "\n]\n" if opened else "[]\n"


def exported_pairs(
    store: Store,
    run_id: str,
    *,
    kinds: Iterable[PreferenceKind],
    round_index: int | None = None,
) -> Generator[tuple[PreferenceRow, PreferenceChat]]:
    """A run's pairs of a better and a worse continuation.

    Args:
        store: the database.
        run_id: the run.
        kinds: which of them.
        round_index: only this round's.
    """
    for row in preferences.list_preferences(store, run_id, round_index=round_index, kinds=kinds):
        chat = preference_chat(store, row)
        if chat is not None:
            yield row, chat


def render_pairs(items: Iterable[tuple[PreferenceRow, PreferenceChat]]) -> Generator[str]:
    """The lines of a file for DPO: what TRL reads, and beside it values and loss flags."""
    for row, chat in items:
        line = {
            "id": f"{row.env}/{row.task}/{row.round}/{row.kind}/{row.id}",
            "kind": row.kind,
            "prompt": spoken(chat.messages),
            "chosen": spoken(chat.chosen),
            "rejected": spoken(chat.rejected),
            "chosen_value": row.chosen_value,
            "rejected_value": row.rejected_value,
            "chosen_loss": chat.chosen_loss,
            "rejected_loss": chat.rejected_loss,
        }
        yield _json(line) + "\n"


def _openai(item: Exported) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for message, loss in zip(spoken(item.messages), item.loss, strict=True):
        weight = {"weight": int(loss)} if message["role"] == "assistant" else {}
        messages.append({**message, **weight})
    return {"messages": messages}


def _per_turn(item: Exported) -> Generator[list[Message]]:
    """The conversation up to each turn that is trained on."""
    messages = spoken(item.messages)
    for end, loss in enumerate(item.loss, 1):
        if loss:
            yield messages[:end]


def _sharegpt(item: Exported) -> dict[str, Any]:
    turns = [
        {"from": _FROM[message["role"]], "value": message["content"], "loss": loss}
        for message, loss in zip(item.messages, item.loss, strict=True)
    ]
    return {"id": item.id, "conversations": turns}


def _agent_r(item: Exported) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    system = ""
    for message, loss in zip(item.messages, item.loss, strict=True):
        if message["role"] == "system":
            system = message["content"] + "\n\n"
            continue
        mine = message["role"] == "assistant"
        text = message["content"] if mine else system + message["content"]
        turns.append(
            {"from": _FROM[message["role"]], "loss": loss if mine else None, "value": text}
        )
        system = "" if not mine else system
    return {"id": item.id, "conversations": turns}


def _json(value: Any) -> str:
    # Separators that some readers take for line ends are escaped, as are the terminal's controls.
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
