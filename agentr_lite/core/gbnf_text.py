"""GBNF text to a tree of rules; syntax errors with line and column.

Source: the notation is that of llama.cpp's ``grammars/README.md``.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from agentr_lite.core.errors import GrammarError

_WORD = frozenset(string.ascii_letters + string.digits + "-")
_ESCAPED = frozenset('trn\\"[]-')
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_MAX_REPETITIONS = 2000
"""llama.cpp refuses more, because every repetition becomes its own rule."""
_MAX_CHARACTERS = 1 << 16
_MAX_PARENTHESES = 64
_MAX_MARKS = 4
"""Repetitions of one item, as in ``"a"+?``."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A quoted text."""

    at: int
    points: tuple[int, ...]
    """Code points; there may be none."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of a class."""

    at: int
    negated: bool
    """Whether it is one *outside* the ranges; ``.`` is outside no range at all."""
    ranges: tuple[tuple[int, int], ...]
    """First and last code points."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Whatever a rule matches."""

    at: int
    rule: str


@dataclass(frozen=True, slots=True)
class Group:
    """Alternatives in parentheses."""

    at: int
    alternatives: Alternatives


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item several times in a row."""

    at: int
    item: Item
    least: int
    most: int | None
    """None: any number."""


Item: TypeAlias = Literal | Characters | Reference | Group | Repeat
Sequence: TypeAlias = list[Item]
Alternatives: TypeAlias = list[Sequence]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a grammar. ``at`` is its place in the text, here and in all items."""

    at: int
    alternatives: Alternatives


def quoted(text: str) -> str:
    """A literal that stands for exactly ``text``."""
    return '"' + "".join(map(_spelled, text)) + '"'


def _spelled(char: str) -> str:
    if char in '\\"':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08X}"


def all_items(alternatives: Alternatives) -> Iterator[Item]:
    """All items, those inside others too; an outer item comes first."""
    for sequence in alternatives:
        for item in sequence:
            yield item
            inner = item
            while isinstance(inner, Repeat):
                inner = inner.item
                yield inner
            if isinstance(inner, Group):
                yield from all_items(inner.alternatives)


def references(alternatives: Alternatives) -> Iterator[Reference]:
    """The rules that alternatives name, in order."""
    return (item for item in all_items(alternatives) if isinstance(item, Reference))


