"""The user's keys: a file that maps binding ids to keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.binding import Binding
from textual.dom import DOMNode

from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.yaml_values import load_yaml, read_limited


def binding_ids(nodes: Iterable[type[DOMNode]]) -> dict[str, Binding]:
    """The bindings that the classes declare themselves, by id."""
    bindings = {}
    for node in nodes:
        for binding in node.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id:
                bindings[binding.id] = binding
    return bindings


def load_keymap(path: Path, known: Iterable[str]) -> dict[str, str]:
    """Read a YAML file of ``binding id: keys``, with keys separated by commas.

    Args:
        path: the file; if it does not exist, the keymap is empty.
        known: ids that may be in it.

    Raises:
        UsageError: not YAML, not a mapping of texts, or an unknown id.
    """
    if not path.exists():
        return {}
    known = list(known)
    try:
        values = load_yaml(read_limited(path)) or {}
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot read the keys in {path}: {error}", hint=_HINT) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no mapping of binding ids to keys", hint=_HINT)
    for name, keys in values.items():
        if name not in known:
            raise UsageError(
                f"{path}: there is no binding '{name}'{did_you_mean(str(name), known)}",
                hint="docs/inspector.md lists the ids.",
            )
        if not isinstance(keys, str) or not keys.strip():
            raise UsageError(f"{path}: the keys of '{name}' are not a text", hint=_HINT)
    return {str(name): keys for name, keys in values.items()}


_HINT = "A line is `binding.id: key`, or `binding.id: key1,key2`."
