"""``agentr-lite convert``: model and adapter files from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from agentr_lite.cli.common import json_option
from agentr_lite.errors import UsageError

_EXISTING = click.Path(exists=True, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def convert() -> None:
    """Turn MLX adapters and Hugging Face models into GGUF."""


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
@json_option
def adapter(source: Path, output: Path, base: Path, force: bool, as_json: bool) -> None:
    """Convert ADAPTER, an mlx-lm LoRA adapter, for llama.cpp.

    ADAPTER is the directory that mlx-lm's training wrote, or its adapters.safetensors with
    adapter_config.json beside it.
    """
    from agentr_lite.actors.convert.lora_to_gguf import convert_adapter
    from agentr_lite.output import emit, emit_json

    _check_output(output, force)
    summary = convert_adapter(source, base, output)
    if as_json:
        emit_json({"path": output, "bytes": output.stat().st_size, "adapter": summary})
        return
    emit(
        f"{output}: {summary.architecture} LoRA adapter, rank {summary.rank}, alpha"
        f" {summary.alpha:g}, {summary.tensors} matrices, {summary.parameters:,} parameters"
    )


@convert.command("model")
@click.argument("source", metavar="DIRECTORY", type=_EXISTING)
@click.option("-o", "--output", type=_NEW_FILE, required=True, help="GGUF file to write.")
@click.option(
    "--type",
    "dtype",
    type=click.Choice(["f32", "f16", "q8_0"]),
    default="q8_0",
    show_default=True,
    help="Of the matrices.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@json_option
def model(source: Path, output: Path, dtype: str, force: bool, as_json: bool) -> None:
    """Convert DIRECTORY, a llama, qwen2 or qwen3 model in Hugging Face's format."""
    from agentr_lite.actors.convert.hf_to_gguf import convert_to_gguf
    from agentr_lite.output import emit, emit_json

    _check_output(output, force)
    convert_to_gguf(source, output, dtype=dtype)  # type: ignore[arg-type]
    size = output.stat().st_size
    if as_json:
        emit_json({"path": output, "bytes": size})
        return
    emit(f"{output}: {size / 1e6:.1f} MB, {dtype}")


def _check_output(output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise UsageError(f"{output} exists", hint="Give --force to overwrite it.")
    if not output.parent.is_dir():
        raise UsageError(f"no directory {output.parent} to write into")
