"""Ctrl-C, SIGTERM and a closed terminal are one interruption, however often they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from agentr_lite.console import interrupts
from agentr_lite.console.interrupts import interrupts_ignored, terminations_interrupt


def reset() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_requests_of_several_kinds_are_one() -> None:
    saved = []
    with pytest.raises(KeyboardInterrupt), terminations_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(5)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            time.sleep(0.05)
            saved.append("saved")
    assert saved == ["saved"]
    reset()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_while_the_process_ends_changes_nothing(number: signal.Signals) -> None:
    # What is registered first is called last: after the handlers of our own.
    program = (
        "import atexit, os, sys\n"
        f"atexit.register(lambda: os.kill(os.getpid(), {int(number)}))\n"
        "from agentr_lite.cli import main\n"
        "main(['--version'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("agentr-lite")


def test_a_request_before_a_command_begins_is_reported() -> None:
    program = (
        "import os, signal\n"
        "from agentr_lite import cli\n"
        "cli._check_arguments = lambda words: signal.raise_signal(signal.SIGINT)\n"
        "cli.main(['runs'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "Error: interrupted\n"


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
