"""A model's server that answers badly: with errors, nonsense, nothing, or too much."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass
from typing import Any

from tests.soak.hostile_player import hostile_text
from tests.soak.kind import Bench, Kind, Outcome
from tests.soak.program import Running
from tests.support.loop_case import write_recipe
from tests.support.openai_server import CUT, HANG, FakeServer, Reply

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3.5, 10**30, float("nan"), float("inf"), "", "text", "\x1b[2J", [], {}),
    *([None], [[]], {"a": {}}, ["a", 1], "x" * 100_000),
)
STATUSES = (100, 204, 206, 301, 302, 400, 401, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503)
_ALLOWED = (0, 1, 2, 3, 5, 6)
_ENV = {
    "AGENTR_LITE_SERVER_TIMEOUT_S": "2",
    "AGENTR_LITE_SERVER_RETRIES": "1",
}
_TINY = ("eval.tasks=2", "eval.max_steps=3", "eval.samples=0", "eval.recovery_steps=2")
_SEARCH = ("search.tasks=2", "search.simulations=2", "search.width=2", "search.depth=3")


@dataclass(frozen=True)
class Served:
    """How a server answers.

    Attributes:
        seed: of what is wrong with each answer.
        wrong: the share of wrong answers.
        command: ``eval`` or ``search``.
    """

    seed: int
    wrong: float
    command: str


class HostileServer(FakeServer):
    """Answers some requests badly.

    Args:
        seed: says what is wrong with which.
        wrong: the share of wrong answers.
    """

    def __init__(self, seed: int, wrong: float) -> None:
        super().__init__()
        self._seed, self._wrong = seed, wrong
        self._asked = 0
        self.reply = lambda body, seed: "Action: forward"

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | str:
        self._asked += 1
        rng = random.Random(f"{self._seed}/{self._asked}")
        good = super().answer(method, path, body)
        if isinstance(good, str) or rng.random() >= self._wrong:
            return good
        return spoiled(good, rng)


def spoiled(good: Reply, rng: random.Random) -> Reply | str:
    """A good answer with something wrong in it."""
    status, content, headers = good
    kind = rng.randrange(9)
    if kind == 0:
        # A hang costs the whole timeout.
        return HANG if rng.random() < 0.2 else CUT
    if kind == 1:
        more = {"retry-after": rng.choice(("0", "-1", "abc", "1e400", "\x7f"))}
        more |= {"location": rng.choice(("/", "http://127.0.0.1:1/", "file:///etc/passwd", ":"))}
        return rng.choice(STATUSES), hostile_text(rng, surrogates=False).encode(), more
    data = json.dumps(content).encode()
    if kind == 2:
        return status, data[: rng.randrange(len(data) + 1)], headers
    if kind == 3:
        return status, rng.randbytes(rng.randrange(200)), headers
    if kind == 4:
        return status, b"[" * rng.choice((10, 100_000)), headers
    if kind == 5:
        return status, zlib.compress(data), {"content-encoding": rng.choice(("deflate", "gzip"))}
    if kind == 6:
        text = hostile_text(rng, surrogates=True)
        return status, json.dumps(_with_texts(content, text)).encode(), headers
    return status, json.dumps(_with_wrong_value(content, rng)).encode(), headers


def _with_texts(value: Any, text: str) -> Any:
    """The same answer, in which everything that the model said is another text."""
    if isinstance(value, dict):
        return {
            key: text if key in ("content", "text") else _with_texts(item, text)
            for key, item in value.items()
        }
    return [_with_texts(item, text) for item in value] if isinstance(value, list) else value


def _with_wrong_value(value: Any, rng: random.Random) -> Any:
    """The same answer with one value, somewhere in it, replaced or left out."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return rng.choice(VALUES)
    changed = dict(value) if isinstance(value, dict) else list(value)
    key = rng.choice(keys)
    if isinstance(changed[key], dict | list) and rng.random() < 0.7:
        changed[key] = _with_wrong_value(changed[key], rng)
    elif rng.random() < 0.3:
        del changed[key]
    else:
        changed[key] = rng.choice(VALUES)
    return changed


class Servers(Kind[Served]):
    """Whatever a server answers costs an answer, or ends the command with a message."""

    name = "servers"
    share = 8

    def draw(self, rng: random.Random) -> Served:
        wrong = rng.choice((0.1, 0.3, 1.0))
        return Served(rng.randrange(2**31), wrong, rng.choice(("eval", "search")))

    def check(self, scenario: Served, bench: Bench) -> Outcome:
        outcome = Outcome()
        recipe = write_recipe(bench.folder / "case")
        server = HostileServer(scenario.seed, scenario.wrong)
        sets = [word for key in (*_TINY, *_SEARCH) for word in ("--set", key)]
        with server.running() as url:
            ended = Running(
                [
                    *(scenario.command, "corridor", "--recipe", recipe, *sets),
                    *("--model", f"openai:{url}#toy", "-d", bench.folder / "runs.db", "--json"),
                ],
                program=("-m", "tests.soak.stand_in", "environments"),
                folder=bench.folder,
                env=_ENV,
            ).ended()
        outcome.counts["answers"] += len(server.requests)
        outcome.counts["commands"] += 1
        outcome.faults += ended.judged(*_ALLOWED)
        try:
            json.loads(ended.out)
        except ValueError as error:
            outcome.faults.append(f"no JSON on stdout ({error}): {ended.out[:300]!r}")
        return outcome
