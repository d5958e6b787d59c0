"""What a user can get wrong: one clear line, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import loop_case
import pytest
from corridor import Corridor
from tiny_gguf import CHATML, write_tiny_model

from agentr_lite.actors import registry as actors
from agentr_lite.actors.mock import MockActor
from agentr_lite.cli import main
from agentr_lite.cli.claim import claimed
from agentr_lite.envs import registry as environments
from agentr_lite.envs.base import StepResult, Task
from agentr_lite.store import Store, runs

Call = Callable[..., tuple[int, str, str]]

READERS = [
    ("runs",),
    ("runs", "show"),
    ("runs", "delete", "latest", "--yes"),
    ("trees",),
    ("report",),
    ("export", "-o", "-"),
]
WRITERS = [
    ("run", "corridor", "--set", "rounds=0"),
    ("run", "--resume", "latest"),
    ("search", "corridor"),
    ("splice",),
    ("train", "latest"),
    ("eval", "corridor"),
]
EVERY_VERB = [pytest.param(words, id="-".join(words)) for words in READERS + WRITERS]

# Everything that moves a cursor, reorders a line or hides text, but for the newline.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200f]")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e[bold]"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def loop(cli: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """``cli`` with the corridor for an environment and a scripted player for a model."""
    loop_case.install(monkeypatch.setattr)
    return cli


@pytest.fixture
def filled(loop: Call, tmp_path: Path, db: Path) -> Path:
    """A database with a whole run in it."""
    assert loop("run", loop_case.write_recipe(tmp_path / "case"), "-d", db)[0] == 0
    return db


def one_error(err: str) -> str:
    """The error's line, where nothing but a hint, a usage line and narration is around it."""
    assert "Traceback" not in err
    found = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(found) == 1, err
    return found[0]


