"""GBNF grammars: what is wrong with one is said early.

llama.cpp's own parser prints to the terminal and gives no reason to its caller, and some texts
that it takes (a repetition that ends before it begins, recursion through a rule that may be empty)
make it run out of memory. So a grammar is read here first.

Source: the notation is that of llama.cpp's ``grammars/README.md``.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agentr_lite.core.errors import UsageError

FROM_ENVIRONMENT = "env"
"""The value of ``agent.grammar`` that asks for the environment's own."""

ROOT = "root"
_WORD = frozenset(string.ascii_letters + string.digits + "-")
_ESCAPED = frozenset('trn\\"[]-')
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
MAX_REPETITIONS = 2000
"""llama.cpp refuses more, because every repetition becomes its own rule."""
_MAX_CHARACTERS = 1 << 16
_MAX_DEPTH = 64


class GrammarError(UsageError):
    """A grammar that cannot be read, or that no answer could satisfy."""

    kind = "grammar"


@dataclass(slots=True)
class _Item:
    """Part of a sequence."""

    at: int
    rule: str | None = None
    """The rule that it names; None for text, characters and groups."""
    group: list[list[_Item]] | None = None
    """Alternatives in parentheses."""
    empty: bool = False
    """A literal without characters."""
    optional: bool = False
    """Repeated, and that may be 0 times."""


@dataclass(slots=True)
class _Rule:
    at: int
    alternatives: list[list[_Item]] = field(default_factory=list)


def check_grammar(text: str, *, origin: str = "", root: str = ROOT) -> None:
    """Refuse a grammar that is not well formed.

    Args:
        text: GBNF.
        origin: its file, for the message.
        root: the rule that a whole answer follows.

    Raises:
        GrammarError: a syntax error, an undefined rule, no ``root``, left recursion, or a rule
            that never comes to an end; the message names line and column.
    """
    reader = _Reader(text, origin)
    if len(text) > _MAX_CHARACTERS:
        raise reader.error(0, f"it has {len(text):,} characters; {_MAX_CHARACTERS:,} are possible")
    rules = reader.read()
    if root not in rules:
        raise reader.error(0, f"it has no rule '{root}'")
    for rule in rules.values():
        for item in _items(rule.alternatives):
            if item.rule is not None and item.rule not in rules:
                raise reader.error(item.at, f"there is no rule '{item.rule}'")
    _check_ends(reader, rules)
    _check_left_recursion(reader, rules)


def _items(alternatives: list[list[_Item]]) -> Iterator[_Item]:
    """All items, those in parentheses too."""
    for sequence in alternatives:
        for item in sequence:
            yield item
            if item.group is not None:
                yield from _items(item.group)


def _check_ends(reader: _Reader, rules: Mapping[str, _Rule]) -> None:
    """Every rule must match some text of finite length."""

    def ends(alternatives: list[list[_Item]]) -> bool:
        return any(
            all(
                item.optional
                or (
                    (item.group is None or ends(item.group))
                    and (item.rule is None or item.rule in finite)
                )
                for item in sequence
            )
            for sequence in alternatives
        )

    finite: set[str] = set()
    while fresh := {n for n, r in rules.items() if n not in finite and ends(r.alternatives)}:
        finite |= fresh
    name = next((name for name in rules if name not in finite), None)
    seen: set[str] = set()
    while name is not None:
        if name in seen:
            raise reader.error(rules[name].at, f"rule '{name}' calls itself without an end")
        seen.add(name)
        # One that only leads to such a rule is not to blame.
        called = (item.rule for item in _items(rules[name].alternatives))
        name = next(rule for rule in called if rule is not None and rule not in finite)


