"""``agentr-lite convert``: model and adapter files from one format to another."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import json_option
from agentr_lite.core.errors import ModelError, UsageError

if TYPE_CHECKING:
    from agentr_lite.convert.check import AdapterCheck, CopyCheck

_EXISTING = click.Path(exists=True, path_type=Path)
_NEW = click.Path(path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def convert() -> None:
    """Turn MLX adapters and models into GGUF, and GGUF models into MLX's format."""


@convert.command("adapter")
@click.argument("source", metavar="ADAPTER", type=_EXISTING)
@click.option("-o", "--output", type=_NEW_FILE, required=True, help="GGUF file to write.")
@click.option(
    "--base",
    type=_EXISTING,
    required=True,
    help="The model it was trained on: a GGUF file (any quantization) or its directory.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option(
    "--check", is_flag=True, help="Write it only if MLX and llama.cpp agree about what it does."
)
@click.option(
    "--exact", is_flag=True, help="With --check: compare on an unquantized copy of the base."
)
@click.option(
    "--mlx-base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --check: the base for MLX.  [default: made of --base]",
)
@click.option(
    "--text",
    "texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="With --check: a file whose text to compare on.  [default: three texts of our own]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="With --check: most they may disagree, as a share of the adapter's effect.",
)
@json_option
def adapter(
    source: Path,
    output: Path,
    base: Path,
    force: bool,
    check: bool,
    exact: bool,
    mlx_base: Path | None,
    texts: tuple[Path, ...],
    tolerance: float,
    as_json: bool,
) -> None:
    """Convert ADAPTER, an mlx-lm LoRA adapter, for llama.cpp.

    ADAPTER is the directory that mlx-lm's training wrote, or its adapters.safetensors with
    adapter_config.json beside it. Adapters of llama, qwen2, qwen3 and gemma models can be
    converted, on all layers or on some, whoever made them.
    """
    from agentr_lite.console.output import emit, emit_json
    from agentr_lite.convert.lora_to_gguf import convert_adapter

    if not check and (exact or mlx_base or texts):
        raise UsageError("--exact, --mlx-base and --text belong to --check")
    _check_output(output, force)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert.") as scratch:
        made = Path(scratch) / "adapter.gguf"
        summary = convert_adapter(source, base, made)
        found = None
        if check:
            folder = _adapter_folder(source, Path(scratch))
            found = _compare(folder, made, base, mlx_base, exact, texts, tolerance)
            if not as_json:
                _show(found)
            found.require()
        # Not a rename: the folder's permissions shall decide the file's.
        shutil.copyfile(made, output)
    if as_json:
        data: dict[str, Any] = {"path": output, "bytes": output.stat().st_size, "adapter": summary}
        emit_json(data | ({"check": found} if found else {}))
        return
    emit(
        f"{output}: {summary.architecture} LoRA adapter, rank {summary.rank}, alpha"
        f" {summary.alpha:g}, {summary.tensors} matrices, {summary.parameters:,} parameters"
    )


def _adapter_folder(source: Path, scratch: Path) -> Path:
    """The directory from which MLX reads the adapter ``source``.

    MLX knows one file name: another file, such as a checkpoint beside the final adapter, gets it
    in a directory of its own, or MLX would read its neighbour.
    """
    from agentr_lite.convert.lora_to_gguf import ADAPTER_FILE, CONFIG_FILE

    if source.is_dir():
        return source
    if source.name == ADAPTER_FILE:
        return source.parent
    folder = scratch / "adapter"
    folder.mkdir()
    shutil.copyfile(source, folder / ADAPTER_FILE)
    shutil.copyfile(source.with_name(CONFIG_FILE), folder / CONFIG_FILE)
    return folder


def _compare(
    folder: Path,
    made: Path,
    base: Path,
    mlx_base: Path | None,
    exact: bool,
    texts: tuple[Path, ...],
    tolerance: float,
) -> AdapterCheck:
    from agentr_lite.console.output import say
    from agentr_lite.convert.check import check_adapter

    try:
        read = [path.read_text("utf-8") for path in texts]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a --text: {error}") from error
    if mlx_base is None:
        mlx_base = base if base.is_dir() else _copy(base)
    gguf_base = None if exact or base.is_dir() else base
    if gguf_base is None:
        say("comparing on an unquantized copy of the base")
    found = check_adapter(folder, made, mlx_base, gguf_base, texts=read, tolerance=tolerance)
    if gguf_base is not None and not found.conclusive:
        say("the base's own differences hide the adapter's: comparing on an unquantized copy")
        found = check_adapter(folder, made, mlx_base, None, texts=read, tolerance=tolerance)
    return found


def _copy(gguf: Path) -> Path:
    from agentr_lite.console.output import say
    from agentr_lite.convert.cached import copy_of, has_copy, make_copy

    if not has_copy(gguf):
        say(f"taking the weights for MLX out of {gguf.name}: {copy_of(gguf)}")
    try:
        return make_copy(gguf)
    except ModelError as error:
        error.hint = "Name the weights that the adapter was trained on: --mlx-base DIRECTORY"
        raise


