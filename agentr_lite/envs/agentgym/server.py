"""Talking to one AgentGym server: JSON over HTTP, with the ways in which it goes wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from agentr_lite.core.errors import EnvironmentFault

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BUSY = 503
_BUSY_ATTEMPTS = 5
_BUSY_WAIT_S = 0.2
_CONNECT_S = 10.0
_QUOTED = 300
_NO_SUCH_PATH = frozenset({404, 405})


class ServerFault(EnvironmentFault):
    """The server cannot be reached, or its answer is not of the kind's form."""


class Refused(ServerFault):
    """The server said that it failed or will not: an error status, or an error as its answer.

    Attributes:
        status: HTTP status; 200 where the error came as an ordinary answer.
        said: the server's words.
    """

    def __init__(self, env: str, what: str, status: int, said: str) -> None:
        shown = " ".join(said.split())[:_QUOTED] or "nothing"
        super().__init__(env, f"{what} failed with HTTP {status}; the server said: {shown}")
        self.status = status
        self.said = said


class Disconnected(ServerFault):
    """The connection broke: nobody knows whether the request was carried out."""


class Server:
    """One server, on a connection that is kept.

    Args:
        env: the environment's name, for messages.
        url: base address, without a slash at the end.
        timeout_s: longest wait for an answer.
    """

    def __init__(self, env: str, url: str, *, timeout_s: float) -> None:
        self.url = url
        self._env = env
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
            # A proxy that the shell names is not meant for this machine's own servers.
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer to a ``GET``, which changes nothing and is asked again on a new connection.

        Raises:
            ServerFault: no answer, or not JSON.
            Refused: an error for an answer.
        """
        try:
            return self._ask("GET", path, params=dict(params or {}))
        except Disconnected:
            return self._ask("GET", path, params=dict(params or {}))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a ``POST``, which is not asked twice.

        Raises:
            Disconnected: the connection broke before the answer.
            ServerFault: no answer, or not JSON.
            Refused: an error for an answer.
        """
        return self._ask("POST", path, json=dict(body))

    def has(self, path: str, body: Mapping[str, Any]) -> bool:
        """``post`` to what a server may not have; whether it did."""
        try:
            self.post(path, body)
        except Refused as error:
            if error.status in _NO_SUCH_PATH:
                return False
            raise
        return True

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        what = f"{method} {path}"
        for attempt in range(1, _BUSY_ATTEMPTS + 1):
            try:
                reply = self._http.request(method, self.url + path, **content)
            except httpx.TimeoutException as error:
                raise ServerFault(
                    self._env,
                    f"{what}: no answer in {self._timeout_s:g} s",
                    hint="Give it longer with env_options.timeout_s.",
                ) from error
            except httpx.ConnectError as error:
                raise ServerFault(
                    self._env,
                    f"no server answers at {self.url} ({error})",
                    hint="Start the AgentGym server, or correct host and port.",
                ) from error
            except httpx.TransportError as error:
                raise Disconnected(
                    self._env, f"{what}: the connection broke ({type(error).__name__}: {error})"
                ) from error
            if reply.status_code != _BUSY or attempt == _BUSY_ATTEMPTS:
                break
            time.sleep(_BUSY_WAIT_S * attempt)
        return self._content(what, reply)

    def _content(self, what: str, reply: httpx.Response) -> Any:
        if reply.status_code != httpx.codes.OK:
            raise Refused(self._env, what, reply.status_code, reply.text)
        try:
            content = reply.json()
        except ValueError as error:
            shown = " ".join(reply.text.split())[:_QUOTED]
            raise ServerFault(
                self._env,
                f"{what}: the answer is not JSON: {shown!r}",
                hint="Is this the address of an AgentGym server?",
            ) from error
        if isinstance(content, dict) and content.get("error") and "observation" not in content:
            raise Refused(self._env, what, reply.status_code, str(content["error"]))
        return content
