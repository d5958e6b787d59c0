"""The OpenEnv client against servers of other shapes, well-behaved and not."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest

pytest.importorskip("websockets", reason="pip install 'agentr-lite[openenv]'")

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.base import Environment
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.openenv.schema import ActionSchema, NotAnAction, ObservationText
from agentr_lite.envs.openenv.session import Session
from agentr_lite.envs.registry import make_env
from tests.support.openenv_server import ACTION, Counting, counting


def opened(url: str, **options: Any) -> Environment:
    return make_env(f"openenv+{url}", options)


def test_a_task_is_a_seed_and_rewards_add_up() -> None:
    state = Counting()
    with counting(state) as url:
        env = opened(url, train=3, reset={"difficulty": "easy"})
        task = env.tasks("train")[1]
        assert env.reset(task)[0] == "Count: 1."
        assert state.messages[-1]["data"] == {"seed": 1, "difficulty": "easy"}
        middle = env.step("1")
        assert (middle.observation, middle.reward, middle.terminated) == ("Count: 2.", 0.25, False)
        end = env.step("1")
        assert (end.observation, end.reward, end.terminated) == ("Count: 3.", 0.75, True)
        sent = len(state.messages)
        again = env.step("1")
        assert again.info == {"invalid": True} and len(state.messages) == sent
        assert env.valid_actions() == []
        env.close()


def test_the_last_reward_and_its_scale_can_be_chosen() -> None:
    with counting(Counting()) as url:
        env = opened(url, reward="last", reward_low=0.25, reward_high=0.75, max_steps=2)
        env.reset(env.tasks("train")[0])
        assert env.step("1").reward == 0.0
        cut = env.step("1")
        assert cut.truncated and not cut.terminated
        env.close()


def test_the_prompt_says_what_the_server_says() -> None:
    with counting(Counting()) as url:
        env = opened(url)
        prompt = env.instructions()
        assert "Counting. Count to three." in prompt and "The actions are: -1, 0, 1." in prompt
        assert env.valid_actions() is None
        env.reset(env.tasks("train")[0])
        assert env.valid_actions() == ["-1", "0", "1"]
        env.close()


def test_the_checker_finds_nothing() -> None:
    with counting(Counting(most=1)) as url:
        env = opened(url, train=6, dev=2, test=2)
        findings = check_environment(env, other=lambda: opened(url, train=6), episodes=4)
        env.close()
    assert [finding for finding in findings if finding.failed] == []


@pytest.mark.parametrize(("most", "wanted", "held"), [(1, 4, 1), (3, 4, 3), (8, 2, 2)])
def test_states_are_kept_in_as_many_sessions_as_there_may_be(
    most: int, wanted: int, held: int
) -> None:
    state = Counting(most=most)
    with counting(state) as url:
        env = opened(url, sessions=wanted)
        first, second = env.tasks("train")[:2]
        snapshots = []
        for task in (first, second, first, second):
            env.reset(task)
            env.step("0")
            snapshots.append(env.snapshot())
        assert state.open == held
        # A snapshot is plain data: another process could restore it.
        env.restore(pickle.loads(pickle.dumps(snapshots[0])))
        before = len(state.messages)
        env.restore(snapshots[0])
        assert len(state.messages) == before
        assert env.step("1").observation == "Count: 1."
        env.restore(snapshots[1])
        assert env.step("1").observation == "Count: 2."
        env.close()


def test_two_episodes_that_take_turns_need_no_replay() -> None:
    state = Counting(most=2)
    with counting(state) as url:
        env = opened(url)
        places = []
        for task in env.tasks("train")[:2]:
            env.reset(task)
            places.append(env.snapshot())
        for _ in range(3):
            for index, place in enumerate(places):
                env.restore(place)
                env.step("0")
                places[index] = env.snapshot()
        assert state.kinds().count("reset") == 2 and state.kinds().count("step") == 6
        env.close()


def test_a_broken_connection_costs_a_replay() -> None:
    state = Counting()
    with counting(state) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        env.step("1")
        state.drop_before = 1
        assert env.step("1").observation == "Count: 2."
        assert state.kinds().count("reset") == 2 and state.opened == 2
        state.drop_before = 9
        with pytest.raises(EnvironmentFault, match=r"the connection to .* broke"):
            env.step("1")
        state.drop_before = 0
        # The next episode begins as ever.
        assert env.reset(env.tasks("train")[1])[0] == "Count: 1."
        env.close()


def test_a_server_that_goes_away_is_named() -> None:
    state = Counting()
    with counting(state) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        state.drop_before = 9
    with pytest.raises(
        EnvironmentFault, match=r"no server answers at http://127\.0\.0\.1"
    ) as caught:
        env.step("1")
    assert "Start the OpenEnv server" in caught.value.hint
    env.close()


def test_a_replay_that_differs_is_named() -> None:
    state = Counting(drifts=True)
    with counting(state) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        env.step("0")
        state.drop_before = 1
        with pytest.raises(EnvironmentFault, match="another observation when it was repeated"):
            env.step("0")
        env.close()


def test_instances_of_this_program_share_the_sessions() -> None:
    with counting(Counting(most=1)) as url:
        first, second = opened(url), opened(url)
        first.reset(first.tasks("train")[0])
        first.step("1")
        # The second one takes the session, and the first one takes it back and replays.
        assert second.reset(second.tasks("train")[1])[0] == "Count: 1."
        assert first.step("1").observation == "Count: 2."
        assert second.step("1").observation == "Count: 2."
        first.close()
        second.close()


def test_no_free_session_is_said() -> None:
    with counting(Counting(most=1)) as url:
        env = opened(url)
        # Another program's client.
        stranger = Session("stranger", url, timeout_s=5)
        with pytest.raises(EnvironmentFault, match=r"no free session.*1/1") as caught:
            env.reset(env.tasks("train")[0])
        assert "--sessions" in caught.value.hint
        stranger.close()
        # The server frees a session a moment after its connection has closed.
        assert env.reset(env.tasks("train")[0])[0] == "Count: 0."
        env.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "has no data"),
        ('{"type": "state", "data": {}}', "is of another type"),
        ('{"type": "observation", "data": {"observation": 7, "done": true}}', "no object as"),
        (
            '{"type": "observation", "data": {"observation": {"prompt": "x"}, "reward": "much"}}',
            "no number as reward",
        ),
        ('{"type": "observation", "data": {"observation": {"note": "x"}}}', "in the field 'prompt"),
    ],
)
def test_an_alien_answer_is_a_fault(answer: str, said: str) -> None:
    state = Counting(answer=answer)
    with counting(state) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        with pytest.raises(EnvironmentFault, match=said):
            env.step("1")
        env.close()


def test_a_server_without_an_answer_is_given_up() -> None:
    state = Counting(silent=True)
    with counting(state) as url:
        env = opened(url, timeout_s=0.5)
        env.reset(env.tasks("train")[0])
        with pytest.raises(EnvironmentFault, match=r"no answer in 0\.5 s") as caught:
            env.step("1")
        assert "timeout_s" in caught.value.hint
        env.close()


def test_what_the_server_refuses_is_an_observation() -> None:
    action = {"properties": {"guess": {"type": "string"}}}
    with counting(Counting(action=action)) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        refused = env.step("crash")
        assert refused.observation == "Error: cannot divide a duck"
        assert refused.info["invalid"] and not refused.terminated
        assert env.step("go on").observation == "Count: 1."
        env.close()


def test_what_does_not_fit_the_schema_is_not_sent() -> None:
    state = Counting()
    with counting(state) as url:
        env = opened(url)
        env.reset(env.tasks("train")[0])
        sent = len(state.messages)
        for text in ("two", "2", "true", "[1]", '{"gues": 1}', ""):
            result = env.step(text)
            assert result.info["invalid"] and result.observation.startswith("That is no action")
        assert len(state.messages) == sent
        assert env.step('{"guess": 1}').observation == "Count: 1."
        env.close()


def test_no_server_and_another_server_are_told_apart() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match="no server answers at"):
            opened(url)
    with (
        counting(Counting(has_schema=False)) as url,
        pytest.raises(EnvironmentFault, match="no schema of actions and observations"),
    ):
        opened(url)


def test_an_agentgym_server_is_recognised() -> None:
    from tests.support.agentgym_server import serving

    with serving("textcraft") as (url, _):
        with pytest.raises(EnvironmentFault, match="no schema") as caught:
            opened(url)
        assert f"agentgym+{url}" in caught.value.hint


@pytest.mark.parametrize(
    "address", ["openenv+http://", "openenv+ftp://h:1", "openenv+http://h:0", "openenv+http://h:x"]
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        make_env(address)


def test_a_password_in_the_address_is_refused_unseen() -> None:
    with pytest.raises(UsageError, match="must not hold") as caught:
        make_env("openenv+http://me:secret-word@localhost:1")
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train", -1),
        ("sessions", 0),
        ("reward", "mean"),
        ("timeout_s", 0),
        ("reward_low", 2.0),
        ("action_field", "gues"),
    ],
)
def test_a_wrong_option_is_refused(option: str, value: Any) -> None:
    with counting(Counting()) as url, pytest.raises(UsageError):
        opened(url, **{option: value})


COLOUR = {"$defs": {"Colour": {"enum": ["Red", "Green"], "type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "text", "action"),
    [
        ({"properties": {"message": {"type": "string"}}}, "go {north", {"message": "go {north"}),
        ({"properties": {"n": {"type": "integer"}}}, " 4 ", {"n": 4}),
        ({"properties": {"x": {"type": "number"}}}, "0.5", {"x": 0.5}),
        ({"properties": {"on": {"type": "boolean"}}}, "true", {"on": True}),
        ({"properties": {"c": {"$ref": "#/$defs/Colour"}}, **COLOUR}, "green", {"c": "Green"}),
        ({"properties": {"ns": {"type": "array"}}}, "[1, 2]", {"ns": [1, 2]}),
        (
            {"properties": {"s": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
            "hello",
            {"s": "hello"},
        ),
        # Optional fields are left out; a field with one possible value is filled in.
        (
            {
                "required": ["code", "type"],
                "properties": {
                    "code": {"type": "string"},
                    "type": {"const": "run"},
                    "slow": {"type": "boolean"},
                },
            },
            "print(1)",
            {"code": "print(1)", "type": "run"},
        ),
        (
            {
                "required": ["row", "column"],
                "properties": {"row": {"type": "integer"}, "column": {"type": "integer"}},
            },
            '{"row": 1, "column": 2}',
            {"row": 1, "column": 2},
        ),
        ({"properties": {"metadata": {"type": "object"}}}, '{"any": 1}', {"any": 1}),
    ],
)
def test_texts_become_actions(schema: dict[str, Any], text: str, action: dict[str, Any]) -> None:
    assert ActionSchema(schema).read(text) == action


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        ({"properties": {"n": {"type": "integer"}}}, "true", "of type integer"),
        ({"properties": {"n": {"type": "integer"}}}, "1.5", "of type integer"),
        ({"properties": {"c": {"enum": ["a", "b"]}}}, "c", "The actions are: a, b."),
        ({"required": ["a", "b"], "properties": {"a": {}, "b": {}}}, "1", "JSON object"),
        ({"required": ["a", "b"], "properties": {"a": {}, "b": {}}}, '{"a": 1}', "'b' is missing"),
        ({"required": ["a", "b"], "properties": {"a": {}, "b": {}}}, '{"c": 1}', "no field 'c'"),
        ({"required": ["a", "b"], "properties": {"a": {}, "b": {}}}, "{", "not JSON"),
    ],
)
def test_other_texts_are_no_actions(schema: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(NotAnAction, match=said):
        ActionSchema(schema).read(text)


def test_one_field_of_several_can_be_named() -> None:
    schema = {"required": ["a", "b"], "properties": {"a": {"type": "string"}, "b": {}}}
    assert ActionSchema(schema, "a").read("x") == {"a": "x"}
    with pytest.raises(KeyError):
        ActionSchema(schema, "c")
    assert ActionSchema(ACTION).choices == ["-1", "0", "1"]


@pytest.mark.parametrize(
    ("properties", "observation", "text"),
    [
        ({"echoed": {"type": "string"}}, {"echoed": "hi", "length": 2}, "hi"),
        ({"id": {"type": "string"}, "text": {"type": "string"}}, {"id": "7", "text": "hi"}, "hi"),
        # Nothing says which one is to be read, so all of it is.
        (
            {"board": {"type": "array"}},
            {"board": [0, 1], "done": False, "metadata": {}},
            '{"board": [0, 1]}',
        ),
    ],
)
def test_observations_become_texts(
    properties: dict[str, Any], observation: dict[str, Any], text: str
) -> None:
    assert ObservationText({"properties": properties}).read(observation) == text
