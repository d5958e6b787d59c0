"""The training stage: what it records, and what a new adapter makes invalid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.config import artifacts_dir
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings, TrainSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.runs.equipment import adapter_in_use
from agentr_lite.store import Store, evals, runs, splices
from agentr_lite.train import lora
from agentr_lite.train.lora import TrainResult
from tests.support.loop_case import write_weights
from tests.support.splice_cases import RuleActor, plant
from tests.support.stages import splice_stage, train_stage
from tests.train.test_dataset import BAD, GOOD, Corridors


@pytest.fixture
def trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, str, Recipe, list[str]]:
    """A spliced run, and the content that the next training's adapter will have."""
    weights = write_weights(tmp_path / "weights")
    recipe = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        train_model=str(weights),
        splice=SpliceSettings((1.0,), critic="none", contested=False),
        train=TrainSettings(eta=1.0),
    )
    content = ["first"]

    def stand_in(*_: Any, out_dir: Path, **__: Any) -> TrainResult:
        out_dir.mkdir(parents=True, exist_ok=True)
        gguf = out_dir / "adapter.gguf"
        gguf.write_text(content[0])
        return TrainResult(
            adapter_dir=out_dir,
            gguf_path=gguf,
            train_losses=[(1, 0.5), (2, 0.25)],
            valid_losses=[(0, 0.7), (1, 0.2), (2, 0.3)],
            steps=2,
            best_step=2,
            stopped_early=False,
            tokens=10,
            seconds=0.1,
            dropped=0,
        )

    monkeypatch.setattr(lora, "train_lora", stand_in)
    store = Store.open(tmp_path / "runs.db")
    run_id = create_run(store, recipe)
    env = Corridors()
    for task in env.tasks("train"):
        plant(store, run_id, env, task, [GOOD, BAD])
    splice_stage(store, run_id, 1, recipe, env, RuleActor())
    return store, run_id, recipe, content


def test_a_training_is_recorded_with_its_losses(
    trained: tuple[Store, str, Recipe, list[str]],
) -> None:
    store, run_id, recipe, _ = trained

    summary = train_stage(store, run_id, 1, recipe)

    # The last loss, not the best one: with `train.patience: 0` the last adapter is kept.
    assert (summary["steps"], summary["valid_loss_first"], summary["valid_loss"]) == (2, 0.7, 0.3)
    assert adapter_in_use(store, run_id, 1) == adapter_in_use(store, run_id, 5) == 1
    losses = [(row.step, row.value) for row in runs.list_metrics(store, run_id, name="valid_loss")]
    assert losses == [(0, 0.7), (1, 0.2), (2, 0.3)]


@pytest.mark.parametrize(("again", "kept"), [("first", 1), ("second", 0)])
def test_evaluations_of_a_replaced_adapter_are_dropped(
    trained: tuple[Store, str, Recipe, list[str]], again: str, kept: int
) -> None:
    store, run_id, recipe, content = trained
    train_stage(store, run_id, 1, recipe)
    evals.open_eval(store, run_id, 1, "greedy", "test")
    evals.open_eval(store, run_id, 0, "greedy", "test")

    content[0] = again
    train_stage(store, run_id, 1, recipe, redo=True)

    assert len([e for e in evals.list_evals(store, run_id) if e.round == 1]) == kept
    assert len([e for e in evals.list_evals(store, run_id) if e.round == 0]) == 1


def test_a_round_without_data_loses_the_adapter_of_an_earlier_training(
    trained: tuple[Store, str, Recipe, list[str]],
) -> None:
    store, run_id, recipe, _ = trained
    train_stage(store, run_id, 1, recipe)
    evals.open_eval(store, run_id, 1, "greedy", "test")

    splices.delete_splices(store, run_id, 1)
    summary = train_stage(store, run_id, 1, recipe, redo=True)

    assert "skipped" in summary
    assert adapter_in_use(store, run_id, 1) is None
    assert evals.list_evals(store, run_id) == []


def test_adapters_are_kept_by_absolute_path(
    trained: tuple[Store, str, Recipe, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store, run_id, recipe, _ = trained
    train_stage(store, run_id, 1, recipe)

    adapter = splices.get_adapter(store, run_id, 1)
    assert adapter is not None and Path(adapter.gguf_path).is_absolute()
    monkeypatch.chdir(tmp_path)
    assert artifacts_dir(Path("runs.db"), "r") == tmp_path.resolve() / "runs.db-artifacts" / "r"
