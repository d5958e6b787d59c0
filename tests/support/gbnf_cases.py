"""GBNF grammars of all kinds, and random texts that follow one."""

from __future__ import annotations

import random

from agentr_lite.core.gbnf import ROOT
from agentr_lite.core.gbnf_text import (
    Alternatives,
    Characters,
    Group,
    Item,
    Literal,
    Reference,
    Repeat,
    Rule,
)

TURN = """
root ::= "Thought: " [a-z ]{1,40} "\\nAction: " ("get " [0-9]{1,2} | "craft it")
"""

AMBIGUOUS = 'root ::= ((([a-z]{1,2000} "b"?){1,2000} "c"?){1,2000} "d"?){1,2000} "!"{99}'
"""Well formed, but a random text is given up after some letters."""

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

JSON = r"""
root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""

SMALL = [
    *SOUND,
    TURN,
    JSON,
    'root ::= "say " ("yes" | "no" [0-9]{2} | "maybe " [a-f]{3})',
    "root ::= [0-9]{30}",
    'root ::= "工作" [äöü]',
    "root ::= [a-h] [^\\x00]*",
    "root ::= [^\\n]*",
    "root ::= [^é\\n]*",
    'root ::= "ß" | [a-c] | "工作"',
    'root ::= "a"{0,0} "b" [c]{0}',
    # The spelling of control tokens is text like any other.
    'root ::= "<|im_end|>" | "<|end|>x"',
    # Where a lexer that takes the longest match would be wrong.
    'root ::= ("list" | "listen") "ed"',
    'root ::= stem "ed"\nstem ::= "list" | "listen"',
    'root ::= w ": " v\nw ::= [^:\\n]+\nv ::= "(" v ")" | [a-z:]*',
    # Recursion: at the end, in both, and in parentheses.
    'root ::= "a" tail\ntail ::= "" | ", " word tail\nword ::= [a-z]+',
    'root ::= "x" odd\nodd ::= "." | "-" even\neven ::= "!" | "+" odd',
    'root ::= ([a-c] root | "." root) | "end"',
    "root ::= expr\nexpr ::= term ([-+*/] term)*\n"
    'term ::= num | "(" " "? expr " "? ")"\nnum ::= [0-9]+ "."? [0-9]{0,3}',
    # Names that another notation would mix up.
    'root ::= fooBar foo-bar\nfooBar ::= "x"\nfoo-bar ::= "y"',
    'root ::= start\nstart ::= "x" | "(" start ")"',
    # Repetitions in repetitions.
    'root ::= (([a-z]{1,20} " "){1,20} "\\n"){1,4}',
    "root ::= " + "(" * 20 + '"a"' + ' | "b" [c-d])*' * 20,
]


def sentence(rules: dict[str, Rule], rng: random.Random) -> str:
    """A random whole text of a grammar."""
    characters: list[str] = []

    def alternatives(choices: Alternatives, depth: int) -> None:
        # Deep inside, the shortest way leads to an end.
        sequence = min(choices, key=lambda s: len(repr(s))) if depth > 12 else rng.choice(choices)
        for item in sequence:
            write(item, depth)

    def write(item: Item, depth: int) -> None:
        match item:
            case Literal():
                characters.extend(map(chr, item.points))
            case Characters(negated=True):
                allowed = [
                    char
                    for char in "abcdefgh stone pickaxe0123456789 ,]:é工ü\n"
                    if not any(low <= ord(char) <= high for low, high in item.ranges)
                ]
                characters.append(rng.choice(allowed))
            case Characters():
                low, high = rng.choice(item.ranges)
                characters.append(chr(rng.randint(low, high)))
            case Reference():
                alternatives(rules[item.rule].alternatives, depth + 1)
            case Group():
                alternatives(item.alternatives, depth + 1)
            case Repeat():
                most = item.least + 12 if item.most is None else item.most
                more = 0 if depth > 12 else rng.choice((0, 1, 2, 5, 12))
                for _ in range(min(most, item.least + more)):
                    write(item.item, depth + 1)

    alternatives(rules[ROOT].alternatives, 0)
    return "".join(characters)
