"""Recipes: what is read, what is refused, and that nothing is lost on the way to the store."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.recipe.fields import Setting, settings_of
from agentr_lite.recipe.groups import SearchSettings
from agentr_lite.recipe.loading import (
    load_recipe,
    recipe_from_dict,
    recipe_names,
    recipe_text,
    with_overrides,
)
from agentr_lite.recipe.overrides import apply_overrides
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe, own_keys


def kinds() -> dict[str, type]:
    """Prefix of its keys to each dataclass of a recipe."""
    groups = {
        f"{name}.": hint
        for name, hint in typing.get_type_hints(Recipe).items()
        if dataclasses.is_dataclass(hint) and isinstance(hint, type)
    }
    return {"": Recipe, "env.": EnvironmentSettings, **groups}


def keys() -> dict[str, tuple[Any, Setting]]:
    """Every key, its type and its setting."""
    return {
        f"{prefix}{key}": (typing.get_type_hints(kind)[key], declared)
        for prefix, kind in kinds().items()
        for key, declared in settings_of(kind).items()
    }


RANGES = {key: own for key, (_, own) in keys().items() if own.low is not None}


class TestBundled:
    @pytest.mark.parametrize("name", ["smoke", "textcraft"])
    def test_is_there_and_says_what_it_is(self, name: str) -> None:
        assert name in recipe_names()
        assert recipe_text(name).startswith("# ")
        assert load_recipe(name).name == name

    @pytest.mark.parametrize("name", recipe_names())
    def test_evaluates_on_tasks_that_are_never_searched(self, name: str) -> None:
        assert load_recipe(name).eval.split == "test"

    @pytest.mark.parametrize("name", recipe_names())
    def test_survives_the_store(self, name: str) -> None:
        recipe = load_recipe(name)
        assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


class TestValues:
    def test_defaults_are_within_their_ranges(self) -> None:
        recipe = Recipe()
        assert recipe_from_dict(recipe.to_dict()) == recipe

    def test_every_key_says_what_it_means(self) -> None:
        for kind in kinds().values():
            groups = {
                name
                for name, hint in typing.get_type_hints(kind).items()
                if dataclasses.is_dataclass(hint)
            }
            declared = settings_of(kind)
            assert {field.name for field in dataclasses.fields(kind)} == {*declared, *groups}
            assert all(own.meaning for own in declared.values())

    def test_every_number_has_a_range(self) -> None:
        numeric = (int, float, tuple[float, ...], tuple[int, ...])
        for key, (hint, own) in keys().items():
            if hint in numeric:
                assert own.low is not None and own.high is not None and own.low < own.high, key
            else:
                assert own.low is None and own.high is None, key

    def test_an_environment_may_have_its_own_values_of_these_groups(self) -> None:
        groups = {name for name, hint in typing.get_type_hints(EnvironmentSettings).items()}
        assert set(own_keys()) == groups - {"name", "share", "options"}
        assert own_keys()["agent"] == ("brief", "max_tokens", "grammar", "examples", "action")

    @given(st.sampled_from(sorted(RANGES)), st.data())
    def test_ranges_hold(self, key: str, data: st.DataObject) -> None:
        allowed = RANGES[key].allows
        group, _, name = key.rpartition(".")
        value: Any = data.draw(st.integers(-(10**12), 10**12))
        plain: dict[str, Any] = {group: {name: value}} if group else {name: value}
        if group == "env":
            plain = {"env": {"textcraft": {name: value}}}
        if key == "imitation.further":
            # It has a number for each round.
            plain["rounds"] = 1
        if allowed(value):
            assert recipe_from_dict(plain)
        else:
            with pytest.raises(RecipeError, match="is outside"):
                recipe_from_dict(plain)

    def test_numbers_as_people_write_them(self) -> None:
        recipe = recipe_from_dict(
            {"train": {"learning_rate": "1e-4", "epochs": 2}, "search": {"c": 1}}
        )
        assert recipe.train.learning_rate == 1e-4
        assert recipe.train.epochs == 2.0 and type(recipe.train.epochs) is float
        assert type(recipe.search.c) is float

    def test_a_bare_off_is_a_word(self, tmp_path: Path) -> None:
        path = tmp_path / "naive.yaml"
        path.write_text("splice: {verify: off}\n")
        assert load_recipe(str(path)).splice.verify == "off"

    def test_a_single_alpha_is_a_list(self) -> None:
        recipe = recipe_from_dict({"splice": {"alpha": 0.8}})
        assert recipe.splice.alpha == (0.8,)

    def test_alpha_by_round(self) -> None:
        recipe = recipe_from_dict({"splice": {"alpha": [0.5, 0.7]}})
        assert [recipe.alpha(n) for n in (1, 2, 3, 9)] == [0.5, 0.7, 0.7, 0.7]

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
    def test_any_wrong_value_is_a_recipe_error(self, value: Any) -> None:
        for key in ("search", "env_options"):
            if not isinstance(value, dict):
                with pytest.raises(RecipeError, match=key):
                    recipe_from_dict({key: value})


class TestFiles:
    def test_the_name_is_the_files(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("seed: 4\n")
        recipe = load_recipe(str(path))
        assert (recipe.name, recipe.seed) == ("mine", 4)

    def test_an_empty_file_is_all_defaults(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.yaml"
        path.touch()
        assert load_recipe(str(path)) == Recipe(name="empty")

    def test_a_file_may_have_a_bundled_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "smoke").mkdir()
        monkeypatch.chdir(tmp_path)
        assert load_recipe("smoke").rounds == 2


class TestOverrides:
    def test_outweigh_the_file(self) -> None:
        recipe = load_recipe("smoke", ["search.width=7", "rounds=1", "splice.alpha=[1, 0.5]"])
        assert recipe.search.width == 7
        assert recipe.search.depth == load_recipe("smoke").search.depth
        assert (recipe.rounds, recipe.splice.alpha) == (1, (1.0, 0.5))

    def test_the_last_one_counts(self) -> None:
        assert load_recipe("smoke", ["seed=3", "seed=4"]).seed == 4

    def test_env_options_take_any_key(self) -> None:
        recipe = load_recipe("smoke", ["env_options.recipes_dir=/a=b"])
        assert recipe.environment.options == {"recipes_dir": "/a=b"}

    def test_a_stored_recipe_stays_as_it_is(self) -> None:
        stored = load_recipe("smoke", ["env_options.a=1"]).to_dict()
        before = json.dumps(stored)
        changed = with_overrides(stored, ["env_options.a=2", "search.width=2"])
        assert (changed.environment.options, changed.search.width) == ({"a": 2}, 2)
        assert json.dumps(stored) == before

    @pytest.mark.parametrize("override", ["seed", "", "=", "search=3", "search.width=[", "a.b=1"])
    def test_nonsense(self, override: str) -> None:
        with pytest.raises(RecipeError):
            load_recipe("smoke", [override])

    def test_a_group_is_made_where_it_is_missing(self) -> None:
        data: dict[str, Any] = {}
        apply_overrides(data, ["search.width=2"])
        assert data == {"search": {"width": 2}}


def test_did_you_mean() -> None:
    assert did_you_mean("widht", ["width", "depth"]) == " (did you mean 'width'?)"
    assert did_you_mean("zebra", ["width", "depth"]) == ""


def test_recipes_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().search.width = 3  # type: ignore[misc]
    assert Recipe().search == SearchSettings()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("tasks", "(did you mean 'imitation.tasks', 'search.tasks' or 'eval.tasks'?)"),
        ("search.taks", "(did you mean 'search.tasks'?)"),
        ("search.alpha", "(did you mean 'splice.alpha'?)"),
        ("widht", "(did you mean 'search.width'?)"),
        ("search_width", "(did you mean 'search.width'?)"),
        ("roundz", "(did you mean 'rounds'?)"),
        ("zzz", ""),
    ],
)
def test_an_unknown_key_suggests_full_names(key: str, meant: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("smoke", [f"{key}=3"])
    assert caught.value.message == f"unknown key '{key}' {meant}".strip()
