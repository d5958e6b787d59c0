"""One running game: TextWorld's PDDL engine with ALFWorld's names of things, and its expert.

Source: alfworld, ``agents/environment/alfred_tw_env.py`` for how its wrappers and its expert are
used; microsoft/TextWorld, ``textworld/envs/pddl``.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, NamedTuple

_LONGEST = 200
"""Steps after which the expert gives up; ALFWorld's own number."""
NOTHING = "Nothing happens."
"""The answer to a command that is not understood or not possible."""


class Frame(NamedTuple):
    """What a game shows after a command."""

    text: str
    commands: list[str]
    """The commands that are possible now."""
    won: bool


class Engine:
    """A game, whose state cannot be stored as data.

    Args:
        path: a ``.tw-pddl`` file.
        facts: whether the expert will need the facts of every state.
    """

    def __init__(self, path: Path, *, facts: bool = False) -> None:
        import textworld

        # Without it, the import of alfworld makes a directory in the user's home.
        os.environ.setdefault("ALFWORLD_DATA", str(path.parent))
        self._path = path
        infos = textworld.EnvInfos(won=True, admissible_commands=True, facts=facts)
        self._game = textworld.start(str(path), infos, wrappers=[_naming_wrapper()])

    def start(self) -> Frame:
        """Begin the game anew."""
        state = self._game.reset()
        # The title comes first, with an empty line after it; upstream's agents do not see it.
        _, _, text = state.feedback.partition("\n\n")
        return _frame(state, text.replace("\n\n", "\n"))

    def send(self, command: str) -> Frame:
        """Carry out one command."""
        state, _, _ = self._game.step(command)
        return _frame(state, state.feedback)

    def solution(self) -> list[str] | None:
        """The commands of ALFWorld's handcoded expert; None if it does not win.

        The game is played; the engine must have been made with ``facts``.
        """
        from alfworld.agents.expert import HandCodedAgentTimeout, HandCodedTWAgent

        expert = HandCodedTWAgent(max_steps=_LONGEST)
        expert.reset(str(self._path))
        state = self._game.reset()
        expert.observe(state["feedback"])
        # Where it does not know on, the expert tries something at random.
        before = random.getstate()
        random.seed(0)
        try:
            commands = ["look"]
            state, _, over = self._game.step("look")
            while not over and len(commands) < _LONGEST:
                command = expert.act(state, 0, state["won"], commands[-1])
                if command not in state["admissible_commands"]:
                    command = "look"
                commands.append(command)
                state, _, over = self._game.step(command)
        except HandCodedAgentTimeout:
            return None
        finally:
            random.setstate(before)
        return commands if state["won"] else None

    def close(self) -> None:
        """Close the game."""
        self._game.close()


def _frame(state: Any, text: str) -> Frame:
    return Frame(text.strip(), list(state["admissible_commands"]), bool(state["won"]))


def _naming_wrapper() -> Any:
    """Gives things their names in words, e.g. ``mug 1``, as ALFWorld's own wrapper does.

    That wrapper's module imports packages which alfworld does not require, so it is not used.
    """
    import textworld
    from alfworld.agents.utils.misc import Demangler

    class Names(textworld.core.Wrapper):
        def load(self, *args: Any, **kwargs: Any) -> None:
            super().load(*args, **kwargs)
            names = Demangler(game_infos=self._entity_infos, shuffle=False)
            for info in self._entity_infos.values():
                info.name = names.demangle_alfred_name(info.id)

    return Names()
