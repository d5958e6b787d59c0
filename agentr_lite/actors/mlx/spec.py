"""``mlx:DIRECTORY``: the name of a model that MLX runs."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.core.errors import ModelError

PREFIX = "mlx:"


def is_mlx(spec: str) -> bool:
    """Whether ``spec`` names a model for MLX."""
    return spec.startswith(PREFIX)


def model_directory(spec: str) -> Path:
    """The directory that ``spec`` names; ``~`` is expanded.

    Raises:
        ModelError: it does not hold a model.
    """
    path = Path(spec.removeprefix(PREFIX)).expanduser()
    if not path.is_dir():
        raise ModelError(
            f"no directory {path}",
            hint="mlx:DIRECTORY needs a directory with a model in MLX's or Hugging Face's format.",
        )
    for name in ("config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise ModelError(
                f"{path} is not a model directory (it has no {name})",
                hint="Needed: config.json, tokenizer.json and safetensors.",
            )
    if not any(path.glob("model*.safetensors")):
        raise ModelError(
            f"{path} holds no weights (model*.safetensors)", hint="Download the model again."
        )
    return path
