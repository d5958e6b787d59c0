"""Export: each layout, its flags, and what may be overwritten."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import agentr_lite.starter
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.cli.export import export
from agentr_lite.core.errors import AgentrError, UsageError
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.splice.export import Exported, exported, render
from agentr_lite.store import Store, runs
from agentr_lite.train.dataset import build_dataset
from agentr_lite.train.general import load_general, parse_example
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, actions, plant
from tests.support.stages import splice_stage

STARTER_MLX = Path(agentr_lite.starter.__file__).parent / "model" / "mlx"
GOOD = "forward, take, forward, open"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One tree with a good path, a revision and a rejected pair."""
    path = tmp_path / "runs.db"
    settings = Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        splice=SpliceSettings((1.0,), recovery_attempts=0),
    )
    with Store.open(path) as store:
        run_id = create_run(store, settings)
        env = Corridor()
        paths = [GOOD, "forward, take, shout, back", "forward, take, smash, back"]
        plant(store, run_id, env, env.tasks("train")[0], paths)
        splice_stage(store, run_id, 1, settings, env, RuleActor(["shout", "smash"]))
    return path


def run(database: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        export, ["-d", str(database), *arguments], catch_exceptions=True, standalone_mode=False
    )


def items(database: Path, kind: Any = "all") -> list[Exported]:
    with Store.open(database) as store:
        run_id = runs.list_runs(store)[0].id
        return list(exported(store, run_id, kind=kind, choice=SpliceSettings()))


def test_revisions_then_good_ones_with_stable_names(database: Path) -> None:
    found = items(database)

    assert [item.id.rsplit("/", 1)[0] for item in found] == [
        "corridor/corridor-3-1/1/revision",
        "corridor/corridor-3-1/1/good",
    ]
    assert actions(found[0].messages) == [
        *("forward", "take", "shout", "reflect", "forward", "open")
    ]
    assert [item.id for item in items(database, "good")] == [found[1].id]


def test_good_ones_are_those_that_are_trained_on(database: Path) -> None:
    """A task that never failed teaches nothing, unless the recipe says otherwise."""
    with Store.open(database) as store:
        run_id = runs.list_runs(store)[0].id
        env = Corridor()
        plant(
            store,
            run_id,
            env,
            env.tasks("train")[1],
            [", ".join(env.solve(env.tasks("train")[1]))],
            wave=1,
        )
        recipe = recipe_from_dict(runs.get_run(store, run_id).recipe)
        runs.stage_started(store, run_id, 1, "search")
        splice_stage(store, run_id, 1, recipe, env, RuleActor([]))
        for contested, count in ((True, 1), (False, 2)):
            choice = replace(recipe.splice, contested=contested, data="good")
            assert len([*exported(store, run_id, kind="good", choice=choice)]) == count
            wanted = replace(recipe, splice=choice)
            assert build_dataset(store, run_id, 1, wanted, {}).counts["good"] == count


