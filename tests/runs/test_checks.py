"""What a run needs is checked before it begins; the plan says the same, and nothing is left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentr_lite.actors import registry as actors
from agentr_lite.core.errors import ModelError
from agentr_lite.store import Store, runs
from tests.support import loop_case
from tests.support.command_line import Call, one_error
from tests.support.tiny_gguf import CHATML, TinyShape, write_tiny_adapter, write_tiny_model

STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Refuses what begins with the assistant, two turns of one role, and a system turn."""

ENVIRONMENTS = """
from agentr_lite.envs.base import Environment, StepResult, Task


class Six(Environment):
    name = "six"

    def tasks(self, split):
        return [Task(str(i), split, "wait") for i in range(6 if split == "train" else 2)]

    def instructions(self, *, brief=False):
        return "Wait."

    def reset(self, task, *, seed=0):
        return "go", {}

    def step(self, action):
        return StepResult("went", 0.0, False, False, {})


class Raising(Six):
    def tasks(self, split):
        raise RuntimeError("no list")


class Mute(Six):
    def instructions(self, *, brief=False):
        raise RuntimeError("no words")


class Empty(Six):
    def tasks(self, split):
        return []


class Unmade(Six):
    def __init__(self):
        raise RuntimeError("no way")
"""


def chat(*turns: str) -> str:
    """A line of general data: ``u``, ``a`` and ``s`` before each text name its role."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    messages = [{"role": roles[turn[0]], "content": turn[1:]} for turn in turns]
    return json.dumps({"messages": messages}) + "\n"


GOOD = chat("uq", "aa")
ASSISTANT_FIRST = chat("ahello", "uq", "aa")
TWO_OF_A_ROLE = chat("uq", "uq again", "aa")
LATER_TWO = chat("uq", "aa", "uq", "uq again", "aa")


class Files(NamedTuple):
    """What the cases name."""

    folder: Path
    six: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    whole = write_tiny_model(folder / "whole.gguf").read_bytes()
    (folder / "half.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "text.gguf").write_text("not a model " * 20)
    write_tiny_model(folder / "base.gguf", template=None)
    write_tiny_model(folder / "other.gguf", TinyShape(arch="internlm2"))
    write_tiny_model(folder / "unknown.gguf", TinyShape(arch="nosuch"))
    (folder / "strict.jinja").write_text(STRICT)
    (folder / "broken.jinja").write_text("{% for %}")
    (folder / "silent.jinja").write_text("nothing")
    (folder / "games.py").write_text(ENVIRONMENTS)
    (folder / "mixed.jsonl").write_text(GOOD + ASSISTANT_FIRST + TWO_OF_A_ROLE + GOOD + LATER_TWO)
    (folder / "refused.jsonl").write_text(ASSISTANT_FIRST + TWO_OF_A_ROLE)
    (folder / "malformed.jsonl").write_text(GOOD + "{]\n")
    (folder / "roles.jsonl").write_text(GOOD + GOOD.replace('"user"', '"tool"'))
    loop_case.write_weights(folder / "weights")
    (folder / "weights" / "tokenizer_config.json").write_text("{}")
    loop_case.write_weights(folder / "odd")
    (folder / "odd" / "config.json").write_text('{"model_type": "nosuch"}')
    return Files(folder, f"{folder / 'games.py'}:Six")


REFUSALS: dict[str, tuple[list[str], int, str]] = {
    "missing model": (["{six}", "--model", "{at}/missing.gguf"], 3, "no model"),
    "truncated model": (["{six}", "--model", "{at}/half.gguf"], 3, "is truncated"),
    "not a model": (["{six}", "--model", "{at}/text.gguf"], 3, "is not a GGUF file"),
    "unknown architecture": (
        ["{six}", "--model", "{at}/unknown.gguf", "--set", "rounds=0"],
        3,
        "llama.cpp cannot load",
    ),
    "untrainable family": (["{six}", "--model", "{at}/other.gguf"], 3, "cannot be taken"),
    "no adapters for it": (
        ["{six}", "--set", "train_model={at}/odd"],
        3,
        "architecture 'nosuch' cannot be converted",
    ),
    "no weights": (["{six}", "--set", "train_model={at}"], 3, "is not a model directory"),
    "weights without template": (
        ["{six}", "--set", "train_model={at}/weights"],
        3,
        "has no chat template",
    ),
    "no template": (
        ["{six}", "--model", "{at}/base.gguf", "--set", "rounds=0"],
        3,
        "has no chat template",
    ),
    "broken template": (
        ["{six}", "--set", "agent.chat_template={at}/broken.jinja"],
        3,
        "does not compile",
    ),
    "template without the text": (
        ["{six}", "--set", "agent.chat_template={at}/silent.jinja"],
        3,
        "leaves out the user's text",
    ),
    "a template without thoughts": (
        ["{six}", "--set", "agent.thinking=9"],
        3,
        "no block of thoughts",
    ),
    "unknown class": (["{at}/games.py:None"], 2, "has no 'None'"),
    "unknown option": (["{six}", "--set", "env_options.size=3"], 2, "no option 'size'"),
    "unmade environment": (["{at}/games.py:Unmade"], 1, "no way"),
    "no list of tasks": (["{at}/games.py:Raising"], 1, "no list"),
    "no instructions": (["{at}/games.py:Mute"], 1, "no words"),
    "no tasks": (["{at}/games.py:Empty"], 2, "has no training tasks"),
    "no grammar": (["{six}", "--set", "agent.grammar=env"], 2, "has no grammar"),
    "no general data": (
        ["{six}", "--set", "train.general={at}/none.jsonl"],
        2,
        "cannot read the general data",
    ),
    "malformed general data": (
        ["{six}", "--set", "train.general={at}/malformed.jsonl"],
        2,
        "malformed.jsonl, line 2",
    ),
    "unknown role": (
        ["{six}", "--set", "train.general={at}/roles.jsonl"],
        2,
        "roles.jsonl, line 2: 'role' must be one of",
    ),
    "no usable general data": (
        [
            *("{six}", "--set", "train.general={at}/refused.jsonl"),
            *("--set", "agent.chat_template={at}/strict.jinja"),
        ],
        2,
        "refuses every chat of the general data",
    ),
}


def words(files: Files, case: list[str]) -> list[str]:
    return [word.format(at=files.folder, six=files.six) for word in case]


@pytest.fixture
def nothing_left(tmp_path: Path, home: Path) -> Callable[[], None]:
    """Asserts that a refused run has left no file, but the list of models that could be opened."""

    def check() -> None:
        assert not (tmp_path / "new").exists()
        left = home.rglob("*") if home.exists() else ()
        # What the program remembers of files that it tried.
        tried = {"opened-models.txt", "tried-libraries.txt"}
        assert [path.name for path in left if path.name not in tried] == []

    return check


@pytest.mark.parametrize("case", REFUSALS)
def test_the_plan_says_what_the_run_does_and_nothing_is_left(
    case: str, cli: Call, files: Files, tmp_path: Path, nothing_left: Callable[[], None]
) -> None:
    arguments, code, message = REFUSALS[case]
    line = [*words(files, arguments), "-d", str(tmp_path / "new" / "runs.db")]

    planned, out, err = cli("run", *line, "--plan")
    assert planned == code and err == ""
    [refused] = [row for row in out.splitlines() if row.startswith("  refused")]
    assert message in refused
    assert out.splitlines()[-1] == f"the run would be refused, with exit code {code}"

    planned, out, _ = cli("run", *line, "--plan", "--json")
    data = json.loads(out)
    assert planned == data["exit_code"] == code
    assert message in data["error"]["message"]
    assert [row["outcome"] for row in data["checks"]].count("refused") == 1

    ended, out, err = cli("run", *line)
    assert ended == code and out == ""
    assert message in one_error(err)
    nothing_left()


@pytest.mark.parametrize("verb", ["search", "eval"])
@pytest.mark.parametrize(
    "case", ["not a model", "no template", "no list of tasks", "no grammar", "unknown class"]
)
def test_single_stages_are_refused_alike(
    verb: str,
    case: str,
    cli: Call,
    files: Files,
    tmp_path: Path,
    nothing_left: Callable[[], None],
) -> None:
    arguments, code, message = REFUSALS[case]
    ended, out, err = cli(verb, *words(files, arguments), "-d", tmp_path / "new" / "runs.db")
    assert ended == code and out == ""
    assert message in one_error(err)
    nothing_left()


def test_a_single_stage_needs_only_what_it_uses(loop: Call, files: Files, tmp_path: Path) -> None:
    """Weights and general data are for training."""
    line = [*words(files, REFUSALS["no weights"][0]), "--set", "train.general=none.jsonl"]
    line += ["--set", "search.tasks=1", "--set", "search.depth=1"]
    code, _, err = loop("search", *line, "-d", tmp_path / "runs.db")
    assert code == 0, err


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.gguf", "no adapter"), ("whole.gguf", "is a model, not an adapter")],
)
def test_an_adapter_from_elsewhere_is_checked_first(
    name: str,
    message: str,
    cli: Call,
    files: Files,
    tmp_path: Path,
    nothing_left: Callable[[], None],
) -> None:
    line = [files.six, "--model", files.folder / "whole.gguf", "--adapter", files.folder / name]
    code, _, err = cli("eval", *line, "-d", tmp_path / "new" / "runs.db")
    assert code == 3 and message in one_error(err)
    nothing_left()


@pytest.mark.parametrize("verb", ["run", "search", "eval"])
def test_a_refusal_that_only_the_loaded_model_shows_leaves_nothing_either(
    verb: str,
    loop: Call,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: Callable[[], None],
) -> None:
    def refuse(settings: Any) -> Any:
        raise ModelError("it does not fit into memory", hint="Buy more.")

    monkeypatch.setattr(actors, "open_actor", refuse)
    code, _, err = loop(verb, files.six, "-d", tmp_path / "new" / "runs.db")
    assert code == 3 and "does not fit" in one_error(err)
    assert "Go on with" not in err and "go on with" not in err
    nothing_left()


def test_what_was_there_stays(
    loop: Call, filled: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loop_case.contents(filled)
    folders = sorted(path.name for path in filled.with_name("runs.db-artifacts").iterdir())

    def refuse(settings: Any) -> Any:
        raise ModelError("no")

    assert loop("eval", files.six, "--model", files.folder / "text.gguf", "-d", filled)[0] == 3
    monkeypatch.setattr(actors, "open_actor", refuse)
    assert loop("eval", files.six, "-d", filled)[0] == 3
    assert loop_case.contents(filled) == before
    left = sorted(path.name for path in filled.with_name("runs.db-artifacts").iterdir())
    assert left == folders


def test_a_run_that_has_begun_is_kept(
    loop: Call, files: Files, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(loop_case.Player):
        def generate(self, requests: Any) -> Any:
            raise ModelError("the server is gone")

    monkeypatch.setattr(actors, "open_actor", lambda settings: Failing())
    code, _, err = loop("run", files.six, "-d", db)
    assert code == 3 and "run --resume" in err
    with Store.open(db, create=False) as store:
        assert runs.get_run(store, "latest").status == "failed"


class TestPlaces:
    def test_a_folder_that_may_not_be_written(
        self, cli: Call, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The superuser may write everywhere, so the answer of the system stands in."""
        folder = tmp_path / "kept"
        folder.mkdir()
        granted = os.access

        def access(path: Any, mode: int) -> bool:
            return Path(path) != folder and granted(path, mode)

        monkeypatch.setattr(os, "access", access)
        for verb in (("run", "--plan"), ("run",), ("search",), ("eval",)):
            code, out, err = cli(*verb, files.six, "-d", folder / "new" / "runs.db")
            assert code == 4 and "is readonly" in out + err
            assert not list(folder.iterdir())

    def test_a_disk_without_space(
        self,
        cli: Call,
        files: Files,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        nothing_left: Callable[[], None],
    ) -> None:
        def with_free(free: int) -> None:
            usage = shutil.disk_usage("/")._replace(free=free)
            monkeypatch.setattr(
                "agentr_lite.runs.checks.disk.shutil.disk_usage", lambda path: usage
            )

        line = ("run", files.six, "-d", tmp_path / "new" / "runs.db")
        with_free(1000)
        assert cli(*line, "--plan")[0] == 1
        code, _, err = cli(*line)
        assert code == 1 and "not enough space" in one_error(err)
        nothing_left()
        with_free(40 << 20)
        code, out, _ = cli(*line, "--plan")
        assert code == 0 and "  warning  disk: the run may need" in out

    def test_the_copy_of_the_weights_counts(self, cli: Call, files: Files) -> None:
        def needed(*more: str) -> str:
            _, out, _ = cli("run", files.six, "--plan", "--json", *more)
            return next(
                row["message"] for row in json.loads(out)["checks"] if row["subject"] == "disk"
            )

        model = write_tiny_model(
            files.folder / "wide.gguf", TinyShape(width=1024, hidden=4096, layers=2)
        )
        assert needed("--set", "rounds=0") != needed("--model", str(model))


