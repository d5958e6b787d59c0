"""Small runs to disturb, and what each leaves behind where nothing disturbs it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agentr_lite.store import Store
from agentr_lite.store.demonstrations import list_demonstrations
from agentr_lite.store.runs import list_runs
from agentr_lite.store.splices import list_adapters
from tests.soak.kind import Bench
from tests.soak.program import Running
from tests.support import loop_case, study_case

TWO = """
env:
  hall: {share: 2, search: {depth: 7, simulations: 3}, eval: {max_steps: 6}}
  corridor: {}
"""
_REAL = [
    *("search.tasks=4", "search.simulations=3", "search.wave=2", "search.depth=8", "rounds=1"),
    *("eval.tasks=3", "eval.max_steps=5", "eval.recovery_steps=2", "eval.batch=1", "train.eta=1"),
    *("train.batch_size=2", "splice.alpha=0.3"),
]


@dataclass(frozen=True)
class Step:
    """A command of a case: how it begins, and how it goes on after it was cut."""

    begin: tuple[str, ...]
    resume: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A small run.

    Attributes:
        name: for people.
        cast: what stands in for the real parts; see ``stand_in``.
        steps: makes its commands, from a file that ``write`` made.
        write: writes the recipe or the study into a folder and gives its path.
        stored: everything that matters in its database.
    """

    name: str
    cast: str
    steps: Callable[[Path], list[Step]]
    write: Callable[[Path], Path]
    stored: Callable[[Path], list[str]]

    def command(self, step: Step, db: Path) -> list[str]:
        """The next command of a step that may have been cut: the database says which."""
        words = step.resume if _has_runs(db) else step.begin
        more = ["--out", str(db.parent / "out")] if words[0] == "study" else []
        return [*words, *more, "-d", str(db)]

    @property
    def program(self) -> tuple[str, ...]:
        """What comes before the arguments."""
        return ("-m", "tests.soak.stand_in", self.cast)


@dataclass(frozen=True)
class Reference:
    """A case that nothing disturbed.

    Attributes:
        file: its recipe or study.
        steps: its commands.
        db: its database.
        codes: the exit code of each command.
        seconds: how long each worked, without Python's start.
        statements: how many SQL statements each executed.
        stored: what ``Case.stored`` gave.
        files: what lies beside the database.
    """

    file: Path
    steps: list[Step]
    db: Path
    codes: list[int]
    seconds: list[float]
    statements: list[int]
    stored: list[str]
    files: list[str]


def reference(case: Case, bench: Bench) -> Reference:
    """The case's reference; made at the first call, compared twice.

    Raises:
        RuntimeError: a command failed, or the case is not the same twice.
    """
    made: Reference = bench.once(f"reference {case.name}", lambda: _make_reference(case, bench))
    return made


def _make_reference(case: Case, bench: Bench) -> Reference:
    folder = bench.shared / "references" / case.name.replace(" ", "-")
    file = case.write(folder / "case")
    steps = case.steps(file)
    first = _play(case, file, steps, folder / "first")
    second = _play(case, file, steps, folder / "second")
    if difference := first_difference(first.stored, second.stored):
        raise RuntimeError(f"{case.name} is not the same twice: {difference}")
    # The second finds the machine's files in memory, as the trials do.
    return second


def _play(case: Case, file: Path, steps: list[Step], folder: Path) -> Reference:
    db = folder / "runs.db"
    codes, seconds, statements = [], [], []
    for number, step in enumerate(steps):
        count = folder / f"{number}.count"
        running = Running(
            case.command(step, db),
            program=case.program,
            folder=folder,
            env={"AGENTR_LITE_SOAK_COUNT": str(count)},
        )
        running.wait_until_ready()
        began = time.monotonic()
        ended = running.ended()
        seconds.append(time.monotonic() - began)
        if faults := ended.judged(0, 5):
            raise RuntimeError(f"{case.name} without any fault: {faults[0]}")
        codes.append(ended.code)
        statements.append(int(count.read_text()))
    return Reference(file, steps, db, codes, seconds, statements, case.stored(db), beside(db))


def difference_from(case: Case, whole: Reference, db: Path) -> list[str]:
    """What a disturbed database holds that the reference does not, and the other way round.

    Args:
        case: the case.
        whole: its reference.
        db: the database of a trial whose commands have all come to their end.
    """
    faults = []
    with closing(sqlite3.connect(db)) as conn:
        checked = [row[0] for row in conn.execute("PRAGMA integrity_check")]
        orphans = list(conn.execute("PRAGMA foreign_key_check"))
    if checked != ["ok"] or orphans:
        faults.append(f"the database is not sound: {checked[:3]}, {orphans[:3]}")
    if difference := first_difference(whole.stored, case.stored(db)):
        faults.append(f"not what an uninterrupted run stores: {difference}")
    if (files := beside(db)) != whole.files:
        faults.append(f"files beside the database: {files}, not {whole.files}")
    return faults


def first_difference(expected: Sequence[str], found: Sequence[str]) -> str:
    """The first row in which two lists differ; empty: in none."""
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other:
            at = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            start = max(0, at - 60)
            return (
                f"row {number} from character {at}:"
                f" expected …{one[start : at + 120]}…, found …{other[start : at + 120]}…"
            )
    if len(expected) != len(found):
        longer = expected if len(expected) > len(found) else found
        row = longer[min(len(expected), len(found))]
        return f"{len(expected)} rows expected, {len(found)} found; the first alone: {row[:180]}"
    return ""


