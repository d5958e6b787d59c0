"""The plan of a study says how long its cells take, each shared stage once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.core.errors import ModelError
from agentr_lite.runs.estimate import plan
from tests.support import study_case
from tests.support.study_case import Command


def test_a_plan_estimates_every_cell(study: Command, study_file: Path) -> None:
    planned = study(study_file, "--plan", "--json", "--jobs", "2")
    assert planned.code == 0, planned.err
    estimate = json.loads(planned.out)["estimate"]
    high = {cell["cell"]: cell["high_s"] for cell in estimate["cells"]}
    assert len(high) == study_case.CELLS
    assert estimate["jobs"] == 2
    assert estimate["high_s"] == pytest.approx(sum(high.values()) / 2, abs=0.2)
    # Only the first cell plays the base, and only the first method of a seed searches round 1.
    assert high["corridor/base/1"] > 2 * high["corridor/base/2"]
    assert high["corridor/verified/1"] > high["corridor/good/1"]
    assert high["corridor/verified/1"] == pytest.approx(high["corridor/verified/2"])
    lines = study(study_file, "--plan").out.splitlines()
    assert any(line.startswith("#   corridor/verified, 2 cells: about ") for line in lines)
    assert lines[-1] == "# the study can begin"


def test_what_is_finished_costs_nothing_more(study: Command, study_file: Path) -> None:
    assert study(study_file, "--only", "corridor/*/1").code == 0
    estimate = json.loads(study(study_file, "--plan", "--json").out)["estimate"]
    high = {cell["cell"]: cell["high_s"] for cell in estimate["cells"]}
    assert {name.rpartition("/")[2] for name in high} == {"2"}
    # The base has been played; what is left is loading the model.
    assert high["corridor/base/2"] == 1.5


def test_the_control_is_estimated_by_what_it_may_count(study: Command, study_file: Path) -> None:
    more = ("--set", "methods=[base,verified,imitation-more]", "--set", "set.imitation.tasks=2")
    estimate = json.loads(study(study_file, "--plan", "--json", *more).out)["estimate"]
    high = {cell["cell"]: cell["high_s"] for cell in estimate["cells"]}
    assert high["corridor/imitation-more/1"] > high["corridor/base/1"] > 0


def test_without_a_probe_there_is_no_estimate(study: Command, study_file: Path) -> None:
    planned = study(study_file, "--plan", "--no-probe", "--json")
    assert planned.code == 0 and json.loads(planned.out)["estimate"] is None
    refused = study(study_file, "--no-probe")
    assert refused.code == 2 and "--no-probe goes with --plan" in refused.err


def test_a_model_that_cannot_be_loaded_refuses_the_study(
    study: Command, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ModelError("it is damaged")

    monkeypatch.setattr(plan, "measure_speeds", fails)
    planned = study(study_file, "--plan")
    assert planned.code == 3
    assert "refused  corridor model: it is damaged" in planned.out
