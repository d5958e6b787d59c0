"""Reading GBNF: what is refused and where, and that the matcher takes what is not."""

from __future__ import annotations

import pytest

from agentr_lite.actors.grammar.matcher import try_grammar
from agentr_lite.core.errors import GrammarError
from agentr_lite.core.gbnf import check_grammar, parse_grammar, recursive_groups
from tests.support.gbnf_cases import SOUND

WRONG = [
    ("", "line 1, column 1: it has no rule 'root'"),
    ('rot ::= "a"', "no rule 'root'"),
    ('root = "a"', "line 1, column 6: '::=' is missing after 'root'"),
    ('root ::= "a" nope', "line 1, column 14: there is no rule 'nope'"),
    ('root ::= "a', "line 1, column 10: this quote is never closed"),
    ("root ::= [a-z", "column 10: this bracket is never closed"),
    ("root ::= []", "a class without characters"),
    ("root ::= [^]", "a class without characters"),
    ("root ::= [z-a]", "ends before it begins"),
    ('root ::= ("a" | "b"', "column 10: this parenthesis is never closed"),
    ('root ::= "a")', "column 13: unexpected ')'"),
    ("root ::= *", "nothing before this '*'"),
    ('root ::= ""+', "nothing before this '+'"),
    ('root ::= "a"{3,1}', "at least 3 and at most 1"),
    ('root ::= "a"?*?+*', "column 17: more than 4 repetitions of the same item"),
    ('root ::= "a"{99999}', "more than 2000 repetitions"),
    ('root ::= "a"{x}', "written {2}, {2,} or {2,5}"),
    ('root ::= "\\q"', "unknown escape '\\q'"),
    ('root ::= "\\x4"', "needs 2 hexadecimal digits"),
    ('root ::= "a"\nroot ::= "b"', "line 2, column 1: rule 'root' is defined twice"),
    ('root ::= root "a" | "b"', "left recursion"),
    ('root ::= b "a"\nb ::= root | "c"', "left recursion"),
    ('root ::= a root "x" | "y"\na ::= b\nb ::= "" | "c"', "left recursion"),
    ('root ::= "a" b\nb ::= "x" b', "line 2, column 1: rule 'b' calls itself without an end"),
    ("root ::= <think>", "tokens cannot be named"),
    ('root ::= "a"\0', "a NUL character"),
    ("root ::= " + "(" * 99 + '"a"' + ")" * 99, "more than 64 parentheses"),
    ('root ::= "' + "a" * 70_000 + '"', "70,011 characters"),
    ('root ::= "a"\n_b ::= "c"', "line 2, column 1: a rule's name"),
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_grammars_compile(text: str) -> None:
    check_grammar(text)
    try_grammar(text)


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(GrammarError) as caught:
        check_grammar(text)
    assert said in caught.value.message
    assert caught.value.hint


def test_rules_and_parentheses_in_each_other_have_a_limit() -> None:
    """A matcher's recursion over hundreds of them overflows a small stack."""
    chain = "root ::= r0\n" + "".join(f'r{i} ::= "a" (r{i + 1})\n' for i in range(60))
    with pytest.raises(GrammarError, match="line 12, column 1: rule 'r10' has more than 100"):
        check_grammar(chain + 'r60 ::= "x"')
    with pytest.raises(GrammarError, match="line 1, column 1: rule 'root' has more than 100"):
        check_grammar(chain + 'r60 ::= "x" | "(" root ")"')
    try_grammar(chain.replace("(", "").replace(")", "") + 'r60 ::= "x" | "(" root ")"')
    # Long grammars are not deep ones.
    flat = " | ".join(f"r{i}" for i in range(900))
    check_grammar(f"root ::= {flat}\n" + "".join(f'r{i} ::= "{i}"\n' for i in range(900)))


def test_rules_that_reach_each_other_are_grouped() -> None:
    text = 'root ::= a | d\na ::= "x" b | d\nb ::= "y" (c | "z")\nc ::= "(" a ")"\nd ::= "d" d?'
    groups = recursive_groups(parse_grammar(text))
    assert [sorted(group) for group in groups] == [["d"], ["a", "b", "c"], ["root"]]
