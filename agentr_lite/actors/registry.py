"""From a recipe's ``model`` to files and to a running actor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.errors import ModelError

if TYPE_CHECKING:
    from agentr_lite.actors.base import Actor
    from agentr_lite.recipe import Recipe

STARTER = "starter"
_STARTER_DIR = Path(__file__).parent / "starter" / "model"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's weights are."""

    gguf: Path
    """For inference."""
    train_dir: Path | None
    """The same weights for training, in the MLX/HF layout; None if not known."""
    name: str
    """``starter`` or the file's stem."""


def resolve_model(spec: str) -> ModelFiles:
    """Find the files of ``starter`` or of a GGUF path (``~`` is expanded).

    Raises:
        ModelError: neither the starter's name nor an existing file.
    """
    if spec == STARTER:
        files = ModelFiles(_STARTER_DIR / "starter.gguf", _STARTER_DIR / "mlx", STARTER)
        if not files.gguf.is_file() or not (_STARTER_DIR / "mlx").is_dir():
            raise ModelError(
                f"the bundled starter model is missing from this installation ({_STARTER_DIR})",
                hint="Install agentr-lite again, or give a model: --model /path/to/model.gguf",
            )
        return files
    path = Path(spec).expanduser()
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.gguf"))[:5]
        raise ModelError(
            f"{path} is a directory, not a GGUF file",
            hint=f"It holds {', '.join(found)}: name one." if found else "Give a .gguf file.",
        )
    if not path.is_file():
        raise ModelError(
            f"no model '{spec}': neither '{STARTER}' nor an existing GGUF file",
            hint="`agentr-lite models` lists what is bundled; a path to a .gguf file works too.",
        )
    return ModelFiles(path, None, path.stem)


def check_model(spec: str) -> None:
    """Refuse, without loading it, a model file that is missing, damaged or of another kind.

    The bundled model is taken on trust.

    Raises:
        ModelError: see above.
    """
    if spec == STARTER:
        return
    files = resolve_model(spec)
    from agentr_lite.actors.llamacpp.gguf_header import check_model_file

    check_model_file(files.gguf)


def open_actor(recipe: Recipe) -> Actor:
    """Load the recipe's model.

    Args:
        recipe: ``model``, ``agent.context_tokens`` and ``agent.chat_template`` count.

    Raises:
        ModelError: missing, corrupt or unusable.
    """
    files = resolve_model(recipe.model)
    from agentr_lite.actors.llamacpp.actor import LlamaCppActor

    return LlamaCppActor(
        files.gguf,
        context_tokens=recipe.agent.context_tokens,
        chat_template=chat_template_file(recipe),
    )


def chat_template_file(recipe: Recipe) -> Path | None:
    """The Jinja file that stands in for the model's own template, if the recipe names one."""
    named = recipe.agent.chat_template
    return Path(named).expanduser() if named else None
