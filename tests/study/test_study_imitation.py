"""Imitation in a study: a method of its own, and the start of all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.core.errors import RecipeError
from agentr_lite.store import Store, runs, splices
from agentr_lite.study.jobs.cells import study_cells
from agentr_lite.study.jobs.status import stage_count
from agentr_lite.study.recipe import load_study
from tests.support import study_case
from tests.support.study_case import Command

STUDY = """
name: tiny
environments:
  corridor: {{recipe: {recipe}}}
methods: [base, imitation, verified]
seeds: [1, 2]
rounds: 1
start: imitation
set: {{eval: {{samples: 0}}, imitation: {{tasks: 4}}}}
ablations: {ablations}
"""


@pytest.fixture
def imitating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    study_case.install(monkeypatch.setattr)
    return study_case.write_study(tmp_path / "case", text=STUDY)


def test_who_imitates(imitating: Path) -> None:
    def tasks(*overrides: str) -> dict[str, tuple[int, int, int]]:
        cells = study_cells(load_study(str(imitating), overrides))
        return {
            cell.method: (
                cell.recipe.imitation.tasks,
                cell.recipe.rounds,
                stage_count(cell.recipe),
            )
            for cell in cells
        }

    assert tasks() == {"base": (0, 0, 1), "imitation": (4, 0, 3), "verified": (4, 1, 7)}
    assert tasks("start=base") == {
        "base": (0, 0, 1),
        "imitation": (4, 0, 3),
        "verified": (0, 1, 5),
    }
    with pytest.raises(RecipeError, match=r"imitation\.tasks is 0"):
        load_study(str(imitating), ["set.imitation.tasks=0"])


def test_all_methods_of_a_seed_share_one_imitation(study: Command, imitating: Path) -> None:
    done = study(imitating)

    assert done.code == 0, done.err
    assert done.err.count("imitation imitate: the same as in") == 2
    assert done.err.count("imitation eval: the same as in") == 2
    db = imitating.parent / "s.db"
    with Store.open(db, create=False, read_only=True) as store:
        ids = {f"{run.recipe['name']} {run.seed}": run.id for run in runs.list_runs(store)}
        adapters = {
            name: {row.round: row for row in splices.list_adapters(store, run_id)}
            for name, run_id in ids.items()
        }
        for seed in (1, 2):
            mine = adapters[f"corridor-imitation {seed}"][0]
            theirs = adapters[f"corridor-verified {seed}"]
            assert mine.gguf_sha256 == theirs[0].gguf_sha256
            trained = Path(theirs[1].gguf_path).read_text()
            assert trained.endswith(f" after {Path(mine.gguf_path).read_text()}")
            items = splices.list_dataset_items(store, theirs[0].dataset_id)
            assert [item.kind for item in items] == ["demonstration"] * 4
    assert "imitation only" in done.out
    rows = json.loads((imitating.parent / "out" / "results.json").read_text())["cells"]
    success = {(row["method"], row["round"]): row for row in rows if row["measure"] == "success"}
    assert set(success) == {("base", 0), ("imitation", 0), ("verified", 1)}
    assert success["base", 0]["versus_base"] is None
    gain = success["imitation", 0]["versus_base"]["value"]
    assert gain == pytest.approx(success["imitation", 0]["value"] - success["base", 0]["value"])
    # All differences are from the base, whatever a method starts from.
    gain = success["verified", 1]["versus_base"]["value"]
    assert gain == pytest.approx(success["verified", 1]["value"] - success["base", 0]["value"])
