"""HTTP with limits: every client of this program goes through here.

A server may be broken, or be another program than expected. Whatever it sends, an exchange ends in
a bounded time, takes bounded memory, and goes to the address that was asked and to no other:

- size: of the answer as it comes and after decompression, which is done here step by step
- time: of the whole exchange, however often a few bytes come; of a download, its least speed
- encodings: only what was asked for; texts are UTF-8, whatever the headers say
- redirects are given to the caller, and cookies are dropped

The library limits headers: 100 kB together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2 as httpx

from agentr_lite.core.json_values import load_json
from agentr_lite.core.secrets import Secrets
from agentr_lite.core.unicode import without_surrogates

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_BYTES = 32_000_000
"""Of one answer. The longest are the log-probabilities of a long prompt."""
MOST_VALUES = 2_000_000
"""Values in the JSON of one answer."""
CONNECT_S = 10.0
_READ_S = 30.0
"""Of a download: without any byte."""
_PIECE = 1 << 20
"""Bytes that are decompressed at a time."""


def is_base_address(text: str) -> bool:
    """Whether a text is ``http[s]://HOST[:PORT][/PATH]``, to which paths can be added."""
    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname
        # Reading the port raises an error if it is not a number.
        return not (wrong or parts.port == 0 or parts.query or parts.fragment)
    except ValueError:
        return False


class Unacceptable(httpx.RequestError):
    """The server sends what no client should take; the message says what. No retry would help."""


class WrongRange(Unacceptable):
    """The server sends another part of a file than the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one exchange may take."""

    total_s: float | None
    """Seconds until the end of the answer; until the end of its headers if it has no limit."""
    most_bytes: int | None = MOST_BYTES
    """Of the answer, before and after decompression; None: the caller counts."""
    least_bytes: int = 0
    """Of a download: bytes that must come in every ``window_s`` seconds."""
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body for people. Bytes that are not UTF-8 become U+FFFD."""
        return self.body.decode("utf-8", "replace")

    @property
    def is_redirect(self) -> bool:
        """Whether the server sends the client elsewhere."""
        return 300 <= self.status < 400 and "location" in self.headers

    def json(self, secrets: Secrets) -> Any:
        """The body's value, with the keys masked in all its texts.

        Raises:
            JsonError: it is no JSON within the limits.
        """
        return load_json(
            self.body,
            most_values=MOST_VALUES,
            clean=lambda text: secrets.in_answer(without_surrogates(text)),
        )


def open_client(host: str, *, connections: int = 10, **options: Any) -> httpx.AsyncClient:
    """A client for the one address that the user named.

    Args:
        host: its host.
        connections: most of them at the same time.
        options: further ones of ``httpx.AsyncClient``.
    """
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=connections),
        # A proxy from the environment is not meant for servers on this machine.
        trust_env=host.lower() not in LOOPBACK,
        # A key is sent only to the address that the user gave.
        follow_redirects=False,
        cookies=no_cookies(),
        **options,
    )


def no_cookies() -> CookieJar:
    """A jar that keeps nothing."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


async def exchange(client: httpx.AsyncClient, request: httpx.Request, limits: Limits) -> Answer:
    """Send a request and read the whole answer.

    Raises:
        TimeoutError: it takes longer than the limit.
        Unacceptable: the answer is too large, or in an encoding that was not asked for.
        httpx.RequestError: there is no connection, or it breaks.
    """
    # The limit holds for the whole exchange: a server may hang while it sends bytes.
    async with asyncio.timeout(limits.total_s):
        response = await send(client, request)
        try:
            body = bytearray()
            async for piece in content(response, limits):
                body += piece
        finally:
            await response.aclose()
    return Answer(response.status_code, response.headers, bytes(body))


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request; ``content`` reads the answer's body."""
    wanted = request.headers.get("accept-encoding", "gzip")
    request.headers["accept-encoding"] = "gzip" if "gzip" in wanted else "identity"
    return await client.send(request, stream=True)


async def content(response: httpx.Response, limits: Limits) -> AsyncIterator[bytes]:
    """The decompressed body, piece by piece.

    Raises:
        Unacceptable: it is too large, too slow, or in an encoding that was not asked for.
        httpx.DecodingError: it is not compressed as the header says.
    """
    unpack = _decoder(response)
    taken = given = in_window = 0
    began = time.monotonic()
    async for data in response.aiter_raw():
        taken += len(data)
        in_window += len(data)
        now = time.monotonic()
        if limits.least_bytes and now - began > limits.window_s:
            if in_window < limits.least_bytes:
                raise Unacceptable(f"it sent {in_window:,} bytes in {now - began:.0f} s")
            began, in_window = now, 0
        for piece in unpack(data):
            given += len(piece)
            if limits.most_bytes is not None and max(taken, given) > limits.most_bytes:
                raise Unacceptable(f"its answer is larger than {limits.most_bytes:,} bytes")
            yield piece
    # An end in the middle of the compressed data.
    for piece in unpack(b""):
        yield piece


