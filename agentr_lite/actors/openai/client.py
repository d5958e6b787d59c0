"""HTTP with manners: a limit on what is in flight, retries with back-off, no secret let out."""

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

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONGEST_RETRY_AFTER_S = 300.0
"""A server that asks for more is down for us; waiting in silence would look like hanging."""
_CONNECT_S = 10.0
_QUOTED = 200
"""Characters of a server's own words in a message."""


class Refusal(ModelError):
    """The server understood the request and says no; asking again would not help.

    Attributes:
        status: HTTP status code.
        said: the server's words and error code, for those who look for a reason in them.
    """

    def __init__(self, message: str, *, status: int, said: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class _Setback:
    """Why an attempt failed that may be repeated."""

    reason: str
    retry_after_s: float | None = None


class Client:
    """One server. Calls are coroutines; ``run`` carries them out.

    All of it lives in one thread and one event loop of its own, so Ctrl-C cancels what is in
    flight instead of waiting for it.
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
            spec: which server.
            settings: key, limits and patience.
            sleep: waits so many seconds; tests replace it.
            jitter: draws from [0, 1): several clients that failed together shall not come back
                together.

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
        self._told = False
        self._slots = asyncio.Semaphore(settings.concurrency)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out ``work`` in the client's event loop.

        Raises:
            KeyboardInterrupt: what was in flight has been cancelled.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work)

    async def gather(self, jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """All results in order; the first failure cancels the rest and is raised as it is."""
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
            path: after the base address; a path that begins with ``!`` is after its root.
            body: JSON types.
            final: status codes that are taken for a refusal, though they mostly pass.

        Returns:
            The answer, a JSON object.

        Raises:
            Refusal: the server says no.
            ModelError: it cannot be reached, or fails again and again.
        """
        return await self._call("POST", path, body, final)

    def close(self) -> None:
        """Close connections and the event loop; twice is fine."""
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
                self._tell(failed, attempts)
                if (failed.retry_after_s or 0.0) > _LONGEST_RETRY_AFTER_S:
                    break
        asks = failed.retry_after_s
        raise ModelError(
            f"the server at {self.spec.url} gave no answer in {attempts}"
            f" attempt{'s' if attempts > 1 else ''}: {failed.reason}"
            + (f"; it asks to come back in {asks:.0f} s" if asks else ""),
            hint="Is it running, and is the address right?"
            " AGENTR_LITE_SERVER_TIMEOUT_S and AGENTR_LITE_SERVER_RETRIES set the patience,"
            " AGENTR_LITE_SERVER_CONCURRENCY how much is asked at once.",
        )

    def _tell(self, failed: _Setback, attempts: int) -> None:
        """Say once that it is not us who hang."""
        if not self._told and attempts <= self._settings.retries:
            self._told = True
            warn(f"the server at {self.spec.url}: {failed.reason}; trying again")

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Exponential, with full jitter; what the server asks for is the least."""
        spread = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        if retry_after_s is not None:
            return retry_after_s + self._jitter() * _FIRST_WAIT_S
        return self._jitter() * spread

    async def _attempt(
        self, method: str, url: str, body: Mapping[str, Any] | None, final: Collection[int]
    ) -> dict[str, Any] | _Setback:
        try:
            # Of the whole exchange: a server that sends a byte now and then is hanging, too.
            async with asyncio.timeout(self._settings.timeout_s):
                response = await self._client().request(method, url, json=body)
        except TimeoutError:
            return _Setback(f"no answer within {self._settings.timeout_s:g} s")
        except httpx.TimeoutException as error:
            return _Setback(f"no connection in time ({type(error).__name__})")
        except httpx.RequestError as error:
            # Of the connection, or of a body that is not packed as it says.
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
                # A proxy for the world is none for this machine.
                trust_env=self.spec.host not in LOOPBACK,
                # A key goes to the address that the user gave, and nowhere else.
                follow_redirects=False,
            )
        return self._http

    def _refusal(self, response: httpx.Response) -> Refusal:
        status, said = response.status_code, self._said(response)
        hint = ""
        if status in (401, 403):
            hint = (
                "It does not take the key in AGENTR_LITE_API_KEY."
                if self._key
                else "It wants a key: put it into the environment variable AGENTR_LITE_API_KEY."
            )
        elif status == 404:
            hint = "Is the address complete? It mostly ends in /v1."
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
        """The server's explanation on one line, without the key should it repeat it."""
        text = response.text
        try:
            answer = json.loads(text)
        except ValueError:
            pass
        else:
            text = _message(answer) or text
        text = " ".join(self._public(text).split()) or response.reason_phrase
        return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"

    def _public(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _message(answer: Any) -> str:
    """What the servers' several forms of an error say, with its type or code."""
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
    """Seconds, or a date; None where it says neither."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
