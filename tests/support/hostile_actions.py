"""Actions as a model might write them at its worst, and a program that plays them.

``python -m tests.support.hostile_actions ENV COUNT [SEED] [OPTION=VALUE...]`` plays COUNT actions
and prints what became of them.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from contextlib import closing
from typing import Any

from agentr_lite.agent.boundary import guarded_reset, guarded_step
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.yaml_values import load_yaml
from agentr_lite.envs.base import Environment
from agentr_lite.envs.registry import make_env

EPISODE = 25
"""Actions of an episode."""
_SHOWN = 10
_PIECES = (
    *(r"\boxed{", "}", "\\", "\\\\", r"\frac{1}{2}", r"\U", r"\s", r"\d", r"\help", r"\x", r"\n"),
    *("\n", "\r", "\t", "\x00", "\x1b[2J", "\x7f", "\u202e", "\ufeff", "\ud800", "😀", "é", "Á"),
    *("工作", "ÿ", "\x81", "\x9d", "'", '"', "`", "@", "#", "$", "%s%n", "*", "/", "?", "!", ";"),
    *(".", ",", ":", ">", "<", "|", "&&", "{", "[", "(", "-", "--help", "save", "restore", "quit"),
    *("restart", "undo", "again", "g", "oops", "script", "tw-print", "then", "all", "it", "0"),
    *("-1", "99999999999999999999", "1e309", "NaN", "None", "null", "x" * 300, " " * 50, "go"),
    *("take", "open", "north", "look", "inventory", "click[", "search[", "get", "craft", "using"),
)


def hostile_action(draw: random.Random, sound: list[str]) -> str:
    """One action.

    Args:
        draw: the source of chance.
        sound: actions that the environment understands.
    """
    kind = draw.randrange(6)
    if kind == 0 and sound:
        return draw.choice(sound)
    if kind == 1 and sound:
        words = draw.choice(sound)
        at = draw.randrange(len(words) + 1)
        return words[:at] + draw.choice(_PIECES) + words[at:]
    if kind == 2:
        return "".join(chr(draw.randrange(0x20, 0x7F)) for _ in range(draw.randrange(60)))
    if kind == 3:
        return "".join(chr(draw.randrange(0x110000)) for _ in range(draw.randrange(30)))
    if kind == 4:
        return "\\" + draw.choice(_PIECES) + "".join(draw.choices(_PIECES, k=draw.randrange(3)))
    return draw.choice(["", " "]).join(draw.choices(_PIECES, k=draw.randrange(1, 8)))


def play_hostile_actions(
    env: Environment, count: int, seed: int
) -> tuple[Counter[str], dict[str, str]]:
    """Play ``count`` actions, in episodes of the training tasks.

    Returns:
        How many were understood, not understood, and blamed on the environment; an action of each
        kind of fault.
    """
    draw = random.Random(seed)
    tasks = list(env.tasks("train"))
    counts: Counter[str] = Counter()
    faults: dict[str, str] = {}
    ended = True
    for number in range(count):
        if ended or number % EPISODE == 0:
            guarded_reset(env, draw.choice(tasks))
            sound = list(env.valid_actions() or ()) or ["look", "go north"]
        action = hostile_action(draw, sound)
        try:
            result = guarded_step(env, action)
            counts["not understood" if result.info.get("invalid") else "understood"] += 1
            ended = result.terminated or result.truncated
        except EnvironmentFault as fault:
            counts["faults"] += 1
            faults.setdefault(fault.message[-80:], action)
            ended = True
    return counts, faults


def main(words: list[str]) -> int:
    """See the module; gives the exit code."""
    name, count, *more = words
    seed = int(more.pop(0)) if more and "=" not in more[0] else 0
    options: dict[str, Any] = {
        key: load_yaml(value) for key, _, value in (word.partition("=") for word in more)
    }
    started = time.monotonic()
    with closing(make_env(name, options)) as env:
        counts, faults = play_hostile_actions(env, int(count), seed)
    print(f"{name}, seed {seed}: {dict(counts)} in {time.monotonic() - started:.0f} s")
    for fault, action in list(faults.items())[:_SHOWN]:
        print(f"  {fault!r} at {action!r}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
