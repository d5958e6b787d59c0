"""Where the processes of a training run: ``train.workers`` and ``train.hosts``."""

from __future__ import annotations

import shlex
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite import __version__
from agentr_lite.core.child import module_command
from agentr_lite.core.errors import RecipeError, UsageError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.text_files import read_text
from agentr_lite.recipe.groups import TrainSettings

HERE = "127.0.0.1"
"""``mlx.launch`` starts a process of this name without ssh."""
_ANSWER_S = 60.0
_EXAMPLE = f'[{{"ssh": "{HERE}", "ips": ["192.168.1.10"]}}, {{"ssh": "box2", "ips": ["…"]}}]'


@dataclass(frozen=True)
class Hosts:
    """The machines of a training."""

    names: Sequence[str]
    """Of each process's machine, as ssh knows it; the first one is this machine."""
    path: Path | None = None
    """The file that says so; None: all processes are on this machine."""

    @property
    def count(self) -> int:
        """Number of processes."""
        return len(self.names)

    @property
    def machines(self) -> int:
        """Number of machines."""
        return len(set(self.names))

    @property
    def elsewhere(self) -> list[int]:
        """Processes on other machines, from 0."""
        return [rank for rank, name in enumerate(self.names) if name != HERE]

    @property
    def here(self) -> int:
        """Number of processes on this machine."""
        return Counter(self.names)[HERE]

    def to_words(self) -> str:
        """E.g. ``2 processes on this machine, 1 on box2``."""
        counts = Counter(self.names)
        here = counts.pop(HERE)
        first = f"{here} process{'es'[: 2 * (here != 1)]} on this machine"
        return ", ".join([first, *(f"{count} on {name}" for name, count in counts.items())])


def training_hosts(settings: TrainSettings) -> Hosts:
    """The machines that the settings name.

    Args:
        settings: ``workers``, ``hosts``.

    Raises:
        RecipeError: the file cannot be read, is no such list, does not begin with this machine, or
            has another number of processes.
    """
    if not settings.hosts:
        return Hosts([HERE] * settings.workers)
    path = Path(settings.hosts).expanduser()
    try:
        names = _names(load_json(read_text(path)))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"cannot use the machines in train.hosts={settings.hosts}: {error}",
            hint=f"It is a JSON file like {_EXAMPLE}.",
        ) from error
    if settings.workers not in (1, len(names)):
        raise RecipeError(
            f"train.workers is {settings.workers}, but {settings.hosts} has {len(names)} processes",
            hint="Set only train.hosts; a machine may be named more than once in it.",
        )
    return Hosts(names, path)


def check_reachable(hosts: Hosts) -> None:
    """Ask the other machines whether this program is there, in this version.

    Raises:
        UsageError: ssh does not get there without a question, or the program is not there.
    """
    for name in dict.fromkeys(each for each in hosts.names if each != HERE):
        there = shlex.join(module_command("agentr_lite.train.hosts"))
        try:
            done = subprocess.run(
                ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", name, there],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ANSWER_S,
                check=False,
            )
            version, why = done.stdout.strip(), " ".join(done.stderr.split())
        except (OSError, subprocess.TimeoutExpired) as error:
            version, why = "", str(error)
        if version != __version__:
            raise UsageError(
                f"{name} in train.hosts cannot train: "
                + (f"it has agentr-lite {version}, not {__version__}" if version else why),
                hint=f"`ssh {name}` must not ask for a password, and agentr-lite must be installed"
                " there in the same folder as here.",
            )


def main() -> None:
    """Print the version, for ``check_reachable`` on another machine."""
    print(__version__)


def _names(data: Any) -> list[str]:
    """
    Raises:
        ValueError: no list of machines.
    """
    rows = data.get("hosts") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise ValueError("it has no list of machines")
    for number, row in enumerate(rows, start=1):
        name = row.get("ssh") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name or name.startswith("-"):
            raise ValueError(f"machine {number} has no name in 'ssh'")
        ips = row.get("ips")
        if not isinstance(ips, list) or not ips or not all(isinstance(ip, str) for ip in ips):
            raise ValueError(f"machine {number} has no addresses in 'ips'")
    if rows[0]["ssh"] != HERE:
        raise ValueError(f'machine 1 must be this one, with "ssh": "{HERE}"')
    return [row["ssh"] for row in rows]
