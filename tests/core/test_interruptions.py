"""A request to end the process is not lost in code that swallows it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentr_lite.agent.boundary import guarded_reset, guarded_step
from agentr_lite.console.interrupts import terminations_interrupt
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.interruptions import interruption_kept, note_request
from tests.support.corridor import Corridor


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def swallowed() -> None:
    # As a library may.
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)


def replaced() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise AttributeError("of the cleaning up")  # noqa: B904 - as py4j does


def replaced_from_none() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("another") from None


@pytest.mark.parametrize("react", [swallowed, replaced, replaced_from_none])
@pytest.mark.parametrize("call", ["reset", "step"])
def test_an_environment_keeps_no_interruption(call: str, react: Callable[[], None]) -> None:
    class Swallowing(Corridor):
        def reset(self, task: Any, *, seed: int = 0) -> Any:
            if call == "reset":
                react()
            return super().reset(task, seed=seed)

        def step(self, action: str) -> Any:
            react()
            return super().step(action)

    env = Swallowing()
    task = env.tasks("train")[0]
    with pytest.raises(KeyboardInterrupt), terminations_interrupt():
        guarded_reset(env, task)
        guarded_step(env, "forward")


def test_other_errors_stay_what_they_are() -> None:
    note_request()
    with pytest.raises(ZeroDivisionError), interruption_kept():
        raise ZeroDivisionError
    with interruption_kept():
        pass

    class Broken(Corridor):
        def step(self, action: str) -> Any:
            raise ValueError("a bug")

    env = Broken()
    guarded_reset(env, env.tasks("train")[0])
    with pytest.raises(EnvironmentFault, match="ValueError: a bug"):
        guarded_step(env, "forward")