def spawn(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentr_lite", *map(str, arguments)]
    return subprocess.run(command, **{"text": True, "check": False, "timeout": 300, **more})


class TestModels:
    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("models")
        whole = write_tiny_model(folder / "whole.gguf").read_bytes()
        (folder / "half.gguf").write_bytes(whole[: len(whole) // 2])
        (folder / "head.gguf").write_bytes(whole[:200])
        (folder / "garbled.gguf").write_bytes(whole[:40] + b"\xff" * 80 + whole[120:])
        (folder / "text.gguf").write_text("not a model " * 20)
        (folder / "empty.gguf").touch()
        write_tiny_model(folder / "base.gguf", template=None)
        return folder

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("missing.gguf", "no model"),
            ("half.gguf", "is truncated"),
            ("head.gguf", "is damaged"),
            ("garbled.gguf", "is damaged"),
            ("text.gguf", "is not a GGUF file"),
            ("empty.gguf", "is not a GGUF file"),
            (".", "is a directory"),
        ],
    )
    @pytest.mark.parametrize("verb", ["run", "search", "eval"])
    def test_unusable_files(
        self, cli: Call, files: Path, db: Path, verb: str, name: str, what: str
    ) -> None:
        more = ("--set", f"train_model={files}") if verb == "run" else ()
        (files / "config.json").write_text("{}")
        code, out, err = cli(verb, "textcraft", "--model", files / name, "-d", db, *more)
        assert code == 3 and out == ""
        error = one_error(err)
        assert what in error and str(files / name) in error
        assert "Hint: " in err
        assert json.loads(cli("runs", "-d", db, "--json")[1]) == []

    def test_a_base_model_needs_a_template(self, cli: Call, files: Path, db: Path) -> None:
        words = ["eval", "textcraft", "--tasks", "2", "--max-steps", "2", "-d", db]
        words += ["--model", files / "base.gguf"]
        code, _, err = cli(*words)
        assert code == 3
        assert "has no chat template" in one_error(err)
        assert "--set agent.chat_template=FILE" in err
        [run] = json.loads(cli("runs", "-d", db, "--json")[1])
        assert run["status"] == "failed"
        assert "has no chat template" in cli("runs", "show", "-d", db)[1]

        template = files / "chat.jinja"
        template.write_text(CHATML)
        assert cli(*words, "--set", f"agent.chat_template={template}")[0] == 0

    def test_a_model_that_never_acts_fails_its_tasks_only(
        self, cli: Call, files: Path, db: Path
    ) -> None:
        """A random model writes noise: rows with a reason, and exit codes that say so."""
        settings = ["--set", "search.tasks=2", "--set", "search.simulations=1"]
        settings += ["--set", "search.depth=2", "--set", "agent.max_tokens=8"]
        model = files / "whole.gguf"
        code, _, err = cli("search", "textcraft", "--model", model, "-d", db, *settings)
        assert code == 1
        assert "2 of 2 tasks failed" in err
        found = json.loads(cli("trees", "-d", db, "--json")[1])
        assert [row["error"].startswith("no action in") for row in found] == [True, True]

    def test_training_needs_the_same_weights_for_mlx(
        self, cli: Call, files: Path, db: Path
    ) -> None:
        code, _, err = cli("run", "textcraft", "--model", files / "whole.gguf", "-d", db)
        assert code == 3
        assert "no training weights" in one_error(err) and "train_model" in err
        weights = files / "nowhere"
        model = ("--model", files / "whole.gguf", "--set", f"train_model={weights}")
        code, _, err = cli("run", "textcraft", *model, "-d", db)
        assert code == 3 and f"{weights} is not a model directory" in one_error(err)

    def test_json(self, cli: Call, files: Path, db: Path) -> None:
        code, out, _ = cli("eval", "textcraft", "--model", files / "half.gguf", "-d", db, "--json")
        assert code == 3
        error = json.loads(out)["error"]
        assert error["kind"] == "model" and set(error) == {"kind", "message", "hint"}

    def test_a_path_is_a_path_whatever_yaml_thinks_of_it(
        self, cli: Call, files: Path, db: Path, tmp_path: Path
    ) -> None:
        for name in ("12", "a #1.gguf", "a: b.gguf", "ünï 🦙.gguf"):
            path = tmp_path / name
            shutil.copy(files / "whole.gguf", path)
            words = ("--tasks", "1", "--max-steps", "1", "--no-recovery", "--json")
            code, out, err = cli("eval", "textcraft", "--model", path, "-d", db, *words)
            assert code == 0, err
            with Store.open(db) as store:
                assert runs.get_run(store, json.loads(out)["run"]).model_path == str(path)


class TestRecipes:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("serach: {width: 2}", "unknown key 'serach' (did you mean 'search'?)"),
            ("search: {widht: 2}", "unknown key 'search.widht' (did you mean 'width'?)"),
            ("search: {width: two}", "search.width: needs int, not str ('two')"),
            ("search: {width: true}", "search.width: needs int, not bool (True)"),
            ("search: {width: 2.5}", "search.width: needs int, not float (2.5)"),
            ("search: {width: 0}", "search.width: 0 is outside 1 to 64"),
            ("search: {c: .nan}", "search.c: nan is outside"),
            ("search: {descent: deep}", "search.descent: 'deep' is not one of paper, textbook"),
            ("search: 3", "search: needs a mapping, not int"),
            ("splice: {alpha: [0.5, 2]}", "splice.alpha: 2.0 is outside 0 to 1"),
            ("splice: {alpha: []}", "splice.alpha: needs at least one value"),
            ("rounds: -1", "rounds: -1 is outside 0 to 100"),
            ("seed: 99999999999", "seed: 99999999999 is outside 0 to 2,147,483,647"),
            ("env: 3", "env: needs str, not int (3)"),
            ("env_options: [1]", "env_options: needs a mapping, not list"),
            ("- a\n- b", "must be a mapping, not list"),
            ("search: {width: [", "is not valid YAML"),
            ("env: textcaft", "no environment 'textcaft' (did you mean 'textcraft'?)"),
            (
                "env_options: {recipe_dir: x}",
                "no option 'recipe_dir' (did you mean 'recipes_dir'?)",
            ),
        ],
    )
    def test_wrong_content(
        self, cli: Call, tmp_path: Path, db: Path, text: str, message: str
    ) -> None:
        recipe = tmp_path / "mine.yaml"
        recipe.write_text(text)
        code, out, err = cli("search", recipe, "-d", db)
        assert code == 2 and out == ""
        assert message in one_error(err)
        assert json.loads(cli("runs", "-d", db, "--json")[1]) == []

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("search.widht=2", "did you mean 'width'"),
            ("search.width", "needs the form key=value"),
            ("search.width=[", "--set search.width: "),
            ("seed.x=1", "is not a group of keys"),
            ("search.width=1e999", "search.width: needs int"),
        ],
    )
    def test_wrong_overrides(self, cli: Call, db: Path, override: str, message: str) -> None:
        for verb in ("run", "search", "eval"):
            code, _, err = cli(verb, "textcraft", "--set", override, "-d", db)
            assert code == 2 and message in one_error(err)

    def test_files_that_are_no_recipe(self, cli: Call, tmp_path: Path) -> None:
        folder = tmp_path / "folder.yaml"
        folder.mkdir()
        binary = tmp_path / "binary.yaml"
        binary.write_bytes(b"\xff\xfe\x00")
        for path in (folder, binary, tmp_path / "missing.yaml", tmp_path / ("x" * 300 + ".yaml")):
            code, _, err = cli("recipes", "show", path)
            assert code == 2
            assert "recipe" in one_error(err) and "Hint: " in err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                ("run", "textcaft"),
                "no environment or recipe 'textcaft' (did you mean 'textcraft'?)",
            ),
            (("run", "nonsense"), "no environment or recipe 'nonsense'"),
            (("run", "x", "--recipe", "smoek"), "no recipe 'smoek' (did you mean 'smoke'?)"),
            (("run", "textcaft", "--recipe", "smoke"), "no environment 'textcaft' (did you mean"),
            (("search", "textcaft"), "(did you mean 'textcraft'?)"),
            (("eval", "nonsense"), "there is no run 'nonsense'"),
            (("recipes", "show", "smok"), "no recipe 'smok' (did you mean 'smoke'?)"),
            (("envs", "show", "textcaft"), "no environment 'textcaft' (did you mean 'textcraft'?)"),
            (("play", "textcaft"), "no environment 'textcaft' (did you mean 'textcraft'?)"),
            (("rnu", "textcraft"), "No such command 'rnu' (did you mean 'run'?)"),
            (("run",), "name what to run or what to resume"),
            (("run", "a", "--resume", "b"), "name what to run or what to resume"),
            (("run", "--resume", "latest", "--seed", "3"), "settings are fixed"),
            (("run", "--resume", "nonsense"), "there is no run 'nonsense'"),
            (("run", "--resume", "textcraft"), "there is no run 'textcraft'"),
            (("run", "textcraft", "--seed", "x"), "'x' is not a valid integer"),
            (("run", "textcraft", "--sede", "1"), "No such option '--sede'"),
        ],
    )
    def test_wrong_names(self, cli: Call, home: Path, words: tuple[str, ...], message: str) -> None:
        code, out, err = cli(*words)
        assert code == 2 and out == ""
        assert message in one_error(err)
        code, out, _ = cli(*words, "--json")
        if "recipes" in words or words[0] != "play":
            error = json.loads(out)["error"]
            assert code == 2 and error["hint"]
            assert error["kind"] in ("usage", "recipe")
        assert json.loads(cli("runs", "--json")[1]) == []


