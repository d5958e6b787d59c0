"""SHA-256 digests of models: a run with another file under the same name is another run."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.settings import Recipe


def model_digest(recipe: Recipe) -> str | None:
    """SHA-256 of the recipe's model.

    Returns:
        None if the model is not a single local file (a server or a directory); then a run of any
        model with this name will do.

    Raises:
        ModelError: there is no such model.
    """
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand, resolve_model

    if is_server(expand(recipe.model)):
        return None
    path = resolve_model(recipe.model).gguf
    return file_sha256(path) if path.is_file() else None


@dataclass(slots=True)
class ModelDigests:
    """SHA-256 of each model; each file is read once."""

    by_model: dict[str, str | None] = field(default_factory=dict)

    def digest(self, recipe: Recipe) -> str | None:
        """The digest of a recipe's model; see ``model_digest``.

        It is None for a missing model, too: stored results can be shown without the model, and a
        run that needs the model reports that it is missing.
        """
        if recipe.model not in self.by_model:
            try:
                self.by_model[recipe.model] = model_digest(recipe)
            except ModelError:
                self.by_model[recipe.model] = None
        return self.by_model[recipe.model]