def _show(found: AdapterCheck) -> None:
    from agentr_lite.console.output import emit, emit_table

    rows = [
        (
            name,
            f"{of.max_abs:.2g}",
            f"{of.mean_abs:.2g}",
            f"{of.spread:.2g}",
            f"{100 * of.top1:.1f} %",
        )
        for name, of in (("base", found.base), ("base + adapter", found.adapted))
    ]
    emit_table(
        [
            "on an unquantized copy" if found.exact else "on the file itself",
            "max diff",
            "mean diff",
            "logits' spread",
            "same top token",
        ],
        rows,
    )
    emit(
        f"The adapter moves the logits by {found.effect_rms:.2g}; the two disagree about it by"
        f" {found.error_rms:.2g} (limit {found.limit_rms:.2g}), on {found.base.tokens} tokens."
    )


@convert.command("model")
@click.argument("source", metavar="MODEL", type=_EXISTING)
@click.option("-o", "--output", type=_NEW, required=True, help="GGUF file, or directory, to write.")
@click.option(
    "--type",
    "dtype",
    type=click.Choice(["f32", "f16", "q8_0"]),
    help="Of a GGUF file's matrices.  [default: q8_0]",
)
@click.option("--check", is_flag=True, help="Write it only if both compute the same.")
@click.option(
    "--exact",
    is_flag=True,
    help="With --check: let llama.cpp compute with a temporary f32 copy of a quantized file.",
)
@click.option("--force", is_flag=True, help="Overwrite an output file.")
@json_option
def model(
    source: Path,
    output: Path,
    dtype: str | None,
    check: bool,
    exact: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Convert MODEL, a directory in Hugging Face's or MLX's format, into a GGUF file.

    Or the other way: a GGUF file (llama, qwen2, qwen3, gemma, gemma2 or gemma3) into such a
    directory, its matrices dequantized, its tokenizer and chat template included.
    """
    if exact and not check:
        raise UsageError("--exact belongs to --check")
    _check_output(output, force and source.is_dir())
    if source.is_dir():
        _model_to_gguf(source, output, dtype or "q8_0", check, exact, as_json)
        return
    if dtype is not None:
        raise UsageError("--type is for GGUF files that are written")
    _model_from_gguf(source, output, check, exact, as_json)


def _model_to_gguf(
    source: Path, output: Path, dtype: str, check: bool, exact: bool, as_json: bool
) -> None:
    from agentr_lite.console.output import emit, emit_json
    from agentr_lite.convert.check import check_copy
    from agentr_lite.convert.hf_to_gguf import convert_to_gguf

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert.") as scratch:
        made = Path(scratch) / output.name
        convert_to_gguf(source, made, dtype=dtype)  # type: ignore[arg-type]
        checked = check_copy(made, source, exact=exact or None) if check else None
        made.replace(output)
    size = output.stat().st_size
    if as_json:
        emit_json({"path": output, "bytes": size} | _check_data(checked))
        return
    emit(f"{output}: {size / 1e6:.1f} MB, {dtype}" + _check_words(checked))


def _model_from_gguf(source: Path, output: Path, check: bool, exact: bool, as_json: bool) -> None:
    from agentr_lite.console.output import emit, emit_json
    from agentr_lite.convert.check import check_copy
    from agentr_lite.convert.gguf_to_hf import convert_to_hf

    made = convert_to_hf(source, output)
    checked = None
    if check:
        try:
            checked = check_copy(source, output, exact=exact or None)
        except BaseException:
            shutil.rmtree(output)
            raise
    if as_json:
        emit_json({"path": output, "model": made} | _check_data(checked))
        return
    emit(
        f"{output}: {made.architecture}, {made.parameters:,} parameters, {made.quantization} as"
        f" {made.dtype.lower()}" + _check_words(checked)
    )


def _check_data(checked: CopyCheck | None) -> dict[str, Any]:
    if checked is None:
        return {}
    measured = dataclasses.asdict(checked.agreement)
    return {"check": measured | {"rounding": checked.rounding, "limit": checked.limit}}


def _check_words(checked: CopyCheck | None) -> str:
    if checked is None:
        return ""
    agreed = checked.agreement
    return (
        f"; MLX and llama.cpp on {agreed.tokens:,} tokens: {checked.measured} (limit"
        f" {checked.limit:g}), same top token {100 * agreed.top1:.1f} %"
    )


def _check_output(output: Path, force: bool) -> None:
    if output.is_dir() or (output.exists() and not force):
        hint = "" if output.is_dir() else "Give --force to overwrite it."
        raise UsageError(f"{output} exists", hint=hint or "Name another place.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"no directory {output.parent} to write into")
