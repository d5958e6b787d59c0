"""What ``agentr-lite doctor --tune`` and ``--untune`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentr_lite.console.progress import Progress
from agentr_lite.console.streams import emit, emit_json, emit_lines, emit_table, say, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentr_lite.actors.llamacpp.calibrate import Calibration, Shape
    from agentr_lite.actors.llamacpp.tuning import Tuning
    from agentr_lite.console.tables import Align


def tune_model(model: str, as_json: bool) -> None:
    """Measure, show and store the best batch shapes of a model.

    Raises:
        ModelError: the model does not load.
        UsageError: it is not a GGUF file.
    """
    from agentr_lite.actors.llamacpp import tuning
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.llamacpp.model_tuning import (
        BUSY_LOAD,
        load_of_a_core,
        measure_tuning,
        tunable_file,
    )
    from agentr_lite.runs.window_memory import usual_tokens, window_memory

    path, name = tunable_file(model)
    load = load_of_a_core()
    if load > BUSY_LOAD:
        warn(
            f"other programs keep this machine busy (load {load:.1f} a core)",
            hint="The figures may mislead; measure again when it is idle, or --untune.",
        )
    with Progress() as progress:
        progress.start(f"tune {name}, measurements")

        def on_turn(done: int, total: int) -> None:
            progress.total = total
            progress.advance()

        calibration = measure_tuning(path, name, on_turn)
    header = read_header(path)
    windows = window_memory(header, usual_tokens(header)) or None
    if as_json:
        machine = tuning.machine_name()
        emit_json({"model": name, "machine": machine, **_plain(calibration), "windows": windows})
        return
    _show(calibration)
    if windows:
        emit(windows)
    say(f"stored in {tuning.tuning_file()} for {tuning.machine_name()}")
    say(f"back to the defaults: agentr-lite doctor --untune --model {name}")


def untune_model(model: str, as_json: bool) -> None:
    """Let a model run with the defaults again.

    Raises:
        UsageError: it is not a GGUF file.
    """
    from agentr_lite.actors.llamacpp.model_tuning import forget_tuning, tunable_file

    path, name = tunable_file(model)
    was_stored = forget_tuning(path)
    if as_json:
        emit_json({"model": name, "forgotten": was_stored})
    else:
        emit(f"{name} {'runs' if was_stored else 'ran already'} with the defaults")


def _show(calibration: Calibration) -> None:
    widths = sorted(calibration.shapes[0].decode)
    figures: list[Align] = ["right"] * (2 + len(widths))
    emit_table(
        ["", "flash attention", "micro-batch", "prefill", *(f"width {w}" for w in widths)],
        [
            (
                "→" if _is(shape, calibration.best) else "",
                "on" if shape.flash_attention else "off",
                shape.micro_batch,
                f"{shape.prefill:,.0f}",
                *(f"{shape.decode[width]:,.0f}" for width in widths),
            )
            for shape in calibration.shapes
        ],
        align=["left", "left", *figures],
    )
    best, usual = calibration.best, calibration.default
    verdict = f"best: the defaults ({_words(usual)})"
    if best != usual:
        verdict = (
            f"best: {_words(best)}; {calibration.speedup:.2f} times as fast as the defaults"
            f" ({_words(usual)})"
        )
    emit_lines(
        [
            "tokens a second: prefill of a prompt, decoding at each width (branches in a batch)",
            verdict,
        ]
    )


def _is(shape: Shape, tuning: Tuning) -> bool:
    return (shape.micro_batch, shape.flash_attention) == (
        tuning.micro_batch,
        tuning.flash_attention,
    )


def _words(tuning: Tuning) -> str:
    flash = "on" if tuning.flash_attention else "off"
    return f"width {tuning.width}, micro-batch {tuning.micro_batch}, flash attention {flash}"


def _plain(calibration: Calibration) -> dict[str, object]:
    shapes: Sequence[object] = [
        {
            "flash_attention": shape.flash_attention,
            "micro_batch": shape.micro_batch,
            "prefill_tokens_per_s": shape.prefill,
            "decode_tokens_per_s": shape.decode,
        }
        for shape in calibration.shapes
    ]
    return {
        "best": calibration.best,
        "default": calibration.default,
        "speedup": calibration.speedup,
        "threads": calibration.threads,
        "seconds": calibration.seconds,
        "shapes": shapes,
    }
