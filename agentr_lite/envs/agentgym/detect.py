"""Finds out which kind of AgentGym server is at an address."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from agentr_lite.core import http
from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.envs.agentgym.profiles import (
    FINGERPRINTS,
    GREETINGS,
    PROFILES,
    SEVERAL,
    Profile,
)
from agentr_lite.envs.agentgym.server import Refused, Server, without_login

_GREETING = re.compile(r"this is environment ([\w-]+)", re.IGNORECASE)
_KIND_HINT = "Name it at the end of the address, e.g. agentgym+http://localhost:8000/textcraft."


class Address(NamedTuple):
    """The parts of an address."""

    url: str
    """Base address, without kind and without a slash at the end."""
    kind: str
    """The kind that the address names; may be empty."""


def parse_address(address: str) -> Address:
    """Parse ``http://host:port[/kind]``.

    If the last part of the path is no kind, it belongs to the base address.

    Raises:
        UsageError: the text is not the address of a server.
    """
    if not http.is_base_address(address):
        raise UsageError(
            f"'{without_login(address)}' is not the address of an AgentGym server",
            hint="It has the form agentgym+http://HOST:PORT[/KIND].",
        )
    base = address.rstrip("/")
    head, _, last = base.rpartition("/")
    if urlsplit(base).path and last.lower() in PROFILES:
        return Address(head, last.lower())
    return Address(base, "")


def find_profile(server: Server, kind: str = "") -> Profile:
    """The server's kind, by the given name, or else by the server's own answers.

    Raises:
        UsageError: there is no such kind, or the kind cannot be determined.
        ServerFault: no server answers.
    """
    if kind:
        if kind not in PROFILES:
            raise UsageError(
                f"there is no kind '{kind}' of AgentGym server{did_you_mean(kind, list(PROFILES))}",
                hint=f"Kinds: {', '.join(PROFILES)}.",
            )
        return PROFILES[kind]
    said = _said(server, "/")
    if isinstance(said, str) and (greeting := _GREETING.search(said)):
        name = greeting[1].lower()
        if name in GREETINGS:
            return PROFILES[GREETINGS[name]]
        if name == SEVERAL:
            raise UsageError(
                f"the server at {server.url} plays maze and wordle",
                hint=f"Say which: agentgym+{server.url}/maze or agentgym+{server.url}/wordle.",
            )
    described = _by_description(_said(server, "/openapi.json"))
    if described is None:
        raise UsageError(
            f"cannot determine the kind of the AgentGym server at {server.url}"
            + did_you_mean(server.url.rpartition("/")[2], list(PROFILES)),
            hint=f"{_KIND_HINT} Kinds: {', '.join(PROFILES)}.",
        )
    return described


def _said(server: Server, path: str) -> Any:
    try:
        return server.get(path)
    except Refused:
        # The server has no such page; this does not tell its kind.
        return None


def _by_description(page: Any) -> Profile | None:
    """The kind whose reset has the fields that the server's own description lists."""
    try:
        body = page["paths"]["/reset"]["post"]["requestBody"]["content"]["application/json"]
        schema = body["schema"]
        if "$ref" in schema:
            schema = page["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        fields = set(schema["properties"])
    except (KeyError, TypeError, AttributeError):
        return None
    return next((PROFILES[kind] for wanted, kind in FINGERPRINTS if fields == wanted), None)
