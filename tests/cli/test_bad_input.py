"""Models, recipes and names that are wrong: one clear line, the right exit code, no trace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.actors.mock import MockActor
from agentr_lite.store import Store, runs
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.tiny_gguf import CHATML, TinyShape, write_tiny_model


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
        assert not db.exists()

    def test_a_base_model_needs_a_template(self, cli: Call, files: Path, db: Path) -> None:
        words = ["eval", "textcraft", "--tasks", "2", "--max-steps", "2", "-d", db]
        words += ["--model", files / "base.gguf"]
        code, _, err = cli(*words)
        assert code == 3
        assert "has no chat template" in one_error(err)
        assert "--set agent.chat_template=FILE" in err
        assert not db.exists()

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
        other = write_tiny_model(files / "other.gguf", TinyShape(arch="internlm2"))
        code, _, err = cli("run", "textcraft", "--model", other, "-d", db)
        assert code == 3
        assert "'internlm2' cannot be taken" in one_error(err) and "train_model" in err
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
            ("serach: {width: 2}", "unknown key 'serach.width' (did you mean 'search.width'?)"),
            ("serach: {width: 2, c: 1}", "unknown key 'serach' (did you mean 'search'?)"),
            ("serach: {}", "unknown key 'serach' (did you mean 'search'?)"),
            ("search: {widht: 2}", "unknown key 'search.widht' (did you mean 'search.width'?)"),
            ("search: {width: two}", "search.width: needs a whole number, not the text 'two'"),
            ("search: {width: true}", "search.width: needs a whole number, not true"),
            ("search: {width: 2.5}", "search.width: needs a whole number, not 2.5"),
            ("search: {width: 0}", "search.width: 0 is outside 1 to 64"),
            ("search: {c: .nan}", "search.c: nan is outside"),
            ("search: {descent: deep}", "search.descent: 'deep' is not one of paper, textbook"),
            ("search: 3", "search: needs a mapping, not 3"),
            ("splice: {judge_failures: 1}", "splice.judge_failures: needs true or false, not 1"),
            ("model: 3", "model: needs a text, not 3"),
            ("search: {c: [1]}", "search.c: needs a number, not a list"),
            ("splice: {alpha: [0.5, 2]}", "splice.alpha: 2.0 is outside 0 to 1"),
            ("splice: {alpha: []}", "splice.alpha: needs at least one value"),
            ("rounds: -1", "rounds: -1 is outside 0 to 100"),
            ("seed: 99999999999", "seed: 99999999999 is outside 0 to 2,147,483,647"),
            (
                "env: 3",
                "env: needs a name, a list of names or a mapping of names to settings, not 3",
            ),
            ("env_options: [1]", "env_options: needs a mapping, not a list"),
            ("- a\n- b", "must be a mapping, not a list"),
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
        assert not db.exists()

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("search.widht=2", "did you mean 'search.width'"),
            ("search.width", "needs the form key=value"),
            ("search.width=[", "--set search.width: "),
            ("seed.x=1", "is not a group of keys"),
            ("search.width=1e999", "search.width: needs a whole number"),
            ("searh.tasks=3", "unknown key 'searh.tasks' (did you mean 'search.tasks'?)"),
            ("evl.tasks=3", "unknown key 'evl.tasks' (did you mean 'eval.tasks'?)"),
            ("splicee=3", "unknown key 'splicee' (did you mean 'splice'?)"),
            ("rounds=two", "rounds: needs a whole number, not the text 'two'"),
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
            (("eval", "nonsense"), "there is no run, environment or recipe 'nonsense'"),
            (("recipes", "show", "smok"), "no recipe 'smok' (did you mean 'smoke'?)"),
            (("envs", "show", "textcaft"), "no environment 'textcaft' (did you mean 'textcraft'?)"),
            (("play", "textcaft"), "no environment 'textcaft' (did you mean 'textcraft'?)"),
            (("rnu", "textcraft"), "No such command 'rnu' (did you mean 'run'?)"),
            (("run",), "name what to run or what to resume"),
            (("run", "a", "--resume", "b"), "name what to run or what to resume"),
            (("run", "--resume", "latest", "--seed", "3"), "settings are fixed"),
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


@pytest.mark.parametrize("name", ["nonsense", "textcraft", "latest"])
def test_without_a_database_nothing_is_resumed(cli: Call, home: Path, name: str) -> None:
    code, out, err = cli("run", "--resume", name)
    assert code == 4 and out == "" and "there is no database at" in one_error(err)
    assert not list(home.rglob("*.db"))


def test_a_mock_is_closed_even_when_it_fails(
    loop: Call, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = MockActor(["only one reply"])
    monkeypatch.setattr(actors, "open_actor", lambda recipe: player)
    code, _, err = loop("run", loop_case.write_recipe(tmp_path / "case"), "-d", db)
    assert code == 3 and "run out of replies" in one_error(err)
    assert player.closed
