"""A client for one AgentGym server: JSON over HTTP, and its possible failures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2 as httpx

from agentr_lite.core import http
from agentr_lite.core.config import agentgym_login
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.json_values import JsonError
from agentr_lite.core.secrets import Secrets, userinfo
from agentr_lite.core.unicode import without_surrogates

_BUSY = 503
_BUSY_ATTEMPTS = 5
_BUSY_WAIT_S = 0.2
_MOST_BYTES = 8_000_000
"""Of one answer; an observation has some thousands."""
_SAID = 2000
"""Characters of a server's own message that are kept."""
_QUOTED = 300
_CLOSE_S = 10.0
_NO_SUCH_PATH = frozenset({404, 405})
_CHECK_ADDRESS = "Check that this is the address of an AgentGym server."


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
        hint = "The server's own log says more."
        if status in (401, 403):
            hint = "Put its user and password into AGENTR_LITE_AGENTGYM_LOGIN, as USER:PASSWORD."
        super().__init__(
            env, f"{what} failed with HTTP {status}; the server said: {shown}", hint=hint
        )
        self.status = status
        self.said = said[:_SAID]


class Disconnected(ServerFault):
    """The connection broke, so it is not known whether the request was carried out."""


class Server:
    """One server, over a persistent connection.

    Args:
        env: the environment's name, for messages.
        url: base address, without a slash at the end. A user and a password in it, or those in
            ``AGENTR_LITE_AGENTGYM_LOGIN``, are sent as HTTP's basic authentication.
        timeout_s: longest wait for an answer.

    Attributes:
        url: the address without user and password.
    """

    def __init__(self, env: str, url: str, *, timeout_s: float) -> None:
        self.url = without_login(url)
        self._env = env
        self._timeout_s = timeout_s
        user, password = login(url)
        self._secrets = Secrets([*userinfo(url), *([password, f"{user}:{password}"] * bool(user))])
        self._http = http.open_client(
            urlsplit(url).hostname or "",
            auth=(user, password) if user or password else None,
            timeout=httpx.Timeout(timeout_s, connect=http.CONNECT_S),
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

    def hurry(self) -> None:
        """From now on, wait for an answer only a short time: nothing depends on it any more."""
        self._timeout_s = min(self._timeout_s, _CLOSE_S)

    def shown(self, text: str) -> str:
        """A text of the server, cut and without its keys, for a message."""
        return " ".join(self._secrets.in_message(text[: 4 * _SAID]).split())[:_QUOTED]

    def close(self) -> None:
        """Close the connection."""
        # What the connection still has to say does not matter.
        with contextlib.suppress(httpx.HTTPError, OSError):
            http.run(self._http.aclose())

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        what = f"{method} {path}"
        limits = http.Limits(self._timeout_s, _MOST_BYTES)
        for attempt in range(1, _BUSY_ATTEMPTS + 1):
            request = self._http.build_request(method, self.url + path, **content)
            try:
                reply = http.run(http.exchange(self._http, request, limits))
            except (httpx.TimeoutException, TimeoutError) as error:
                raise ServerFault(
                    self._env,
                    f"{what}: no answer in {self._timeout_s:g} s",
                    hint="Increase env_options.timeout_s.",
                ) from error
            except http.Unacceptable as error:
                raise ServerFault(
                    self._env, f"{what}: {self.shown(str(error))}", hint=_CHECK_ADDRESS
                ) from error
            except httpx.ConnectError as error:
                raise ServerFault(
                    self._env,
                    f"no server answers at {self.url} ({self.shown(str(error))})",
                    hint="Start the AgentGym server, or correct the host and the port.",
                ) from error
            except httpx.RequestError as error:
                said = self.shown(str(error))
                raise Disconnected(
                    self._env,
                    f"{what}: the connection broke ({type(error).__name__}: {said})",
                    hint="The server's own log says more.",
                ) from error
            if reply.status != _BUSY or attempt == _BUSY_ATTEMPTS:
                break
            time.sleep(_BUSY_WAIT_S * attempt)
        return self._content(what, reply)

    def _content(self, what: str, reply: http.Answer) -> Any:
        if reply.is_redirect:
            place = self.shown(reply.headers["location"])
            raise ServerFault(
                self._env,
                f"{what}: the server sends the request elsewhere (HTTP {reply.status}): {place}",
                hint="If that is the server, give its address.",
            )
        if reply.status != httpx.codes.OK:
            raise self._refused(what, reply.status, reply.text)
        try:
            content = reply.json(self._secrets)
        except JsonError as error:
            raise ServerFault(
                self._env,
                f"{what}: the answer is not JSON ({error}): {self.shown(reply.text)!r}",
                hint=_CHECK_ADDRESS,
            ) from error
        if isinstance(content, dict) and content.get("error") and "observation" not in content:
            raise self._refused(what, reply.status, str(content["error"]))
        return content

    def _refused(self, what: str, status: int, said: str) -> Refused:
        said = self._secrets.in_message(without_surrogates(said[: 4 * _SAID]))
        return Refused(self._env, what, status, said)


def login(url: str) -> tuple[str, str]:
    """(user, password) for an address; empty: none.

    Raises:
        UsageError: ``AGENTR_LITE_AGENTGYM_LOGIN`` has another form.
    """
    known = userinfo(url)
    # `userinfo` gives the pair last.
    user, _, password = known[-1].partition(":") if known else agentgym_login().partition(":")
    return user, password


def without_login(url: str) -> str:
    """The address without user and password, to show and to store."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return Secrets([]).in_message(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
