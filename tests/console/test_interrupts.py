"""SIGTERM is an interruption, once."""

from __future__ import annotations

import os
import signal
import time

import pytest

from agentr_lite.console import interrupts
from agentr_lite.console.interrupts import interrupts_ignored, terminations_interrupt


def reset() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_interrupts_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    with pytest.raises(KeyboardInterrupt), terminations_interrupt():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), number)  # as `timeout` does: to the process and to its group
            time.sleep(0.05)
            saved.append("saved")
    assert saved == ["saved"]
    os.kill(os.getpid(), number)  # while the process ends
    reset()

    monkeypatch.setattr(interrupts, "REPEATS_S", 0.0)
    with pytest.raises(KeyboardInterrupt), terminations_interrupt():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            os.kill(os.getpid(), number)
            time.sleep(5)
    reset()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with terminations_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_saving_is_not_interrupted() -> None:
    with terminations_interrupt(), interrupts_ignored():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
