"""Whether a name can be given to a model."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.actors import named_models
from agentr_lite.actors.download.catalog import catalog_model
from agentr_lite.actors.registry import STARTER
from agentr_lite.core.errors import UsageError


def check_new_name(name: str, *, force: bool) -> None:
    """Refuse a name for a model that has another meaning already.

    Args:
        name: for a file, a directory or a server.
        force: allow the name of a catalogue model or of a named model.

    Raises:
        UsageError: the name is taken, or has a wrong form.
    """
    named_models.check_name(name)
    if name == STARTER:
        raise UsageError(f"'{STARTER}' is the bundled model", hint="Choose another name.")
    if catalog_model(name) and not force:
        raise UsageError(
            f"'{name}' is the name of a model to pull",
            hint="Choose another name, or give --force to let it mean this one.",
        )
    if named_models.find(name) is not None and not force:
        raise UsageError(
            f"there is a model '{name}' already",
            hint=f"Choose another name, or `agentr-lite models remove {name}` first.",
        )


def check_pulled_name(name: str, sources: Sequence[str]) -> None:
    """Refuse a name that means something else than ``sources``, or could later.

    Args:
        name: for the download.
        sources: the places that it may come from, as the list of models remembers them.

    Raises:
        UsageError: the name is taken, or has a wrong form.
    """
    named_models.check_name(name)
    other = "Call it something else: --as NAME."
    if name == STARTER:
        raise UsageError(f"'{STARTER}' is the bundled model", hint=other)
    item, earlier = catalog_model(name), named_models.find(name)
    meant = [place.source for place in item.places] if item is not None else sources
    for source in sources:
        if source not in meant:
            raise UsageError(f"'{name}' is the name of {meant[0]}, not of {source}", hint=other)
    if earlier is not None and earlier.source not in sources:
        raise UsageError(
            f"there is a model '{name}' already: {earlier.source or earlier.model}",
            hint=f"Call this one something else with --as NAME, or `agentr-lite models remove"
            f" {name}` first.",
        )
