"""What is wrong with a GBNF grammar is found early, and named with line and column.

Matchers give no reason or no place when they refuse a text. Some texts that they accept make them
run out of memory or of stack: recursion through a rule that may be empty, hundreds of rules in each
other. So a grammar is checked here first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentr_lite.core.gbnf_text import (
    Alternatives,
    Group,
    Item,
    Literal,
    Reader,
    Reference,
    Repeat,
    Rule,
    all_items,
    references,
)

FROM_ENVIRONMENT = "env"
"""The value of ``agent.grammar`` that asks for the environment's own."""

FROM_VALID_ACTIONS = "actions"
"""The value of ``agent.grammar`` that allows in each state what ``valid_actions`` lists there."""

ROOT = "root"
"""The rule that a whole answer follows."""
_MAX_NESTING = 100
"""Rules and parentheses in each other. Matchers recurse over them; a thread with a stack of 512 KiB
(macOS) follows 100 of them, and does not follow 300."""


def check_grammar(text: str, *, origin: str = "") -> None:
    """Refuse a grammar that is not well formed; see ``parse_grammar``."""
    parse_grammar(text, origin=origin)


def parse_grammar(text: str, *, origin: str = "") -> dict[str, Rule]:
    """All rules by name. A whole answer follows the rule ``root``.

    Args:
        text: GBNF.
        origin: its file, for the message.

    Raises:
        GrammarError: a syntax error, an undefined rule, no ``root``, left recursion, rules that are
            nested too deeply, or a rule that never comes to an end; the message names line and
            column.
    """
    reader = Reader(text, origin)
    rules = reader.read()
    if ROOT not in rules:
        raise reader.error(0, f"it has no rule '{ROOT}'")
    for rule in rules.values():
        for item in all_items(rule.alternatives):
            if isinstance(item, Reference) and item.rule not in rules:
                raise reader.error(item.at, f"there is no rule '{item.rule}'")
    _check_nesting(reader, rules)
    _check_ends(reader, rules)
    _check_left_recursion(reader, rules)
    return rules


def recursive_groups(rules: Mapping[str, Rule]) -> list[list[str]]:
    """All rules in groups whose rules reach each other; a group precedes the groups that call it.

    Source: Tarjan's strongly connected components, without recursion.
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    grouped: set[str] = set()
    groups: list[list[str]] = []
    for start in rules:
        path = [start] if start not in index else []
        calls = {}
        while path:
            name = path[-1]
            if name not in index:
                index[name] = lowest[name] = len(index)
                waiting.append(name)
                calls[name] = references(rules[name].alternatives)
            called = next(calls[name], None)
            if called is None:
                path.pop()
                if path:
                    lowest[path[-1]] = min(lowest[path[-1]], lowest[name])
                if lowest[name] == index[name]:
                    group: list[str] = []
                    while group[-1:] != [name]:
                        group.append(waiting.pop())
                    groups.append(group)
                    grouped.update(group)
            elif called.rule not in index:
                path.append(called.rule)
            elif called.rule not in grouped:
                lowest[name] = min(lowest[name], index[called.rule])
    return groups


def _check_nesting(reader: Reader, rules: Mapping[str, Rule]) -> None:
    """No rule may lead to too many rules and parentheses in each other."""

    def depth(alternatives: Alternatives, within: frozenset[str]) -> int:
        return max((item_depth(item, within) for seq in alternatives for item in seq), default=0)

    def item_depth(item: Item, within: frozenset[str]) -> int:
        if isinstance(item, Group):
            return 1 + depth(item.alternatives, within)
        if isinstance(item, Repeat):
            return item_depth(item.item, within)
        # Rules of the same group count once each, for the whole group.
        return depths[item.rule] if isinstance(item, Reference) and item.rule not in within else 0

    depths: dict[str, int] = {}
    for group in recursive_groups(rules):
        names = frozenset(group)
        below = sum(1 + depth(rules[name].alternatives, names) for name in group)
        if below > _MAX_NESTING:
            name = min(group, key=lambda name: rules[name].at)
            raise reader.error(
                rules[name].at,
                f"rule '{name}' has more than {_MAX_NESTING} rules and parentheses in each other",
            )
        depths |= dict.fromkeys(group, below)


def _check_ends(reader: Reader, rules: Mapping[str, Rule]) -> None:
    """Every rule must match some text of finite length."""

    def ends(item: Item) -> bool:
        if isinstance(item, Repeat):
            return item.least == 0 or ends(item.item)
        if isinstance(item, Group):
            return any_ends(item.alternatives)
        return not isinstance(item, Reference) or item.rule in finite

    def any_ends(alternatives: Alternatives) -> bool:
        return any(all(map(ends, sequence)) for sequence in alternatives)

    finite: set[str] = set()
    while fresh := {n for n, r in rules.items() if n not in finite and any_ends(r.alternatives)}:
        finite |= fresh
    name = next((name for name in rules if name not in finite), None)
    seen: set[str] = set()
    while name is not None:
        if name in seen:
            raise reader.error(rules[name].at, f"rule '{name}' calls itself without an end")
        seen.add(name)
        # A rule that only leads to such a rule is not to blame.
        called = (reference.rule for reference in references(rules[name].alternatives))
        name = next(rule for rule in called if rule not in finite)


def _check_left_recursion(reader: Reader, rules: Mapping[str, Rule]) -> None:
    """No rule may call itself before it has matched a character."""

    def nullable(item: Item) -> bool:
        if isinstance(item, Repeat):
            return item.least == 0 or nullable(item.item)
        if isinstance(item, Group):
            return any_nullable(item.alternatives)
        if isinstance(item, Literal):
            return not item.points
        return isinstance(item, Reference) and item.rule in empty

    def any_nullable(alternatives: Alternatives) -> bool:
        return any(all(map(nullable, sequence)) for sequence in alternatives)

    def first(alternatives: Alternatives) -> Iterator[Reference]:
        for sequence in alternatives:
            for item in sequence:
                inner = item
                while isinstance(inner, Repeat):
                    inner = inner.item
                if isinstance(inner, Group):
                    yield from first(inner.alternatives)
                elif isinstance(inner, Reference):
                    yield inner
                if not nullable(item):
                    break

    empty: set[str] = set()
    while fresh := {n for n, r in rules.items() if n not in empty and any_nullable(r.alternatives)}:
        empty |= fresh
    calls = {name: list(first(rule.alternatives)) for name, rule in rules.items()}
    for name in rules:
        reached: dict[str, None] = {}
        pending = list(calls[name])
        while pending:
            item = pending.pop()
            if item.rule == name:
                raise reader.error(item.at, f"rule '{name}' begins with itself (left recursion)")
            if item.rule not in reached:
                reached[item.rule] = None
                pending += calls[item.rule]
