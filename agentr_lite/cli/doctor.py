"""``agentr-lite doctor``: can this machine and installation run the whole loop?"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from agentr_lite.cli.common import database_path, db_option, json_option
from agentr_lite.console.streams import emit_json, emit_table, say
from agentr_lite.console.text import Styled
from agentr_lite.core.errors import EXIT_FAILED, AgentrError, UsageError

Status = Literal["ok", "warning", "failed"]
_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "red"}
_GLYPHS: dict[Status, str] = {"ok": "✓", "warning": "!", "failed": "✗"}

_PACKAGES = ("llama-cpp-python", "gguf", "jinja2", "numpy", "click", "pyyaml", "sqlite-utils")
_TRAINING = ("mlx", "mlx-lm")
_SCREEN = ("textual",)
_LITTLE_MEMORY = 2 << 30
_LITTLE_DISK = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    check: str
    status: Status
    detail: str
    hint: str = ""


@click.command()
@click.option("--tune", is_flag=True, help="Measure and store the best batch shapes of a model.")
@click.option("--untune", is_flag=True, help="Forget them.")
@click.option("--model", help="With these two: which GGUF model. [default: starter]")
@db_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    tune: bool,
    untune: bool,
    model: str | None,
    db: Path | None,
    as_json: bool,
) -> None:
    """Check Python, packages, processor, memory, disk, the starter model and the database.

    Ends with exit code 1 if something that the main job needs does not work.

    With --tune, try batch widths, micro-batch sizes and flash attention on a model (a minute or
    so; close other programs), and let every later command use the best on this machine. Results
    may differ from untuned ones where two answers are nearly equally likely.
    """
    if tune or untune:
        from agentr_lite.cli.tune import forget_tuning, measure_tuning

        if tune and untune:
            raise UsageError("--tune and --untune exclude each other")
        (measure_tuning if tune else forget_tuning)(model or "starter", as_json)
        return
    if model is not None:
        raise UsageError("--model needs --tune or --untune")
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("processor", _processor),
        ("memory", _memory),
        ("database", lambda: _storage(database_path(db))),
        ("starter", _starter),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check()
        except AgentrError as error:
            findings.append(Finding(name, "failed", error.message, error.hint))
    broken = [finding for finding in findings if finding.status == "failed"]
    if as_json:
        emit_json({"ok": not broken, "checks": findings})
    else:
        emit_table(
            ["", "check", "finding"],
            [
                (Styled(_GLYPHS[f.status], fg=_COLOURS[f.status]), f.check, f.detail)
                for f in findings
            ],
            align=["left", "left", "left"],
        )
        for finding in findings:
            if finding.hint:
                say(f"{finding.check}: {finding.hint}")
    if broken:
        context.exit(EXIT_FAILED)


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
    from agentr_lite.actors.llamacpp.library import has_unsafe_amx, system_info, uses_gpu
    from agentr_lite.actors.llamacpp.machine import physical_cores

    features = [name for name, there in system_info().items() if there]
    findings = [
        Finding("processor", "ok", f"{platform.machine()}, {physical_cores()} cores to use"),
        Finding("llama.cpp", "ok", "compiled with " + " ".join(features)),
    ]
    if has_unsafe_amx():
        findings.append(
            Finding(
                "AMX",
                "ok",
                "not used: compiled by GCC, llama.cpp's AMX kernels crash",
            )
        )
    findings.append(Finding("GPU", "ok", "used" if uses_gpu() else "not used by this llama.cpp"))
    return findings


def _memory() -> list[Finding]:
    from agentr_lite.actors.llamacpp.machine import available_bytes

    free = available_bytes()
    detail = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_MEMORY:
        hint = "Close other programs: training the starter takes about 2 GiB."
        return [Finding("memory", "warning", detail, hint)]
    return [Finding("memory", "ok", detail)]


def _storage(database: Path) -> list[Finding]:
    import shutil
    import tempfile

    directory = database.parent
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"agentr-lite")
            file.flush()
    except OSError as error:
        hint = "Choose another place: --db FILE or AGENTR_LITE_HOME."
        return [Finding("database", "failed", f"cannot write in {existing}: {error}", hint)]
    findings = [Finding("database", "ok", f"{database} can be written")]
    if database.exists():
        from agentr_lite.store.database import Store

        with Store.open(database):
            findings = [Finding("database", "ok", f"{database} opens")]
    free = shutil.disk_usage(existing).free
    detail = f"{free / 2**30:.1f} GiB free at {existing}"
    if free < _LITTLE_DISK:
        findings.append(Finding("disk", "warning", detail, "A run takes some hundred MB."))
    else:
        findings.append(Finding("disk", "ok", detail))
    return findings


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
