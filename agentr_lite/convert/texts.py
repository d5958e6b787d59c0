"""Texts to compare models on, all of our own making."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

SHORT_TEXTS: tuple[str, ...] = (
    "Goal: craft 4 oak planks.\nThought: I have no logs yet, so I fetch one first.\n"
    "Action: get 1 oak logs\nGot 1 oak logs\nThought: Now I can make planks.\n"
    "Action: craft 4 oak planks using 1 oak logs\nCrafted 4 oak planks.",
    "The river was higher than usual that morning, and the ferry did not run. We waited under the"
    " old bridge until noon; then somebody said that the road over the hills was open again.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\nprint(mean([3, 14, 159, 2653]))",
)
"""A game, a story, a program."""

HARD_TEXT = " Hello,  world!\n\nIt's 2 o'clock,\tand\r\n 42 über-Straßen 漢字 🙂 don't STOP 12345 "
"""What tokenizers split in different ways."""

_WOODS = ("oak", "birch", "spruce", "acacia", "dark oak", "jungle", "willow", "cedar", "maple")
_THINGS = ("planks", "stick", "chest", "ladder", "fence", "door", "bowl", "barrel", "sign", "boat")
_PLACES = ("kitchen", "workshop", "green house", "foundry", "cellar", "art studio", "hallway")
_PEOPLE = ("Ada", "Bruno", "Chidi", "Dana", "Eskil", "Farah", "Goran", "Hanne", "Ilse", "Jonas")
_COLOURS = ("red", "blue", "grey", "yellow", "silver", "black", "white")
_MULTIPLIER, _INCREMENT, _MODULUS = 1103515245, 12345, 1 << 31
"""A linear congruential generator's, as in ISO C: the text must never change."""


def long_text(characters: int) -> str:
    """A text of at least this length, always the same: diaries, games, tables and programs.

    Names and numbers come back after short and after long distances, so that a model has a reason
    to look back.
    """
    draw = _numbers()
    parts: list[str] = []
    length = 0
    for day in itertools.count(1):
        for make in (_diary, _game, _table, _program):
            part = make(day, draw)
            parts.append(part)
            length += len(part)
        if length >= characters:
            return "".join(parts)
    raise AssertionError


def _numbers() -> Iterator[int]:
    state = 20_240_607
    while True:
        state = (_MULTIPLIER * state + _INCREMENT) % _MODULUS
        # The low bits have short periods.
        yield state >> 12


def _pick(words: tuple[str, ...], draw: Iterator[int]) -> str:
    return words[next(draw) % len(words)]


def _diary(day: int, draw: Iterator[int]) -> str:
    guest, host = _pick(_PEOPLE, draw), _pick(_PEOPLE, draw)
    place, colour, wood = _pick(_PLACES, draw), _pick(_COLOURS, draw), _pick(_WOODS, draw)
    paid = next(draw) % 90 + 10
    return (
        f"Day {day}. {guest} came to the {place} and asked {host} for a {colour} {wood} box, which"
        f" was not there; so they looked for it together, first under the stairs, then behind the"
        f" door. It had been sold for {paid} coins. \u201cThen I'll make another one,\u201d said"
        f" {guest}, \u201cbut not a {colour} one!\u201d\n\n"
    )


def _game(day: int, draw: Iterator[int]) -> str:
    wood, thing = _pick(_WOODS, draw), _pick(_THINGS, draw)
    logs, count = next(draw) % 5 + 2, next(draw) % 8 + 1
    return (
        f"Crafting commands:\ncraft 4 {wood} planks using 1 {wood} logs\n"
        f"craft {count} {wood} {thing} using {logs} {wood} planks\n\nGoal: craft {wood} {thing}.\n"
        f"Thought: I need {logs} {wood} planks, and 1 {wood} logs give 4 of them.\n"
        f"Action: get {logs} {wood} logs\nGot {logs} {wood} logs\n"
        f"Action: craft 4 {wood} planks using 1 {wood} logs\nCrafted 4 {wood} planks\n"
        f"Action: craft {count} {wood} {thing} using {logs} {wood} planks\n"
        f"Crafted {count} {wood} {thing}\n\n"
    )


def _table(day: int, draw: Iterator[int]) -> str:
    rows = [
        f"| {_pick(_PEOPLE, draw)} | {_pick(_PLACES, draw)} | {next(draw) % 1000} |"
        for _ in range(3)
    ]
    return "\n".join(["| name | room | steps |", "|---|---|---:|", *rows]) + "\n\n"


def _program(day: int, draw: Iterator[int]) -> str:
    name = _pick(_THINGS, draw)
    values = ", ".join(str(next(draw) % 500) for _ in range(4))
    return (
        f"def total_{name}(prices, limit={next(draw) % 100}):\n    result = 0\n"
        f"    for price in prices:\n        if price > limit:\n            result += price\n"
        f"    return result\n\nprint(total_{name}([{values}]))  # day {day}\n\n"
    )
