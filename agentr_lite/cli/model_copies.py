"""``agentr-lite models copy``: a model's parameters in a type that may be faster here."""

from __future__ import annotations

from dataclasses import asdict

import click

from agentr_lite.cli.common import json_option
from agentr_lite.console.streams import emit, emit_json, say
from agentr_lite.core.errors import UsageError


@click.command("copy")
@click.argument("model")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["f16", "q8_0", "q4_k_m"]),
    default="f16",
    show_default=True,
    help="Type of the copy's matrices.",
)
@click.option("--as", "alias", metavar="NAME", help="Name for the copy.  [default: MODEL-TYPE]")
@json_option
def copy_model(model: str, kind: str, alias: str | None, as_json: bool) -> None:
    """Copy MODEL, a name or a GGUF file, in another type, and give the copy a name.

    On a processor, an f16 copy of a 4-bit model may search faster; it takes more memory, and
    answers the same up to rounding. `agentr-lite doctor --tune --model NAME` measures one model:
    run it for both. `models remove` deletes the copy.
    """
    from agentr_lite.actors import named_models
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.copies import write_copy
    from agentr_lite.actors.model_names import check_new_name
    from agentr_lite.actors.registry import resolve_model
    from agentr_lite.core.config import models_dir

    files = resolve_model(model)
    if files.gguf.is_dir():
        raise UsageError(
            f"{model} is a directory for MLX; copies are made of GGUF files",
            hint="`agentr-lite convert model` makes a GGUF file of a directory.",
        )
    name = alias or f"{files.name}-{kind}"
    check_new_name(name, force=False)
    target = (models_dir() / "copies" / f"{name}.gguf").resolve()
    write_copy(files.gguf, target, kind)
    sha256 = file_sha256(target)
    source = f"copy:{file_sha256(files.gguf)}/{kind}"
    training = str(files.train_dir.resolve()) if files.train_dir else ""
    entry = named_models.NamedModel(name, str(target), training, source, "", sha256)
    named_models.put(entry)
    if as_json:
        emit_json(asdict(entry))
        return
    size = target.stat().st_size / files.gguf.stat().st_size
    emit(f"{name}: {target}")
    say(f"{target.stat().st_size / 1e6:,.0f} MB, {size:.1f} times as large as {files.name}")
