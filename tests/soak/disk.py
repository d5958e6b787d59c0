"""A disk that gets full: a small one of its own where that can be had, else a limit on files."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.cases import BY_NAME, Case, Reference, beside, difference_from, reference
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running

FULL = (1, 4)
"""The exit codes of a full disk: of the database, or of another file."""
_NAMES = ("one environment", "two environments", "imitation", "bundled model")
_KIB = 1024
_ENOUGH = "64m"


@dataclass(frozen=True)
class Full:
    """A case on a disk that is too small.

    Attributes:
        case: the case.
        share: the disk's size, as a share of what the run writes.
        limit: whether a limit on each file's size stands in for the disk.
    """

    case: str
    share: float
    limit: bool


class Disk(Kind[Full]):
    """A full disk ends the run with a reason; with more space, it goes on."""

    name = "disk"
    share = 10

    def draw(self, rng: random.Random) -> Full:
        case = rng.choices(_NAMES, (6, 3, 3, 1))[0]
        return Full(case, rng.uniform(0.05, 1.1), rng.random() < 0.3)

    def check(self, scenario: Full, bench: Bench) -> Outcome:
        case = BY_NAME[scenario.case]
        whole = reference(case, bench)
        outcome = Outcome()
        place = bench.folder / "disk"
        size = max(64 * _KIB, round(scenario.share * _written(whole)))
        if scenario.limit or not can_mount():
            place.mkdir()
            self._fill(case, whole, bench, place, outcome, limit=size)
        else:
            with small_disk(place, size):
                self._fill(case, whole, bench, place, outcome, limit=None)
        return outcome

    def _fill(
        self,
        case: Case,
        whole: Reference,
        bench: Bench,
        place: Path,
        outcome: Outcome,
        *,
        limit: int | None,
    ) -> None:
        db = place / "runs.db"
        [step] = whole.steps

        def prepare() -> None:
            assert limit is not None
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        running = Running(
            case.command(step, db),
            program=case.program,
            folder=bench.folder,
            prepare=None if limit is None else prepare,
        )
        ended = running.ended()
        full = ended.code in FULL
        kind = "full disks" if limit is None else "limited files"
        outcome.counts[kind if full else "large enough"] += 1
        outcome.faults += ended.judged(*FULL, whole.codes[0])
        if full and "Error: " not in ended.err:
            outcome.faults.append(f"no error: {ended.err}")
        if outcome.faults:
            return
        if limit is None:
            _mount("-o", f"remount,size={_ENOUGH}", place)
        again = Running(case.command(step, db), program=case.program, folder=bench.folder).ended()
        outcome.faults += again.judged(whole.codes[0])
        if not outcome.faults:
            outcome.faults += difference_from(case, whole, db)


def _written(whole: Reference) -> int:
    folder = whole.db.with_name(whole.db.name + "-artifacts")
    files = [whole.db, *(path for path in folder.rglob("*") if path.is_file())]
    assert len(files) > len(beside(whole.db))
    return sum(path.stat().st_size for path in files)


def can_mount() -> bool:
    """Whether this process may have a disk of its own."""
    return os.geteuid() == 0 and shutil.which("mount") is not None and Path("/proc").is_dir()


@contextmanager
def small_disk(place: Path, size: int) -> Generator[None]:
    """A file system in memory.

    Args:
        place: where; is made.
        size: in bytes.
    """
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        with contextlib.suppress(OSError):
            place.rmdir()


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)
