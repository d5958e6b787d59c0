"""What a training on pairs leaves in the database: its series, its summary and its warning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentr_lite.recipe.groups import TrainSettings
from agentr_lite.runs.stages.train import TrainStage
from agentr_lite.store import runs, splices
from agentr_lite.train import lora
from agentr_lite.train.dpo import PairFigures
from agentr_lite.train.lora import TrainResult
from agentr_lite.train.preferences import DroppedPairs
from tests.runs.test_train_stage import trained
from tests.support.stages import train_stage

__all__ = ["trained"]
"""A fixture."""

FIGURES = [
    PairFigures(1, 0.69, 0.0, 0.5, 0.0, 0.0),
    PairFigures(2, 0.5, 0.7, 0.75, -3.0, -10.0),
]
HELD_OUT = [
    PairFigures(0, 0.69, 0.0, 0.0, 0.0, 0.0),
    PairFigures(1, 0.6, 0.4, 1.0, -2.0, -6.0),
    PairFigures(2, 0.55, 0.5, 1.0, -4.0, -9.0),
]


def run_with(
    case: Any, monkeypatch: pytest.MonkeyPatch, objective: str, **changes: Any
) -> tuple[Any, dict[str, list[float]], dict[str, Any]]:
    """Train round 1 with a result that has pairs; returns metrics and the adapter's summary."""
    store, run_id, recipe, _ = case
    stand_in = lora.train_lora

    def with_pairs(*arguments: Any, **named: Any) -> TrainResult:
        result = stand_in(*arguments, **named)
        figures = {"pair_figures": FIGURES, "valid_pair_figures": HELD_OUT, **changes}
        return replace(result, **figures)

    monkeypatch.setattr(lora, "train_lora", with_pairs)
    settings = replace(TrainSettings(eta=1.0), objective=objective)
    monkeypatch.setattr(TrainStage, "settings", settings)
    summary = train_stage(store, run_id, 1, recipe)
    series: dict[str, list[float]] = {}
    for point in runs.list_metrics(store, run_id):
        series.setdefault(point.name, []).append(point.value)
    return summary, series, dict(splices.get_adapter(store, run_id, 1).summary)


Case = tuple[Any, str, Any, list[str]]


def test_the_figures_of_pairs_are_series(trained: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _, series, _ = run_with(trained, monkeypatch, "sft+dpo")
    assert series["margin"] == [0.0, 0.7] and series["valid_margin"] == [0.0, 0.4, 0.5]
    assert series["pair_accuracy"] == [0.5, 0.75]
    assert series["chosen_change"] == [0.0, -3.0]
    assert series["valid_rejected_change"] == [0.0, -6.0, -9.0]
    assert series["dpo_loss"] == [0.69, 0.5] and series["valid_dpo_loss"] == [0.69, 0.6, 0.55]


def test_with_dpo_alone_its_loss_is_stored_once(
    trained: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, series, _ = run_with(trained, monkeypatch, "dpo")
    assert "dpo_loss" not in series and "valid_dpo_loss" not in series
    assert series["train_loss"] and series["margin"]


def test_the_summary_has_the_kept_adapters_figures(
    trained: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = DroppedPairs(too_long=3, ties=2)
    summary, _, stored = run_with(
        trained, monkeypatch, "dpo", best_step=1, dropped_pairs=dropped, warning="It fell. Do this."
    )
    expected = {
        "dropped_pairs": 5,
        "tied_pairs": 2,
        "dpo_loss": 0.6,
        "margin": 0.4,
        "pair_accuracy": 1.0,
        "chosen_change": -2.0,
        "rejected_change": -6.0,
        "warning": "It fell. Do this.",
    }
    assert {key: summary[key] for key in expected} == expected
    assert {key: stored[key] for key in expected} == expected


def test_without_held_out_pairs_the_last_step_counts(
    trained: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, _, _ = run_with(trained, monkeypatch, "dpo", valid_pair_figures=[])
    assert (summary["margin"], summary["chosen_change"]) == (0.7, -3.0)
    assert "warning" not in summary


def test_a_training_without_pairs_says_nothing_of_them(
    trained: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, series, _ = run_with(
        trained, monkeypatch, "sft", pair_figures=[], valid_pair_figures=[]
    )
    assert "margin" not in summary and set(series) == {"train_loss", "valid_loss"}


@pytest.mark.parametrize("warning", ["", "It fell. Do this."])
def test_a_warning_stands_in_the_headline(warning: str) -> None:
    assert TrainStage.headline(object.__new__(TrainStage), {"steps": 2, "warning": warning}) == (
        f"2 steps; warning: {warning}" if warning else "2 steps"
    )
