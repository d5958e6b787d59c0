"""Checks the files that mlx-lm's training writes, without importing MLX."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.core.errors import ModelError
from agentr_lite.core.json_values import JsonError, read_json_object

ADAPTER_FILE = "adapters.safetensors"
CONFIG_FILE = "adapter_config.json"


def check_adapter_directory(folder: Path) -> None:
    """Refuse a directory that mlx-lm would misread.

    Raises:
        ModelError: there is no such directory, a file is missing or damaged, or it holds full
            weights.
    """
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file: MLX takes the adapter's directory",
            hint=f"Give the folder with {ADAPTER_FILE} and {CONFIG_FILE}.",
        )
    for name in (ADAPTER_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            raise ModelError(
                f"no {name} in {folder}",
                hint="Give the adapter directory that mlx-lm wrote.",
            )
    try:
        kind = read_json_object(folder / CONFIG_FILE).get("fine_tune_type", "lora")
    except (OSError, JsonError) as error:
        raise ModelError(f"cannot read {folder / CONFIG_FILE}: {error}") from error
    if kind == "full":
        raise ModelError(
            f"{folder} holds full weights, not an adapter",
            hint="Fuse it with mlx_lm.fuse, and use the fused model instead.",
        )
