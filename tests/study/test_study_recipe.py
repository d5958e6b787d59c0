"""Study recipes: their keys, their mistakes, and the cells that they give."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentr_lite.core.errors import RecipeError, UsageError
from agentr_lite.recipe.loading import recipe_names, study_names
from agentr_lite.study.jobs.cells import EQUAL_DATA, FLAWLESS, REASON, UNMERGED, study_cells
from agentr_lite.study.methods import METHODS
from agentr_lite.study.recipe import (
    Ablation,
    Ablations,
    StudyEnvironment,
    StudyRecipe,
    load_study,
    merged,
    study_from_dict,
)

BARE: dict[str, Any] = {
    "environments": ["textcraft"],
    "methods": ["base", "verified", "naive"],
    "seeds": [1],
    "rounds": 2,
    "ablations": False,
}


def study(**changes: Any) -> Any:
    return study_from_dict(merged(BARE, changes))


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("quick", [False, True])
def test_bundled_studies_are_valid(name: str, quick: bool) -> None:
    loaded = load_study(name, quick=quick)
    assert study_cells(loaded)
    assert loaded.name == (f"{name}-quick" if quick else name)
    assert name not in recipe_names()


def test_the_bundled_study_covers_what_it_promises() -> None:
    loaded = load_study("study-small")
    assert set(loaded.environments) == {"textcraft", "webshop", "sciworld"}
    assert set(loaded.methods) == {"base", "verified", "naive", "direct", "good"}
    assert (len(loaded.seeds), loaded.rounds) == (3, 3)


def test_methods_of_an_environment_have_the_same_budget() -> None:
    for env in load_study("study-small").environments:
        cells = list(study_cells(load_study("study-small"), [f"{env}/*/1"]))
        trained = [c.recipe for c in cells if not c.ablation and c.method != "base"]
        assert len({str((r.search, r.train, r.eval, r.rounds)) for r in trained}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [1]}, "unknown key 'seedz' (did you mean 'seeds'?)"),
        ({"methods": ["verifed"]}, "no method 'verifed' (did you mean 'verified'?)"),
        ({"methods": []}, "methods: needs at least one value"),
        ({"seeds": [1, 1]}, "seeds: 1 occurs twice"),
        ({"seeds": [-1]}, "seeds: -1 is outside"),
        (
            {"environments": {"textcraft": {"recipy": "x"}}},
            "did you mean 'environments.textcraft.recipe'?",
        ),
        (
            {"environments": {"textcraft": {"set": {"search": {"widht": 2}}}}},
            "environments.textcraft: unknown key 'search.widht' (did you mean 'search.width'?)",
        ),
        ({"set": {"eval": {"tasks": -3}}}, "eval.tasks: -3 is outside"),
        ({"ablations": {"mergee": True}}, "unknown key 'ablations.mergee'"),
        ({"ablations": {"merge": {"environments": ["webshop"]}}}, "'webshop' is not in this study"),
        ({"ablations": {"merge": {"rounds": 0}}}, "ablations.merge.rounds: needs at least 1"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        study(**changes)
    assert message in caught.value.message


def test_environments_may_not_be_several_at_once(tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text("env: [textcraft, webshop]\n")
    with pytest.raises(RecipeError, match="several environments"):
        study(environments={"both": {"recipe": str(both)}})


def test_a_mistake_in_quick_is_reported_without_quick(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("environments: [textcraft]\nquick: {round: 1}\n")
    with pytest.raises(RecipeError, match="unknown key 'round'"):
        load_study(str(path))


def test_quick_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "environments: {textcraft: {set: {search: {tasks: 9, width: 2}}}}\n"
        "quick: {seeds: [4], environments: {textcraft: {set: {search: {tasks: 3}}}}}\n"
    )
    whole, coarse = load_study(str(path)), load_study(str(path), quick=True)
    assert (whole.seeds, coarse.seeds) == ((1, 2, 3), (4,))
    assert (whole.name, coarse.name) == ("s", "s-quick")
    search = coarse.env_recipe("textcraft").search
    assert (search.tasks, search.width) == (3, 2)
    assert whole.env_recipe("textcraft").search.tasks == 9


def test_overrides_outweigh_the_file() -> None:
    loaded = load_study("study-small", ["rounds=1", "set.search.width=5", "seeds=[7]"])
    assert loaded.rounds == 1
    assert {cell.seed for cell in study_cells(loaded)} == {7}
    assert loaded.env_recipe("textcraft").search.width == 5
    with pytest.raises(RecipeError, match="needs the form key=value"):
        load_study("study-small", ["rounds"])


def test_an_environments_own_settings_outweigh_the_studys() -> None:
    loaded = study(
        set={"search": {"tasks": 4, "width": 2}},
        environments={"textcraft": {"recipe": "smoke", "set": {"search": {"tasks": 8}}}},
    )
    search = loaded.env_recipe("textcraft").search
    assert (search.tasks, search.width) == (8, 2)


def test_the_grid_and_its_order() -> None:
    cells = study_cells(study(seeds=[1, 2]))
    assert [cell.name for cell in cells] == [
        f"textcraft/{method}/{seed}" for seed in (1, 2) for method in ("base", "verified", "naive")
    ]
    rounds = {cell.method: cell.recipe.rounds for cell in cells}
    assert rounds == {"base": 0, "verified": 2, "naive": 2}
    verify = {cell.method: cell.recipe.splice.verify for cell in cells}
    assert (verify["verified"], verify["naive"]) == ("replay", "off")


def test_naive_splices_come_after_all_that_they_may_equal() -> None:
    cells = study_cells(study(methods=["base", "verified", "naive", "good"], seeds=[1, 2]))
    methods = [cell.method for cell in cells]
    assert methods == ["base", "verified", "good", "naive"] * 2


@pytest.mark.parametrize(
    ("only", "methods"),
    [
        (["textcraft"], {"base", "verified", "naive"}),
        (["textcraft/naive"], {"naive"}),
        (["*/base/1", "*/naive/2"], {"base", "naive"}),
        (["//1"], {"base", "verified", "naive"}),
    ],
)
def test_patterns(only: list[str], methods: set[str]) -> None:
    cells = study_cells(study(seeds=[1, 2]), only)
    assert {cell.method for cell in cells} == methods


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        study_cells(study(), ["textcraf"])
    assert "did you mean 'textcraft'?" in caught.value.message
    assert "naive" in caught.value.hint


def test_ablations_add_variants_that_come_last() -> None:
    cells = study_cells(
        study(
            ablations={
                "equal_data": True,
                "flawless": True,
                "critic": {"rounds": 2},
                "merge": True,
                "budget": {"variants": [{"simulations": 2}, {"simulations": 6}, {"width": 5}]},
            }
        )
    )
    names = [cell.method for cell in cells]
    assert names[:3] == ["base", "verified", "naive"]
    # textcraft's own budget is 6 simulations: no need to run it again.
    variants = ["budget-simulations-2", "budget-width-5"]
    assert names[3:] == [EQUAL_DATA, FLAWLESS, REASON, *variants, UNMERGED]
    by_name = {cell.method: cell for cell in cells}
    assert by_name[REASON].recipe.splice.critic == "reason"
    assert by_name[REASON].recipe.rounds == 2
    assert not by_name[UNMERGED].recipe.search.merge
    assert by_name[EQUAL_DATA].equal_to == "verified"
    assert by_name[FLAWLESS].recipe.splice.data == "good"
    assert not by_name[FLAWLESS].recipe.splice.good_flaws
    assert by_name["budget-width-5"].recipe.search.width == 5


def test_equal_data_needs_both_methods() -> None:
    cells = study_cells(study(methods=["base", "verified"], ablations={"equal_data": True}))
    assert EQUAL_DATA not in [cell.method for cell in cells]


PAGE = (Path(__file__).parents[2] / "docs" / "study.md").read_text("utf-8")


@pytest.mark.parametrize("kind", [StudyRecipe, StudyEnvironment, Ablation, Ablations])
def test_every_key_is_on_the_page(kind: type) -> None:
    for key in dataclasses.fields(kind):
        assert f"`{key.name}`" in PAGE or f"{key.name}:" in PAGE, key.name


def test_every_method_is_on_the_page() -> None:
    for method in METHODS:
        assert f"| `{method}` |" in PAGE


def test_the_pages_example_is_a_study(tmp_path: Path) -> None:
    example, equal_tokens, after_imitation = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(example)
    loaded = load_study(str(path))
    assert loaded.env_recipe("deep").search.depth == 30
    assert study_cells(loaded)
    assert load_study(str(path), quick=True).rounds == 1
    path.write_text(yaml.safe_dump(yaml.safe_load(example) | yaml.safe_load(equal_tokens)))
    assert {cell.recipe.train.max_tokens for cell in study_cells(load_study(str(path)))} == {200000}
    path.write_text(yaml.safe_dump(yaml.safe_load(example) | yaml.safe_load(after_imitation)))
    assert load_study(str(path)).start == "imitation"


def test_what_is_said_of_defaults_holds() -> None:
    bare = study_from_dict({"environments": ["textcraft"]})
    assert (bare.seeds, bare.rounds) == ((1, 2, 3), 3)
    pairs = {key for key in METHODS if "dpo" in METHODS[key].changes_text}
    assert pairs == {"eto", "step-dpo", "agent-r+step-dpo"}
    unasked = {"general", "imitation", "imitation-more"}
    assert set(bare.methods) == set(METHODS) - unasked - pairs
