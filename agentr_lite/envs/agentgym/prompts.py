"""The rules of AgentGym's environments, in our words."""

from __future__ import annotations

from collections.abc import Callable

_FORM = """\

Write two lines each turn:
Thought: what you know and what to do next
Action: exactly one action"""

_BABYAI = """\
You move through rooms on a grid and have a goal. Each message says what you see in front of you \
and what you carry. The actions are: turn left, turn right, move forward; go to OBJ N and pick up \
OBJ N for an object you see, with its number; go through DOOR N for an open door; toggle and go \
through DOOR N for a closed one, or a locked one of your key's colour; toggle for the door right \
before you."""

_ALFWORLD = """\
You are in a household and have a task to do with its objects. The first message describes the \
place and the task, and lists the actions that can be taken there; elsewhere there are others of \
the same form, such as go to PLACE, open PLACE, take OBJ from PLACE. "Nothing happens." means that \
an action was not possible."""

_MAZE = """\
You are in a maze. Each message says where the goal is, where you are, and which sides are walled. \
Moving right adds 1 to your second coordinate, moving down adds 1 to your first. Reach the goal in \
as few steps as you can. The actions are: move up, move down, move left, move right."""

_WORDLE = """\
Guess a hidden word of five letters; you have six guesses. Write a guess as letters with blanks in \
between, for example: s h i r e. The answer has a letter for each of yours: g, it is right and in \
place; y, the word has it elsewhere; b, the word does not have it. "invalid word" means that the \
guess is not in the dictionary."""

_WEBSHOP = """\
You shop in an online store for what the instruction asks: the kind of product, its options, and a \
price limit. There are two kinds of actions: search[words] looks for products, from any page; \
click[text] presses something that the page shows, for example a product's code, an option, Next > \
or Buy Now. Choose the options before you buy; buying ends the game."""

_SQLGYM = """\
The first message describes the tables of an SQLite database and asks a question. Your one action \
is the SQL statement that answers it, on a single line."""

_WEBARENA = """\
You use a web browser for the objective that is given. Each message shows the page as an \
accessibility tree, in which elements have numbers. The actions are: click [N], type [N] [text] \
[1 to press Enter, else 0], hover [N], press [keys], scroll [up or down], new_tab, tab_focus [N], \
close_tab, goto [url], go_back, go_forward, and stop [answer] when the objective is reached. Write \
the action between triple backquotes."""

_SEARCHQA = """\
Answer the question. An action is either a search, <search>words</search>, whose results come back \
with the next message, or the answer, <answer>a few words</answer>, which ends the game."""

_TOOL = """\
Reach the goal with the tools of this server. An action names a tool and its input as JSON: \
NAME with Action Input: {"parameter": value}. check_valid_actions with Action Input: {} lists the \
tools; finish with Action Input: {"answer": value} gives the answer and ends the game."""


def _textcraft() -> str:
    from agentr_lite.envs.textcraft import TextCraft

    return TextCraft().instructions()


def _sciworld() -> str:
    from agentr_lite.envs.sciworld.prompt import INSTRUCTIONS

    return INSTRUCTIONS


def _words(text: str) -> Callable[[], str]:
    return lambda: text + "\n" + _FORM


PROMPTS: dict[str, Callable[[], str]] = {
    "textcraft": _textcraft,
    "sciworld": _sciworld,
    "babyai": _words(_BABYAI),
    "alfworld": _words(_ALFWORLD),
    "maze": _words(_MAZE),
    "wordle": _words(_WORDLE),
    "webshop": _words(_WEBSHOP),
    "sqlgym": _words(_SQLGYM),
    "webarena": _words(_WEBARENA),
    "searchqa": _words(_SEARCHQA),
    **dict.fromkeys(("weather", "movie", "todo", "academia", "sheet", "tool"), _words(_TOOL)),
}
"""System prompts by kind of server."""
