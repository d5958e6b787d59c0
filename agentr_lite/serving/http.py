"""A small HTTP server for JSON, with limits, and with one route for a WebSocket.

It uses the standard library's server: a request is a function call of an ``Api``. A thread serves
each connection; whatever plays a game waits for the stage.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.core.json_values import JsonError, load_json

_LOG = logging.getLogger(__name__)
MOST_BYTES = 1_000_000
"""Of a request's body; an action has some dozens."""
_MOST_VALUES = 10_000
_IDLE_S = 600.0
"""A connection without a request is closed after this time; clients open another one."""
_POLL_S = 0.1
MISSING = object()
"""The body of a request that has none."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    """Its JSON value, or ``MISSING``."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer: a status and a JSON value."""

    content: Any
    status: int = 200


NOT_FOUND = Reply({"detail": "Not Found"}, 404)


class Api(Protocol):
    """What a protocol's server does."""

    def answer(self, request: Request) -> Reply:
        """The answer to a request.

        Raises:
            AgentrError: answered with ``failed``.
        """

    def failed(self, error: AgentrError) -> Reply:
        """The protocol's own form of an error."""

    def conversation(self, path: str) -> Callable[[socket.socket, Handler], None] | None:
        """What talks over a WebSocket at this path; None: it has no WebSocket there."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "agentr-lite"
    sys_version = ""
    timeout = _IDLE_S
    # Headers and body leave in one packet, so that no delayed acknowledgement holds an answer.
    wbufsize = -1
    disable_nagle_algorithm = True
    api: Api

    def do_GET(self) -> None:
        """Answer, or talk over a WebSocket."""
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            talk = self.api.conversation(path)
            if talk is not None:
                self.close_connection = True
                try:
                    talk(self.connection, self)
                except Exception:
                    # A fault of this program must cost one connection only, and must be seen.
                    _LOG.exception("WebSocket %s", path)
                return
        self._serve(MISSING)

    def do_POST(self) -> None:
        """Answer to a body, if it is JSON within the limits."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= MOST_BYTES or "chunked" in self.headers.get("Transfer-Encoding", ""):
            # The rest of the connection could not be understood.
            self.close_connection = True
            self._send(Reply({"detail": f"needed: a body of at most {MOST_BYTES} bytes"}, 413))
            return
        data = self.rfile.read(length)
        try:
            body = load_json(data, most_values=_MOST_VALUES) if data else MISSING
        except JsonError as error:
            self._send(Reply({"detail": [_problem("json_invalid", ["body"], str(error))]}, 422))
            return
        self._serve(body)

    def _serve(self, body: Any) -> None:
        parts = urlsplit(self.path)
        # A name that is given twice has its last value.
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, unquote(parts.path), query, body)
        try:
            reply = self.api.answer(request)
        except WrongBody as error:
            reply = Reply({"detail": [error.problem]}, 422)
        except AgentrError as error:
            reply = self.api.failed(error)
        except Exception as error:
            # A fault of this program must cost one request only, and must be seen.
            _LOG.exception("%s %s", request.method, request.path)
            reply = Reply({"detail": f"{type(error).__name__}: {error}"}, 500)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        data = json.dumps(reply.content).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """To the program's log: a server prints nothing for each request."""
        _LOG.debug("%s %s", self.address_string(), format % args)


class WrongBody(AgentrError):
    """A request lacks a field, or has one of the wrong type; answered as FastAPI does."""

    def __init__(self, kind: str, where: list[str], said: str) -> None:
        super().__init__(f"{'.'.join(where)}: {said}")
        self.problem = _problem(kind, where, said)


def _problem(kind: str, where: list[str], said: str) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": said}


def field(values: Any, name: str, kind: type, place: str = "body") -> Any:
    """A field of a request's body or query.

    Args:
        values: the body or the query.
        name: the field.
        kind: ``int`` or ``str``; a query's texts are converted.
        place: where it stands, for the message.

    Raises:
        WrongBody: it is missing, or of another type.
    """
    if not isinstance(values, Mapping):
        raise WrongBody("missing", [place], "Field required")
    if name not in values:
        raise WrongBody("missing", [place, name], "Field required")
    value = values[name]
    if kind is int and place == "query":
        with contextlib.suppress(ValueError):
            value = int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        said = "a valid integer" if kind is int else "a valid string"
        raise WrongBody(f"{kind.__name__}_type", [place, name], f"Input should be {said}")
    return value


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is no error of the server."""
        _LOG.debug("connection of %s", client_address, exc_info=True)


class _SixListener(_Listener):
    address_family = socket.AF_INET6


@contextmanager
def listening(api: Api, host: str, port: int) -> Generator[str]:
    """Serve in other threads until the end of the block.

    Args:
        api: answers.
        host: the address to listen at.
        port: 0 = any free one.

    Yields:
        The server's address, ``http://HOST:PORT``.

    Raises:
        UsageError: nothing can listen there.
    """
    handler = type("BoundHandler", (Handler,), {"api": api})
    kind = _SixListener if ":" in host else _Listener
    try:
        server = kind((host, port), handler)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', '') or error}",
            hint="--port PORT chooses another port, 0 any free one.",
        ) from error
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, daemon=True
    )
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