class TestDatabases:
    @pytest.fixture
    def refused(self, loop: Call, db: Path) -> Callable[..., str]:
        """Checks that a verb refuses the database with exit 4; gives the error."""

        def check(words: Sequence[str], *, changes: bool = False) -> str:
            before = db.read_bytes() if db.is_file() else b""
            code, out, err = loop(*words, "-d", db)
            assert code == 4, err
            assert out == ""
            assert "Hint: " in err
            assert str(db) in one_error(err)
            if db.is_file() and not changes:
                assert db.read_bytes() == before
            if words[0] != "export":
                code, out, _ = loop(*words, "-d", db, "--json")
                assert code == 4 and json.loads(out)["error"]["kind"] == "store"
            return one_error(err)

        return check

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_newer_schema(
        self, filled: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        with sqlite3.connect(filled) as conn:
            conn.execute("PRAGMA user_version = 999")
        conn.close()
        assert "has schema 999; this agentr-lite knows up to" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_text_file(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        db.write_text("Dear diary, " * 100)
        assert "file is not a database" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_somebody_elses_database(
        self, db: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        conn = sqlite3.connect(db)
        conn.execute("CREATE TABLE addresses (name TEXT)")
        conn.close()
        assert "is a SQLite database, but not agentr-lite's" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_directory(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        db.mkdir()
        assert "is a directory, not a database" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_a_damaged_database(
        self, filled: Path, refused: Callable[..., str], words: Sequence[str]
    ) -> None:
        data = bytearray(filled.read_bytes())
        assert len(data) > 40 * 4096
        # The first page stays, so that it still looks like a database of ours.
        data[4096:] = b"\xa5" * (len(data) - 4096)
        filled.write_bytes(data)
        assert "malformed" in refused(words)

    @pytest.mark.parametrize("words", EVERY_VERB)
    def test_below_a_file(self, loop: Call, tmp_path: Path, words: Sequence[str]) -> None:
        (tmp_path / "file").touch()
        code, out, err = loop(*words, "-d", tmp_path / "file" / "runs.db")
        if words == ("runs",):
            assert code == 0 and "No runs in" in err
        else:
            assert code == 4 and out == ""
            assert str(tmp_path / "file") in one_error(err)

    @pytest.mark.parametrize(
        "words", [w for w in EVERY_VERB if w.values[0] not in (READERS[0], *WRITERS)]
    )
    def test_none_yet(self, db: Path, refused: Callable[..., str], words: Sequence[str]) -> None:
        assert "there is no database" in refused(words)
        assert not db.exists()

    @pytest.mark.parametrize("words", [pytest.param(w, id="-".join(w)) for w in WRITERS])
    def test_locked(
        self,
        filled: Path,
        refused: Callable[..., str],
        words: Sequence[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        opened = Store.open.__func__  # type: ignore[attr-defined]
        monkeypatch.setitem(opened.__kwdefaults__, "busy_timeout_ms", 20)
        conn = sqlite3.connect(filled, isolation_level=None)
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("UPDATE runs SET status = status")
        if words[0] in ("train", "splice"):
            words = (*words, "--redo")
        error = refused(words, changes=True)
        assert "database is locked" in error
        conn.execute("ROLLBACK")
        conn.close()
        assert json.loads(loop_case.contents(filled)[0]) == "finished"

    @pytest.mark.parametrize(
        "words",
        [
            ("run", "--resume", "latest"),
            ("search", "latest", "--round", "1"),
            ("splice", "latest"),
            ("train", "latest"),
            ("eval", "latest"),
            ("runs", "delete", "latest", "--yes"),
        ],
    )
    def test_a_run_that_another_process_works_on(
        self, loop: Call, filled: Path, refused: Callable[..., str], words: tuple[str, ...]
    ) -> None:
        """Two processes on one run would do the same work twice and trip over each other."""
        before = loop_case.contents(filled)
        with Store.open(filled) as store:
            run = runs.get_run(store, "latest").id
            with claimed(store, run):
                code, out, err = loop(*words, "-d", filled)
                assert code == 4 and out == ""
                assert f"({os.getpid()}) is working on run {run}" in one_error(err)
                assert loop("report", "-d", filled)[0] == 0
        assert loop_case.contents(filled) == before
        assert loop(*words, "-d", filled)[0] == 0

    def test_deleting_a_run_leaves_its_adapters_only(self, loop: Call, filled: Path) -> None:
        artifacts = filled.parent / "artifacts"
        [folder] = artifacts.iterdir()
        _, _, err = loop("runs", "delete", "latest", "--yes", "-d", filled)
        assert f"Its adapters are still in {folder}" in err
        assert sorted(path.name for path in folder.iterdir()) == ["round-1", "round-2"]
        assert loop("eval", "corridor", "--tasks", "1", "-d", filled)[0] == 0
        _, _, err = loop("runs", "delete", "latest", "--yes", "-d", filled)
        assert "adapters" not in err
        assert list(artifacts.iterdir()) == [folder]

    def test_readers_do_not_mind_a_lock(self, loop: Call, filled: Path) -> None:
        conn = sqlite3.connect(filled, isolation_level=None)
        conn.execute("BEGIN IMMEDIATE")
        for words in (("runs",), ("trees",), ("report",), ("runs", "show"), ("export", "-o", "-")):
            assert loop(*words, "-d", filled)[0] == 0
        conn.close()

    def test_a_read_only_file(self, loop: Call, filled: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("file permissions do not bind the superuser")
        filled.chmod(0o400)
        code, _, err = loop("run", "corridor", "-d", filled)
        assert code == 4 and "readonly" in one_error(err)

    def test_the_variable_and_the_flag_are_treated_alike(
        self, loop: Call, db: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db.mkdir()
        monkeypatch.setenv("AGENTR_LITE_DB", str(db))
        assert loop("runs")[0] == loop("runs", "-d", db)[0] == 4


class Haunted(Corridor):
    """A corridor whose every word is hostile."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [
            Task(task.name + HOSTILE, split, task.goal + HOSTILE, task.level, task.payload)
            for task in super().tasks(split)
        ]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        observation, info = super().reset(task, seed=seed)
        return observation + HOSTILE, info

    def step(self, action: str) -> StepResult:
        if self._state.length == 5:
            raise RuntimeError(HOSTILE)
        result = super().step(action.removesuffix("!"))
        return result._replace(observation=result.observation + HOSTILE)

    def instructions(self, *, brief: bool = False) -> str:
        return super().instructions(brief=brief) + HOSTILE


class TestHostileText:
    @pytest.fixture
    def haunted(
        self, loop: Call, tmp_path: Path, db: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[int, str, str]]:
        monkeypatch.setitem(environments._BUILT_IN, "haunted", f"{__name__}:Haunted")

        class Player(loop_case.Player):
            def _play(self, messages: Any, seed: int) -> str:
                thought = super()._play(messages, seed).replace("Thought:", f"Thought: {HOSTILE}")
                return f"{thought}!"

        monkeypatch.setattr(actors, "open_actor", lambda recipe: Player())
        recipe = loop_case.write_recipe(tmp_path / "case")
        yield loop("run", recipe, "--set", "env=haunted", "-d", db)

    def test_never_reaches_the_terminal_raw(
        self, haunted: tuple[int, str, str], loop: Call, db: Path
    ) -> None:
        code, out, err = haunted
        assert code == 5, err
        assert not RAW.search(out + err)
        tree = json.loads(loop("trees", "-d", db, "--json")[1])[0]["id"]
        for words in [
            ("report",),
            ("report", "--md"),
            ("report", "--json"),
            ("runs", "show"),
            ("runs", "show", "--json"),
            ("trees",),
            ("trees", "--json"),
            ("trees", "latest", "--tree", tree, "--observations", "--all"),
            ("trees", "latest", "--tree", tree, "--json"),
            ("export", "-o", "-", "--kind", "all"),
            ("export", "-o", "-", "--format", "agent-r"),
            ("envs", "show", "haunted"),
            ("envs", "show", "haunted", "--json"),
            ("envs", "show", "haunted", "--tasks"),
            ("envs", "check", "haunted"),
        ]:
            place = () if words[0] == "envs" else ("-d", db)
            _, out, err = loop(*words, *place)
            assert out
            assert not RAW.search(out), words
            assert not RAW.search(err), words
        assert "\\x1b[2J" in loop("trees", "latest", "--tree", tree, "--all", "-d", db)[1]

    def test_json_keeps_it_whole(self, haunted: tuple[int, str, str], loop: Call, db: Path) -> None:
        found = json.loads(loop("trees", "-d", db, "--json")[1])
        assert all(row["task"]["goal"].endswith(HOSTILE) for row in found)

    def test_on_the_command_line(self, cli: Call, db: Path) -> None:
        for words in (
            ("run", HOSTILE),
            (HOSTILE,),
            ("run", "textcraft", "--set", HOSTILE),
            ("run", "textcraft", "--set", f"search.{HOSTILE}=1"),
            ("run", "textcraft", f"--{HOSTILE}"),
            ("search", "textcraft", "--model", HOSTILE),
            ("trees", HOSTILE),
            ("recipes", "show", HOSTILE),
            ("runs", "-d", db.with_name(HOSTILE)),
        ):
            _, out, err = cli(*words)
            assert not RAW.search(out + err), words


class TestStreams:
    def test_errors_go_to_stderr_and_data_to_stdout(self, loop: Call, filled: Path) -> None:
        code, out, err = loop("runs", "-d", filled)
        assert (code, err) == (0, "") and "corridor-" in out

    def test_no_color(self, filled: Path) -> None:
        """Colour on a terminal, none with NO_COLOR, none in a pipe."""
        pty = pytest.importorskip("pty", reason="needs a POSIX terminal")

        def on_terminal(**more: str) -> bytes:
            ours, theirs = pty.openpty()
            env = {**os.environ, "TERM": "xterm-256color", **more}
            words = [sys.executable, "-m", "agentr_lite", "envs", "check", "textcraft", "--quick"]
            words += ["--episodes", "1"]
            subprocess.run(words, stdout=theirs, stderr=theirs, env=env, check=True)
            os.close(theirs)
            text = b""
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # Linux: the other end is closed
                    break
                if not part:
                    break
                text += part
            os.close(ours)
            return text

        assert b"\x1b[32mok" in on_terminal()
        plain = on_terminal(NO_COLOR="1")
        assert b"ok" in plain and b"\x1b" not in plain
        assert b"\x1b" in on_terminal(NO_COLOR="")

    @pytest.mark.parametrize("words", [("trees", "--json"), ("report",), ("export", "-o", "-")])
    def test_a_reader_that_went_away(self, filled: Path, words: tuple[str, ...]) -> None:
        read, write = os.pipe()
        os.close(read)
        done = spawn(*words, "-d", filled, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        assert done.stderr in ("", _narration(done.stderr))
        assert done.returncode == 1

    def test_nowhere_to_narrate_to(self, filled: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        done = spawn("runs", "show", "nonsense", "-d", filled, stdout=write, stderr=write)
        os.close(write)
        assert done.returncode == 2

    def test_a_full_device(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = spawn("recipes", "show", "textcraft", stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert one_error(done.stderr) == "Error: No space left on device"
        assert "Exception ignored" not in done.stderr

    def test_closed_streams(self) -> None:
        for close in (">&-", "2>&-", ">&- 2>&-"):
            command = f'"$0" -m agentr_lite recipes show textcraft {close}'
            done = subprocess.run(
                ["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 and done.stderr == ""

    def test_a_narrow_encoding(self) -> None:
        env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
        done = spawn("run", "textcraft", "--plan", capture_output=True, env=env, encoding="latin-1")
        assert done.returncode == 0
        assert "\\u2192 splice" in done.stdout

    def test_json_errors_are_all_of_stdout(self, cli: Call, db: Path) -> None:
        db.write_text("Dear diary, " * 100)
        for words, kind in [
            (("runs", "-d", db), "store"),
            (("run", "textcraft", "--set", "x=1"), "recipe"),
            (("nonsense",), "usage"),
            (("eval",), "usage"),
        ]:
            code, out, err = cli(*words, "--json")
            assert code != 0 and err == ""
            assert list(json.loads(out)) == ["error"]
            assert json.loads(out)["error"]["kind"] == kind


def _narration(text: str) -> str:
    """``text``, if it holds no error."""
    assert "Error" not in text and "Traceback" not in text and "Exception" not in text
    return text


class TestInterrupts:
    def test_the_real_engine(self, tmp_path: Path, db: Path) -> None:
        """Ctrl-C while llama.cpp decodes: exit 130, what is done is kept, the way on is named."""
        model = write_tiny_model(tmp_path / "tiny.gguf")
        words = ["eval", "textcraft", "--model", model, "-d", db]
        command = [sys.executable, "-m", "agentr_lite", *map(str, words)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None and process.stdout is not None
            line = process.stderr.readline()
            assert "evaluating the base model" in line
            process.send_signal(signal.SIGINT)
            out, err = process.stdout.read(), process.stderr.read()
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in err
        assert "Go on with: agentr-lite eval textcraft-" in err
        with Store.open(db, create=False) as store:
            assert runs.get_run(store, "latest").status == "interrupted"

    def test_before_anything_began(
        self, cli: Call, monkeypatch: pytest.MonkeyPatch, db: Path
    ) -> None:
        def interrupted(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(Store, "open", interrupted)
        code, out, err = cli("runs", "show", "-d", db)
        assert (code, out) == (130, "") and one_error(err) == "Error: interrupted"
        code, out, _ = cli("runs", "show", "-d", db, "--json")
        assert code == 130 and json.loads(out)["error"]["kind"] == "interrupted"

    def test_no_is_an_answer(
        self, loop: Call, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("click.confirm", lambda *_, **__: False)
        code, _, err = loop("runs", "delete", "latest", "-d", filled)
        assert code == 0 and "Nothing was deleted" in err
        assert "corridor-" in loop("runs", "-d", filled)[1]


def test_a_mock_is_closed_even_when_it_fails(
    loop: Call, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = MockActor(["only one reply"])
    monkeypatch.setattr(actors, "open_actor", lambda recipe: player)
    code, _, err = loop("run", loop_case.write_recipe(tmp_path / "case"), "-d", db)
    assert code == 3 and "run out of replies" in one_error(err)
    assert player.closed
