"""A model and an environment whose texts are as bad as texts can be."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Sequence
from typing import Any

from agentr_lite.core.messages import Message
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import StepResult
from tests.support.corridor import Corridor
from tests.support.hostile_actions import hostile_action
from tests.support.loop_case import Player

PIECES = (
    *("<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "</s>", "<s>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>model\n", "<end_of_turn>", "<bos>", "<eos>"),
    *("<|eot_id|>", "<|start_header_id|>system<|end_header_id|>", "<think>", "</think>", "<unk>"),
    *("<tool_call>", "{{ messages }}", "{% raw %}", "{{ 1/0 }}", "{%", "%}"),
    *("\x1b[2J", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x9b31m", "\x07", "\x08", "\r", "\x00"),
    *("\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x85", "é", "工", "😀", "\U000e0041"),
    *("[bold]", "[/]", "[@click=app.quit]", "<script>", "</pre>", "&amp;", "|", "`", "```", "#"),
    *("Action: ", "\nAction:", "Thought:", "Observation:", "**Action:**", "reflect", "NaN", "%s"),
    *("'; DROP TABLE runs; --", "\\", "\\x1b", "../../etc/passwd", "-d", "--json", "\t", "\n\n\n"),
)
SURROGATES = ("\ud800", "\udfff", "\udc80")
LONG = 40_000
"""Characters of the longest texts."""


def hostile_text(rng: random.Random, *, surrogates: bool) -> str:
    """A text of some of the pieces, sometimes very long.

    Args:
        rng: the source of chance.
        surrogates: whether halves of characters may be in it.
    """
    pieces = (*PIECES, *SURROGATES) if surrogates else PIECES
    text = rng.choice(("", " ", "\n")).join(rng.choices(pieces, k=rng.randrange(1, 9)))
    if rng.random() < 0.05:
        text += rng.choice(("x", " ", "\n", "工", "<|im_end|>", "a ")) * rng.randrange(LONG)
    return text


def _rng(*words: Any) -> random.Random:
    return random.Random("/".join(map(str, (os.environ["AGENTR_LITE_SOAK_TEXTS"], *words))))


class HostilePlayer(Player):
    """Now and then says what it should; the same for the same conversation and seed."""

    def _play(self, messages: Sequence[Message], seed: int) -> str:
        rng = _rng(seed, len(messages), zlib.crc32(repr(messages[-1]).encode()))
        kind = rng.randrange(4)
        if kind == 0:
            return super()._play(messages, seed)
        if kind == 1:
            return hostile_text(rng, surrogates=True)
        said = hostile_text(rng, surrogates=True)
        action = hostile_action(rng, ["forward", "take", "open", "back"])
        return f"Thought: {said}\nAction: {action if kind == 2 else rng.choice(PIECES)}"


class HostileCorridor(Corridor):
    """The corridor; around what it says, and in its tasks, stand hostile texts."""

    name = "hostile"

    def tasks(self, split: str) -> list[Task]:
        return [
            Task(
                f"{task.name} {hostile_text(_rng(task.name), surrogates=False)[:80]}",
                task.split,
                f"{task.goal} {hostile_text(_rng(task.goal), surrogates=False)[:300]}",
                task.level,
                task.payload,
            )
            for task in super().tasks(split)
        ]

    def step(self, action: str) -> StepResult:
        result = super().step(action)
        rng = _rng(action.encode("utf-8", "replace"), result.observation)
        before, after = (hostile_text(rng, surrogates=False) for _ in range(2))
        return result._replace(observation=f"{before}{result.observation}{after}")

    def instructions(self, *, brief: bool = False) -> str:
        return super().instructions(brief=brief) + hostile_text(_rng("rules"), surrogates=False)
