"""Names of environments: a plain name, a scheme with an address, or a file.

======================================  ==========================================================
``textcraft``                           built in, or registered by an installed package
``gymnasium:FrozenLake-v1``             ``SCHEME:ADDRESS``: an adapter and what it adapts
``agentgym+http://localhost:8000``      ``SCHEME+URL``: an adapter and the server it talks to
``games/jugs.py``, ``jugs.py:Jugs``     a Python file, with the class or function in it
======================================  ==========================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9_]*)(?P<mark>[:+])(?P<address>.+)", re.DOTALL)
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<attribute>[^:/]*))?", re.DOTALL)
_URL_SCHEME = re.compile(r"^[a-z]+://")
_SLUG_LENGTH = 32
_COMMON_STEMS = ("env", "environment", "__init__")


@dataclass(frozen=True, slots=True)
class EnvName:
    """The parts of an environment's name."""

    text: str
    """The whole name."""
    scheme: str = ""
    """``gymnasium`` of ``gymnasium:X``; empty unless there is an address."""
    address: str = ""
    """``X`` of ``gymnasium:X``, ``http://h`` of ``agentgym+http://h``."""
    path: Path | None = None
    """Path of a Python file."""
    attribute: str = ""
    """The class or function in the file; empty: the only environment that it defines."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a registered name, not an address or a file."""
        return not self.scheme and self.path is None


def parse_env_name(text: str) -> EnvName:
    """Split a name into its parts. The environment need not exist."""
    # Files first: a path may contain a colon or a plus sign before its `.py`.
    if file := _FILE.fullmatch(text):
        return EnvName(text, path=Path(file["path"]), attribute=file["attribute"] or "")
    address = _ADDRESS.fullmatch(text)
    # `a+b` alone is no address: a URL must follow the plus sign.
    if address and (address["mark"] == ":" or _URL_SCHEME.match(address["address"])):
        return EnvName(text, scheme=address["scheme"], address=address["address"])
    return EnvName(text)


def absolute_env_name(text: str) -> str:
    """A name of the same environment that is valid in any working directory."""
    name = parse_env_name(text)
    if name.path is None:
        return text
    path = str(name.path.expanduser().resolve())
    return f"{path}:{name.attribute}" if name.attribute else path


def env_slug(text: str) -> str:
    """A short form of letters, digits and dashes, for identifiers and file names.

    ``gymnasium:FrozenLake-v1`` gives ``frozenlake-v1``, ``games/jugs.py:Jugs`` gives ``jugs``; a
    plain name is unchanged.
    """
    name = parse_env_name(text)
    if name.is_plain:
        return text
    if name.path is not None:
        # `river/env.py` gets the name of its folder.
        stem = name.path.parent.name if name.path.stem in _COMMON_STEMS else name.path.stem
        words = name.attribute or stem
    elif _URL_SCHEME.match(name.address):
        words = f"{name.scheme} {_URL_SCHEME.sub('', name.address)}"
    else:
        words = name.address
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower())[:_SLUG_LENGTH].strip("-")
    return slug or name.scheme or "environment"
