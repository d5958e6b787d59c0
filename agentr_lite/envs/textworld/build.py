"""Generates games: each is made once, by another process, and kept.

Another process is needed because some of TextWorld's games depend on the order of Python's sets and
thus on ``PYTHONHASHSEED``, which must be set before Python starts; and because making a game uses
random generators that the whole process shares. The process is kept for the next game, because
reading TextWorld's grammars takes longer than making a game.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from agentr_lite.core.errors import EnvironmentFault

_CHALLENGES = {
    "cooking": "tw-cooking",
    "coins": "tw-coin_collector",
    "treasure": "tw-treasure_hunter",
}
_HINT = (
    "TextWorld compiles with Inform 7, and its package has programs for some machines only."
    " `tw-make custom --output /tmp/game.z8` tests TextWorld alone."
)


class Workshop:
    """Makes games and keeps them.

    Args:
        folder: the folder for the games; each is a ``.z8`` file beside a ``.json`` file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maker: subprocess.Popen[str] | None = None
        self._complaints: IO[str] | None = None

    def game_file(self, payload: Mapping[str, Any]) -> Path:
        """A game's ``.z8`` file; if it does not exist, it is made, which takes seconds.

        Args:
            payload: ``game``, ``seed`` and ``settings`` of a task.

        Raises:
            EnvironmentFault: TextWorld could not make it.
        """
        key = json.dumps({**payload, "textworld": _version()}, sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        target = self._folder / f"{payload['game']}-{payload['seed']}-{digest}.z8"
        if target.is_file():
            return target
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".making-") as bench:
            made = Path(bench, target.name)
            self._make(payload, made)
            # The story file comes last: if it exists, both files are complete.
            for suffix in (".json", ".z8"):
                made.with_suffix(suffix).replace(target.with_suffix(suffix))
        return target

    def close(self) -> None:
        """End the other process, if there is one."""
        maker, self._maker = self._maker, None
        if maker is not None:
            maker.kill()
            maker.communicate()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def _make(self, payload: Mapping[str, Any], target: Path) -> None:
        if self._maker is None:
            self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
            self._maker = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Errors go to a file, because nobody reads a pipe while games are made.
                stderr=self._complaints,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                text=True,
                # Only this process handles Ctrl-C; it then closes the pipe.
                start_new_session=True,
            )
        maker = self._maker
        assert maker.stdin is not None and maker.stdout is not None
        try:
            maker.stdin.write(json.dumps({"payload": payload, "target": str(target)}) + "\n")
            maker.stdin.flush()
            answer = maker.stdout.readline()
        except BrokenPipeError:
            answer = ""
        except BaseException:
            # After an interruption, this game's answer must not be read as the next one's.
            self.close()
            raise
        problem = json.loads(answer)["problem"] if answer else self._death()
        if problem or not target.is_file():
            raise EnvironmentFault(
                "textworld", f"cannot make a game: {problem or 'no file'}", hint=_HINT
            )

    def _death(self) -> str:
        """How the other process ended, as far as it is known."""
        assert self._maker is not None and self._complaints is not None
        code = self._maker.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        self.close()
        last = f": {lines[-1].strip()}" if lines else ""
        return f"the process that makes it ended with code {code}{last}"


@functools.cache
def _version() -> str:
    return version("textworld")


def make(payload: Mapping[str, Any], target: Path) -> None:
    """Make one game in this process.

    Args:
        payload: see ``Workshop.game_file``.
        target: ends in ``.z8``; a ``.json`` file of the same name is written beside it.
    """
    import textworld
    from textworld.challenges import CHALLENGES
    from textworld.generator import compile_game, make_game

    options = textworld.GameOptions()
    options.seeds = payload["seed"]
    settings = payload["settings"]
    if challenge := _CHALLENGES.get(payload["game"]):
        game = CHALLENGES[challenge][1](settings, options)
    else:
        options.nb_rooms, options.nb_objects = settings["rooms"], settings["objects"]
        options.quest_length = settings["length"]
        game = make_game(options)
    options.path = str(target)
    compile_game(game, options)


def _serve() -> None:
    """Read requests, make games and write answers, one JSON line each, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # The output of TextWorld and its compiler must not be mixed with the answers.
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        problem = ""
        try:
            make(request["payload"], Path(request["target"]))
        except Exception as error:  # the other process tells whose fault it was
            problem = f"{type(error).__name__}: {error}"
        answers.write(json.dumps({"problem": problem}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
