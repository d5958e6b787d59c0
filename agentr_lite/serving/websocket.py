"""The server's end of a WebSocket: text messages over a connection of the HTTP server.

The package ``websockets`` reads and writes the protocol (its I/O-free part); this module moves the
bytes.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections import deque
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from websockets.frames import Frame

MOST_BYTES = 1_000_000
"""Of one message; an action has some dozens."""
_PING_S = 60.0
"""A client that says nothing is pinged after this time, and taken for dead after twice of it."""
_CLOSE_S = 5.0
_PIECE = 65536


def check_installed(what: str) -> None:
    """Refuse to begin without the package.

    Args:
        what: what needs it, for the message.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec("websockets") is None:
        raise UsageError(
            f"{what}: the package 'websockets' is not installed",
            hint="pip install 'agentr-lite[openenv]'",
        )


class Gone(Exception):
    """The client has closed the connection, or it broke."""


class Channel:
    """An open WebSocket.

    Args:
        connection: the socket; the request's headers have been read from it.
        request: the HTTP request that asked for the WebSocket.

    Raises:
        Gone: the request asks for no WebSocket that can be opened; it has been answered.
    """

    def __init__(self, connection: socket.socket, request: BaseHTTPRequestHandler) -> None:
        from websockets.http11 import Request
        from websockets.server import ServerProtocol

        self._socket = connection
        self._protocol = ServerProtocol(max_size=MOST_BYTES)
        self._frames: deque[Frame] = deque()
        self._parts = bytearray()
        self._silent = False
        connection.settimeout(_PING_S)
        # The HTTP server has read the request, so the protocol is given it anew.
        head = [f"GET {request.path} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
        self._protocol.receive_data("\r\n".join([*head, "", ""]).encode("utf-8"))
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
        self._flush()
        if self._protocol.state.name != "OPEN":
            raise Gone

    def receive(self) -> str:
        """Wait for the next message.

        Raises:
            Gone: there will be none.
        """
        while True:
            while self._frames:
                text = self._taken(self._frames.popleft())
                if text is not None:
                    return text
            self._read()
            # After the handshake, all events are frames.
            self._frames += self._protocol.events_received()

    def send(self, text: str) -> None:
        """Send a message.

        Raises:
            Gone: the client has closed the connection.
        """
        if self._protocol.state.name != "OPEN":
            raise Gone
        self._protocol.send_text(text.encode("utf-8"))
        self._flush()

    def close(self) -> None:
        """Close the connection, if the client has not done so, and wait for its side of it.

        If the socket were closed before, what was sent last might be lost with it.
        """
        if self._protocol.state.name != "OPEN":
            return
        deadline = time.monotonic() + _CLOSE_S
        try:
            self._protocol.send_close(1000)
            self._flush()
            self._socket.settimeout(_CLOSE_S)
            while (data := self._socket.recv(_PIECE)) and time.monotonic() < deadline:
                self._protocol.receive_data(data)
                self._flush()
        except (Gone, OSError):
            # The client may close at the same time, or never.
            pass

    def _taken(self, frame: Frame) -> str | None:
        """The message that a frame completes."""
        from websockets.frames import Opcode

        if frame.opcode is Opcode.CLOSE:
            self._flush()
            raise Gone
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        self._parts += frame.data
        if len(self._parts) > MOST_BYTES:
            self._protocol.fail(1009, "the message is too large")
            self._flush()
            raise Gone
        if not frame.fin:
            return None
        data, self._parts = bytes(self._parts), bytearray()
        return data.decode("utf-8", "replace")

    def _read(self) -> None:
        try:
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            if self._silent:
                raise Gone from None
            self._silent = True
            self._protocol.send_ping(b"")
            self._flush()
            return
        except OSError as error:
            raise Gone from error
        self._silent = False
        if not data:
            self._protocol.receive_eof()
            raise Gone
        self._protocol.receive_data(data)
        self._flush()

    def _flush(self) -> None:
        try:
            for data in self._protocol.data_to_send():
                # An empty piece means that nothing more will be sent.
                if data:
                    self._socket.sendall(data)
                else:
                    self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Gone from error
