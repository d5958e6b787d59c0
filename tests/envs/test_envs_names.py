"""How environments are named, and environments out of files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.names import absolute_env_name, env_slug, parse_env_name
from agentr_lite.envs.registry import env_origin, is_env_name, make_env
from agentr_lite.envs.wrappers import ReplayEnvironment

GAME = """
from dataclasses import dataclass

from agentr_lite.envs.base import Environment, StepResult, Task
{imports}

@dataclass(frozen=True)
class Extra:
    word: str = "{word}"


class Door(Environment):
    name = "door"

    def __init__(self, word: str = Extra().word) -> None:
        self.word = word

    def tasks(self, split):
        return [Task(f"{{split}}-door", split, "open", payload={{"extra": Extra()}})]

    def reset(self, task, *, seed=0):
        return f"A door. Say {{self.word}}.", {{}}

    def step(self, action):
        won = action == self.word
        return StepResult("Open." if won else "Shut.", float(won), won, False, {{}})

    def instructions(self, *, brief=False):
        return "Speak to the door."
"""


def game(path: Path, word: str = "friend", imports: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GAME.format(word=word, imports=imports), "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "scheme", "address", "path", "attribute", "slug"),
    [
        ("textcraft", "", "", None, "", "textcraft"),
        ("my-game_2", "", "", None, "", "my-game_2"),
        ("gymnasium:FrozenLake-v1", "gymnasium", "FrozenLake-v1", None, "", "frozenlake-v1"),
        ("gymnasium:pkg.mod:Maze-v0", "gymnasium", "pkg.mod:Maze-v0", None, "", "pkg-mod-maze-v0"),
        (
            "agentgym+http://localhost:8000/textcraft",
            "agentgym",
            "http://localhost:8000/textcraft",
            None,
            "",
            "agentgym-localhost-8000-textcraf",
        ),
        ("textcraft+webshop", "", "", None, "", "textcraft+webshop"),
        ("jugs.py", "", "", "jugs.py", "", "jugs"),
        ("a+b/c:d/Jugs.py:Large", "", "", "a+b/c:d/Jugs.py", "Large", "large"),
        ("/x/y.py:", "", "", "/x/y.py", "", "y"),
        ("games/river/env.py", "", "", "games/river/env.py", "", "river"),
        ("env.py", "", "", "env.py", "", "environment"),
        ("gymnasium:工作", "gymnasium", "工作", None, "", "gymnasium"),
    ],
)
def test_names(
    text: str, scheme: str, address: str, path: str | None, attribute: str, slug: str
) -> None:
    name = parse_env_name(text)
    assert (name.scheme, name.address, name.attribute) == (scheme, address, attribute)
    assert name.path == (None if path is None else Path(path))
    assert name.is_plain == (not scheme and path is None)
    assert env_slug(text) == slug


def test_what_counts_as_an_environment(tmp_path: Path) -> None:
    assert is_env_name("textcraft") and is_env_name("gymnasium:X") and is_env_name("x.py:Y")
    assert is_env_name("agentgym+https://host/")
    assert not is_env_name("ftp:x") and not is_env_name("latest") and not is_env_name("a+b")


def test_files_are_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_env_name("jugs.py:Jugs") == f"{tmp_path.resolve()}/jugs.py:Jugs"
    assert absolute_env_name("jugs.py") == f"{tmp_path.resolve()}/jugs.py"
    assert absolute_env_name("textcraft") == "textcraft"
    assert absolute_env_name("gymnasium:jugs") == "gymnasium:jugs"


@pytest.mark.parametrize("attribute", ["", ":Door"])
def test_an_environment_from_a_file(tmp_path: Path, attribute: str) -> None:
    name = f"{game(tmp_path / 'random.py')}{attribute}"
    env = make_env(name, {"word": "please"})
    assert isinstance(env, ReplayEnvironment)
    (task,) = env.tasks("train")
    assert env.reset(task)[0] == "A door. Say please."
    # Its own classes are found again by another process that has loaded the file, and by copies.
    assert pickle.loads(pickle.dumps(task)) == task
    assert env_origin(name) == str(tmp_path / "random.py")
    with pytest.raises(UsageError, match=r"no option 'wrod' \(did you mean 'word'"):
        make_env(name, {"wrod": "x"})


def test_two_files_of_one_name(tmp_path: Path) -> None:
    for word in ("one", "two"):
        name = str(game(tmp_path / word / "door.py", word))
        env = make_env(name)
        assert word in env.reset(env.tasks("test")[0])[0]


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_door.py").write_text("WORD = 'hi'\n", "utf-8")
    path = game(tmp_path / "alone.py", imports="from neighbour_of_door import WORD")
    assert make_env(str(path)).name == "door"


def test_a_file_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "doors_package_x" / "inner"
    path = game(package / "door.py", imports="from ..words import WORD")
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    (package.parent / "words.py").write_text("WORD = 'hi'\n", "utf-8")
    assert make_env(f"{path}:Door").name == "door"
    # Another package of that name elsewhere: the first one answers, which is said.
    other = game(tmp_path / "elsewhere" / "doors_package_x" / "inner" / "door.py")
    (other.parent / "__init__.py").touch()
    (other.parent.parent / "__init__.py").touch()
    with pytest.raises(UsageError, match="hidden by another module"):
        make_env(str(other))


@pytest.mark.parametrize(
    ("code", "attribute", "kind", "message"),
    [
        ("x = 1", "", UsageError, "defines no environment"),
        ("x = 1", ":Door", UsageError, "has no 'Door'"),
        ("x = 1", ":x", EnvironmentFault, "not a class or function"),
        ("1 / 0", "", EnvironmentFault, "cannot load .* ZeroDivisionError"),
        ("def f(:", "", EnvironmentFault, "SyntaxError"),
        (GAME.format(word="a", imports=""), ":Dor", UsageError, "did you mean 'Door'"),
        (
            GAME.format(word="a", imports="") + "\nclass Gate(Door):\n    name = 'gate'\n",
            "",
            UsageError,
            "several environments",
        ),
    ],
)
def test_files_that_do_not_serve(
    tmp_path: Path, code: str, attribute: str, kind: type[Exception], message: str
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code, "utf-8")
    for _ in range(2):  # the second time must not find half a module
        with pytest.raises(kind, match=message) as caught:
            make_env(f"{path}{attribute}")
    assert str(path) in str(caught.value) + caught.value.hint  # type: ignore[attr-defined]
