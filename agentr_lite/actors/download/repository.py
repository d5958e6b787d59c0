"""Finds the repository and the file on the hub that a model's name means."""

from __future__ import annotations

from agentr_lite.actors.download import catalog, hub
from agentr_lite.actors.model_hints import meaning_of
from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.core.suggestions import did_you_mean


def repository_file(model: str, revision: str) -> tuple[str, str]:
    """Split ``OWNER/REPOSITORY/PATH``; if the repository has one GGUF file, no path is needed.

    Returns:
        (repository, path in it).

    Raises:
        UsageError: the repository does not have exactly one GGUF file.
        ModelError: the text names no model, or the repository cannot be listed.
    """
    parts = model.removeprefix("hf:").strip("/").split("/")
    if len(parts) < 2:
        meaning = meaning_of(model)
        if meaning.is_known:
            raise ModelError(f"no model '{model}' to pull: {meaning.what}", hint=meaning.hint)
        names = [item.name for item in catalog.CATALOG]
        raise ModelError(
            f"no known model '{model}'{did_you_mean(model, names)}",
            hint="`agentr-lite models list` lists the names; OWNER/REPOSITORY/FILE.gguf works too.",
        )
    repo = "/".join(parts[:2])
    if len(parts) > 2:
        return repo, "/".join(parts[2:])
    files = hub.gguf_files(hub.list_files(repo, revision=revision))
    if len(files) == 1:
        return repo, files[0]
    meaning = meaning_of(repo)
    raise UsageError(
        f"{repo} has {len(files) or 'no'} GGUF files" + ("; name one" if files else ""),
        hint=", ".join(f"{repo}/{file}" for file in files[:8])
        or (meaning.hint if meaning.is_known else "")
        or "Look for a repository whose name ends in -GGUF.",
    )