class Reader:
    """Recursive descent over a grammar's text."""

    def __init__(self, text: str, origin: str) -> None:
        self._text = text
        self._origin = origin
        self._at = 0
        self._depth = 0

    def error(self, at: int, what: str) -> GrammarError:
        """What is wrong at a place, with its line and column."""
        before = self._text[:at]
        line, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
        where = f"grammar {self._origin}" if self._origin else "grammar"
        lines = self._text.splitlines()
        shown = lines[line - 1].strip() if line <= len(lines) else ""
        shown = f": {shown[:80]}" if shown else ""
        return GrammarError(
            f"{where}, line {line}, column {column}: {what}{shown}",
            hint='GBNF looks like: root ::= "Action: " [a-z ]+ (docs/models.md).',
        )

    def read(self) -> dict[str, Rule]:
        """All rules by name, as the text has them.

        Raises:
            GrammarError: a syntax error.
        """
        if len(self._text) > _MAX_CHARACTERS:
            raise self.error(
                0, f"it has {len(self._text):,} characters; {_MAX_CHARACTERS:,} are possible"
            )
        if "\0" in self._text:
            raise self.error(self._text.index("\0"), "a NUL character")
        rules: dict[str, Rule] = {}
        self._space(newlines=True)
        while self._at < len(self._text):
            at = self._at
            name = self._word("a rule's name")
            self._space()
            if not self._text.startswith("::=", self._at):
                raise self.error(self._at, f"'::=' is missing after '{name}'")
            if name in rules:
                raise self.error(at, f"rule '{name}' is defined twice")
            self._at += 3
            self._space(newlines=True)
            rules[name] = Rule(at, self._alternatives(nested=False))
            if self._peek() not in ("", "\r", "\n"):
                raise self.error(self._at, f"unexpected {self._peek()!r}")
            self._space(newlines=True)
        return rules

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._text[at] if at < len(self._text) else ""

    def _space(self, *, newlines: bool = False) -> None:
        while (char := self._peek()) and (char in " \t#" or (newlines and char in "\r\n")):
            if char == "#":
                while self._peek() not in ("", "\r", "\n"):
                    self._at += 1
            else:
                self._at += 1

    def _word(self, what: str) -> str:
        start = self._at
        while self._peek() and self._peek() in _WORD:
            self._at += 1
        if self._at == start:
            actual = repr(self._peek()) if self._peek() else "the end"
            raise self.error(
                start, f"{what} (letters, digits and -) should stand here, not {actual}"
            )
        return self._text[start : self._at]

    def _alternatives(self, *, nested: bool) -> Alternatives:
        sequences = [self._sequence(nested)]
        while self._peek() == "|":
            self._at += 1
            self._space(newlines=True)
            sequences.append(self._sequence(nested))
        return sequences

    def _sequence(self, nested: bool) -> Sequence:
        items: Sequence = []
        while char := self._peek():
            at = self._at
            if char == '"':
                items.append(Literal(at, self._literal()))
            elif char == "[":
                items.append(self._characters())
            elif char == ".":
                self._at += 1
                items.append(Characters(at, True, ()))
            elif char in _WORD:
                items.append(Reference(at, self._word("a rule's name")))
            elif char == "(":
                items.append(self._group())
            elif char in "*+?{":
                items.append(self._repeat(items))
            elif char in "<!":
                raise self.error(at, "tokens cannot be named: an answer is text")
            else:
                break
            self._space(newlines=nested)
        return items

    def _group(self) -> Group:
        opened = self._at
        self._depth += 1
        if self._depth > _MAX_PARENTHESES:
            raise self.error(opened, f"more than {_MAX_PARENTHESES} parentheses in each other")
        self._at += 1
        self._space(newlines=True)
        alternatives = self._alternatives(nested=True)
        if self._peek() != ")":
            raise self.error(opened, "this parenthesis is never closed")
        self._at += 1
        self._depth -= 1
        return Group(opened, alternatives)

    def _repeat(self, items: Sequence) -> Repeat:
        """Read a repetition; it takes the last item away."""
        at, char = self._at, self._peek()
        if not items or (isinstance(items[-1], Literal) and not items[-1].points):
            raise self.error(at, f"there is nothing before this {char!r} to repeat")
        marks, item = 0, items[-1]
        while isinstance(item, Repeat):
            marks, item = marks + 1, item.item
        if marks == _MAX_MARKS:
            raise self.error(at, f"more than {_MAX_MARKS} repetitions of the same item")
        self._at += 1
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char, (0, None))
        if char == "{":
            least, most = self._bounds(at)
        if most is not None and most < least:
            raise self.error(at, f"at least {least} and at most {most} repetitions")
        if max(least, most or 0) > _MAX_REPETITIONS:
            raise self.error(at, f"more than {_MAX_REPETITIONS} repetitions")
        return Repeat(at, items.pop(), least, most)

    def _bounds(self, at: int) -> tuple[int, int | None]:
        end = self._text.find("}", at)
        inner = self._text[at + 1 : end] if end > 0 else ""
        first, comma, second = (part.strip() for part in inner.partition(","))
        if not first.isdecimal() or (second and not second.isdecimal()) or len(inner) > 20:
            raise self.error(at, "repetitions are written {2}, {2,} or {2,5}")
        self._at = end + 1
        return int(first), int(second) if second else None if comma else int(first)

    def _literal(self) -> tuple[int, ...]:
        """Read a quoted text."""
        opened = self._at
        points: list[int] = []
        self._at += 1
        while self._peek() != '"':
            if not self._peek():
                raise self.error(opened, "this quote is never closed")
            points.append(self._char())
        self._at += 1
        return tuple(points)

    def _characters(self) -> Characters:
        opened = self._at
        negated = self._peek(1) == "^"
        self._at += 2 if negated else 1
        if self._peek() == "]":
            raise self.error(opened, "a class without characters")
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            if not self._peek():
                raise self.error(opened, "this bracket is never closed")
            at = self._at
            low = high = self._char()
            if self._peek() == "-" and self._peek(1) not in ("]", ""):
                self._at += 1
                high = self._char()
                if high < low:
                    raise self.error(at, "a range of characters that ends before it begins")
            ranges.append((low, high))
        self._at += 1
        return Characters(opened, negated, tuple(ranges))

    def _char(self) -> int:
        """Read one character, escaped or not; its code point."""
        at, char = self._at, self._peek()
        if char != "\\":
            self._at += 1
            return ord(char)
        kind = self._peek(1)
        digits = _HEX_DIGITS.get(kind, 0)
        if not digits and (not kind or kind not in _ESCAPED):
            raise self.error(at, f"unknown escape '\\{kind}'")
        self._at += 2 + digits
        if not digits:
            return ord({"t": "\t", "r": "\r", "n": "\n"}.get(kind, kind))
        value = self._text[at + 2 : at + 2 + digits]
        if len(value) < digits or not all(digit in string.hexdigits for digit in value):
            raise self.error(at, f"'\\{kind}' needs {digits} hexadecimal digits")
        return int(value, 16)
