"""Child processes: their answers, their limits, their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentr_lite.core.child import Child, ChildLost, resident_bytes

MODULE = "tests.support.answering_child"


@pytest.fixture
def child() -> Child:
    return Child(MODULE, memory_bytes=100_000_000)


def gone(pid: int) -> bool:
    """Wait until there is no such process."""
    for _ in range(2_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").is_file() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.01)
    return False


def test_answers_of_one_process(child: Child) -> None:
    assert child.pid is None
    assert child.ask(("echo", {"a": [1, "\ud800"]}), 10.0) == {"a": [1, "\ud800"]}
    first = child.pid
    assert child.ask(("echo", b"x" * 3_000_000), 10.0) == b"x" * 3_000_000
    assert child.pid == first is not None
    child.close()
    assert child.pid is None and gone(first)


@pytest.mark.parametrize(
    ("work", "how"),
    [
        ("sleep", "ran for more than 0.3 s"),
        ("machine code", "ran for more than 0.3 s"),
        ("exit", "ended its process with exit code 3"),
        ("abort", "ended its process by SIGABRT"),
        ("raise", "ended its process with exit code 1"),
    ],
)
def test_a_lost_child_is_followed_by_another(
    child: Child, work: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    child.ask(("echo", 1), 10.0)
    lost = child.pid
    with pytest.raises(ChildLost, match=how):
        child.ask((work, None), 0.3)
    assert lost is not None and gone(lost)
    assert child.ask(("echo", 2), 10.0) == 2
    child.close()
    assert capfd.readouterr() == ("", "")


def test_memory_is_looked_at(child: Child) -> None:
    with pytest.raises(ChildLost, match="took more than 100 MB"):
        child.ask(("fill", 200_000_000), 60.0)


def test_resident_bytes() -> None:
    assert resident_bytes(os.getpid()) > 1_000_000
    assert resident_bytes(2**22 + 1) == 0


@pytest.mark.parametrize("work", ["echo", "machine code"])
def test_the_child_ends_with_its_parent(work: str) -> None:
    program = (
        "import sys, threading, time\n"
        "from agentr_lite.core.child import Child\n"
        f"child = Child({MODULE!r}, memory_bytes=10**8)\n"
        "child.ask(('echo', 1), 10.0)\n"
        "print(child.pid, flush=True)\n"
        f"threading.Thread(target=child.ask, args=(({work!r}, 1), 1.0), daemon=True).start()\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)
