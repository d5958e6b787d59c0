"""Copying drills: a list of lines, and questions whose answers are exact copies of lines.

Playing is mostly copying, and a small network learns copying last. Every token of an answer is a
target, so a drill teaches copying faster than an episode does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from agentr_lite.core.messages import Message
from agentr_lite.starter.maker.episodes import Demonstration

INSTRUCTIONS = "Copy the line that begins like this."
_QUESTIONS = 8
_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def drill(words: Sequence[str], rng: random.Random) -> Demonstration:
    """Make one drill.

    Args:
        words: for the lines; lines share some words, as names do.
        rng: random stream of this drill.
    """
    shared = rng.sample(words, 4)
    numbered = rng.random() < 0.4
    lines: dict[str, str] = {}
    for _ in range(rng.choice((2, 3, 5, 8, 12))):
        text = [
            rng.choice(shared) if rng.random() < 0.25 else rng.choice(words)
            for _ in range(rng.randint(3, 7))
        ]
        if rng.random() < 0.3:
            text.insert(rng.randrange(len(text)), str(rng.randint(1, 99)))
        if numbered:
            head = "B0" + "".join(rng.choice(_LETTERS) for _ in range(8))
            lines[head] = " [SEP] " + " ".join(text)
        else:
            head = " ".join(text[:2])
            lines.setdefault(head, " " + " ".join(text[2:]))
    listing = "\n".join(head + rest for head, rest in lines.items())
    asked = rng.sample(sorted(lines), min(_QUESTIONS, len(lines)))
    messages: list[Message] = [{"role": "system", "content": INSTRUCTIONS}]
    for index, head in enumerate(asked):
        content = f"{listing}\n\n{head}" if index == 0 else head
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": head + lines[head]})
    loss = [message["role"] == "assistant" for message in messages]
    return Demonstration(messages, loss, "drill", "")
