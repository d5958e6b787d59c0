"""What all tests share: no network, no files of the user's, no colours from the caller's shell."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# A shell that starts the tests in the background ignores Ctrl-C for them and for all they start;
# the tests of Ctrl-C would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from tests.support.command_line import Call
    from tests.support.study_case import Command

# Child processes import the tests' own modules, too.
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
# Each test has a home of its own, and compiling our C code takes seconds.
os.environ["AGENTR_LITE_COMPILED"] = str(Path(_ROOT) / ".work" / "compiled")
# Before any import: libgomp and the hub clients read these once.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


_LONG = ("test_starter_loop.py", "test_starter_exploring.py", "test_one_model_loop.py")
"""Files of few and long tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the program's own for each test; subprocesses inherit it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("AGENTR_LITE_HOME", str(folder))
    for name in ("AGENTR_LITE_DB", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(autouse=True)
def no_probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are estimated from invented speeds: a probe loads the model and plays for seconds."""
    if "probe" in request.keywords:
        return
    from agentr_lite.runs.estimate import plan
    from tests.support import fake_probe

    monkeypatch.setattr(plan, "measure_speeds", fake_probe.measure)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a database would be."""
    return tmp_path / "runs.db"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process; gives exit code, stdout and stderr."""
    from agentr_lite.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def loop(cli: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """``cli`` with the corridor for an environment and a scripted player for a model."""
    from tests.support import loop_case

    loop_case.install(monkeypatch.setattr)
    return cli


@pytest.fixture
def filled(loop: Call, tmp_path: Path, db: Path) -> Path:
    """A database with a whole run in it."""
    from tests.support import loop_case

    assert loop("run", loop_case.write_recipe(tmp_path / "case"), "-d", db)[0] == 0
    return db


@pytest.fixture
def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small study over the corridor, in a folder of its own."""
    from tests.support import study_case

    study_case.install(monkeypatch.setattr)
    return study_case.write_study(tmp_path)


@pytest.fixture
def study(cli: Call) -> Command:
    """`agentr-lite study FILE`, its database and tables beside the file."""
    from tests.support.study_case import Ran

    def call(file: Path, *more: str, db: str = "s.db", out: str = "out") -> Ran:
        return Ran(*cli("study", file, "--db", file.parent / db, "--out", file.parent / out, *more))

    return call


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test has imported from a new package is not there for the next one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "river_game"]:
        del sys.modules[name]
