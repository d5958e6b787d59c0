"""The training stage with a preference objective: what it hands to the training."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.study.jobs.stage_inputs import plain_settings, stage_inputs
from agentr_lite.train import lora
from agentr_lite.train.lora import TrainResult
from tests.support.preference_cases import pair_recipe, planted_run
from tests.support.stages import train_stage


class Seen(dict[str, Any]):
    """What the training was called with."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    called = Seen()

    def stand_in(
        model: Path, train: Any, valid: Any, settings: Any, *, out_dir: Path, **more: Any
    ) -> TrainResult:
        called.update(train=train, valid=valid, objective=settings.objective, **more)
        out_dir.mkdir(parents=True, exist_ok=True)
        gguf = out_dir / "adapter.gguf"
        gguf.write_text("adapter")
        return TrainResult(
            adapter_dir=out_dir,
            gguf_path=gguf,
            train_losses=[(1, 0.5)],
            valid_losses=[],
            steps=1,
            best_step=1,
            stopped_early=False,
            tokens=10,
            seconds=0.1,
            dropped=0,
        )

    monkeypatch.setattr(lora, "train_lora", stand_in)
    return called


@pytest.fixture
def planted(tmp_path: Path) -> Generator[tuple[Store, str]]:
    store, run_id = planted_run(tmp_path / "runs.db", pair_recipe())
    with store:
        yield store, run_id


@pytest.mark.parametrize(
    ("objective", "examples", "pairs"), [("sft", 8, 0), ("dpo", 0, 20), ("sft+dpo", 8, 20)]
)
def test_the_training_gets_what_the_objective_learns_from(
    planted: tuple[Store, str], seen: Seen, objective: str, examples: int, pairs: int
) -> None:
    summary = train_stage(*planted, 1, pair_recipe(objective=objective))
    assert (len(seen["train"]), len(seen["pairs"])) == (examples, pairs)
    assert seen["objective"] == objective
    assert summary.get("objective", "sft") == objective
    assert summary.get("preference", 0) == pairs


@pytest.mark.parametrize(
    ("gone", "objective"),
    [("preferences", "sft"), ("trajectories", None)],
)
def test_what_was_not_found_adds_nothing_to_the_sum(
    planted: tuple[Store, str], seen: Seen, gone: str, objective: str | None
) -> None:
    store, run_id = planted
    recipe = pair_recipe(("step",), objective="sft+dpo")
    store.execute(f"DELETE FROM {gone}")
    summary = train_stage(store, run_id, 1, recipe)
    # Steps do not hang on trajectories: without these, pairs alone are left.
    assert summary["objective"] == seen["objective"] == (objective or "dpo")
    assert bool(seen["pairs"]) == (gone == "trajectories")


def test_where_neither_was_found_the_round_says_what_it_looked_for(
    planted: tuple[Store, str], seen: Seen
) -> None:
    store, run_id = planted
    store.execute("DELETE FROM preferences")
    store.execute("DELETE FROM trajectories")
    summary = train_stage(store, run_id, 1, pair_recipe(objective="sft+dpo"))
    assert "no revision, good trajectory or pair" in summary["skipped"] and not seen


def test_imitation_depends_on_no_key_of_preferences() -> None:
    def inputs(recipe: Recipe) -> dict[str, Any]:
        return stage_inputs("imitate", plain_settings(recipe))

    plain = pair_recipe((), objective="sft")
    assert inputs(plain) == inputs(pair_recipe(objective="dpo", beta=0.5, max_tokens=9))
    assert inputs(plain) != inputs(pair_recipe((), objective="sft", rank=4))
    # The first round's trees are the same for all methods, too.
    assert stage_inputs("search", plain_settings(plain)) == stage_inputs(
        "search", plain_settings(pair_recipe(objective="dpo"))
    )