def _check_left_recursion(reader: _Reader, rules: Mapping[str, _Rule]) -> None:
    """No rule may call itself before it has matched a character."""

    def nullable(item: _Item) -> bool:
        if item.optional or item.empty:
            return True
        if item.group is not None:
            return any(all(map(nullable, sequence)) for sequence in item.group)
        return item.rule in empty

    def first(alternatives: list[list[_Item]]) -> Iterator[_Item]:
        for sequence in alternatives:
            for item in sequence:
                if item.group is not None:
                    yield from first(item.group)
                elif item.rule is not None:
                    yield item
                if not nullable(item):
                    break

    empty: set[str] = set()
    while fresh := {
        name
        for name, rule in rules.items()
        if name not in empty and any(all(map(nullable, sequence)) for sequence in rule.alternatives)
    }:
        empty |= fresh
    calls = {name: list(first(rule.alternatives)) for name, rule in rules.items()}
    for name in rules:
        reached: dict[str, None] = {}
        pending = list(calls[name])
        while pending:
            item = pending.pop()
            assert item.rule is not None
            if item.rule == name:
                raise reader.error(item.at, f"rule '{name}' begins with itself (left recursion)")
            if item.rule not in reached:
                reached[item.rule] = None
                pending += calls[item.rule]


class _Reader:
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

    def read(self) -> dict[str, _Rule]:
        """All rules by name."""
        if "\0" in self._text:
            raise self.error(self._text.index("\0"), "a NUL character")
        rules: dict[str, _Rule] = {}
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
            rules[name] = _Rule(at, self._alternatives(nested=False))
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

    def _alternatives(self, *, nested: bool) -> list[list[_Item]]:
        sequences = [self._sequence(nested)]
        while self._peek() == "|":
            self._at += 1
            self._space(newlines=True)
            sequences.append(self._sequence(nested))
        return sequences

    def _sequence(self, nested: bool) -> list[_Item]:
        items: list[_Item] = []
        while char := self._peek():
            at = self._at
            if char == '"':
                items.append(_Item(at, empty=self._literal()))
            elif char == "[":
                self._characters()
                items.append(_Item(at))
            elif char == ".":
                self._at += 1
                items.append(_Item(at))
            elif char in _WORD:
                items.append(_Item(at, rule=self._word("a rule's name")))
            elif char == "(":
                items.append(_Item(at, group=self._group()))
            elif char in "*+?{":
                self._repeat(items)
            elif char in "<!":
                raise self.error(at, "tokens cannot be named: an answer is text")
            else:
                break
            self._space(newlines=nested)
        return items

    def _group(self) -> list[list[_Item]]:
        opened = self._at
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.error(opened, f"more than {_MAX_DEPTH} parentheses in each other")
        self._at += 1
        self._space(newlines=True)
        alternatives = self._alternatives(nested=True)
        if self._peek() != ")":
            raise self.error(opened, "this parenthesis is never closed")
        self._at += 1
        self._depth -= 1
        return alternatives

    def _repeat(self, items: list[_Item]) -> None:
        at, char = self._at, self._peek()
        if not items or items[-1].empty:
            raise self.error(at, f"there is nothing before this {char!r} to repeat")
        self._at += 1
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char, (0, None))
        if char == "{":
            least, most = self._bounds(at)
        if most is not None and most < least:
            raise self.error(at, f"at least {least} and at most {most} repetitions")
        if max(least, most or 0) > MAX_REPETITIONS:
            raise self.error(at, f"more than {MAX_REPETITIONS} repetitions")
        items[-1].optional = items[-1].optional or least == 0

    def _bounds(self, at: int) -> tuple[int, int | None]:
        end = self._text.find("}", at)
        inner = self._text[at + 1 : end] if end > 0 else ""
        first, comma, second = (part.strip() for part in inner.partition(","))
        if not first.isdecimal() or (second and not second.isdecimal()) or len(inner) > 20:
            raise self.error(at, "repetitions are written {2}, {2,} or {2,5}")
        self._at = end + 1
        return int(first), int(second) if second else None if comma else int(first)

    def _literal(self) -> bool:
        """Read a quoted text; whether it is empty."""
        opened = self._at
        self._at += 1
        while self._peek() != '"':
            if not self._peek():
                raise self.error(opened, "this quote is never closed")
            self._char()
        self._at += 1
        return self._at == opened + 2

    def _characters(self) -> None:
        opened = self._at
        self._at += 2 if self._peek(1) == "^" else 1
        if self._peek() == "]":
            raise self.error(opened, "a class without characters")
        while self._peek() != "]":
            if not self._peek():
                raise self.error(opened, "this bracket is never closed")
            at = self._at
            low = self._char()
            if self._peek() == "-" and self._peek(1) not in ("]", ""):
                self._at += 1
                if self._char() < low:
                    raise self.error(at, "a range of characters that ends before it begins")
        self._at += 1

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
