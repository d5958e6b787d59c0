"""``agentr-lite convert``: converts model and adapter files."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import json_option
from agentr_lite.console.files import check_new_file
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from agentr_lite.convert.check import AdapterCheck, CopyCheck

_EXISTING = click.Path(exists=True, path_type=Path)
_NEW = click.Path(path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def convert() -> None:
    """Convert MLX adapters and models to GGUF, and GGUF models to MLX's format."""


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
    "--check",
    is_flag=True,
    help="Write it only if MLX and llama.cpp agree on the adapter's effect.",
)
@click.option(
    "--exact", is_flag=True, help="With --check: compare on an unquantized copy of the base."
)
@click.option(
    "--mlx-base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --check: the base for MLX.  [default: made from --base]",
)
@click.option(
    "--text",
    "texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="With --check: a text file to compare on.  [default: three built-in texts]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="With --check: the largest allowed disagreement, as a share of the adapter's effect.",
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
    adapter_config.json beside it. Adapters of llama, qwen2, qwen3, Qwen3.5, LFM2, Granite 4 and
    gemma models can be converted, on all layers or on some.
    """
    from agentr_lite.console.streams import emit, emit_json
    from agentr_lite.convert.adapter_check import compare_adapter
    from agentr_lite.convert.lora_to_gguf import convert_adapter

    if not check and (exact or mlx_base or texts):
        raise UsageError("--exact, --mlx-base and --text belong to --check")
    _check_output(output, force)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert.") as scratch:
        made = Path(scratch) / "adapter.gguf"
        summary = convert_adapter(source, base, made)
        result = None
        if check:
            result = compare_adapter(
                source,
                made,
                base,
                mlx_base=mlx_base,
                exact=exact,
                texts=_read_texts(texts),
                tolerance=tolerance,
                scratch=Path(scratch),
            )
            if not as_json:
                _show(result)
            result.require()
        # Not a rename: the folder's permissions shall decide the file's.
        shutil.copyfile(made, output)
    if as_json:
        data: dict[str, Any] = {"path": output, "bytes": output.stat().st_size, "adapter": summary}
        emit_json(data | ({"check": result} if result else {}))
        return
    emit(
        f"{output}: {summary.architecture} LoRA adapter, rank {summary.rank}, alpha"
        f" {summary.alpha:g}, {summary.tensors} matrices, {summary.parameters:,} parameters"
    )


def _read_texts(paths: tuple[Path, ...]) -> list[str]:
    from agentr_lite.core.text_files import read_text

    try:
        return [read_text(path) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a --text: {error}") from error


def _show(result: AdapterCheck) -> None:
    from agentr_lite.console.streams import emit, emit_table

    rows = [
        (
            name,
            f"{of.max_abs:.2g}",
            f"{of.mean_abs:.2g}",
            f"{of.spread:.2g}",
            f"{100 * of.top1:.1f} %",
        )
        for name, of in (("base", result.base), ("base + adapter", result.adapted))
    ]
    emit_table(
        [
            "on an unquantized copy" if result.exact else "on the file itself",
            "max diff",
            "mean diff",
            "logits' spread",
            "same top token",
        ],
        rows,
    )
    emit(
        f"The adapter moves the logits by {result.effect_rms:.2g}; the two disagree about it by"
        f" {result.error_rms:.2g} (limit {result.limit_rms:.2g}), on {result.base.tokens} tokens."
    )


@convert.command("model")
@click.argument("source", metavar="MODEL", type=_EXISTING)
@click.option("-o", "--output", type=_NEW, required=True, help="GGUF file or directory to write.")
@click.option(
    "--type",
    "dtype",
    type=click.Choice(["f32", "f16", "q8_0"]),
    help="Type of the GGUF file's matrices.  [default: q8_0]",
)
@click.option(
    "--check", is_flag=True, help="Write it only if MLX and llama.cpp compute the same with both."
)
@click.option(
    "--exact",
    is_flag=True,
    help="With --check: compare without quantization, on a temporary f32 copy of the file.",
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
    """Convert MODEL, a directory in Hugging Face's or MLX's format, to a GGUF file.

    A GGUF file (llama, qwen2, qwen3, qwen35, lfm2, granitehybrid, gemma, gemma2 or gemma3) is
    converted to such a directory: the matrices are dequantized, the tokenizer and the chat
    template are included.
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
    from agentr_lite.console.streams import emit, emit_json
    from agentr_lite.convert.check import check_copy
    from agentr_lite.convert.hf_to_gguf import convert_to_gguf

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert.") as scratch:
        made = Path(scratch) / output.name
        convert_to_gguf(source, made, dtype=dtype)  # type: ignore[arg-type]
        checked = check_copy(made, source) if check else None
        if exact and dtype == "q8_0":
            # The same settings and the same order of rows, with the directory's own values.
            plain = Path(scratch) / "f32.gguf"
            convert_to_gguf(source, plain, dtype="f32")
            checked = check_copy(plain, source)
        made.replace(output)
    size = output.stat().st_size
    if as_json:
        emit_json({"path": output, "bytes": size} | _check_data(checked))
        return
    emit(f"{output}: {size / 1e6:.1f} MB, {dtype}" + _check_words(checked))


def _model_from_gguf(source: Path, output: Path, check: bool, exact: bool, as_json: bool) -> None:
    from agentr_lite.console.streams import emit, emit_json
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
    if output.is_dir():
        raise UsageError(f"{output} exists", hint="Name another place.")
    check_new_file(output, force=force)
