"""The whole loop where there is one form of the model only: a directory for MLX, or a GGUF file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agentr_lite.actors.registry import resolve_model
from agentr_lite.convert.cached import copy_of
from agentr_lite.store import Store, runs, splices
from tests.support.command_line import Call

SETTINGS = [
    *("--recipe", "smoke", "--set", "rounds=1", "--set", "search.tasks=4"),
    *("--set", "search.simulations=2", "--set", "search.width=2", "--set", "eval.tasks=3"),
    *("--set", "eval.max_steps=6", "--set", "eval.recovery_steps=2"),
]


@pytest.mark.parametrize("form", ["mlx", "gguf"])
def test_search_splice_train_and_eval(cli: Call, tmp_path: Path, db: Path, form: str) -> None:
    starter = resolve_model("starter")
    assert starter.train_dir is not None
    if form == "mlx":
        model = f"mlx:{shutil.copytree(starter.train_dir, tmp_path / 'model')}"
    else:
        # Under a name of its own: nobody knows where its weights for training are.
        model = str(shutil.copyfile(starter.gguf, tmp_path / "lonely.gguf"))
    code, stdout, stderr = cli("run", "textcraft", *SETTINGS, "--model", model, "-d", db)
    assert code == 0, stderr
    assert "round 1" in stdout
    if form == "gguf":
        record = json.loads((copy_of(Path(model)) / "conversion.json").read_text())
        assert record["agreement"]["top1"] > 0.99
        assert "weights for training out of lonely.gguf" in stderr
    with Store.open(db, create=False) as store:
        run = runs.get_run(store, "latest")
        assert run.status == "finished" and run.model_sha256
        train = runs.stage_status(store, run.id, 1, "train")
        assert train is not None and train.summary["steps"] > 0
        adapter = splices.get_adapter(store, run.id, 1)
        assert adapter is not None and Path(adapter.gguf_path).is_file()
    # With the adapter on, in the form that the model's engine takes.
    again = ("eval", run.id, "--round", "1", "--split", "dev", "--tasks", "2", "-d", db)
    code, stdout, stderr = cli(*again, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["evals"]["greedy"]["episodes"] == 2
    # Another model than the run's is noticed.
    path = Path(model.removeprefix("mlx:"))
    changed = path / "config.json" if form == "mlx" else path
    changed.write_bytes(changed.read_bytes() + b"\n")
    code, _, stderr = cli(*again, "--force")
    assert code == 3 and "is not the one that run" in stderr
