"""A run holds from any working directory, whatever its paths were relative to."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentr_lite.cli.common import database_path
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.overrides import apply_overrides
from agentr_lite.runs.places import absolute_places


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files and folders to name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTR_LITE_HOME", str(tmp_path / "home"))
    for name in ("model.gguf", "chats.jsonl", "own.jinja", "jugs.py"):
        (tmp_path / name).touch()
    for name in ("weights", "pack", "starter"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_paths_become_absolute_and_names_stay_names(here: Path) -> None:
    recipe = absolute_places(
        recipe_from_dict(
            {
                "env": "jugs.py",
                "env_options": {"recipes_dir": "pack", "level": "pack", "data_dir": "nowhere"},
                "model": "model.gguf",
                "train_model": "weights",
                "agent": {"chat_template": "own.jinja"},
                "train": {"general": "./chats.jsonl"},
            }
        )
    )
    assert recipe.environment.name == str(here / "jugs.py")
    assert recipe.environment.options == {
        "recipes_dir": str(here / "pack"),
        "level": "pack",
        "data_dir": "nowhere",
    }
    assert (recipe.model, recipe.train_model) == (str(here / "model.gguf"), str(here / "weights"))
    assert recipe.agent.chat_template == str(here / "own.jinja")
    assert recipe.train.general == str(here / "chats.jsonl")
    # There is a folder of that name; the bundled model it is all the same.
    named = {"env": "textcraft", "model": "starter", "train": {"general": "starter"}}
    assert absolute_places(recipe_from_dict(named)) == recipe_from_dict(named)


@pytest.mark.parametrize(
    ("model", "kept"),
    [("mlx:weights", "mlx:{here}/weights"), ("openai:http://h/v1#m", "openai:http://h/v1#m")],
)
def test_models_of_every_kind(here: Path, model: str, kept: str) -> None:
    assert absolute_places(recipe_from_dict({"model": model})).model == kept.format(here=here)


def test_several_environments(here: Path) -> None:
    env = {"textcraft": {"options": {"recipes_dir": "pack"}}, "jugs.py": {"share": 2}}
    recipe = absolute_places(recipe_from_dict({"env": env}))
    assert {env.name: dict(env.options) for env in recipe.env} == {
        "textcraft": {"recipes_dir": str(here / "pack")},
        str(here / "jugs.py"): {},
    }


@pytest.mark.parametrize("name", ["./a/g.py", "agentgym+http://127.0.0.1:8000", "b"])
def test_an_environments_name_may_hold_dots(name: str) -> None:
    data = {"env": {name: {}, "textcraft": {}}}
    apply_overrides(data, [f"env.{name}.search.depth=7", "env.textcraft.share=2"])
    assert data["env"] == {name: {"search": {"depth": 7}}, "textcraft": {"share": 2}}


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert database_path(Path("~/runs.db")) == tmp_path / "runs.db"
