"""A client for one AgentGym server: JSON over HTTP, and its possible failures."""

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
    """The server cannot be reached, or its answer has the wrong form for its kind."""


class Refused(ServerFault):
    """The server reported a failure or a refusal, by its status or in its answer.

    Attributes:
        status: HTTP status; 200 if the error came as an ordinary answer.
        said: the server's message.
    """

    def __init__(self, env: str, what: str, status: int, said: str) -> None:
        shown = " ".join(said.split())[:_QUOTED] or "nothing"
        super().__init__(env, f"{what} failed with HTTP {status}; the server said: {shown}")
        self.status = status
        self.said = said


class Disconnected(ServerFault):
    """The connection broke, so it is not known whether the request was carried out."""


class Server:
    """One server, over a persistent connection.

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
            # A proxy from the environment is not meant for this machine's own servers.
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer to a ``GET``. It changes nothing, so it is repeated on a new connection.

        Raises:
            ServerFault: there is no answer, or it is not JSON.
            Refused: the answer is an error.
        """
        try:
            return self._ask("GET", path, params=dict(params or {}))
        except Disconnected:
            return self._ask("GET", path, params=dict(params or {}))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a ``POST``, which is never repeated.

        Raises:
            Disconnected: the connection broke before the answer.
            ServerFault: there is no answer, or it is not JSON.
            Refused: the answer is an error.
        """
        return self._ask("POST", path, json=dict(body))

    def has(self, path: str, body: Mapping[str, Any]) -> bool:
        """``post`` to a path that the server may not have; returns whether it has it."""
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
                    hint="Increase env_options.timeout_s.",
                ) from error
            except httpx.ConnectError as error:
                raise ServerFault(
                    self._env,
                    f"no server answers at {self.url} ({error})",
                    hint="Start the AgentGym server, or correct the host and the port.",
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
                hint="Check that this is the address of an AgentGym server.",
            ) from error
        if isinstance(content, dict) and content.get("error") and "observation" not in content:
            raise Refused(self._env, what, reply.status_code, str(content["error"]))
        return content
