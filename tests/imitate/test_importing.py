"""Files of other programs: what is read, which task it is of, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.core.errors import UsageError
from agentr_lite.core.steps import turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.imitate.conversations import Conversation, read_conversations
from agentr_lite.imitate.importing import Imported, import_conversations
from tests.support.corridor import Corridor

ENV = Corridor()
TASK = ENV.tasks("train")[1]
SYSTEM = "You are in a corridor."


def chat(task: Task = TASK, actions: list[str] | None = None) -> list[tuple[str, str]]:
    """(role, text) of a conversation, with observations that are another program's."""
    turns = [("system", SYSTEM), ("user", ENV.reset(task)[0])]
    for action in ENV.solve(task) if actions is None else actions:
        turns += [("assistant", turn_text("so", action)), ("user", "Their answer.")]
    return turns[:-1]


def openai(turns: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **more}


def sharegpt(turns: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[r], "value": text} for r, text in turns], **more}


def agent_traj(turns: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    """AgentGym's layout: the instructions are a human turn, which is answered by "OK"."""
    [(_, system), *rest] = turns
    told = [
        {"from": "human", "loss": None, "value": system},
        {"from": "gpt", "loss": False, "value": "OK. I'll follow your instructions."},
    ]
    return {"conversations": told + sharegpt(rest)["conversations"], "item_id": "x_3", **more}


def write(file: Path, items: list[dict[str, Any]], *, as_list: bool = False) -> Path:
    lines = "".join(json.dumps(item) + "\n" for item in items)
    file.write_text(json.dumps(items) if as_list else lines, "utf-8")
    return file


def imported(file: Path, **more: Any) -> Imported:
    return import_conversations(ENV, read_conversations(file), source="import:x", **more)


@pytest.mark.parametrize("layout", [openai, sharegpt, agent_traj])
@pytest.mark.parametrize("as_list", [False, True])
def test_each_layout_is_read_and_replayed(tmp_path: Path, layout: Any, as_list: bool) -> None:
    items = [layout(chat(task)) for task in ENV.tasks("train")]
    result = imported(write(tmp_path / "f", items, as_list=as_list))
    assert not result.refusals
    assert [d.task.name for d in result.demonstrations] == [t.name for t in ENV.tasks("train")]
    for shown in result.demonstrations:
        assert [step.action for step in shown.steps] == ENV.solve(shown.task)
        # The environment's own answers, not the file's.
        assert "Their answer." not in [step.observation for step in shown.steps]
        assert shown.opening == ENV.reset(shown.task)[0] and shown.source == "import:x"


def test_openai_parts_and_a_prompt_before_the_task_are_read(tmp_path: Path) -> None:
    item = openai(chat())
    item["messages"][1]["content"] = [{"type": "text", "text": "Rules.\n\n" + ENV.reset(TASK)[0]}]
    [shown] = imported(write(tmp_path / "f", [item])).demonstrations
    assert shown.task == TASK


def test_a_task_is_found_by_its_name_in_our_exports(tmp_path: Path) -> None:
    turns = [(role, "?" if role == "user" else text) for role, text in chat()]
    items = [
        sharegpt(turns, id=f"corridor/{TASK.name}/1/good/7"),
        openai(turns, task=TASK.name),
        openai(turns, id=TASK.name),
    ]
    result = imported(write(tmp_path / "f", items))
    assert [shown.task for shown in result.demonstrations] == [TASK, TASK]
    # An id of another program means nothing.
    [refusal] = result.refusals
    assert refusal.place == "line 3" and refusal.reason == "no task of corridor begins like this"


def test_a_task_is_found_by_its_goal() -> None:
    env = TextCraft()
    task = next(t for t in env.tasks("train") if t.name == "ladder")
    messages = [
        {"role": "user", "content": "Commands: (other ones)\n\nGoal: craft ladder."},
        *({"role": "assistant", "content": turn} for turn in env.demonstrate(task)),
    ]
    result = import_conversations(env, [Conversation("line 1", messages)], source="import:x")
    assert [shown.task.name for shown in result.demonstrations] == ["ladder"]


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("layout", [openai, sharegpt, agent_traj])
def test_held_out_tasks_are_refused(tmp_path: Path, split: str, layout: Any) -> None:
    task = ENV.tasks(split)[0]
    by_name = openai([("user", "?"), ("assistant", "Action: open")], task=task.name)
    exported = sharegpt(chat(task), id=f"corridor/{task.name}/1/good/7")
    file = write(tmp_path / "f", [layout(chat(task)), by_name, exported])
    result = imported(file)
    assert not result.demonstrations
    reason = f"its task is of the {split} split; only training tasks are demonstrated"
    assert [(refusal.task, refusal.reason) for refusal in result.refusals] == [
        (task.name, reason)
    ] * 3


def test_each_line_says_why_it_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "f"
    items = [
        "not json",
        json.dumps(["a", "list"]),
        json.dumps({"prompt": "x"}),
        json.dumps(openai([("user", "x"), ("referee", "y")])),
        json.dumps({"messages": [{"role": "user"}]}),
        json.dumps(openai(chat()[:2])),
        json.dumps(openai([("user", "Another game."), *chat()[2:]])),
        json.dumps(openai(chat(actions=["forward", "leave"]))),
        json.dumps(openai(chat(actions=["fly", "leave"]))),
        json.dumps(openai(chat())),
    ]
    file.write_text("\n".join(items) + "\n\n", "utf-8")
    result = imported(file)
    assert len(result.demonstrations) == 1
    reasons = {refusal.place: refusal.reason for refusal in result.refusals}
    assert reasons.pop("line 1").startswith("it is not JSON: ")
    assert reasons == {
        "line 2": "it is not a conversation",
        "line 3": "it has neither `messages` nor `conversations`",
        "line 4": "turn 2 has the unknown role 'referee'",
        "line 5": "turn 1 has no text",
        "line 6": "it has no turns of the agent",
        "line 7": "no task of corridor begins like this",
        "line 8": "it earns 0.166667, less than 1",
        "line 9": "it earns 0, less than 1; turn 1 (fly) is not possible",
    }


def test_alpha_is_the_lowest_reward(tmp_path: Path) -> None:
    file = write(tmp_path / "f", [openai(chat(actions=["forward", "leave"]))])
    assert not imported(file).demonstrations
    [shown] = imported(file, alpha=0.1).demonstrations
    assert shown.reward == pytest.approx(1 / 6)


def test_a_file_without_conversations_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n", "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="holds no conversations"):
        read_conversations(tmp_path / "empty")
    with pytest.raises(UsageError, match="not a text file"):
        read_conversations(tmp_path / "binary")


def test_agentgyms_way_to_write_an_action_is_read(tmp_path: Path) -> None:
    turns = [
        (role, text.replace("Thought: ", "Thought:\n").replace("\nAction: ", "\n\nAction:\n"))
        for role, text in chat()
    ]
    assert turns[2][1] == "Thought:\nso\n\nAction:\nforward"
    [shown] = imported(write(tmp_path / "f", [agent_traj(turns)], as_list=True)).demonstrations
    assert [step.action for step in shown.steps] == ENV.solve(TASK)
