"""Reading GBNF: what is refused and where, and that llama.cpp takes what is not."""

from __future__ import annotations

import pytest

from agentr_lite.actors.llamacpp.grammar import try_grammar
from agentr_lite.core.gbnf import GrammarError, check_grammar

SOUND = [
    'root ::= "a"',
    'root ::= "a" | "b" | ',
    "root ::= [a-z]+ [^\\n]* .?",
    'root ::= "say \\"hi\\"\\t\\x41\\u00e9\\U0001F600" [\\]\\[^-]',
    'root ::= item ("," item)*\nitem ::= [0-9]{1,3} # a number\n',
    'root ::= (\n  # in parentheses lines may end\n  "a" |\n  "b"\n)\r\n',
    'root ::= "(" root ")" | "x"',
    'root ::= ("a"?)* "b"{3} "c"{2,} "d" {0,2}',
    'a-1 ::= "x"\nroot ::=\n  a-1 a-1',
    'root ::= "grün" [ä-ü工]',
]

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


def test_llama_cpps_own_refusals_are_errors_too(capfd: pytest.CaptureFixture[str]) -> None:
    # Repetitions of repetitions multiply, which only its parser counts.
    with pytest.raises(GrammarError, match=r"llama\.cpp refuses the grammar"):
        try_grammar('root ::= (("a"{1000} "b"?){1000} "c"?){1000}')
    assert "repeat" in capfd.readouterr().err
