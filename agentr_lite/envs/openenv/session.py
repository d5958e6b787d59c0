"""One session with an OpenEnv server: a WebSocket, its messages, and its possible failures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.http import CONNECT_S, LOOPBACK
from agentr_lite.core.json_values import JsonError, load_json
from agentr_lite.core.unicode import without_surrogates
from agentr_lite.envs.base import EpisodeLost

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_MOST_BYTES = 8_000_000
"""Of one message; an observation has some thousands."""
_MOST_VALUES = 200_000
_QUOTED = 300
_CLOSE_S = 2.0
_ATTEMPTS = 3
_CHECK_ADDRESS = "Check that this is the address of an OpenEnv server."
_OWN_LOG = "The server's own log says more."


class Refused(EnvironmentFault):
    """The server reports an error with the message that it was sent; the session goes on.

    Attributes:
        said: the server's message.
    """

    def __init__(self, env: str, what: str, said: str) -> None:
        super().__init__(env, f"{what}: the server said: {said}", hint=_OWN_LOG)
        self.said = said


class Full(EnvironmentFault):
    """The server has as many sessions as it allows."""

    def __init__(self, env: str, said: str) -> None:
        super().__init__(
            env,
            f"the server has no free session; it said: {said}",
            hint="Close another client, or let the server have more sessions (OpenEnv:"
            " MAX_CONCURRENT_ENVS; envs serve: --sessions).",
        )


class Session:
    """A session; it ends with its connection.

    Args:
        env: the environment's name, for messages.
        url: the server's address, without a slash at the end.
        timeout_s: longest wait for an answer.

    Raises:
        Full: the server has no session left.
        EnvironmentFault: no server answers, or it has no such WebSocket.
    """

    def __init__(self, env: str, url: str, *, timeout_s: float) -> None:
        self._env = env
        self._url = url
        self._timeout_s = timeout_s
        for attempt in range(1, _ATTEMPTS + 1):
            self._socket = self._connected()
            try:
                # A server without a free session says so in answer to whatever comes first.
                self.ask("state")
            except Refused:
                # Some environments have no state before their first reset.
                pass
            except EpisodeLost:
                # If the connection is closed at once, what was said before may be lost.
                if attempt == _ATTEMPTS:
                    raise
                continue
            except BaseException:
                self.close()
                raise
            return

    def _connected(self) -> ClientConnection:
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        parts = urlsplit(self._url)
        address = parts._replace(scheme="wss" if parts.scheme == "https" else "ws").geturl()
        # A proxy from the environment is not meant for servers on this machine.
        local = (parts.hostname or "").lower() in LOOPBACK
        try:
            return connect(
                f"{address}/ws",
                open_timeout=min(self._timeout_s, CONNECT_S),
                close_timeout=_CLOSE_S,
                max_size=_MOST_BYTES,
                proxy=None if local else True,
            )
        except InvalidStatus as error:
            raise EnvironmentFault(
                self._env,
                f"the server at {self._url} has no WebSocket at /ws"
                f" (HTTP {error.response.status_code})",
                hint=_CHECK_ADDRESS,
            ) from error
        except (InvalidHandshake, EOFError) as error:
            raise EnvironmentFault(
                self._env,
                f"the server at {self._url} does not open a WebSocket ({_said(str(error))})",
                hint=_CHECK_ADDRESS,
            ) from error
        except OSError as error:
            # A timeout is one, too.
            raise EnvironmentFault(
                self._env,
                f"no server answers at {self._url} ({_said(str(error) or 'time is up')})",
                hint="Start the OpenEnv server, or correct the host and the port.",
            ) from error

    def ask(self, kind: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Args:
            kind: ``reset``, ``step`` or ``state``.
            data: what goes with it.

        Returns:
            The answer's ``data``.

        Raises:
            Refused: the server reports an error.
            Full: it has no session for this connection.
            EpisodeLost: the connection broke, and the episode with it.
            EnvironmentFault: there is no answer, or it has another form.
        """
        from websockets.exceptions import ConnectionClosed

        message = {"type": kind, **({} if data is None else {"data": dict(data)})}
        try:
            # An error may have come before the connection was closed, so it is read all the same.
            with contextlib.suppress(ConnectionClosed):
                self._socket.send(json.dumps(message))
            text = self._socket.recv(timeout=self._timeout_s)
        except TimeoutError as error:
            # The late answer would be taken for the next one.
            self.close()
            raise EnvironmentFault(
                self._env,
                f"{kind}: no answer in {self._timeout_s:g} s",
                hint="Increase env_options.timeout_s.",
            ) from error
        except (ConnectionClosed, OSError) as error:
            self.close()
            raise EpisodeLost(
                self._env,
                f"{kind}: the connection to {self._url} broke ({_said(str(error))})",
                hint=_OWN_LOG,
            ) from error
        return self._read(kind, text)

    def _read(self, kind: str, text: str | bytes) -> dict[str, Any]:
        try:
            answer = load_json(text, most_values=_MOST_VALUES)
        except JsonError as error:
            raise self._alien(kind, _said(str(text)), f"is not JSON ({error})") from error
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise self._alien(kind, _said(str(text)), "has no data")
        if answer.get("type") == "error":
            said = _said(str(data.get("message") or "nothing"))
            if data.get("code") == "CAPACITY_REACHED":
                raise Full(self._env, said)
            if errors := data.get("errors"):
                said = f"{said}: {_said(json.dumps(errors))}"
            raise Refused(self._env, kind, said)
        if answer.get("type") != ("state" if kind == "state" else "observation"):
            raise self._alien(kind, _said(str(text)), "is of another type")
        return data

    def _alien(self, kind: str, said: str, why: str) -> EnvironmentFault:
        return EnvironmentFault(
            self._env, f"{kind}: the server's answer {why}: {said!r}", hint=_CHECK_ADDRESS
        )

    def close(self) -> None:
        """End the session. The server frees it once it notices."""
        self._socket.close()


def _said(text: str) -> str:
    return without_surrogates(" ".join(text.split()))[:_QUOTED]
