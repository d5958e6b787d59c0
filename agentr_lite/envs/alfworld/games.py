"""The games in a directory: which there are, of which kind, and in which split.

ALFWorld's own data lie in this form (``alfworld-download`` fetches them)::

    json_2.1.1/train/pick_and_place_simple-Mug-None-Desk-308/trial_T2019.../game.tw-pddl
    json_2.1.1/valid_seen/...
    json_2.1.1/valid_unseen/...

Source: alfworld, ``agents/environment/alfred_tw_env.py``, for which games count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task

GAME = "game.tw-pddl"
FACTS = "traj_data.json"
"""Beside a game: its kind, and what the expert needs."""
KINDS = {
    "pick_and_place_simple": 1,
    "look_at_obj_in_light": 2,
    "pick_clean_then_place_in_recep": 3,
    "pick_heat_then_place_in_recep": 4,
    "pick_cool_then_place_in_recep": 5,
    "pick_two_obj_and_place": 6,
}
"""Kinds of tasks and ALFWorld's numbers of them, which are our levels."""
FOLDERS = {"train": "train", "dev": "valid_seen", "test": "valid_unseen"}
"""Our splits and ALFWorld's folders."""
_DATA = "json_2.1.1"
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*(true|false)')
_TASK = re.compile(r"Your task is to: ([^\n\"]*?)\.?\s*[\n\"]")


def chosen_kinds(text: str) -> frozenset[str]:
    """Kinds from their numbers or names, comma-separated; empty: all.

    Raises:
        UsageError: there is no such kind.
    """
    by_number = {str(number): kind for kind, number in KINDS.items()}
    chosen = set()
    for part in (part.strip() for part in text.split(",") if part.strip()):
        kind = by_number.get(part, part)
        if kind not in KINDS:
            raise UsageError(
                f"alfworld: there is no kind of task '{part}'",
                hint=f"Kinds: {', '.join(f'{number} {kind}' for kind, number in KINDS.items())}.",
            )
        chosen.add(kind)
    return frozenset(chosen or KINDS)


class Games:
    """The games of one directory.

    If it has ALFWorld's folders, these are the splits. Otherwise all games in it are split: the
    first 60 % are train, the next 10 % dev, the rest test, in the order of their names.

    Args:
        folder: the directory.
        kinds: the kinds of tasks to keep.

    Raises:
        UsageError: there is no such directory.
    """

    def __init__(self, folder: Path, kinds: Collection[str]) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"alfworld: there is no directory {folder}",
                hint="`alfworld-download` fetches the games; -o games_dir=DIR names another"
                " directory of .tw-pddl games.",
            )
        self._kinds = kinds
        self._root = folder / _DATA if (folder / _DATA).is_dir() else folder
        self._has_folders = any((self._root / name).is_dir() for name in FOLDERS.values())
        self._files: dict[str, list[Path]] = {}

    def tasks(self, split: str) -> list[Task]:
        """The split's games. Their files are read, to leave out those that cannot be solved.

        Raises:
            UsageError: a game's facts cannot be read.
        """
        return [self._task(path, split) for path in self._of(split)]

    def path(self, task: Task) -> Path:
        """The file of a task's game.

        Raises:
            UsageError: the task is not of this environment.
        """
        path = task.payload.get("game")
        if not isinstance(path, str):
            raise UsageError(f"alfworld: '{task.name}' is no task of ALFWorld")
        return self._root / path

    def _of(self, split: str) -> list[Path]:
        if split not in self._files:
            if self._has_folders:
                self._files[split] = self._found(self._root / FOLDERS[split])
            else:
                found = self._found(self._root)
                train, dev = len(found) * 6 // 10, len(found) * 7 // 10
                self._files = {
                    "train": found[:train],
                    "dev": found[train:dev],
                    "test": found[dev:],
                }
        return self._files[split]

    def _found(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.rglob("*.tw-pddl") if self._is_wanted(path))

    def _is_wanted(self, path: Path) -> bool:
        where = str(path.relative_to(self._root).parent)
        if "movable" in where or "Sliced" in where:
            # The text games lack what these tasks need.
            return False
        if _kind(path) not in self._kinds:
            return False
        said = _SOLVABLE.search(path.read_bytes())
        return said is not None and said[1] == b"true"

    def _task(self, path: Path, split: str) -> Task:
        kind = _kind(path)
        relative = path.relative_to(self._root)
        folder = self._root / FOLDERS[split] if self._has_folders else self._root
        name = path.relative_to(folder).parent.as_posix()
        goal = _TASK.search(json.loads(path.read_text("utf-8"))["grammar"].replace("\\n", "\n"))
        return Task(
            # A game that lies in the directory itself is called after its file.
            path.stem if name == "." else name,
            split,
            goal[1] if goal else kind.replace("_", " "),
            KINDS[kind],
            {"game": relative.as_posix()},
        )


def _kind(path: Path) -> str:
    """The kind of a game's task; empty if nothing tells it."""
    facts = path.parent / FACTS
    if not facts.is_file():
        return ""
    try:
        kind = json.loads(facts.read_text("utf-8"))["task_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"alfworld: cannot read {facts}: {error}") from error
    return kind if isinstance(kind, str) else ""
