"""The main job itself: the bundled model, the real engine, the real training, cut and resumed.

Small, but nothing stands in. Fails where the bundled model is missing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentr_lite.store import Store, runs, splices, trees
from tests.support import loop_case

PROGRAM = Path(loop_case.__file__)

SETTINGS = [
    *("--recipe", "smoke", "--set", "rounds=1", "--set", "search.tasks=5"),
    *("--set", "search.wave=3", "--set", "search.simulations=3", "--set", "train.epochs=2"),
    *("--set", "train.batch_size=2", "--set", "eval.tasks=6", "--set", "eval.recovery_steps=4"),
]


def agentr_lite(point: str, number: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in its own process, which is killed at a point (``real``: not killed)."""
    words = [sys.executable, PROGRAM, point, number, int(signal.SIGKILL), *arguments]
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an uninterrupted run."""
    db = tmp_path_factory.mktemp("whole") / "runs.db"
    done = agentr_lite("real", 0, "run", "textcraft", *SETTINGS, "-d", db)
    assert done.returncode == 0, done.stderr
    assert "verdict: " in done.stdout and "round 1" in done.stdout
    assert "next: agentr-lite tui" in done.stderr
    return db


def test_the_loop_with_the_bundled_model(whole: Path) -> None:
    with Store.open(whole, create=False, read_only=True) as store:
        run = runs.get_run(store, "latest")
        assert run.status == "finished"
        assert len(run.model_sha256) == 64
        assert {"llama-cpp-python", "mlx", "mlx-lm", "python"} <= set(run.versions)
        searched = trees.list_trees(store, run.id)
        assert len(searched) == 5 and not any(tree.error for tree in searched)
        adapter = splices.get_adapter(store, run.id, 1)
        assert adapter is not None
        assert Path(adapter.gguf_path).is_file()
        assert (Path(adapter.mlx_dir) / "adapters.safetensors").is_file()


def test_the_bundled_model_acts(whole: Path) -> None:
    """Most of what it writes, sampled, is an action that the game understands and allows."""
    with Store.open(whole, create=False, read_only=True) as store:
        search = runs.stage_status(store, runs.get_run(store, "latest").id, 1, "search")
        assert search is not None
        assert search.summary["valid_samples"] / search.summary["samples"] > 0.7


@pytest.mark.parametrize(
    ("point", "number"),
    [
        pytest.param("decode", 25, id="while the engine decodes"),
        pytest.param("checkpoint", 2, id="while the adapter is trained"),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    tmp_path: Path, whole: Path, point: str, number: int
) -> None:
    db = tmp_path / "runs.db"
    killed = agentr_lite(point, number, "run", "textcraft", *SETTINGS, "-d", db)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = agentr_lite("real", 0, "run", "--resume", "latest", "-d", db)
    assert done.returncode == 0, done.stderr
    assert loop_case.contents(db) == loop_case.contents(whole)
