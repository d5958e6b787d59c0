"""An episode's state between two turns: where to go on from, and what the next turn may be."""

from __future__ import annotations

from dataclasses import dataclass

from agentr_lite.agent.boundary import environment_boundary
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.envs.base import Environment, Snapshot


@dataclass(frozen=True, slots=True)
class State:
    """A state of an environment from which an episode can go on."""

    snapshot: Snapshot
    grammar: str
    """GBNF that the next turn follows; empty: any turn."""


def take_state(env: Environment, grammar: TurnGrammar) -> State:
    """The environment's state now.

    Args:
        env: between two turns of an episode.
        grammar: of the agent's turns in ``env``.

    Raises:
        EnvironmentFault: the environment's code raised, or listed actions that are none.
    """
    with environment_boundary(env, "snapshot()"):
        snapshot = env.snapshot()
    return State(snapshot, grammar.next_turn())


def enter_state(env: Environment, state: State) -> None:
    """Bring the environment back to a state.

    Raises:
        EnvironmentFault: the environment's code raised.
    """
    with environment_boundary(env, "restore()"):
        env.restore(state.snapshot)
