"""The grammar of a whole turn, around an environment's grammar of actions."""

from __future__ import annotations

from agentr_lite.agent.boundary import environment_boundary
from agentr_lite.agent.turns import REFLECT
from agentr_lite.core.errors import UsageError
from agentr_lite.core.gbnf import FROM_ENVIRONMENT, check_grammar
from agentr_lite.envs.base import Environment

_TURN = f"""\
root ::= "Thought: " thought "\\nAction: " (action | reflect)
thought ::= [^\\n]+
reflect ::= "{REFLECT}"
"""


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
            hint="Set agent.grammar to a GBNF file, or to '' for none.",
        )
    text = f"{_TURN}{rules.strip()}\n"
    check_grammar(text, origin=f"of environment '{env.name}'")
    return text
