"""``agentr-lite envs new``: what it writes works as it is, by path and by name."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentr_lite.cli.envs import envs
from agentr_lite.core.errors import UsageError
from agentr_lite.envs import registry
from agentr_lite.envs.names import parse_env_name
from agentr_lite.envs.registry import _factory
from agentr_lite.envs.scaffold import class_name, environment_source, write_package
from agentr_lite.recipe.loading import load_recipe

DOCS = Path(__file__).parents[2] / "docs" / "environments.md"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(envs, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def program(*arguments: str, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own that finds packages in ``path``."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(path), str(Path.cwd())))},
        capture_output=True,
        text=True,
        check=False,
    )


pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    assert run("new", "river_game", "--into", str(tmp_path)).exit_code == 0
    return tmp_path / "river_game"


def test_it_is_sound_by_its_path(package: Path) -> None:
    checked = run("check", str(package / "src" / "river_game" / "env.py"), "--json")
    assert checked.exit_code == 0
    findings = json.loads(checked.stdout)["findings"]
    assert [f["check"] for f in findings if not f["ok"]] == []
    assert next(f["cases"] for f in findings if f["check"] == "oracle") == 60


def test_its_own_tests_pass(package: Path) -> None:
    done = program("pytest", "-q", "-p", "no:cacheprovider", path=package / "src", cwd=package)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_it_is_found_by_name_once_installed(package: Path) -> None:
    # What an installer makes of the project file; a real one would need the network.
    project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    info = package / "src" / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["agentr_lite.envs"]
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[agentr_lite.envs]", *lines]) + "\n")
    elsewhere = package.parent
    listed = program("agentr_lite", "envs", "--json", path=package / "src", cwd=elsewhere)
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["river_game"]["origin"] == "river_game 0.1.0"
    assert (rows["river_game"]["train"], rows["river_game"]["error"]) == (30, "")
    plan = program(
        "agentr_lite",
        "run",
        "river_game",
        "--plan",
        "--no-probe",
        path=package / "src",
        cwd=elsewhere,
    )
    assert "plan: river_game · river_game" in plan.stdout


def test_its_recipe_is_one(package: Path) -> None:
    recipe = load_recipe(str(package / "recipe.yaml"))
    assert (recipe.name, recipe.env_names) == ("river_game", ("river_game",))


def test_what_it_says(tmp_path: Path) -> None:
    result = run("new", "river_game", "--into", str(tmp_path))
    assert [Path(line).is_file() for line in result.stdout.splitlines()] == [True] * 6
    assert "pip install -e" in result.stderr
    assert "$" not in "".join(Path(line).read_text("utf-8") for line in result.stdout.splitlines())
    shown = json.loads(run("new", "other_game", "--into", str(tmp_path), "--json").stdout)
    assert len(shown["files"]) == 6 and shown["folder"] == str(tmp_path / "other_game")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("River", "cannot be a package's name"),
        ("1game", "cannot be a package's name"),
        ("a-b", "cannot be a package's name"),
        ("../x", "cannot be a package's name"),
        ("class", "cannot be a package's name"),
        ("textcraft", "an environment 'textcraft' already"),
        ("json", "a Python module 'json' already"),
        ("click", "a Python module 'click' already"),
        ("here", "exists already"),
    ],
)
def test_names_that_will_not_do(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(UsageError, match=message):
        write_package(name, tmp_path, ["textcraft"])
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_class_names() -> None:
    assert class_name("river_game_2") == "RiverGame2"


def test_the_manual_lists_every_option() -> None:
    text = DOCS.read_text("utf-8")
    factories = {name: _factory(parse_env_name(name)) for name in registry._BUILT_IN}
    factories |= {name: _factory(parse_env_name(f"{name}:x")) for name in registry.ADAPTERS}
    for name, factory in factories.items():
        section = text.partition(f"### {name}\n")[2].partition("\n#")[0]
        for option in inspect.signature(factory).parameters:
            assert option == "address" or f"`{option}`" in section, (name, option)


def test_the_manual_shows_what_is_written(tmp_path: Path) -> None:
    text = DOCS.read_text("utf-8")
    code = text.partition("<!-- example: sums -->\n```python\n")[2].partition("```")[0]
    assert code == environment_source("sums")
    path = tmp_path / "sums.py"
    path.write_text(code, "utf-8")
    checked = run("check", str(path), "--episodes", "5", "--quick")
    assert checked.exit_code == 0 and "sound" in checked.stderr
