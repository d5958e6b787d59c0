"""``openai:URL#MODEL``: the name of a model behind a server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from agentr_lite.core.errors import ModelError

PREFIX = "openai:"
_EXAMPLE = "--model openai:http://localhost:8000/v1#Qwen/Qwen2.5-0.5B-Instruct"
_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server and one of its models."""

    url: str
    """Base address, e.g. ``http://localhost:8000/v1``; no slash at the end."""
    model: str
    """The server's name for the model; empty: its only model."""

    @property
    def host(self) -> str:
        """Host name, lower case."""
        return (urlsplit(self.url).hostname or "").lower()

    @property
    def root(self) -> str:
        """The address without ``/v1``; servers put their own additions there."""
        return self.url.removesuffix("/v1")

    def __str__(self) -> str:
        return f"{PREFIX}{self.url}" + (f"#{self.model}" if self.model else "")


def is_server(spec: str) -> bool:
    """Whether ``spec`` names a server's model."""
    return spec.startswith(PREFIX)


def parse_spec(spec: str) -> ServerSpec:
    """Parse ``openai:URL`` or ``openai:URL#MODEL``.

    An address without a path gets ``/v1``. User names and passwords are refused, because the spec
    is stored with the run.

    Raises:
        ModelError: the text is no such spec.
    """
    address, _, model = spec.removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ModelError(f"{spec}: not an address ({error})", hint=f"E.g. {_EXAMPLE}") from error
    if parts.username is not None or parts.query:
        # The message does not repeat the address, which may hold the key.
        raise ModelError(
            "a server's address must not hold a user name, a password or a query",
            hint="It is stored with the run. Put the key into AGENTR_LITE_API_KEY.",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ModelError(
            f"{spec}: needs http:// or https:// and a host after '{PREFIX}'",
            hint=f"Use --model {PREFIX}{_OPENAI}#{address}, or the address of another server."
            if _is_name(address)
            else f"E.g. {_EXAMPLE}",
        )
    path = parts.path.rstrip("/") or "/v1"
    return ServerSpec(f"{parts.scheme}://{parts.netloc}{path}", model.strip())


def _is_name(address: str) -> bool:
    """Whether a model's name stands where the address should be."""
    return re.fullmatch(r"[a-z][\w.-]*", address) is not None and address != "localhost"
