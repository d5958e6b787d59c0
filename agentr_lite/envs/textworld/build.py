"""Making games: each is made once, by another process, and kept.

Another process, because some of TextWorld's games depend on the order of Python's sets, and with
it on ``PYTHONHASHSEED``, which must be set before Python starts; and because making a game turns
random generators that the whole process shares. It stays for the next game: reading TextWorld's
grammars takes longer than making a game.
"""

from __future__ import annotations

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
    "TextWorld compiles with Inform 7, of which its package holds programs for some machines only;"
    " `tw-make custom --output /tmp/game.z8` tries it alone."
)


class Workshop:
    """Makes games and keeps them.

    Args:
        folder: where games are kept, each as a ``.z8`` file beside a ``.json`` file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maker: subprocess.Popen[str] | None = None
        self._complaints: IO[str] | None = None

    def game_file(self, payload: Mapping[str, Any]) -> Path:
        """A game's ``.z8`` file; made where it is not there yet, which takes seconds.

        Args:
            payload: ``game``, ``seed`` and ``settings`` of a task.

        Raises:
            EnvironmentFault: TextWorld could not make it.
        """
        key = json.dumps({**payload, "textworld": version("textworld")}, sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        target = self._folder / f"{payload['game']}-{payload['seed']}-{digest}.z8"
        if target.is_file():
            return target
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".making-") as bench:
            made = Path(bench, target.name)
            self._make(payload, made)
            # The story last: where it is, all is.
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
                # A file: nobody reads a pipe while games are made. Asked only when it dies.
                stderr=self._complaints,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                text=True,
                # Ctrl-C is for this process, which then closes the pipe.
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
            # Cut in the middle: the answer to this game must not be taken for the next one's.
            self.close()
            raise
        problem = json.loads(answer)["problem"] if answer else self._death()
        if problem or not target.is_file():
            raise EnvironmentFault(
                "textworld", f"cannot make a game: {problem or 'no file'}", hint=_HINT
            )

    def _death(self) -> str:
        """What is known of the end of the other process."""
        assert self._maker is not None and self._complaints is not None
        code = self._maker.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        self.close()
        last = f": {lines[-1].strip()}" if lines else ""
        return f"the process that makes it ended with code {code}{last}"


def make(payload: Mapping[str, Any], target: Path) -> None:
    """Make one game in this process.

    Args:
        payload: see ``Workshop.game_file``.
        target: ends in ``.z8``; a ``.json`` file of the same name comes with it.
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
    """One JSON line in, a game made, one JSON line out, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # Whatever TextWorld and its compiler print is no answer.
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
