"""A GBNF grammar as an llguidance grammar (its variant of Lark) of exactly the same language.

llguidance has its own converter. It is not used, because it changes the language. It makes every
rule a terminal, but the lexer takes the longest match of a terminal and never goes back: so
``root ::= stem "ed"`` with ``stem ::= "list" | "listen"`` refuses "listed". It also leaves forcing
on: where the next bytes are certain, only the tokenizer's own token for them is allowed. Here:

- Without recursion, the whole answer is one terminal: a regular language, which is matched exactly.
- With recursion, every character is a terminal of its own.
- A rule that only ends with itself is a repetition: ``x ::= a x | b`` becomes ``a* b``, because the
  parser keeps an item for each level of recursion.
- As in llama.cpp, a text ends at NUL: neither ``.`` nor ``[^...]`` matches it.
- ``no_forcing`` allows every spelling of a text in tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentr_lite.core.gbnf import ROOT, recursive_groups
from agentr_lite.core.gbnf_text import (
    Alternatives,
    Characters,
    Group,
    Item,
    Literal,
    Reference,
    Repeat,
    Rule,
    Sequence,
    references,
)

_MAX_PARENTHESES = 8
"""A group inside so many others becomes a rule: llguidance's reader refuses deeper parentheses."""
_NUL = (0, 0)


def to_lark(rules: Mapping[str, Rule]) -> str:
    """Convert a grammar that ``parse_grammar`` has checked.

    Returns:
        A grammar for ``LLMatcher``.
    """
    rules = _reachable({name: _without_tail(name, rule) for name, rule in rules.items()})
    return _Writer(rules, recursive=_is_recursive(rules)).grammar()


def _without_tail(name: str, rule: Rule) -> Rule:
    """``x ::= a x | b`` as ``x ::= a* b``."""
    sequences = list(_sequences(rule.alternatives))
    loops = [seq[:-1] for seq in sequences if _ends_with(seq, name)]
    ends = [seq for seq in sequences if not _ends_with(seq, name)]
    if not loops or not ends:
        return rule
    at = rule.at
    return Rule(at, [[Repeat(at, Group(at, loops), 0, None), Group(at, ends)]])


def _sequences(alternatives: Alternatives) -> Iterator[Sequence]:
    """The alternatives, those of a group that is an alternative by itself too."""
    for sequence in alternatives:
        if len(sequence) == 1 and isinstance(sequence[0], Group):
            yield from _sequences(sequence[0].alternatives)
        else:
            yield sequence


def _ends_with(sequence: Sequence, name: str) -> bool:
    last = sequence[-1] if sequence else None
    return isinstance(last, Reference) and last.rule == name


def _reachable(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules that ``root`` needs, itself first."""
    reached = {ROOT: rules[ROOT]}
    pending = [ROOT]
    while pending:
        for reference in references(rules[pending.pop()].alternatives):
            if reference.rule not in reached:
                reached[reference.rule] = rules[reference.rule]
                pending.append(reference.rule)
    return reached


def _is_recursive(rules: Mapping[str, Rule]) -> bool:
    return any(
        len(group) > 1 or any(r.rule == group[0] for r in references(rules[group[0]].alternatives))
        for group in recursive_groups(rules)
    )


class _Writer:
    """Writes rules as terminals (names in capitals), or as rules of the parser."""

    def __init__(self, rules: Mapping[str, Rule], *, recursive: bool) -> None:
        self._rules = rules
        self._prefix = "r" if recursive else "R"
        self._names = {name: f"{self._prefix}{index}" for index, name in enumerate(rules)}
        self._lines = ['%llguidance {"no_forcing": true}', f"start: {self._names[ROOT]}"]
        self._groups = 0

    def grammar(self) -> str:
        """The whole text."""
        for name, rule in self._rules.items():
            self._lines.append(f"{self._names[name]}: {self._alternatives(rule.alternatives, 0)}")
        return "\n".join(self._lines) + "\n"

    def _alternatives(self, alternatives: Alternatives, depth: int) -> str:
        return " | ".join(
            " ".join(self._item(item, depth) for item in sequence) or '""'
            for sequence in alternatives
        )

    def _item(self, item: Item, depth: int) -> str:
        match item:
            case Literal():
                return " ".join(f"/{_point(point)}/" for point in item.points) or '""'
            case Characters():
                return f"/{_character_class(item)}/"
            case Reference():
                return self._names[item.rule]
            case Group():
                return self._group(item, depth)
            case Repeat(most=0):
                return '""'
            case Repeat():
                return f"({self._item(item.item, depth + 1)}){_bounds(item)}"

    def _group(self, group: Group, depth: int) -> str:
        if depth < _MAX_PARENTHESES:
            return f"({self._alternatives(group.alternatives, depth + 1)})"
        self._groups += 1
        name = f"{self._prefix}_{self._groups}"
        self._lines.append(f"{name}: {self._alternatives(group.alternatives, 0)}")
        return name


def _bounds(item: Repeat) -> str:
    most = "" if item.most is None else item.most
    return {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(
        (item.least, item.most), f"{{{item.least},{most}}}"
    )


def _character_class(item: Characters) -> str:
    ranges = (_NUL, *item.ranges) if item.negated else item.ranges
    inner = "".join(
        _point(low) if low == high else f"{_point(low)}-{_point(high)}" for low, high in ranges
    )
    return f"[{'^' if item.negated else ''}{inner}]"


def _point(code: int) -> str:
    """A code point in the notation of regular expressions."""
    return f"\\x{{{code:x}}}"
