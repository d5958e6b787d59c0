"""Copying runs into another database, with their adapters: to save, to share, to bring together."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.core.errors import StoreError, UsageError
from agentr_lite.runs.claim import LOCK_FILE

if TYPE_CHECKING:
    from agentr_lite.store import Store


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was copied from one database into another."""

    copied: Sequence[str]
    """Ids of the runs that are new there."""
    known: Sequence[str]
    """Ids of the runs that were there already, with the same content."""
    left_out: Sequence[str]
    """Ids of the runs that are damaged."""
    demonstrations: int
    """New demonstrations besides those that the runs learned from."""
    missing: Sequence[str] = ()
    """Files of adapters that were not found."""


def transfer(
    source: Path, target: Path, runs: Sequence[str] = (), *, leave_out: Collection[str] = ()
) -> Transferred:
    """Copy runs into another database, which is made where there is none.

    Nothing is copied unless all can be. Repeated, it changes nothing.

    Args:
        source: the database that holds the runs.
        target: the database that is to hold them, too.
        runs: as in ``get_run``; none: all sound runs, and the demonstrations.
        leave_out: ids of runs that the target has in another form; they count as known.

    Raises:
        UsageError: no such run; the two files are the same; the target holds something else under
            the same name.
        StoreError: a named run is damaged, there is no sound run, or the target cannot be written.
    """
    from agentr_lite.runs.condition import condition_of, opened_to_save
    from agentr_lite.runs.refused import opened_for_work
    from agentr_lite.store.runs import get_run
    from agentr_lite.store.transfer import copy_demonstrations, copy_run

    if source.resolve() == target.resolve():
        raise UsageError(f"{target} is the database itself", hint="Name another file.")
    with opened_to_save(source) as store:
        named = list(dict.fromkeys(get_run(store, run).id for run in runs))
        condition = condition_of(store)
        for run_id in named:
            if damage := condition.runs.get(run_id):
                raise StoreError(
                    f"run {run_id} is damaged: {damage[0].what}",
                    hint="Without a RUN, all sound runs are copied.",
                )
        if not named and condition.runs and not condition.sound:
            raise StoreError(
                f"no run of {source} is sound", hint="`agentr-lite doctor` says what is damaged."
            )
        chosen = [run_id for run_id in named or condition.sound if run_id not in leave_out]
        copied, missing, added = [], [], 0
        made: list[Path] = []
        try:
            with opened_for_work(target) as other, other.atomic():
                for run_id in chosen:
                    if copy_run(store, other, run_id):
                        copied.append(run_id)
                        missing += _copy_files(store, other, run_id, made)
                if not named and not any("demonstration" in d.what for d in condition.shared):
                    added = copy_demonstrations(store, other)
        except BaseException:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    known = [*leave_out, *(run_id for run_id in chosen if run_id not in copied)]
    left_out = [] if named else condition.damaged
    return Transferred(copied, known, left_out, added, missing)


def _copy_files(source: Store, target: Store, run_id: str, made: list[Path]) -> list[str]:
    """Copy the folder with a run's adapters; returns what is not there.

    Args:
        source: holds the run.
        target: holds it now; its rows get the new paths.
        run_id: the run.
        made: the new folder is added, so that it can be removed again.
    """
    from agentr_lite.core.config import artifacts_dir
    from agentr_lite.store.splices import list_adapters
    from agentr_lite.store.transfer import set_adapter_paths

    old, new = (artifacts_dir(store.path, run_id) for store in (source, target))
    if old.is_dir():
        if not new.exists():
            made.append(new)
        shutil.copytree(
            old, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCK_FILE), symlinks=True
        )
    paths: dict[int, tuple[str, str]] = {}
    missing = []
    for adapter in list_adapters(source, run_id):
        # By the folder's name: the database may have been moved with its files.
        name = Path(adapter.mlx_dir).name or Path(adapter.gguf_path).parent.name
        gguf = Path(adapter.gguf_path).name
        if name and (new / name).is_dir():
            paths[adapter.round] = (
                str(new / name) if adapter.mlx_dir else "",
                str(new / name / gguf) if gguf else "",
            )
        else:
            place = adapter.gguf_path or adapter.mlx_dir
            missing += [] if Path(place).exists() else [place]
    set_adapter_paths(target, run_id, paths)
    return missing
