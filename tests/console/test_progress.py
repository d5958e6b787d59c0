"""A bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import io

import pytest

from agentr_lite.console.progress import Progress, silent_progress
from agentr_lite.console.streams import say


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_in_a_pipe_prints_few_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, interval_s=30, clock=clock)
    progress.start("search", 10)
    for _ in range(10):
        clock.now += 7
        progress.advance(1, note="3 nodes")
    progress.finish()
    assert stream.getvalue().split("\n") == [
        "search: 5/10 · ETA 35s · 3 nodes",
        "search: 10/10 · 3 nodes",
        "search: 10/10 in 1m 10s · 3 nodes",
        "",
    ]


def test_progress_on_a_terminal_redraws_one_line() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(stream=stream, clock=clock)
    progress.start("eval", 4)
    clock.now += 10
    progress.advance(1, note="a\nb")
    assert stream.getvalue().count("\n") == 0
    assert stream.getvalue().endswith("█████░░░░░░░░░░░░░░░ eval: 1/4 · ETA 30s · a\\nb")
    progress.finish("done")
    assert stream.getvalue().endswith("\r\x1b[Keval: 1/4 in 10s · done\n")


def test_progress_eta_ignores_what_an_earlier_process_did() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, interval_s=0, clock=clock)
    progress.start("search", 100, initial=90)
    clock.now += 10
    progress.advance(5)
    assert stream.getvalue() == "search: 95/100 · ETA 10s\n"


def test_narration_clears_the_bar_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress() as progress:
        progress.start("train", 2)
        say("saved")
    assert "\r\x1b[Ksaved\n" in stream.getvalue()


def test_progress_leaves_no_claim_of_an_end_when_the_stage_raised() -> None:
    stream = Terminal()
    with pytest.raises(RuntimeError), Progress(stream=stream) as progress:
        progress.start("train", 2)
        raise RuntimeError
    assert stream.getvalue().endswith("\r\x1b[K")
    assert " in " not in stream.getvalue()


def test_silent_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = silent_progress()
    progress.start("x", 1)
    progress.advance()
    progress.finish()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_the_time_left_of_all_work_is_shown_once_it_is_known() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream=stream, interval_s=1, clock=clock)

    def shown() -> str:
        clock.now += 60
        progress.advance(1)
        return stream.getvalue().splitlines()[-1]

    progress.expect(None, None)
    progress.start("search", 10)
    assert shown() == "search: 1/10 · ETA 9m 00s"
    progress.expect(None, 600.0)
    progress.start("splice", 10)
    assert shown() == "splice: 1/10 · ETA 9m 00s · run 19m 00s left"
    # The stage has a second part: what is known of the whole stage counts.
    progress.expect(1200.0, 0.0)
    progress.start("eval, greedy", 10)
    assert shown() == "eval, greedy: 1/10 · ETA 9m 00s · run 19m 00s left"