class TestTasks:
    def test_the_plan_has_the_environments_sizes(self, cli: Call, files: Files) -> None:
        code, out, _ = cli("run", files.six, "--plan", "--set", "eval.tasks=1")
        assert code == 0
        assert "search all 6 tasks (100 asked for)" in out
        assert "evaluate on 1 test tasks" in out
        assert "Six: 6 training tasks, 1 test tasks" in out
        data = json.loads(cli("run", files.six, "--plan", "--json")[1])
        assert list(data["tasks"].values()) == [{"search": 6, "eval": 2, "available": 6}]


class TestGeneralData:
    @pytest.fixture
    def line(self, files: Files, db: Path) -> list[Any]:
        template = files.folder / "strict.jinja"
        line: list[Any] = [loop_case.write_recipe(db.parent / "case"), "-d", db]
        line += ["--set", f"agent.chat_template={template}", "--set", "train.eta=0.5"]
        return [*line, "--set", f"train.general={files.folder / 'mixed.jsonl'}"]

    def test_refused_chats_are_left_out_named_and_counted(
        self, loop: Call, line: list[Any], db: Path
    ) -> None:
        _, out, _ = loop("run", *line, "--plan")
        [warned] = [row for row in out.splitlines() if row.startswith("  warning")]
        assert "the chat template refuses 3 of 5 chats" in warned

        code, out, err = loop("run", "-v", *line)
        assert code == 0, err
        for number in (2, 3, 5):
            assert f"mixed.jsonl:{number}: roles must alternate" in err
        assert err.count("refuses 3 of 5 chats") == 1
        # The training table, by round: revision, good, general, refused.
        assert "refused" in out and "left out because the model's chat template" in out
        with Store.open(db, create=False) as store:
            run = runs.get_run(store, "latest")
            trained = [row for row in runs.list_stages(store, run.id) if row.stage == "train"]
            assert [row.summary["general_refused"] for row in trained] == [3, 3]
            lines = store.rows(
                "SELECT DISTINCT general_line FROM dataset_items WHERE kind = 'general'"
            )
            assert sorted(row["general_line"] for row in lines) == [1, 4]
        table = json.loads(loop("report", "--json", "-d", db)[1])["training"]
        assert [row["examples"]["refused"] for row in table] == [3, 3]

    def test_without_any_there_is_no_count(self, loop: Call, line: list[Any], db: Path) -> None:
        template = db.parent / "chatml.jinja"
        template.write_text(CHATML)
        code, out, err = loop("run", *line, "--set", f"agent.chat_template={template}")
        assert code == 0 and "warning" not in err
        assert "refused" not in out.partition("Training")[2].partition("Cost")[0]
        table = json.loads(loop("report", "--json", "-d", db)[1])["training"]
        assert all("refused" not in row["examples"] for row in table)

    def test_the_file_may_change_between_stages(
        self, loop: Call, files: Files, line: list[Any], db: Path, tmp_path: Path
    ) -> None:
        """A chat that was added later is checked when the run goes on."""
        data = tmp_path / "changing.jsonl"
        data.write_text(GOOD)
        line = [*line, "--set", f"train.general={data}", "--set", "rounds=1"]
        assert loop("run", *line)[0] == 0
        data.write_text(GOOD + ASSISTANT_FIRST)
        code, out, err = loop("train", "latest", "--redo", "--json", "-d", db)
        assert code == 0, err
        assert json.loads(out)["train"]["general_refused"] == 1


def test_a_server_that_does_not_answer_is_in_the_plan(
    cli: Call, files: Files, monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], None]
) -> None:
    monkeypatch.setenv("AGENTR_LITE_SERVER_RETRIES", "0")
    line = (files.six, "--model", "openai:http://127.0.0.1:9#m", "--set", "rounds=0")
    code, out, _ = cli("run", *line, "--plan")
    assert code == 1 and "  refused  model:" in out
    assert cli("run", *line)[0] == 1
    nothing_left()


def test_a_good_adapter_is_permitted(cli: Call, files: Files, db: Path) -> None:
    adapter = write_tiny_adapter(files.folder / "adapter.gguf")
    line = [files.six, "--model", files.folder / "whole.gguf", "--adapter", adapter]
    line += ["--tasks", "1", "--max-steps", "1", "--no-recovery", "--set", "agent.max_tokens=4"]
    code, _, err = cli("eval", *line, "-d", db)
    assert code == 0, err