def _decoder(response: httpx.Response) -> Callable[[bytes], Iterator[bytes]]:
    named = response.headers.get("content-encoding", "").split(",")
    codings = [coding.strip().lower() for coding in named]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return lambda data: iter((data,) if data else ())
    if codings not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise Unacceptable(f"its answer has the content encoding {','.join(codings)[:40]!r}")
    wbits = zlib.MAX_WBITS if codings == ["deflate"] else zlib.MAX_WBITS | 16
    return _Unpacking(wbits).feed


class _Unpacking:
    """Decompresses in pieces of a limited size: 1 kB may stand for 1 MB."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            if self._begun and not self._stream.eof:
                raise httpx.DecodingError("its answer ends in the middle of the compressed data")
            return
        self._begun = True
        while data and not self._stream.eof:
            try:
                piece = self._stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise httpx.DecodingError(
                    f"its answer is not compressed as its header says ({error})"
                ) from error
            data = self._stream.unconsumed_tail
            yield piece


# Without a loop --------------------------------------------------------------------------------


class _Loop:
    """An event loop in a thread of its own, for callers that have none.

    The caller's thread only waits, so that Ctrl-C and an environment's time limit interrupt it at
    once; what it waited for is cancelled.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon: a server that hangs must not keep the program from ending.
        threading.Thread(target=self.loop.run_forever, name="http", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


_lock = threading.Lock()
_shared: _Loop | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Carry out a coroutine from code without an event loop, and wait for it."""
    global _shared
    with _lock:
        # A forked process has its parent's variables, but not its threads.
        if _shared is None or _shared.pid != os.getpid():
            _shared = _Loop()
        shared = _shared
    return shared.run(work)


class LimitedTransport(httpx.BaseTransport):
    """For a library that needs a synchronous ``httpx.Client``: the same limits behind it.

    Args:
        limits_of: the limits of a request.
        budget: one item for each request that may be sent; a library may follow redirects, or
            try again, for ever.
        trust_env: whether proxies are taken from the environment.
    """

    def __init__(
        self,
        limits_of: Callable[[httpx.Request], Limits],
        *,
        budget: Iterator[int],
        trust_env: bool = True,
    ) -> None:
        self._limits_of = limits_of
        self._budget = budget
        self._client = httpx.AsyncClient(
            trust_env=trust_env,
            follow_redirects=False,
            cookies=no_cookies(),
            timeout=httpx.Timeout(_READ_S, connect=CONNECT_S),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.BaseTransport``."""
        if next(self._budget, None) is None:
            raise Unacceptable("it sends the same request about, or cuts it, again and again")
        limits = self._limits_of(request)
        asked = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        began = time.monotonic()
        response = self._wait(send(self._client, asked), limits, began)
        if response.status_code >= 300:
            # Not the download, whatever was asked for.
            limits = Limits(limits.total_s)
        elif response.status_code == 206 and not _is_rest(request, response):
            run(response.aclose())
            raise WrongRange("it sends another part of the file than was asked for")
        headers = httpx.Headers(response.headers)
        if headers.pop("content-encoding", None) is not None:
            # The body is decompressed here, so this length is not its own.
            headers.pop("content-length", None)
        return httpx.Response(
            response.status_code,
            headers=headers,
            stream=_Body(self, response, limits, began),
            request=request,
        )

    def close(self) -> None:
        """Close the connections."""
        run(self._client.aclose())

    def _wait(self, work: Coroutine[Any, Any, T], limits: Limits, began: float) -> T:
        async def limited() -> T:
            left = None
            if limits.total_s is not None:
                left = max(0.0, began + limits.total_s - time.monotonic())
            async with asyncio.timeout(left):
                return await work

        try:
            return run(limited())
        except TimeoutError as error:
            raise Unacceptable(f"it had not answered after {limits.total_s:g} s") from error


def _is_rest(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether a part of a file begins where it was asked to begin."""
    start = request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
    return response.headers.get("content-range", "").startswith(f"bytes {start}-")


class _Body(httpx.SyncByteStream):
    """The rest of an answer, fetched in the other thread."""

    def __init__(
        self, transport: LimitedTransport, response: httpx.Response, limits: Limits, began: float
    ) -> None:
        self._transport = transport
        self._response = response
        self._limits = limits
        self._began = began

    def __iter__(self) -> Iterator[bytes]:
        pieces = content(self._response, self._limits)
        limits = self._limits
        if limits.most_bytes is None:
            # A download may take as long as it needs, if it goes on.
            limits = Limits(None, most_bytes=None)

        async def following() -> bytes | None:
            with contextlib.suppress(StopAsyncIteration):
                return await anext(pieces)
            return None

        while (piece := self._transport._wait(following(), limits, self._began)) is not None:
            yield piece

    def close(self) -> None:
        run(self._response.aclose())
