"""The environments of a recipe: their forms in a file, their own settings, their shares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.agent.states import stored_origin
from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.loading import load_recipe, recipe_from_dict, with_overrides
from agentr_lite.recipe.overrides import apply_overrides
from agentr_lite.recipe.settings import EnvironmentSettings
from agentr_lite.recipe.shares import divide


def test_a_list_shares_the_tasks_evenly() -> None:
    recipe = recipe_from_dict({"env": ["b", "a"], "search": {"tasks": 9}, "eval": {"tasks": 4}})
    assert recipe.env_names == ("a", "b") and recipe.env_label == "a+b"
    assert [
        (own.env_label, own.search.tasks, own.eval.tasks) for own in recipe.by_environment()
    ] == [
        ("a", 5, 2),
        ("b", 4, 2),
    ]


def test_all_stays_all() -> None:
    recipe = recipe_from_dict({"env": ["a", "b"], "search": {"tasks": 0}})
    assert [own.search.tasks for own in recipe.by_environment()] == [0, 0]


def test_what_is_its_own() -> None:
    recipe = recipe_from_dict(
        {
            "env": {
                "a": {"share": 3, "agent": {"brief": True}, "options": {"size": 2}},
                "b": {
                    "search": {"depth": 7, "tasks": 1},
                    "splice": {"alpha": 0.9, "unseen": "drop", "critic_margin": 0.3},
                },
            },
            "search": {"tasks": 8, "depth": 5},
        }
    )
    a, b = recipe.by_environment()
    assert (a.search.tasks, a.search.depth, a.agent.brief) == (6, 5, True)
    assert (b.search.tasks, b.search.depth, b.agent.brief) == (1, 7, False)
    assert (a.environment.options, b.environment.options) == ({"size": 2}, {})
    assert b.splice.alpha == (0.9,) and a.splice.alpha == recipe.splice.alpha
    assert (a.splice.unseen, b.splice.unseen) == ("last", "drop")
    assert (a.splice.critic_margin, b.splice.critic_margin) == (0.0, 0.3)


def test_one_is_one_however_it_is_written() -> None:
    plain = recipe_from_dict({"env": "a"})
    for env in (["a"], {"a": None}, {"a": {"share": 3}}, [{"name": "a"}]):
        assert recipe_from_dict({"env": env}) == plain
    options = recipe_from_dict({"env": "a", "env_options": {"x": 1}})
    assert options.environment == EnvironmentSettings("a", options={"x": 1})
    assert options.by_environment() == [options]
    assert recipe_from_dict({"env": {"a": {"options": {"x": 1}}}}) == options


def test_a_single_ones_own_settings_are_the_recipes() -> None:
    own = {"a": {"search": {"depth": 7, "tasks": 3}, "splice": {"alpha": 0.9}}}
    recipe = recipe_from_dict({"env": own, "search": {"depth": 9, "width": 2}})
    search = {"depth": 7, "tasks": 3, "width": 2}
    same = recipe_from_dict({"env": "a", "search": search, "splice": {"alpha": [0.9]}})
    assert recipe == same


def test_a_stored_recipe_holds_a_list_even_of_one() -> None:
    [only] = recipe_from_dict({"env": "a", "env_options": {"x": 1}}).to_dict()["env"]
    assert (only["name"], only["options"]) == ("a", {"x": 1})
    several = recipe_from_dict({"env": {"b": {"share": 2}, "a": None}}).to_dict()["env"]
    assert [(environment["name"], environment["share"]) for environment in several] == [
        ("a", 1.0),
        ("b", 2.0),
    ]


@pytest.mark.parametrize(
    "old",
    [
        {"env": "a", "env_options": {"x": 1}},
        {"env": {"a": {"share": 2.0, "options": {"x": 1}}, "b": {}}, "env_options": {}},
    ],
)
def test_recipes_of_earlier_versions_are_read(old: dict[str, Any]) -> None:
    recipe = recipe_from_dict(old)
    assert recipe.env[0].options == {"x": 1}
    assert recipe_from_dict(recipe.to_dict()) == recipe
    assert "env_options" not in recipe.to_dict()


def test_survives_the_store_whatever_its_order() -> None:
    recipe = recipe_from_dict({"env": {"b": {"search": {"c": 1}}, "a": None}})
    stored = json.loads(json.dumps(recipe.to_dict(), sort_keys=True))
    assert recipe_from_dict(stored) == recipe
    assert recipe_from_dict(stored).by_environment() == recipe.by_environment()


def test_where_a_stored_task_came_from() -> None:
    several = recipe_from_dict({"env": {"a": {"options": {"size": 2}}, "b": None}}).to_dict()
    assert stored_origin(several, "a") == ("a", {"size": 2})
    assert stored_origin(several, "b") == ("b", {})
    # A file's environment has a name of its own.
    files: dict[str, Any] = {"env": [{"name": "a"}, {"name": "/x/jug.py", "options": {"size": 3}}]}
    assert stored_origin(files, "jugs") == ("/x/jug.py", {"size": 3})
    files["env"].append({"name": "/x/river.py", "options": {}})
    assert stored_origin(files, "river") == ("/x/river.py", {})
    assert stored_origin(files, "jugs") == ("jugs", {})
    # Of one environment, the name that the recipe gives it: it may call itself otherwise.
    single = recipe_from_dict({"env": "x.py", "env_options": {"size": 3}}).to_dict()
    assert stored_origin(single, "a") == ("x.py", {"size": 3})


def test_overrides_reach_one_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("env: [a, b]\n")
    recipe = load_recipe(str(path), ["env.b.search.depth=3", "search.width=2"])
    assert [(own.search.depth, own.search.width) for own in recipe.by_environment()] == [
        (20, 2),
        (3, 2),
    ]


def test_overrides_reach_a_single_one_however_it_is_written() -> None:
    for env in ("a", ["a"], {"a": None}, [{"name": "a"}]):
        data: dict[str, Any] = {"env": env}
        apply_overrides(data, ["env.a.search.depth=3", "env_options.x=1", "env.a.options.y=2"])
        recipe = recipe_from_dict(data)
        assert recipe.search.depth == 3
        assert recipe.environment.options == {"x": 1, "y": 2}


def test_overrides_replace_and_empty_a_stored_recipes_options() -> None:
    stored = recipe_from_dict({"env": "a", "env_options": {"x": {"y": 1}, "z": 2}}).to_dict()
    deeper = with_overrides(stored, ["env_options.x.y=5"])
    assert deeper.environment.options == {"x": {"y": 5}, "z": 2}
    assert with_overrides(stored, ["env_options={}"]).environment.options == {}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ([], "at least one environment"),
        ({}, "at least one environment"),
        (3, "needs a name"),
        (None, "needs a name"),
        (["a", "a"], "'a' is named twice"),
        ([{"name": "a"}, "a"], "'a' is named twice"),
        ([{"share": 2}], "has no `name`"),
        ([["a"]], "needs a name"),
        ({"a": {"name": "b"}}, "env.a.name: "),
        ([{"name": "a", "serch": {}}], r"unknown key 'env.a.serch'"),
        ([1, 2], "a name is text|name is text"),
        ({"a": 3}, "env.a: needs a mapping"),
        ({"a": {"serch": {}}}, r"unknown key 'env.a.serch' \(did you mean 'env.a.search'\?\)"),
        (
            {"a": {"search": {"dept": 2}}},
            r"env.a.search.dept' \(did you mean 'env.a.search.depth'\?\)",
        ),
        ({"a": {"search": {"depth": 0}}}, "env.a.search.depth: 0 is outside"),
        ({"a": {"search": {"depth": "x"}}}, "env.a.search.depth: needs a whole"),
        ({"a": {"eval": {"split": "dev"}}}, "all environments share eval.split"),
        ({"a": {"splice": {"alpha": []}}}, "env.a.splice.alpha: needs at least one"),
        ({"a": {"share": 0}}, "env.a.share: 0.0 is outside"),
    ],
)
def test_nonsense_names_its_key(env: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_from_dict({"env": env})


def test_options_of_none_in_particular() -> None:
    with pytest.raises(RecipeError, match="which environment is meant") as caught:
        recipe_from_dict({"env": ["a", "b"], "env_options": {"size": 1}})
    assert "env.NAME.options.size" in caught.value.hint


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (10, [0.7, 0.2, 0.1], [7, 2, 1]),
        (2, [1, 1, 1], [1, 1, 1]),
        (1, [1, 9], [1, 1]),
        (0, [1, 2], [0, 0]),
    ],
)
def test_divide(total: int, shares: list[float], parts: list[int]) -> None:
    named = {f"env{index}": share for index, share in enumerate(shares)}
    assert list(divide(total, named).values()) == parts
