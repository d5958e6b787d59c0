"""What ``agentr-lite doctor --tune`` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_json, emit_table, say, warn
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agentr_lite.actors.llamacpp.calibrate import Calibration, Shape
    from agentr_lite.actors.llamacpp.tuning import Tuning
    from agentr_lite.console.tables import Align

_BUSY = 0.5
"""Load a core from which measured figures are doubtful."""


def measure_tuning(model: str, as_json: bool) -> None:
    """Measure, show and store the best batch shapes of a model.

    Raises:
        ModelError: the model does not load.
        UsageError: it is not a GGUF file.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp import tuning
    from agentr_lite.actors.llamacpp.calibrate import calibrate

    path, name = _gguf(model)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > _BUSY:
        warn(
            f"other programs keep this machine busy (load {load:.1f} a core)",
            hint="The figures may mislead; measure again when it is idle, or --untune.",
        )
    with Progress() as progress:
        progress.start(f"tune {name}, measurements")

        def on_turn(done: int, total: int) -> None:
            progress.total = total
            progress.advance()

        found = calibrate(path, on_turn=on_turn)
    tuning.store(file_sha256(path), name, found.best)
    if as_json:
        emit_json({"model": name, "machine": tuning.machine_name(), **_plain(found)})
        return
    _show(found)
    say(f"stored in {tuning.tuning_file()} for {tuning.machine_name()}")
    say(f"back to the defaults: agentr-lite doctor --untune --model {name}")


def forget_tuning(model: str, as_json: bool) -> None:
    """Let a model run with the defaults again.

    Raises:
        UsageError: it is not a GGUF file.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp import tuning

    path, name = _gguf(model)
    forgotten = tuning.forget(file_sha256(path))
    if as_json:
        emit_json({"model": name, "forgotten": forgotten})
    else:
        emit(f"{name} {'runs' if forgotten else 'ran already'} with the defaults")


def _gguf(model: str) -> tuple[Path, str]:
    from agentr_lite.actors.registry import resolve_model

    files = resolve_model(model)
    if files.gguf.is_dir():
        raise UsageError(f"{model} is run by MLX: there is nothing to tune but for GGUF files")
    return files.gguf, files.name


def _show(found: Calibration) -> None:
    widths = sorted(found.shapes[0].decode)
    figures: list[Align] = ["right"] * (2 + len(widths))
    emit_table(
        ["", "flash attention", "micro-batch", "prefill", *(f"width {w}" for w in widths)],
        [
            (
                "→" if _is(shape, found.best) else "",
                "on" if shape.flash_attention else "off",
                shape.micro_batch,
                f"{shape.prefill:,.0f}",
                *(f"{shape.decode[width]:,.0f}" for width in widths),
            )
            for shape in found.shapes
        ],
        align=["left", "left", *figures],
    )
    emit("tokens a second; prefill of a prompt, decoding at so many branches")
    best, usual = found.best, found.default
    if best == usual:
        emit(f"best: the defaults ({_words(usual)})")
    else:
        emit(
            f"best: {_words(best)}; {found.speedup:.2f} times as fast as the defaults"
            f" ({_words(usual)})"
        )


def _is(shape: Shape, tuning: Tuning) -> bool:
    return (shape.micro_batch, shape.flash_attention) == (
        tuning.micro_batch,
        tuning.flash_attention,
    )


def _words(tuning: Tuning) -> str:
    flash = "on" if tuning.flash_attention else "off"
    return f"width {tuning.width}, micro-batch {tuning.micro_batch}, flash attention {flash}"


def _plain(found: Calibration) -> dict[str, object]:
    shapes: Sequence[object] = [
        {
            "flash_attention": shape.flash_attention,
            "micro_batch": shape.micro_batch,
            "prefill_tokens_per_s": shape.prefill,
            "decode_tokens_per_s": shape.decode,
        }
        for shape in found.shapes
    ]
    return {
        "best": found.best,
        "default": found.default,
        "speedup": found.speedup,
        "threads": found.threads,
        "seconds": found.seconds,
        "shapes": shapes,
    }
