"""Imitation in a study: a method of its own, and the start of all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentr_lite.core.errors import RecipeError
from agentr_lite.store import Store, runs, splices
from agentr_lite.study.jobs.cells import study_cells
from agentr_lite.study.jobs.resolution import agent_examples, new_examples
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


def test_the_control_imitates_as_often_as_the_other_has_examples(
    study: Command, imitating: Path
) -> None:
    methods = ("--set", "methods=[base,imitation,imitation-more,verified]", "--set", "seeds=[1]")
    alone = study(imitating, *methods, "--only", "corridor/imitation-more")
    assert alone.code == 2
    assert "needs round 1 of corridor/verified/1" in alone.err
    done = study(imitating, *methods)
    assert done.code == 0, done.err
    db = imitating.parent / "s.db"
    with Store.open(db, create=False, read_only=True) as store:
        ids = {str(run.recipe["name"]): run.id for run in runs.list_runs(store)}
        more, verified = ids["corridor-imitation-more"], ids["corridor-verified"]
        counted = agent_examples(store, verified, 1)
        [dataset] = splices.list_datasets(store, more, round_index=1)
        items = splices.list_dataset_items(store, dataset.id)
        first = {
            item.demonstration_id
            for row in splices.list_datasets(store, more, round_index=0)
            for item in splices.list_dataset_items(store, row.id)
        }
        stages = {(row.round, row.stage) for row in runs.list_stages(store, more)}
    assert 0 < len(items) <= counted
    assert {item.kind for item in items} == {"demonstration"}
    assert not first & {item.demonstration_id for item in items}
    assert (1, "search") not in stages
    # Both start from one imitation.
    assert done.err.count("imitation imitate: the same as in") == 2
    page = (imitating.parent / "out" / "results.md").read_text()
    assert "imitation once more, round 1" in page
    assert "as many further demonstrations as Agent-R" in page
    status = json.loads(study(imitating, *methods, "--status", "--json").out)
    assert {cell["state"] for cell in status["cells"]} == {"done"}


@pytest.mark.parametrize(
    ("by_round", "accumulate", "expected"),
    [
        ([5, 8, 8], False, (5, 8, 8)),
        # Those of earlier rounds are trained on again, by both sides.
        ([5, 8, 8], True, (5, 3, 0)),
        ([5, 4, 6], True, (5, 0, 2)),
    ],
)
def test_what_is_counted_is_what_a_round_adds(
    by_round: list[int], accumulate: bool, expected: tuple[int, ...]
) -> None:
    assert new_examples(by_round, accumulate=accumulate) == expected


def test_the_control_needs_a_method_to_count(imitating: Path) -> None:
    with pytest.raises(RecipeError, match="and there is none"):
        load_study(str(imitating), ["methods=[base,imitation-more]"])
    overrides = ["methods=[good,imitation-more,direct]", "start=base"]
    cells = {cell.method: cell for cell in study_cells(load_study(str(imitating), overrides))}
    control = cells["imitation-more"]
    assert control.counted == cells["good"].recipe
    # The control begins with imitation wherever the others begin.
    assert (control.recipe.imitation.tasks, cells["good"].recipe.imitation.tasks) == (4, 0)
    assert list(cells)[-1] == "imitation-more"


def test_equal_tokens_are_a_second_row(study: Command, imitating: Path) -> None:
    none = "equal_data: false, flawless: false, critic: false, budget: false, merge: false"
    tokens = "{tokens: 500, methods: [verified, good], rounds: 1}"
    wanted = f"ablations={{equal_tokens: {tokens}, {none}}}"
    methods = ("--set", "methods=[base,imitation,verified,good]", "--set", "seeds=[1]")
    with pytest.raises(RecipeError, match=r"needs train\.patience=0"):
        load_study(str(imitating), [wanted, methods[1]])
    overrides = ("--set", wanted, "--set", "set.train.patience=0", *methods)
    loaded = load_study(str(imitating), [*overrides[1::2]])
    cells = {cell.method: cell.recipe for cell in study_cells(loaded)}
    changed = cells["verified-equal-tokens"]
    assert (changed.train.max_tokens, changed.train.epochs) == (500, 1000)
    # The imitation is the same as that of all others.
    assert changed.imitation.epochs == cells["verified"].train.epochs
    assert cells["verified"].train.max_tokens == 0
    done = study(imitating, *overrides)
    assert done.code == 0, done.err
    page = (imitating.parent / "out" / "results.md").read_text()
    table = page[page.index("### Equal search, and equal training tokens") :]
    names = [line.split("|")[1].strip() for line in table.splitlines()[4:8]]
    assert names == [
        "corridor: Agent-R, verified",
        "corridor: good data only",
        "corridor: Agent-R, verified, equal tokens",
        "corridor: good data only, equal tokens",
    ]
    # All of seed 1 share one imitation, though the epochs of their rounds differ.
    assert done.err.count("imitation imitate: the same as in") == 4


def test_equal_tokens_need_a_number_and_methods_of_the_study(imitating: Path) -> None:
    with pytest.raises(RecipeError, match="needs a number of tokens"):
        load_study(str(imitating), ["ablations={equal_tokens: true}"])
    with pytest.raises(RecipeError, match="'eto' has no rounds in this study"):
        load_study(str(imitating), ["ablations={equal_tokens: {tokens: 9, methods: [eto]}}"])
