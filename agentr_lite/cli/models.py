"""``agentr-lite models``: what is bundled, and what a GGUF file is."""

from __future__ import annotations

from typing import Any

import click

from agentr_lite.cli.common import json_option
from agentr_lite.output import emit, emit_json, emit_table, truncate

_TEXT_COLUMNS = 72


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the bundled models, or show what a GGUF file is."""
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """The bundled models."""
    _list(as_json)


@models.command("show")
@click.argument("model")
@json_option
def show_model(model: str, as_json: bool) -> None:
    """MODEL, `starter` or a GGUF file: its metadata, without loading it."""
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.registry import resolve_model

    files = resolve_model(model)
    header = read_header(files.gguf)
    summary = {
        "name": files.name,
        "path": str(files.gguf),
        "sha256": file_sha256(files.gguf),
        "file_bytes": header.file_bytes,
        "type": str(header.metadata.get("general.type", "model")),
        "architecture": header.architecture,
        "n_params": _parameters(header.tensors),
        "context_tokens": header.architecture_value("context_length") or None,
        "layers": header.architecture_value("block_count") or None,
        "cache_bytes_a_token": header.cell_bytes() or None,
        "chat_template": header.chat_template is not None,
        "train_dir": str(files.train_dir) if files.train_dir else None,
    }
    metadata = {key: _plain(value) for key, value in header.metadata.items()}
    if as_json:
        emit_json({**summary, "metadata": metadata})
        return
    emit_table(["", "value"], list(summary.items()), align=["left", "left"])
    emit("")
    emit_table(
        ["metadata", "value"],
        [(key, truncate(_one_line(value), _TEXT_COLUMNS)) for key, value in metadata.items()],
        align=["left", "left"],
    )


def _list(as_json: bool) -> None:
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.llamacpp.gguf_header import read_header
    from agentr_lite.actors.registry import STARTER, resolve_model

    files = resolve_model(STARTER)
    header = read_header(files.gguf)
    row = {
        "name": files.name,
        "path": str(files.gguf),
        "file_bytes": header.file_bytes,
        "n_params": _parameters(header.tensors),
        "context_tokens": header.architecture_value("context_length"),
        "sha256": file_sha256(files.gguf),
    }
    if as_json:
        emit_json([row])
        return
    emit_table(
        ["model", "parameters", "bytes", "context", "sha256", "path"],
        [
            (
                row["name"],
                f"{row['n_params']:,}",
                f"{row['file_bytes']:,}",
                row["context_tokens"],
                str(row["sha256"])[:12],
                row["path"],
            )
        ],
    )


def _parameters(tensors: Any) -> int:
    total = 0
    for tensor in tensors:
        elements = 1
        for dimension in tensor.shape:
            elements *= dimension
        total += elements
    return total


def _plain(value: Any) -> Any:
    from agentr_lite.actors.llamacpp.gguf_header import ArrayOf

    if isinstance(value, ArrayOf):
        return f"[{value.items:,} items]"
    return value


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
