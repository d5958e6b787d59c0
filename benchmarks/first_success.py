"""What helps a small instruct model to its first successes: docs/first-success.md.

    python -m benchmarks.first_success textcraft --model smollm2-135m
    python -m benchmarks.first_success jugs --model smollm2-135m

Each row is one `agentr-lite` command or two, as a user would type them, on the test tasks of
TextCraft, or of the README's example of an environment. Rows that are in the database are not
played again. The model has to be pulled before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tables

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "<!-- example: environment -->\n```python\n"


@dataclass(frozen=True)
class Row:
    """One way to help the model."""

    name: str
    settings: tuple[str, ...] = ()
    """Recipe keys, ``key=value``."""
    demonstrations: int = 0
    """How many the model imitates before it is evaluated."""


SHOWN = [
    Row("nothing"),
    Row("1 example", ("agent.examples=1",)),
    Row("2 examples", ("agent.examples=2",)),
    Row("4 examples", ("agent.examples=4",)),
]
IMITATED = [Row(f"imitation of {n}", demonstrations=n) for n in (50, 100, 200)]
GAMES: dict[str, tuple[list[str], list[Row]]] = {
    "textcraft": (
        ["textcraft", "--recipe", "smollm2-textcraft"],
        [
            *[Row(row.name, ("agent.brief=false", *row.settings)) for row in SHOWN],
            Row("grammar env", ("agent.brief=false", "agent.grammar=env")),
            Row(
                "grammar actions, 2 examples",
                ("agent.brief=false", "agent.grammar=actions", "agent.examples=2"),
            ),
            *IMITATED,
        ],
    ),
    "jugs": (
        ["jugs.py", "--recipe", "first-success"],
        [
            *SHOWN,
            Row("grammar actions", ("agent.grammar=actions",)),
            Row("grammar actions, 2 examples", ("agent.grammar=actions", "agent.examples=2")),
            *IMITATED,
        ],
    ),
}
"""The words after ``agentr-lite eval``, and the rows."""


def main() -> None:
    """Play the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("game", choices=sorted(GAMES))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "first-success")
    parser.add_argument("--tasks", type=int, default=0, help="evenly spaced; 0 = all")
    parser.add_argument("--max-steps", type=int, default=14)
    parser.add_argument("--only", default="", help="rows whose names match this pattern")
    parser.add_argument("--set", action="append", default=[], help="more recipe keys, key=value")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    readme = (ROOT / "README.md").read_text("utf-8")
    (options.work / "jugs.py").write_text(readme.partition(BEFORE)[2].partition("```")[0])
    words, rows = GAMES[options.game]
    tables.warn_if_busy()
    tables.begin("", ["help", "n", "success", "valid actions", "repeated steps", "minutes"])
    for row in rows:
        if re.search(options.only, row.name):
            tables.row(_cells(row, words, options))


def _cells(row: Row, words: Sequence[str], options: argparse.Namespace) -> list[str]:
    keys = [
        "eval.recovery=false",
        f"eval.tasks={options.tasks}",
        f"eval.max_steps={options.max_steps}",
        f"imitation.tasks={row.demonstrations}",
        *row.settings,
        *options.set,
    ]
    chosen = [*words, "--model", options.model, *(word for key in keys for word in ("--set", key))]
    digest = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:12]
    database, played = (options.work / f"{digest}.{kind}" for kind in ("db", "json"))
    if not played.exists():
        played.write_text(json.dumps(_play(row, chosen, database, options.work)))
    minutes, figures = json.loads(played.read_text())
    success = figures["success"]
    return [
        row.name,
        str(success["n"]),
        f"{success['value']:.1%} ({success['low']:.1%} to {success['high']:.1%})",
        _share(figures["valid_actions"]),
        _share(figures["repeated_share"]),
        f"{minutes:.1f}",
    ]


def _play(
    row: Row, chosen: list[str], database: Path, folder: Path
) -> tuple[float, dict[str, Any]]:
    """Minutes that the row took, and the figures of its greedy episodes."""
    database.unlink(missing_ok=True)
    began = time.monotonic()
    if row.demonstrations:
        run = _run(folder, "imitate", *chosen, "-d", str(database))["run"]
        chosen = [run, "--round", "0"]
    evaluated = _run(folder, "eval", *chosen, "-d", str(database))
    return (time.monotonic() - began) / 60, evaluated["evals"]["greedy"]


def _share(value: Any) -> str:
    return "–" if value is None else f"{value:.1%}"


def _run(folder: Path, verb: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "agentr_lite", verb, *arguments, "--json"]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {result.returncode}: {result.stdout}")
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


if __name__ == "__main__":
    main()
