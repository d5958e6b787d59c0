"""The grammar of a whole turn, around an environment's grammar of actions or its list of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from agentr_lite.agent.boundary import environment_boundary, guarded_valid_actions
from agentr_lite.agent.turns import REFLECT
from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.gbnf import FROM_ENVIRONMENT, FROM_VALID_ACTIONS, check_grammar
from agentr_lite.core.gbnf_text import quoted
from agentr_lite.envs.base import Environment

_TURN = f"""\
root ::= "Thought: " thought "\\nAction: " (action | reflect)
thought ::= [^\\n]+
reflect ::= "{REFLECT}"
"""
_ANY_ACTION = "action ::= [^\\n]+"
_MAX_DEPTH = 40
"""Parentheses in each other; grammars may have 64."""
_KEPT = 256
"""Grammars of lists of actions: as many as an actor keeps compiled. One may have 40 kB."""


class TurnGrammar:
    """What the agent's turns must look like in one environment: always the same, or by state."""

    def __init__(self, setting: str, env: Environment) -> None:
        """
        Args:
            setting: a recipe's ``agent.grammar``, resolved: GBNF text, ``env``, ``actions`` or
                nothing.
            env: whose actions.

        Raises:
            UsageError: ``env``, but the environment knows no grammar, or it is wrong.
            EnvironmentFault: the environment's code raised.
        """
        self.by_state = setting == FROM_VALID_ACTIONS
        """Whether each state has its own."""
        self.text = "" if self.by_state else turn_grammar(setting, env)
        """The grammar of all turns; empty: any turn, or one for each state."""
        self._env = env
        self._of_lists: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def next_turn(self) -> str:
        """GBNF that the next turn follows, in the environment's present state; empty: any turn.

        Raises:
            EnvironmentFault: the environment's code raised, or it cannot list its actions.
        """
        if not self.by_state:
            return self.text
        actions = guarded_valid_actions(self._env)
        if actions is None:
            raise EnvironmentFault(
                self._env.name,
                "valid_actions() returned None: its actions cannot be listed",
                hint="Set agent.grammar to 'env', to a GBNF file, or to '' for none.",
            )
        key = tuple(actions)
        text = self._of_lists.pop(key, None) or actions_grammar(actions)
        self._of_lists[key] = text
        if len(self._of_lists) > _KEPT:
            self._of_lists.popitem(last=False)
        return text


def actions_grammar(actions: Sequence[str]) -> str:
    """GBNF of a turn that ends in one of these actions, or in a reflection.

    Args:
        actions: each one line of text. With none at all, any action is allowed, because a turn
            without an action would say nothing.
    """
    distinct = list(dict.fromkeys(actions))
    return _TURN + (f"action ::= {_one_of(distinct)}\n" if distinct else f"{_ANY_ACTION}\n")


def _one_of(texts: Sequence[str], depth: int = 0) -> str:
    """GBNF of exactly these distinct texts; a beginning that several share is written once.

    Environments list thousands of actions (``open door``, ``open drawer``), and a grammar's length
    has a limit.
    """
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text.partition(" ")[0], []).append(text)
    alternatives = []
    for group in groups.values():
        shared = _shared_beginning(group)
        rests = [text[len(shared) :] for text in group if text != shared]
        if len(group) == 1:
            alternatives.append(quoted(shared))
        elif not shared or depth == _MAX_DEPTH:
            alternatives += map(quoted, group)
        else:
            optional = "?" if len(rests) < len(group) else ""
            alternatives.append(f"{quoted(shared)} ({_one_of(rests, depth + 1)}){optional}")
    return " | ".join(alternatives)


def _shared_beginning(texts: Sequence[str]) -> str:
    """The longest text with which all of ``texts`` begin."""
    # What the first and the last in order share, all between them share.
    first, last = min(texts), max(texts)
    length = next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None
    )
    return first[:length]


def turn_grammar(setting: str, env: Environment) -> str:
    """GBNF that every turn of the agent follows; empty: any turn.

    Args:
        setting: a recipe's ``agent.grammar``, resolved: GBNF text, ``env`` or nothing.
        env: whose actions.

    Raises:
        UsageError: ``env``, but the environment knows no grammar, or it is wrong.
        EnvironmentFault: the environment's code raised.
    """
    if setting != FROM_ENVIRONMENT:
        return setting
    with environment_boundary(env, "grammar()"):
        rules = env.grammar()
        rules = str.__str__(rules) if isinstance(rules, str) else ""
    if not rules.strip():
        raise UsageError(
            f"environment '{env.name}' has no grammar of its actions",
            hint="If it has `valid_actions`, set agent.grammar to 'actions'; otherwise to a GBNF"
            " file, or to '' for none.",
        )
    text = f"{_TURN}{rules.strip()}\n"
    check_grammar(text, origin=f"of environment '{env.name}'")
    return text
