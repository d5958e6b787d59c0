"""A server that misbehaves in the ways of HTTP and JSON, and a program that asks it.

``python -m tests.support.hostile_server [COUNT] [SEED]`` lets every client ask it in every way, and
then gives each client COUNT mutants of the right answers.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import quote

KEY = 'sk-very/secret+0123"456789'
"""With characters that every encoding spells in another way."""
_DRIP_S = 0.02
_LONGEST_S = 20.0
"""After this, a connection is given up: a client that is still there has no limit of time."""

Send = Callable[[bytes], None]
Behaviour = Callable[[Send], None]


def _answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += ["Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _once(data: bytes) -> Behaviour:
    return lambda send: send(data)


def _endless(head: bytes, again: bytes, pause_s: float = 0.0) -> Behaviour:
    def behave(send: Send) -> None:
        send(head)
        end = time.monotonic() + _LONGEST_S
        while time.monotonic() < end:
            send(again)
            time.sleep(pause_s)

    return behave


@cache
def _bomb(wbits: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    block = b" " * (1 << 20)
    # A quarter of a gigabyte of what JSON passes over.
    return b"".join(packer.compress(block) for _ in range(256)) + packer.flush()


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_SPELLINGS = {
    "plain": KEY,
    "JSON": json.dumps(KEY)[1:-1],
    "JSON twice": json.dumps(json.dumps(KEY))[1:-1],
    "percent": quote(KEY, safe=""),
    "all escaped": "".join(f"\\u{ord(one):04X}" for one in KEY),
    "all percent": "".join(f"%{ord(one):02x}" for one in KEY),
    "entities": "".join(f"&#{ord(one)};" for one in KEY),
    "base64": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "upper": KEY.upper(),
    "cut": KEY[:20],
}


def behaviours(elsewhere: str) -> dict[str, Behaviour]:
    """Everything that the server can do wrong, whatever it was asked for.

    Args:
        elsewhere: address of another server, to which requests are sent.
    """
    gzipped = "Content-Encoding: gzip"
    twice = gzip.compress(gzip.compress(b"{}"))
    found: dict[str, Behaviour] = {
        "gzip bomb": _once(_answer(_bomb(31), gzipped)),
        "deflate bomb": _once(_answer(_bomb(15), "Content-Encoding: deflate")),
        "gzip in gzip": _once(_answer(twice, "Content-Encoding: gzip, gzip")),
        "brotli": _once(_answer(b"x" * 100, "Content-Encoding: br")),
        "no gzip": _once(_answer(b"{}", gzipped)),
        "half a gzip": _once(_answer(gzip.compress(b'{"a": 1}' * 99)[:30], gzipped)),
        "endless chunks": _endless(_CHUNKED, b"10000\r\n" + b"[" * 65536 + b"\r\n"),
        "endless small chunks": _endless(_CHUNKED, b"1\r\n \r\n" * 5000),
        "endless length": _endless(_answer(b"", length=10**12), b" " * 65536),
        "drip of headers": _endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", _DRIP_S),
        "drip of a body": _endless(_answer(b"", length=10**6), b" ", _DRIP_S),
        "drip of chunks": _endless(_CHUNKED, b"1\r\n \r\n", _DRIP_S),
        "silence": _endless(b"", b"", 0.1),
        "endless continue": _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        "endless header": _endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
        "many headers": _once(_answer(b"{}", *[f"X-{n}: {n}" for n in range(50_000)])),
        "cookies": _once(_answer(b"{}", *[f"Set-Cookie: c{n}={n}" for n in range(2000)])),
        "no answer": _once(b""),
        "no HTTP": _once(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        "cut": _once(_answer(b'{"a": ', length=1000)),
        "wrong length": _once(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
        "two lengths": _once(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"
        ),
        "wrong chunk": _once(_CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
        "deep": _once(_answer(b"[" * 200_000 + b"]" * 200_000)),
        "deep objects": _once(_answer(b'{"a":' * 150 + b"1" + b"}" * 150)),
        "many values": _once(_answer(b"[" + b"0," * 3_000_000 + b"0]")),
        "digits": _once(_answer(b'{"data": [' + b"9" * 100_000 + b"]}")),
        "NaN": _once(_answer(b'{"data": NaN, "id": NaN, "observation": NaN}')),
        "infinity": _once(_answer(b'{"data": 1e999, "choices": -Infinity}')),
        "UTF-16": _once(_answer('{"data": []}'.encode("utf-16"))),
        "no UTF-8": _once(_answer(b'{"data": "\xff\xfe"}')),
        "wrong charset": _once(_answer(b"{}", "Content-Type: application/json; charset=zlib")),
        "surrogate": _once(_answer(b'{"error": "\\ud800 \\udfff", "detail": "\\ud800"}')),
        "empty": _once(_answer(b"")),
        "HTML": _once(_answer(b"<html>" + b"hello " * 1000 + b"</html>")),
        "control characters": _once(_answer(b"\x1b[2J\x1b]0;title\x07\x00", status="400 \x1b[31m")),
        "null": _once(_answer(b"null")),
        "list": _once(_answer(b"[[], {}]")),
        "empty object": _once(_answer(b"{}")),
        "twice the field": _once(_answer(b'{"data": [], "data": 5, "id": {}, "id": []}')),
        "204": _once(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "206": _once(_answer(b"{}", "Content-Range: bytes 5-6/7", status="206 Partial Content")),
        "304": _once(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        "status 999": _once(_answer(b"{}", status="999 Odd")),
        "elsewhere": _once(_answer(b"", f"Location: {elsewhere}/v1", status="307 Go")),
        "elsewhere by 301": _once(_answer(b"", f"Location: {elsewhere}", status="301 Go")),
        "to itself": _once(_answer(b"", "Location: .", status="302 Go")),
        "to a file": _once(_answer(b"", "Location: file:///etc/passwd", status="302 Go")),
        "to nowhere": _once(_answer(b"", "Location: http://[::", status="302 Go")),
        "far": _once(_answer(b"", f"Location: /{'x' * 50_000}", status="308 Go")),
        "later": _once(_answer(b"{}", "Retry-After: " + "9" * 5000, status="429 Later")),
        "much later": _once(
            _answer(b"{}", "Retry-After: Fri, 31 Dec 9999 23:59:59 -9999", status="503 Later")
        ),
    }
    for name, spelled in _SPELLINGS.items():
        body = b'{"error": {"message": "bad key ' + spelled.encode() + b'"}}'
        raw = f"bad key {spelled}".encode()
        found[f"key in an error, {name}"] = _once(_answer(body, status="401 No"))
        found[f"key in a text, {name}"] = _once(_answer(raw, status="500 No"))
        found[f"key in an answer, {name}"] = _once(_answer(raw))
        found[f"key in a place, {name}"] = _once(
            _answer(b"", f"Location: {elsewhere}/?key={spelled}", status="302 Go")
        )
    found["key in the reason"] = _once(_answer(b"", status=f"403 {KEY}"))
    return found


class HostileServer:
    """A server that answers rightly until a request is the one to misbehave at.

    Attributes:
        right: (method, end of the path) to the right answer, as JSON or as bytes.
        wrong_at: the method or the end of a path at which ``behave`` is carried out.
        behave: what is done there.
        keys: what the requests held in ``Authorization``.
    """

    def __init__(self) -> None:
        self.right: dict[tuple[str, str], Any] = {}
        self.wrong_at = ""
        self.behave: Behaviour = _once(b"")
        self.keys: list[str] = []
        self._open: set[socket.socket] = set()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port; gives the address."""
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for connection in list(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        # A client that has had enough closes the connection.
        with suppress(OSError), connection, connection.makefile("rb") as reader:
            line = reader.readline().decode("latin-1").split(" ")
            length = 0
            while (header := reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.decode("latin-1").partition(":")
                if name.lower() == "content-length":
                    length = int(value)
                if name.lower() in ("authorization", "cookie"):
                    self.keys.append(value.strip())
            reader.read(length)
            if len(line) < 2:
                return
            method, path = line[0], line[1].partition("?")[0]
            if self.wrong_at in (method, "") or path.endswith(self.wrong_at):
                self.behave(connection.sendall)
                connection.shutdown(socket.SHUT_WR)
                # Without this, what was sent may be lost when the connection is closed.
                reader.read(1)
                return
            for (wanted, end), right in self.right.items():
                if method == wanted and path.endswith(end):
                    body = right if isinstance(right, bytes) else json.dumps(right).encode()
                    connection.sendall(_answer(body, "Connection: close"))
                    return
            connection.sendall(_answer(b"{}", "Connection: close", status="404 Not Found"))


def shown_key(text: str) -> bool:
    """Whether a text holds the key, in any of its spellings."""
    folded = text.lower()
    whole = [spelled for name, spelled in _SPELLINGS.items() if name != "base64"]
    inner = base64.b64encode(f"user:{KEY}".encode()).decode()[8:-6]
    return any(spelled.lower() in folded for spelled in [*whole, inner])


def main() -> None:
    """Ask in every way and report; see the module's text."""
    from tests.support.hostile_clients import CLIENTS, ask_all, ask_mutants

    count, seed = (int(word) for word in (*sys.argv[1:], "300", "1")[:2])
    failed = False
    for name in CLIENTS:
        for what, (counts, faults) in {
            "behaviours": ask_all(name),
            "mutants": ask_mutants(name, count, random.Random(seed)),
        }.items():
            told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
            print(f"{name}, {what}: {told}")
            for fault in faults:
                print(f"--- {fault}")
            failed = failed or bool(faults)
    raise SystemExit(int(failed))


Outcomes = tuple[Counter[str], list[str]]

if __name__ == "__main__":
    main()
