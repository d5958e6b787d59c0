"""What of a recipe the actor is opened with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.actors.settings import ActorSettings
from agentr_lite.core.errors import ModelError
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.runs.actors import actor_settings, most_live_tokens, open_actor

GRAMMAR = 'root ::= "yes" | "no"\n'


def test_defaults_agree() -> None:
    settings = actor_settings(recipe_from_dict({}))
    assert replace(settings, live_tokens=None) == ActorSettings()


def test_the_settings_follow_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    agent = {"context_tokens": 200, "deterministic": True, "chat_template": "~/own.jinja"}
    settings = actor_settings(recipe_from_dict({"model": "small", "agent": agent}))
    assert replace(settings, live_tokens=None) == ActorSettings(
        "small", 200, tmp_path / "own.jinja", deterministic=True
    )


def test_what_is_in_play_bounds_the_caches() -> None:
    data = {"agent": {"context_tokens": 1000}, "eval": {"tasks": 3, "samples": 1, "batch": 64}}
    recipe = recipe_from_dict(data)
    assert most_live_tokens(recipe, searches=False) == 6_000
    few = recipe_from_dict({**data, "eval": {"tasks": 0, "batch": 2}})
    assert most_live_tokens(few, searches=False) == 2_000
    assert actor_settings(recipe, searches=False).live_tokens == 6_000
    # 16 trees of 8 episodes, with siblings.
    assert most_live_tokens(recipe, searches=True) > 16 * 8 * 1000
    assert actor_settings(recipe).live_tokens == most_live_tokens(recipe, searches=True)
    assert actor_settings(replace(recipe, rounds=0)).live_tokens == 6_000


def test_the_grammar_of_any_environment_counts() -> None:
    env = {"textcraft": {}, "webshop": {"agent": {"grammar": GRAMMAR}}}
    assert actor_settings(recipe_from_dict({"env": env})).grammar
    assert not actor_settings(recipe_from_dict({"env": ["textcraft", "webshop"]})).grammar


def test_a_server_cannot_be_deterministic() -> None:
    data = {"model": "openai:http://127.0.0.1:9/v1#any", "agent": {"deterministic": True}}
    with pytest.raises(ModelError, match="deterministic"):
        open_actor(recipe_from_dict(data))
