"""The possible and the winning commands of a game, computed from its events on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textworld.generator.game import GameProgression

_LONGEST = 500


class Story:
    """The logic of one game.

    Args:
        path: the ``.json`` file beside the story file.
    """

    def __init__(self, path: Path) -> None:
        import textworld
        from textworld.generator.inform7 import Inform7Game

        self._game = textworld.Game.load(str(path))
        self._inform = Inform7Game(self._game)
        self.objective: str = self._game.objective
        self.max_score: int = self._game.max_score

    def valid_commands(self, events: Sequence[str]) -> list[str]:
        """The commands that change or show something now, sorted.

        Args:
            events: all events so far, in Inform's words.
        """
        actions = self._after(events).valid_actions
        return sorted(set(self._inform.gen_commands_from_actions(actions)))

    def plan(self, events: Sequence[str]) -> list[str]:
        """The commands that win from here on; empty if the game is over or lost."""
        progression = self._after(events)
        commands: list[str] = []
        # One at a time, because the rest of a policy changes with the earlier commands.
        while (policy := progression.winning_policy) and len(commands) < _LONGEST:
            commands += self._inform.gen_commands_from_actions(policy[:1])
            progression.update(policy[0])
        return commands

    def _after(self, events: Sequence[str]) -> GameProgression:
        from textworld.generator.game import GameProgression

        progression = GameProgression(self._game, track_quests=True)
        for event in events:
            action = self._inform.detect_action(event, progression.valid_actions)
            if action is not None:
                progression.update(action)
        return progression
