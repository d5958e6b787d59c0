"""Can this machine and installation run the whole loop?"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentr_lite.core.errors import AgentrError

Status = Literal["ok", "warning", "failed"]

_PACKAGES = ("llama-cpp-python", "gguf", "jinja2", "numpy", "click", "pyyaml", "sqlite-utils")
_TRAINING = ("mlx", "mlx-lm")
_SCREEN = ("textual",)
_LITTLE_MEMORY_BYTES = 2 << 30
_LITTLE_DISK_BYTES = 1 << 30
_MOST_LINES = 10
"""Findings that are shown of the file, and of each run."""
_OTHER = "Choose another place: --db FILE or AGENTR_LITE_HOME."
OF_DATABASE = ("database", "damage", "run ")
"""How the names of checks of the database begin."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    check: str
    status: Status
    detail: str
    hint: str = ""


def check_installation(database: Path) -> list[Finding]:
    """Check Python, packages, processor, memory, disk, the starter model and the database.

    Args:
        database: the run database, which need not exist yet.
    """
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("processor", _processor),
        ("memory", _memory),
        ("database", lambda: _storage(database)),
        ("starter", _starter),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check()
        except AgentrError as error:
            findings.append(Finding(name, "failed", error.message, error.hint))
    return findings


def _python() -> list[Finding]:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    detail = f"{version}, {sys.executable}"
    return [Finding("python", "ok", detail)]


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from agentr_lite import __version__

    findings = [Finding("agentr-lite", "ok", __version__)]
    for names, status, purpose in (
        (_PACKAGES, "failed", "Install agentr-lite again."),
        (_TRAINING, "warning", "Needed for training only."),
        (_SCREEN, "warning", "Needed for `agentr-lite tui` only."),
    ):
        for name in names:
            try:
                findings.append(Finding(name, "ok", version(name)))
            except PackageNotFoundError:
                missing: Status = "failed" if status == "failed" else "warning"
                hint = f"pip install {name}. {purpose}"
                findings.append(Finding(name, missing, "not installed", hint))
    return findings


def _processor() -> list[Finding]:
    from agentr_lite.actors.llamacpp.amx import has_amx, repacks
    from agentr_lite.actors.llamacpp.attention import attention_kernel
    from agentr_lite.actors.llamacpp.library import gpus, system_info
    from agentr_lite.actors.llamacpp.machine import physical_cores

    features = [name for name, there in system_info().items() if there]
    findings = [
        Finding("processor", "ok", f"{platform.machine()}, {physical_cores()} cores to use"),
        Finding("llama.cpp", "ok", "compiled with " + " ".join(features)),
    ]
    if has_amx():
        use = "used for quantized models"
        if not repacks():
            use = "not used: llama.cpp's AMX kernels are wrong in this build"
        findings.append(Finding("AMX", "ok", use))
    kernel = "our own kernel" if attention_kernel() else "llama.cpp's kernel, which is slower"
    findings.append(Finding("attention", "ok", f"on the processor: {kernel}"))
    cards = [
        f"{gpu.name}, {gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
        for gpu in gpus()
    ]
    findings.append(Finding("GPU", "ok", "; ".join(cards) or "not used by this llama.cpp"))
    return findings


def _memory() -> list[Finding]:
    from agentr_lite.actors.llamacpp.machine import available_bytes

    free = available_bytes()
    detail = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_MEMORY_BYTES:
        hint = "Close other programs: training the starter takes about 2 GiB."
        return [Finding("memory", "warning", detail, hint), *_large_pages()]
    return [Finding("memory", "ok", detail), *_large_pages()]


def _large_pages() -> list[Finding]:
    from agentr_lite.console.large_pages import MODE, large_pages

    mode = large_pages()
    if not mode:
        return []
    if mode != "never":
        return [Finding("large pages", "ok", "used by commands that compute")]
    hint = f"echo madvise | sudo tee {MODE}"
    said = "the system gives none: training may be slower"
    return [Finding("large pages", "warning", said, hint)]


def _storage(database: Path) -> list[Finding]:
    import shutil
    import tempfile

    from agentr_lite.store.files import database_exists, is_writable

    directory = database.parent
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if database_exists(database) and not is_writable(database):
        return [*_database(database), Finding("disk", "warning", f"{database} is readonly", _OTHER)]
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"agentr-lite")
            file.flush()
    except OSError as error:
        return [Finding("database", "failed", f"cannot write in {existing}: {error}", _OTHER)]
    findings = [Finding("database", "ok", f"{database} can be written")]
    if database_exists(database):
        findings = _database(database)
    free = shutil.disk_usage(existing).free
    detail = f"{free / 2**30:.1f} GiB free at {existing}"
    if free < _LITTLE_DISK_BYTES:
        findings.append(Finding("disk", "warning", detail, "A run takes some hundred MB."))
    else:
        findings.append(Finding("disk", "ok", detail))
    return findings


def _database(database: Path) -> list[Finding]:
    """Everything in the database is read: what is damaged, and what can be saved."""
    from agentr_lite.runs.condition import condition_of, opened_to_save
    from agentr_lite.store import Store
    from agentr_lite.store.checkup import check_file

    with Store.open_to_read(database) as store:
        file = check_file(store)
    with opened_to_save(database) as store:
        condition = condition_of(store)
    shared = list(dict.fromkeys([*file, *condition.shared]))
    if not shared and not condition.damaged:
        count = len(condition.runs)
        return [Finding("database", "ok", f"{database} opens, and its {count} runs are sound")]
    hint = (
        f"{len(condition.sound)} of {len(condition.runs)} runs are sound."
        f" `agentr-lite runs export --to NEW.db -d {database}` saves them."
        if condition.sound
        else "No run is sound. Restore the file from a copy, if you have one."
    )
    findings = [Finding("database", "failed", f"{database} is damaged", hint)]
    lines = [damage.what for damage in shared]
    findings += [Finding("damage", "failed", line) for line in _shortened(lines)]
    for run_id in condition.damaged:
        lines = [damage.what for damage in condition.runs[run_id]]
        findings += [Finding(f"run {run_id}", "failed", line) for line in _shortened(lines)]
    findings += [Finding(f"run {run_id}", "ok", "sound") for run_id in condition.sound]
    return findings


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"and {more} more findings"] if more > 0 else [])]


def _starter() -> list[Finding]:
    import time

    from agentr_lite.actors.base import GenerateRequest, Sampling
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor
    from agentr_lite.actors.registry import STARTER, resolve_model

    files = resolve_model(STARTER)
    actor = LlamaCppActor(files.gguf, context_tokens=512)
    try:
        request = GenerateRequest(
            [{"role": "user", "content": "Goal: craft stick."}],
            tuple(range(1, 17)),
            Sampling(max_tokens=32),
        )
        started = time.perf_counter()
        result = actor.generate([request])[0]
        elapsed = time.perf_counter() - started
    finally:
        actor.close()
    drawn = sum(completion.output_tokens for completion in result.completions)
    if not drawn:
        return [Finding("starter", "failed", "the starter model gives no tokens")]
    return [
        Finding("starter", "ok", f"answers, {drawn / elapsed:,.0f} tokens/s ({files.gguf})"),
        Finding("training weights", "ok", str(files.train_dir)),
    ]