def test_openai_lines_carry_weights_on_assistant_turns_only(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    result = run(database, "latest", "--format", "openai", "-o", str(out))

    assert result.exception is None
    [line] = out.read_text().splitlines()
    data = json.loads(line)
    assert set(data) == {"messages"}
    weights = [turn.get("weight") for turn in data["messages"]]
    assert weights == [None, None, 0, None, 0, None, 0, None, 1, None, 1, None, 1]
    assert "1 conversations" in result.stderr


def test_agent_r_is_one_list_without_a_system_role(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    run(database, "latest", "--format", "agent-r", "--kind", "all", "-o", str(out))

    data = json.loads(out.read_text())
    assert len(data) == 2
    turns = data[0]["conversations"]
    assert [turn["from"] for turn in turns] == ["human", "gpt"] * 6
    assert [turn["loss"] for turn in turns][:8] == [
        None,
        False,
        None,
        False,
        None,
        False,
        None,
        True,
    ]
    assert turns[0]["value"].startswith(Corridor().instructions() + "\n\nGoal: ")
    assert not any(Corridor().instructions() in turn["value"] for turn in turns[1:])


@pytest.mark.parametrize("layout", ["openai", "sharegpt"])
def test_what_is_exported_can_be_read_as_general_data(
    database: Path, tmp_path: Path, layout: str
) -> None:
    out = tmp_path / "out.jsonl"
    run(database, "latest", "--format", layout, "--kind", "all", "-o", str(out))

    loaded = load_general(str(out))

    assert [(e.messages, e.loss) for e in loaded.values()] == [
        (item.messages, item.loss) for item in items(database)
    ]


def test_dash_is_stdout_and_nothing_else_goes_there(database: Path) -> None:
    result = run(database, "latest", "-o", "-")

    assert json.loads(result.stdout)["messages"]
    assert "conversations" in result.stderr


def test_an_existing_file_needs_force(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("mine")

    refused = run(database, "latest", "-o", str(out))

    assert isinstance(refused.exception, UsageError)
    assert "--force" in refused.exception.hint
    assert out.read_text() == "mine"
    assert run(database, "latest", "-o", str(out), "--force").exception is None
    assert out.read_text() != "mine"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_nothing_to_export_is_a_failure_and_writes_no_file(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    result = run(database, "latest", "--round", "2", "-o", str(out))

    assert isinstance(result.exception, AgentrError)
    assert not out.exists()


def test_terminal_escapes_stay_escaped() -> None:
    text = "\x1b[31m\u2028\u202e\ud800 é \U0001f600"
    item = Exported("a/b", [{"role": "user", "content": text}], [False])

    for layout in ("openai", "sharegpt", "agent-r"):
        out = "".join(render([item], layout))
        assert all(c.isprintable() or c == "\n" for c in out)
        out.encode()
        data = json.loads(out)
        data = data[0] if layout == "agent-r" else data
        turn = data["messages" if layout == "openai" else "conversations"][0]
        assert text in (turn.get("content"), turn.get("value"))


def test_an_empty_agent_r_list_is_still_json() -> None:
    assert json.loads("".join(render([], "agent-r"))) == []


@pytest.mark.parametrize(("flag", "learnt"), [(1, True), (0, False), (True, True), (False, False)])
def test_flags_of_single_turns_are_read(flag: Any, learnt: bool) -> None:
    turns = [
        {"role": "assistant", "content": "x", "weight": flag},
        {"role": "assistant", "content": "y"},
    ]

    assert parse_example({"messages": turns}).loss == [learnt, True]
    with pytest.raises(ValueError, match="0 or 1"):
        parse_example({"messages": [{**turns[0], "weight": 0.5}]})


def test_per_turn_gives_each_learnt_turn_as_the_last_of_a_chat(database: Path) -> None:
    whole = items(database)
    chats = [
        json.loads(line)["messages"]
        for line in "".join(render(whole, "per-turn")).split("\n")
        if line
    ]
    expected = [
        [(m["role"], m["content"]) for m in item.messages[: at + 1]]
        for item in whole
        for at, loss in enumerate(item.loss)
        if loss
    ]
    assert [[(m["role"], m["content"]) for m in chat] for chat in chats] == expected
    assert chats and all(chat[-1]["role"] == "assistant" for chat in chats)
    assert len(chats) == sum(sum(item.loss) for item in whole)


@pytest.mark.skipif(shutil.which("awk") is None, reason="the documented snippet needs awk")
def test_mlx_lm_loads_the_documented_folder_and_learns_the_last_turns(
    database: Path, tmp_path: Path
) -> None:
    use_fast_blas()  # mlx-lm imports MLX
    from mlx_lm.tuner.datasets import load_local_dataset
    from mlx_lm.utils import load_tokenizer

    docs = Path(__file__).parents[2] / "docs" / "exports.md"
    [split] = re.findall(r"^    (awk .+)$", docs.read_text("utf-8"), re.MULTILINE)
    lines = list(render(items(database) * 3, "per-turn"))
    (tmp_path / "turns.jsonl").write_text("".join(lines))
    (tmp_path / "data").mkdir()
    subprocess.run(["sh", "-c", split], cwd=tmp_path, check=True)

    tokenizer = load_tokenizer(STARTER_MLX)
    masked = SimpleNamespace(mask_prompt=True)  # --mask-prompt
    loaded = load_local_dataset(tmp_path / "data", tokenizer, masked)
    train, valid, _ = loaded
    written = [json.loads(line) for line in "".join(lines).splitlines()]
    assert len(train) + len(valid) == len(written) and len(valid) == len(written) // 10 > 0
    for part in (train, valid):
        for at in range(len(part)):
            tokens, offset = part.process(part[at])
            learnt, context = tokenizer.decode(tokens[offset:]), tokenizer.decode(tokens[:offset])
            *before, last = part[at]["messages"]
            assert learnt.startswith(last["content"])
            assert len(learnt) - len(last["content"]) < 20, "only the end of the turn follows"
            assert all(message["content"] in context for message in before)
