"""An HTTP client for servers: limits concurrency, retries with back-off, keeps the key secret."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx2 as httpx

from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.console.streams import warn
from agentr_lite.core.config import ServerSettings
from agentr_lite.core.errors import EXIT_FAILED, ModelError
from agentr_lite.core.http import CONNECT_S, Answer, Limits, Unacceptable, exchange, open_client
from agentr_lite.core.json_values import JsonError
from agentr_lite.core.secrets import Secrets
from agentr_lite.core.unicode import without_surrogates

T = TypeVar("T")

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONGEST_RETRY_AFTER_S = 300.0
"""A server that asks to wait longer counts as unreachable: a long wait would look like a hang."""
_LONGEST_SAID_S = 1e9
_QUOTED = 200
"""Characters of a server's own message that an error shows."""
_LOOKED_THROUGH = 20_000
"""Characters of it that are read at all."""


class ServerFailed(ModelError):
    """The server gives no answer, or one that no server of this kind gives."""

    kind = "server"
    exit_code = EXIT_FAILED


class Refusal(ModelError):
    """The server understood the request and refused it, so a retry would not help.

    Attributes:
        status: HTTP status code.
        said: the server's message and error code, in which a caller may look for the reason.
    """

    def __init__(self, message: str, *, status: int, said: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class _Setback:
    """The reason why an attempt failed that may be repeated."""

    reason: str
    retry_after_s: float | None = None


class Client:
    """One server. Calls are coroutines; ``run`` carries them out.

    The client uses one thread and its own event loop, so Ctrl-C cancels pending requests instead of
    waiting for them.
    """

    def __init__(
        self,
        spec: ServerSpec,
        settings: ServerSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            spec: the server.
            settings: key, timeout, retries and concurrency.
            sleep: waits the given number of seconds; tests replace it.
            jitter: draws from [0, 1), so that clients that failed together do not retry together.

        Raises:
            UsageError: the key for this server cannot be sent.
        """
        self.spec = spec
        self._settings = settings
        self._sleep = sleep
        self._jitter = jitter
        self._key = settings.key_for(spec.url)
        self._secrets = Secrets([self._key])
        self._runner: asyncio.Runner | None = None
        self._http: httpx.AsyncClient | None = None
        self._warned = False
        self._slots = asyncio.Semaphore(settings.concurrency)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out ``work`` in the client's event loop.

        Raises:
            KeyboardInterrupt: pending requests have been cancelled.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work)

    async def gather(self, jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """All results in order; the first failure cancels the rest and is raised."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job) for job in jobs]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        return [task.result() for task in tasks]

    async def get(self, path: str) -> dict[str, Any]:
        """``GET``; see ``post``."""
        return await self._call("GET", path, None, frozenset())

    async def post(
        self, path: str, body: Mapping[str, Any], *, final: Collection[int] = frozenset()
    ) -> dict[str, Any]:
        """``POST`` a JSON object.

        Args:
            path: relative to the base address; with ``!`` in front, relative to its root.
            body: JSON types.
            final: status codes that count as refusals here, although they are usually retried.

        Returns:
            The answer, a JSON object.

        Raises:
            Refusal: the server refuses.
            ServerFailed: it cannot be reached, every attempt fails, or it sends what no client
                should take.
        """
        return await self._call("POST", path, body, final)

    def close(self) -> None:
        """Close connections and the event loop; it may be called twice."""
        if self._runner is not None:
            if self._http is not None:
                self._runner.run(self._http.aclose())
            self._runner.close()
        self._runner = self._http = None

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, final: Collection[int]
    ) -> dict[str, Any]:
        base = self.spec.root if path.startswith("!") else self.spec.url
        url = base + path.removeprefix("!")
        failed, attempts = _Setback("not asked"), 0
        async with self._slots:
            while attempts <= self._settings.retries:
                if attempts:
                    await self._sleep(self._wait_s(attempts - 1, failed.retry_after_s))
                outcome = await self._attempt(method, url, body, final)
                if not isinstance(outcome, _Setback):
                    return outcome
                failed, attempts = outcome, attempts + 1
                self._warn_once(failed, attempts)
                if (failed.retry_after_s or 0.0) > _LONGEST_RETRY_AFTER_S:
                    break
        asks = failed.retry_after_s
        raise ServerFailed(
            f"the server at {self.spec.url} gave no answer in {attempts}"
            f" attempt{'s' if attempts > 1 else ''}: {failed.reason}"
            + (f"; it asks to retry in {asks:.6g} s" if asks else ""),
            hint="Check that it is running and that the address is right."
            " AGENTR_LITE_SERVER_TIMEOUT_S and AGENTR_LITE_SERVER_RETRIES set how long to try,"
            " AGENTR_LITE_SERVER_CONCURRENCY how many requests are sent at once.",
        )

    def _warn_once(self, failed: _Setback, attempts: int) -> None:
        """Tell the user once that the program is waiting for the server."""
        if not self._warned and attempts <= self._settings.retries:
            self._warned = True
            warn(f"the server at {self.spec.url}: {failed.reason}; trying again")

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        """An exponential wait with full jitter; at least as long as the server asks for."""
        spread = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        if retry_after_s is not None:
            return retry_after_s + self._jitter() * _FIRST_WAIT_S
        return self._jitter() * spread

    async def _attempt(
        self, method: str, url: str, body: Mapping[str, Any] | None, final: Collection[int]
    ) -> dict[str, Any] | _Setback:
        try:
            request = self._client().build_request(method, url, json=body)
            answer = await exchange(self._client(), request, Limits(self._settings.timeout_s))
        except TimeoutError:
            return _Setback(f"no answer within {self._settings.timeout_s:g} s")
        except Unacceptable as error:
            raise self.failed(self._public(str(error))) from error
        except httpx.TimeoutException as error:
            return _Setback(f"no connection in time ({type(error).__name__})")
        except httpx.RequestError as error:
            # The connection failed, or the body is not compressed as the header says.
            return _Setback(self._public(str(error)) or type(error).__name__)
        except httpx.InvalidURL as error:
            raise ModelError(f"{url}: {error}") from error
        if answer.status in _RETRIED and answer.status not in final:
            return _Setback(f"HTTP {answer.status}: {self._said(answer)}", _retry_after_s(answer))
        if answer.is_redirect:
            place = self._short(answer.headers["location"])
            raise self.failed(
                f"it sends the request elsewhere (HTTP {answer.status}): {place}",
                hint="If that is the server, give its address: no request follows by itself,"
                " because it may hold your key.",
            )
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            value = answer.json(self._secrets)
        except JsonError as error:
            return _Setback(f"its answer is not JSON ({error}): {self._said(answer)!r}")
        if not isinstance(value, dict):
            return _Setback(f"its answer is not a JSON object: {self._said(answer)!r}")
        return value

    def failed(self, what: str, *, hint: str = "") -> ServerFailed:
        """The error that ends the work: what the server did, and what to do."""
        return ServerFailed(
            f"the server at {self.spec.url}: {what}",
            hint=hint or "Check that the address is that of an OpenAI-compatible server.",
        )

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._http = open_client(
                self.spec.host,
                connections=self._settings.concurrency,
                headers=headers,
                timeout=httpx.Timeout(self._settings.timeout_s, connect=CONNECT_S),
            )
        return self._http

    def _refusal(self, answer: Answer) -> Refusal:
        status, said = answer.status, self._said(answer)
        hint = ""
        if status in (401, 403):
            hint = (
                "It does not accept the key in AGENTR_LITE_API_KEY."
                if self._key
                else "It needs a key: put it into the environment variable AGENTR_LITE_API_KEY."
            )
        elif status == 404:
            hint = "Check that the address is complete; it usually ends in /v1."
        return Refusal(
            f"the server at {self.spec.url} refuses (HTTP {status}): {said}",
            status=status,
            said=said,
            hint=hint,
        )

    def _said(self, answer: Answer) -> str:
        """The server's message on one line; the key is removed from it."""
        try:
            text = _message(answer.json(self._secrets)) or answer.text
        except JsonError:
            text = answer.text
        return self._short(text)

    def _short(self, text: str) -> str:
        # The key is looked for before the text is cut, because a cut key is not found.
        text = self._public(" ".join(text[:_LOOKED_THROUGH].split()))
        return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"

    def _public(self, text: str) -> str:
        return self._secrets.in_message(without_surrogates(text))


def _message(answer: Any) -> str:
    """The message in a server's error, in any of the usual forms, with its type or code."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    said = error.get("message") or error.get("detail") or ""
    kind = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    text = said if isinstance(said, str) else json.dumps(said)[:_LOOKED_THROUGH]
    return f"{text} ({kind})" if text and isinstance(kind, str) and kind else text


def _retry_after_s(answer: Answer) -> float | None:
    """The wait that a server asks for, in seconds or as a date; None if it asks for none."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return min(float(value), _LONGEST_SAID_S)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait_s = (moment - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(0.0, wait_s), _LONGEST_SAID_S)
