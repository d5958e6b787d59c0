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
from agentr_lite.core.errors import ModelError
from agentr_lite.core.json_values import load_json

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONGEST_RETRY_AFTER_S = 300.0
"""A server that asks to wait longer counts as unreachable: a long wait would look like a hang."""
_CONNECT_S = 10.0
_QUOTED = 200
"""Characters of a server's own message that an error shows."""


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
            ModelError: it cannot be reached, or every attempt fails.
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
        raise ModelError(
            f"the server at {self.spec.url} gave no answer in {attempts}"
            f" attempt{'s' if attempts > 1 else ''}: {failed.reason}"
            + (f"; it asks to retry in {asks:.0f} s" if asks else ""),
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
            # The limit holds for the whole exchange: a server may hang while it sends bytes.
            async with asyncio.timeout(self._settings.timeout_s):
                response = await self._client().request(method, url, json=body)
        except TimeoutError:
            return _Setback(f"no answer within {self._settings.timeout_s:g} s")
        except httpx.TimeoutException as error:
            return _Setback(f"no connection in time ({type(error).__name__})")
        except httpx.RequestError as error:
            # The connection failed, or the body is not compressed as the header says.
            return _Setback(self._public(str(error)) or type(error).__name__)
        except httpx.InvalidURL as error:
            raise ModelError(f"{url}: {error}") from error
        if response.status_code in _RETRIED and response.status_code not in final:
            return _Setback(
                f"HTTP {response.status_code}: {self._said(response)}", _retry_after_s(response)
            )
        if not response.is_success:
            raise self._refusal(response)
        try:
            answer = response.json()
        except ValueError:
            return _Setback(f"its answer is not JSON: {self._said(response)!r}")
        if not isinstance(answer, dict):
            return _Setback(f"its answer is not a JSON object: {self._said(response)!r}")
        return answer

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._http = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(self._settings.timeout_s, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=self._settings.concurrency),
                # A proxy is not meant for servers on this machine.
                trust_env=self.spec.host not in LOOPBACK,
                # The key is sent only to the address that the user gave.
                follow_redirects=False,
            )
        return self._http

    def _refusal(self, response: httpx.Response) -> Refusal:
        status, said = response.status_code, self._said(response)
        hint = ""
        if status in (401, 403):
            hint = (
                "It does not accept the key in AGENTR_LITE_API_KEY."
                if self._key
                else "It needs a key: put it into the environment variable AGENTR_LITE_API_KEY."
            )
        elif status == 404:
            hint = "Check that the address is complete; it usually ends in /v1."
        elif response.is_redirect:
            said = f"go to {response.headers.get('location', 'nowhere')}"
            hint = "Give the address that it redirects to."
        return Refusal(
            f"the server at {self.spec.url} refuses (HTTP {status}): {said}",
            status=status,
            said=said,
            hint=hint,
        )

    def _said(self, response: httpx.Response) -> str:
        """The server's message on one line; the key is removed from it."""
        text = response.text
        try:
            answer = load_json(text)
        except ValueError:
            pass
        else:
            text = _message(answer) or text
        text = " ".join(self._public(text).split()) or response.reason_phrase
        return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"

    def _public(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _message(answer: Any) -> str:
    """The message in a server's error, in any of the usual forms, with its type or code."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    said = error.get("message") or error.get("detail") or ""
    kind = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    text = said if isinstance(said, str) else json.dumps(said)
    return f"{text} ({kind})" if text and isinstance(kind, str) and kind else text


def _retry_after_s(response: httpx.Response) -> float | None:
    """The wait that a server asks for, in seconds or as a date; None if it asks for none."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