def beside(db: Path) -> list[str]:
    """The files of a database's artifacts, without the runs' ids."""
    folder = db.with_name(db.name + "-artifacts")
    return sorted(
        "/".join(path.relative_to(folder).parts[1:]) for path in folder.rglob("*") if path.is_file()
    )


def stored_by_run(db: Path) -> list[str]:
    """Everything that the newest run stored, and the bytes of its adapters."""
    return [*loop_case.contents(db), *_adapters(db)]


def _adapters(db: Path) -> list[str]:
    with Store.open(db, create=False, read_only=True) as store:
        files = [
            (run.recipe["name"], run.seed, adapter.round, adapter.gguf_path)
            for run in list_runs(store)
            for adapter in list_adapters(store, run.id)
        ]
    return sorted(
        json.dumps([*of, hashlib.sha256(Path(path).read_bytes()).hexdigest()])
        for *of, path in files
    )


def _stored_by_real_run(db: Path) -> list[str]:
    """As ``stored_by_run``, without what a cold cache and a clock change."""
    rows = []
    for row in map(json.loads, stored_by_run(db)):
        # (round, stage, finished, usage, summary)
        if isinstance(row, list) and len(row) == 5 and isinstance(row[2], bool):
            row = [*row[:3], {key: row[4][key] for key in row[4] if key not in _OF_THE_CLOCK}]
        rows.append(json.dumps(row))
    return rows


_OF_THE_CLOCK = ("seconds", "tokens_per_second", "peak_memory_bytes")


def _stored_by_study(db: Path) -> list[str]:
    rows = [
        f"{name}: {json.dumps(row)}"
        for name, rows in sorted(study_case.contents(db).items())
        for row in study_case.without_usage(rows)
    ]
    return [*rows, *_adapters(db)]


def _stored_demonstrations(db: Path) -> list[str]:
    with Store.open(db, create=False, read_only=True) as store:
        return [
            json.dumps(
                [row.task.name, row.source, row.reward, list(map(dataclasses.asdict, row.steps))]
            )
            for row in list_demonstrations(store, split=None)
        ]


def _has_runs(db: Path) -> bool:
    if not db.exists():
        return False
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)) as conn:
        try:
            return bool(conn.execute("SELECT count(*) FROM runs").fetchone()[0])
        except sqlite3.OperationalError as error:
            # Cut before the tables were there.
            if "no such table" not in str(error):
                raise
            return False


def _write_two(folder: Path) -> Path:
    path = loop_case.write_recipe(folder)
    text = path.read_text().replace("env: corridor\n", TWO)
    path.write_text(text.replace("tasks: 5", "tasks: 6"))
    return path


def _write_imitation(folder: Path) -> Path:
    return loop_case.write_recipe(folder, loop_case.IMITATION)


def _write_real(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _loop(file: Path) -> list[Step]:
    return [Step(("run", str(file)), ("run", "--resume", "latest"))]


def _stages(file: Path) -> list[Step]:
    evaluation = ("eval", "latest", "--round", "1")
    again = [("splice", "latest"), ("train", "latest", "--round", "1")]
    return [
        Step(("search", str(file)), ("search", "latest", "--round", "1")),
        *(Step(words, words) for words in again),
        Step(("eval", "latest", "--round", "0"), ("eval", "latest", "--round", "0")),
        Step(evaluation, evaluation),
    ]


def _imitation_stages(file: Path) -> list[Step]:
    search = ("search", "latest", "--round", "1")
    return [Step(("imitate", str(file)), ("imitate", "latest")), Step(search, search)]


def _study(jobs: int) -> Callable[[Path], list[Step]]:
    def steps(file: Path) -> list[Step]:
        words = ("study", str(file), "--jobs", str(jobs))
        return [Step(words, words)]

    return steps


def _demos(file: Path) -> list[Step]:
    solved = ("demos", "make", "corridor")
    played = ("demos", "make", str(file), "--model", "starter", "--attempts", "3", "--seed", "5")
    return [Step(solved, solved), Step(played, played)]


def _real(file: Path) -> list[Step]:
    sets = [word for key in _REAL for word in ("--set", key)]
    begin = ("run", "textcraft", "--recipe", "smoke", *sets)
    return [Step(begin, ("run", "--resume", "latest"))]


ONE = Case("one environment", "corridor", _loop, loop_case.write_recipe, stored_by_run)
CASES: tuple[tuple[Case, int], ...] = (
    (ONE, 6),
    (Case("two environments", "corridor", _loop, _write_two, stored_by_run), 5),
    (Case("imitation", "corridor", _loop, _write_imitation, stored_by_run), 2),
    (Case("stages", "corridor", _stages, loop_case.write_recipe, stored_by_run), 4),
    (Case("imitate", "corridor", _imitation_stages, _write_imitation, stored_by_run), 2),
    (Case("study", "corridor", _study(1), study_case.write_study, _stored_by_study), 2),
    (
        Case("study in processes", "corridor", _study(2), study_case.write_study, _stored_by_study),
        2,
    ),
    (Case("demonstrations", "corridor", _demos, loop_case.write_recipe, _stored_demonstrations), 2),
    (Case("bundled model", "nothing", _real, _write_real, _stored_by_real_run), 1),
)
"""The cases, and how often each is drawn."""
BY_NAME = {case.name: case for case, _ in CASES}
