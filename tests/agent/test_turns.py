"""How an action is read from an answer: plain lines, and the layouts that models write instead."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.agent.states import Origin, replay_states, stored_choice, stored_episode
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import PLAIN, AnswerFormat, answer_format, parse_action
from agentr_lite.envs.base import StepResult
from agentr_lite.envs.wrappers import ReplayEnvironment
from agentr_lite.search.mcts import action_key
from tests.support.corridor import Corridor

PLAIN_LINE = re.compile(r"^\s*Action:[ \t]*(\S.*?)\s*$", re.MULTILINE)
"""How an action was read before other layouts were known."""

LAST = AnswerFormat("last")
FREE_TEXT = AnswerFormat(keeps_full_stop=True)
ACTION = "craft 4 oak planks using 1 oak logs"
RECORDED = Path(__file__).parents[1] / "data" / "starter_sciworld.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        f"Thought:\nI need planks.\n\nAction:\n{ACTION}",
        f"Thought: a\nAction:\n\n  {ACTION}  \n",
        f"Action: {ACTION}.",
        f"Action: `{ACTION}`",
        f"Action: `{ACTION}`.",
        f"Action: `{ACTION}.`",
        f"Action: **{ACTION}**",
        f"**Action:** {ACTION}",
        f"**Action**: {ACTION}",
        f"**Action: {ACTION}**",
        f"**Action: {ACTION}.**",
        f"__Action:__ `{ACTION}`",
        f"**Thought:** a\n**Action:**\n{ACTION}",
        f"Action:\n```\n{ACTION}\n```",
        f"Action: ```text\n{ACTION}\n```",
        f"Thought: I need planks. Action: {ACTION}",
        f"Thought: I need planks.\nNow I know how. Action: {ACTION}.",
        f"Thought: a **Action:** {ACTION}",
    ],
)
def test_an_action_is_read_as_models_write_it(text: str) -> None:
    assert parse_action(text) == ACTION
    assert parse_action(text, LAST) == ACTION
    assert action_key(text) == ("act", ACTION)


@pytest.mark.parametrize(
    "text",
    [
        "Action:\nThought: and then",
        "Action:\nObservation: nothing",
        "Action:\n\n",
        "Action: ```",
        "**Action:**",
        "Thought: the action is unclear.",
        "I take the Action: forward",
    ],
)
def test_a_mark_alone_is_no_action(text: str) -> None:
    assert parse_action(text) is None
    assert parse_action(text, LAST) is None


@pytest.mark.parametrize("action", ["ls .", "cd ..", "wait...", ".", "say `a` and `b`", "2 ** 3"])
def test_what_is_no_decoration_stays(action: str) -> None:
    assert parse_action(f"Action: {action}") == action


def test_free_text_keeps_its_full_stop() -> None:
    assert parse_action("Action: say Hello.", FREE_TEXT) == "say Hello."
    assert parse_action("Action: `say Hello.`", FREE_TEXT) == "say Hello."


def test_of_several_actions_the_setting_chooses() -> None:
    text = "Thought: a\nAction: one\nThought: b\n**Action:**\ntwo"
    assert parse_action(text) == "one"
    assert parse_action(text, LAST) == "two"
    assert parse_action("Action: one\nAction: two\nAction:", LAST) == "two"
    # A plain line counts before any other layout, wherever it is.
    assert parse_action("Thought: x Action: one\n**Action:** two\nAction: three") == "three"


def recorded_turns() -> Iterator[str]:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str) and "Action:" in value:
            yield value
        elif isinstance(value, dict):
            for each in value.values():
                yield from texts(each)
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)

    for line in RECORDED.read_text().splitlines():
        yield from texts(json.loads(line))


def test_recorded_turns_are_read_as_before() -> None:
    turns = list(recorded_turns())
    assert len(turns) > 100
    for text in turns:
        match = PLAIN_LINE.search(text)
        assert parse_action(text) == (match and match.group(1))


LINES = st.lists(
    st.sampled_from(["Thought: ", "Action: ", "Action:", " Action:\t", "**Action:** ", "get 1 oak",
                     "inventory", "\n", "\r\n", " ", "search[a b]", "```", "`", "...", "reflect"]),
    max_size=12,
).map("".join)  # fmt: skip


@given(LINES | st.text())
def test_what_a_plain_line_says_is_still_read(text: str) -> None:
    match = PLAIN_LINE.search(text)
    if match is None:
        return
    before = match.group(1)
    if re.search(r"[^\s.]\.$", before) or re.match(r"`|\*\*|__", before):
        # Decoration is what the action is now read without.
        return
    assert parse_action(text) == before


@given(LINES | st.text(), st.sampled_from([PLAIN, LAST, FREE_TEXT]))
def test_any_text_can_be_read(text: str, form: AnswerFormat) -> None:
    action = parse_action(text, form)
    assert action is None or (action.strip() and "\n" not in action)


def agentgym_action(text: str) -> str:
    """What AgentGym's TextCraft server is sent for an answer with one action.

    Its client reads from ``Action:`` (and any white space) to the end of that line, keeps letters,
    digits, commas and blanks, and joins the words by single blanks.
    """
    content = re.split(r"Action:\s*", text, maxsplit=1)[1].split("\n")[0]
    kept = "".join(c for c in content if c.isascii() and (c.isalnum() or c in ", "))
    return " ".join(kept.split())


def textcraft_answer(rng: random.Random) -> str:
    items = ["oak planks", "stick", "iron ingot", "white wool", "crafting table"]
    inputs = ", ".join(f"{rng.randint(1, 9)} {rng.choice(items)}" for _ in range(rng.randint(1, 3)))
    action = rng.choice(
        [
            "inventory",
            f"get {rng.randint(1, 64)} {rng.choice(items)}",
            f"craft {rng.randint(1, 9)} {rng.choice(items)} using {inputs}",
        ]
    )
    action = rng.choice(["{}", "{}.", "`{}`", "`{}`.", "**{}**", "**{}.**"]).format(action)
    thought = rng.choice(["I need wood.", "First, get logs", "What do I have?\nLet me see.", ""])
    mark = rng.choice(["Action:", "Action: ", "Action:\n", "Action:\n\n", "Action:\t", "Action:  "])
    # In bold on one line only: of a bold mark alone on its line, AgentGym reads nothing.
    if "\n" not in mark and rng.random() < 0.2:
        mark = f"**Action:**{mark[7:]}"
    between = rng.choice(["\n", "\n\n", " ", "\n  "])
    end = rng.choice(["", "\n", "\n\n", "  "])
    return f"Thought:{rng.choice([' ', chr(10)])}{thought}{between}{mark}{action}{end}"


def test_textcraft_is_read_as_agentgym_reads_it() -> None:
    rng = random.Random(17)
    for _ in range(5000):
        text = textcraft_answer(rng)
        action = parse_action(text)
        assert action is not None, text
        assert " ".join(action.split()) == agentgym_action(text), text


class Talker(Corridor):
    """Repeats what it is told; its actions are sentences."""

    keeps_full_stop = True

    def step(self, action: str) -> StepResult:
        return super().step(action)._replace(observation=action)


def test_an_environment_says_whether_full_stops_are_its_own() -> None:
    for env in (Talker(), ReplayEnvironment(Talker())):
        env.reset(env.tasks("train")[0])
        form = answer_format("first", env)
        assert take_step(env, "Action: Hello.", form=form).observation == "Hello."
    env = Corridor()
    env.reset(env.tasks("train")[0])
    assert take_step(env, "Action: forward.", form=answer_format("first", env)).action == "forward"


def test_a_stored_episode_is_read_as_its_recipe_says() -> None:
    old = {"env": [{"name": "corridor"}], "agent": {}}
    assert stored_choice(old, "corridor") == "first"
    assert stored_choice({**old, "agent": {"action": "last"}}, "corridor") == "last"
    own = {"env": [{"name": "a"}, {"name": "b", "agent": {"action": "last"}}], "agent": {}}
    assert [stored_episode(own, name, "train", "x").choice for name in "ab"] == ["first", "last"]


def test_the_states_of_an_episode_follow_its_choice() -> None:
    env = Corridor()
    task = env.tasks("train")[0]
    env.reset(task)
    turn = "Action: back\nAction: forward"
    answer = take_step(env, turn, form=LAST).observation
    origin = Origin("corridor", {}, "train", task.name, "last")
    assert not replay_states(env, origin, [(turn, answer)]).problem
    first = Origin("corridor", {}, "train", task.name)
    assert replay_states(env, first, [(turn, answer)]).problem


def test_every_reader_of_answers_passes_the_format() -> None:
    """One parser, and no place that forgets the setting."""
    product = Path(__file__).parents[2] / "agentr_lite"
    calls = {"parse_action": 2, "take_step": 99, "action_key": 2}
    missing = []
    for path in product.rglob("*.py"):
        # The maker of the starter writes its own turns; WebShop's is another function.
        if "maker" in path.parts or "webshop" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            wanted = calls.get(node.func.id)
            named = any(keyword.arg == "form" for keyword in node.keywords)
            if wanted and len(node.args) < wanted and not named:
                missing.append(f"{path.name}:{node.lineno}")
    assert not missing


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("\n" * 300_000 + "Action: go", "go"),
        ("Action: go" + " " * 300_000 + "on", "go" + " " * 300_000 + "on"),
        ("Thought: a" + "\n \n" * 100_000 + "Action: go\n" + "\n" * 300_000, "go"),
        ("Action:" + "\n" * 300_000 + "go", "go"),
        ("\n" * 300_000, None),
    ],
    ids=["before", "inside", "between", "after", "alone"],
)
def test_a_long_answer_is_read_once(text: str, action: str | None) -> None:
    """Hours, if every blank began another reading of all that follow."""
    assert parse_action(text) == action
