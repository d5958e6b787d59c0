"""The AgentGym client against servers of every kind, well-behaved and not."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.envs.agentgym import AgentGym
from agentr_lite.envs.agentgym.profiles import PROFILES, split_numbers
from agentr_lite.envs.checker import check_environment
from agentr_lite.envs.registry import make_env
from tests.support.agentgym_server import State, serving

ROUNDS = {
    "textcraft": 20,
    "sciworld": 30,
    "babyai": 20,
    "alfworld": 30,
    "maze": 15,
    "wordle": 8,
    "webshop": 10,
    "sqlgym": 1,
    "webarena": 25,
}
SERVED = [*ROUNDS, "searchqa", "weather"]


@pytest.fixture
def textcraft() -> Iterator[tuple[str, State]]:
    with serving("textcraft") as served:
        yield served


def opened(address: str, kind: str = "", **options: object) -> AgentGym:
    env = make_env(f"agentgym+{address}" + (f"/{kind}" if kind else ""), options)
    assert isinstance(env, AgentGym)
    return env


@pytest.mark.parametrize("kind", SERVED)
def test_every_kind_is_played_to_its_end(kind: str) -> None:
    with serving(kind) as (address, state):
        env = opened(address, kind, max_steps=9)
        task = env.tasks("train")[1]
        observation, _ = env.reset(task)
        assert "Count: 1." in observation
        middle = env.step("up")
        assert (middle.observation, middle.terminated) == ("Count: 2.", False)
        assert middle.reward == (0.66 if kind == "sciworld" else 0.0)
        end = env.step("up")
        assert (end.observation, end.terminated, end.reward) == ("Count: 3.", True, 1.0)
        requests = len(state.requests)
        # Servers refuse what comes after the end, so it is not sent.
        again = env.step("up")
        assert (again.observation, again.terminated, again.reward) == ("Count: 3.", True, 1.0)
        assert len(state.requests) == requests
        # A second episode on the same session.
        assert "Count: 0." in env.reset(env.tasks("train")[0])[0]
        env.close()
        assert state.closed


@pytest.mark.parametrize("kind", SERVED)
def test_a_lost_game_earns_nothing(kind: str) -> None:
    with serving(kind) as (address, _):
        env = opened(address, kind, max_steps=9)
        env.reset(env.tasks("train")[0])
        end = env.step("down")
        assert end.terminated
        assert end.reward == 0.0
        assert end.info["disaster"] == (kind == "sciworld")
        env.close()


@pytest.mark.parametrize("kind", ["textcraft", "sciworld", "alfworld", "webshop", "weather"])
def test_the_checker_finds_nothing(kind: str) -> None:
    with serving(kind) as (address, _):
        env = opened(address, kind)
        findings = check_environment(
            env, other=lambda: opened(address, kind), episodes=3, max_steps=6
        )
        assert [finding for finding in findings if finding.failed] == []
        env.close()


@pytest.mark.parametrize("kind", ["textcraft", "sciworld", "babyai", "alfworld"])
def test_a_greeting_tells_the_kind(kind: str) -> None:
    with serving(kind) as (address, _):
        env = opened(address)
        assert env.kind == kind
        env.close()


@pytest.mark.parametrize(
    ("kind", "told"),
    [("webshop", "webshop"), ("sqlgym", "sqlgym"), ("webarena", "webarena"), ("weather", "tool")],
)
def test_the_description_tells_the_kind(kind: str, told: str) -> None:
    with serving(kind) as (address, _):
        env = opened(address)
        assert env.kind == told
        env.close()


def test_a_silent_server_is_told_by_its_description() -> None:
    with serving("alfworld") as (address, state):
        state.greets = False
        env = opened(address)
        assert env.kind == "alfworld"
        env.close()


def test_an_unknown_server_is_asked_about() -> None:
    with serving("weather") as (address, state):
        state.describes = False
        with pytest.raises(UsageError, match="cannot determine the kind") as caught:
            opened(address)
        assert f"Kinds: {', '.join(PROFILES)}." in caught.value.hint


def test_maze_and_wordle_have_to_be_named() -> None:
    with serving("maze") as (address, _):
        with pytest.raises(UsageError, match="maze and wordle") as caught:
            opened(address)
        assert f"agentgym+{address}/wordle" in caught.value.hint


@pytest.mark.parametrize("kind", list(ROUNDS))
def test_episodes_are_as_long_as_the_kind_says(kind: str) -> None:
    with serving(kind) as (address, _):
        env = opened(address, kind)
        env.reset(env.tasks("train")[0])
        ends = [env.step("wait") for _ in range(ROUNDS[kind])]
        assert [end.truncated for end in ends] == [False] * (ROUNDS[kind] - 1) + [True]
        assert not ends[-1].terminated
        env.close()


def test_first_observations_are_put_together_as_each_kind_does() -> None:
    expected = {
        "sciworld": "Your task is to count.\nCount to 3. Count: 0.",
        "alfworld": "Count to 3. Count: 0.\nAVAILABLE ACTIONS: up,down",
        "webshop": "Page. Count: 0.",
        "sqlgym": "Count to 3. Count: 0.",
        "weather": "Count to 3. Count: 0.",
        "textcraft": "Count to 3. Count: 0.",
    }
    for kind, text in expected.items():
        with serving(kind) as (address, _):
            env = opened(address, kind, train="0", dev="1", test="2")
            assert env.reset(env.tasks("train")[0])[0] == text
            env.close()


def test_listed_actions_follow_the_state() -> None:
    with serving("alfworld") as (address, _):
        env = opened(address)
        env.reset(env.tasks("train")[0])
        assert env.valid_actions() == ["up", "down"]
        env.close()
    with serving("babyai") as (address, _):
        env = opened(address)
        env.reset(env.tasks("train")[0])
        assert env.valid_actions() is None
        env.close()


def test_states_are_brought_back_in_any_order(textcraft: tuple[str, State]) -> None:
    env = opened(textcraft[0], sessions=2)
    env.reset(env.tasks("train")[0])
    snapshots = [env.snapshot()]
    for _ in range(2):
        env.step("up")
        snapshots.append(env.snapshot())
    start = snapshots[0].last.observation
    count = 0 if "Count: 0." in start else 1
    for index in (2, 0, 1, 0, 2, 1) if count == 0 else (1, 0, 1, 0):
        env.restore(pickle.loads(pickle.dumps(snapshots[index])))
        assert env.step("wait").observation == f"Count: {count + index}."
    env.close()


def test_going_on_with_many_episodes_in_turn_needs_no_replay(
    textcraft: tuple[str, State],
) -> None:
    address, state = textcraft
    env = opened(address, train="0,2,4,6,8,10", sessions=6)
    snapshots = []
    for task in env.tasks("train"):
        env.reset(task)
        snapshots.append(env.snapshot())
    for _ in range(2):
        for index, snapshot in enumerate(snapshots):
            env.restore(snapshot)
            env.step("wait")
            snapshots[index] = env.snapshot()
    assert state.count("/reset") == 6
    assert state.count("/step") == 12
    env.close()


def test_few_sessions_still_give_every_episode_its_own_state(
    textcraft: tuple[str, State],
) -> None:
    address, _ = textcraft
    env = opened(address, train="0-9", sessions=3)
    snapshots = []
    for task in env.tasks("train"):
        env.reset(task)
        snapshots.append((env.snapshot(), int(task.payload["number"]) % 2))
    for _ in range(2):
        for index, (snapshot, count) in enumerate(snapshots):
            env.restore(snapshot)
            assert env.step("up").observation == f"Count: {count + 1}."
            snapshots[index] = (env.snapshot(), count + 1)
    env.close()


@pytest.mark.parametrize("path", ["/create", "/reset", "/step"])
@pytest.mark.parametrize("when", ["drop_before", "drop_after"])
def test_a_lost_connection_costs_nothing(
    textcraft: tuple[str, State], path: str, when: str
) -> None:
    address, state = textcraft
    env = opened(address, train="0", dev="1", test="2")
    getattr(state, when).append(path)
    assert "Count: 0." in env.reset(env.tasks("train")[0])[0]
    # Whether the lost step was carried out or not: it counts once.
    assert env.step("up").observation == "Count: 1."
    assert env.step("up").observation == "Count: 2."
    assert not getattr(state, when)
    env.close()


def test_a_connection_that_stays_broken_is_a_fault(textcraft: tuple[str, State]) -> None:
    address, state = textcraft
    env = opened(address)
    env.reset(env.tasks("train")[0])
    state.drop_before += ["/step"] * 2
    with pytest.raises(EnvironmentFault, match="POST /step: the connection broke"):
        env.step("up")
    env.close()


def test_a_server_error_is_tried_once_more(textcraft: tuple[str, State]) -> None:
    address, state = textcraft
    env = opened(address, train="0", dev="1", test="2")
    env.reset(env.tasks("train")[0])
    env.step("up")
    state.fail_once.append(("/step", 500))
    assert env.step("up").observation == "Count: 2."
    env.close()


def test_what_a_server_fails_at_twice_is_told_to_the_agent(textcraft: tuple[str, State]) -> None:
    address, _ = textcraft
    env = opened(address, train="0", dev="1", test="2")
    env.reset(env.tasks("train")[0])
    env.step("up")
    refused = env.step("crash")
    assert refused.observation == "Error: cannot divide a duck"
    assert refused.info["invalid"]
    assert not refused.terminated
    # The episode stands where it stood.
    assert env.step("up").observation == "Count: 2."
    env.close()


def test_what_the_game_refuses_is_invalid(textcraft: tuple[str, State]) -> None:
    env = opened(textcraft[0], train="0", dev="1", test="2")
    env.reset(env.tasks("train")[0])
    assert env.step("up").info["invalid"] is False
    refused = env.step("jump 3 stick")
    assert refused.observation == "Could not jump 3 stick"
    assert refused.info["invalid"] is True
    env.close()


def test_an_error_within_an_ordinary_answer_is_an_error(textcraft: tuple[str, State]) -> None:
    env = opened(textcraft[0], train="5000", dev="1", test="2")
    with pytest.raises(EnvironmentFault, match="list index out of range"):
        env.reset(env.tasks("train")[0])
    env.close()


def test_refused_resets_leave_no_sessions_behind(textcraft: tuple[str, State]) -> None:
    address, state = textcraft
    env = opened(address, train="5000,0", dev="1", test="2")
    bad, good = env.tasks("train")
    for _ in range(3):
        with pytest.raises(EnvironmentFault, match="list index out of range"):
            env.reset(bad)
    assert state.count("/create") == 4 and state.closed == [0, 1, 2]
    # On servers that cannot close one it is as before.
    state.can_close = False
    with pytest.raises(EnvironmentFault, match="list index out of range"):
        env.reset(bad)
    assert "Count: 0." in env.reset(good)[0]
    state.can_close = True
    env.close()
    assert state.closed == [0, 1, 2, 4]


def test_a_server_that_was_started_anew_gets_new_sessions(textcraft: tuple[str, State]) -> None:
    address, state = textcraft
    env = opened(address, train="0", dev="1", test="2")
    env.reset(env.tasks("train")[0])
    env.step("up")
    state.games.clear()
    assert env.step("up").observation == "Count: 2."
    env.close()


def test_servers_without_close_are_left_in_peace() -> None:
    with serving("webshop") as (address, state):
        state.can_close = False
        env = opened(address)
        env.reset(env.tasks("train")[0])
        env.close()
        assert state.count("/close") == 1


def test_a_server_that_has_gone_does_not_hinder_closing() -> None:
    with serving("textcraft") as (address, _):
        env = opened(address)
        env.reset(env.tasks("train")[0])
    env.close()


def test_no_server_is_said_so() -> None:
    with serving("textcraft") as (address, _):
        pass
    with pytest.raises(EnvironmentFault, match=f"no server answers at {address}"):
        opened(address)


def test_a_proxy_is_not_asked_for_a_local_server(
    textcraft: tuple[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    env = opened(textcraft[0])
    assert "Count: " in env.reset(env.tasks("train")[0])[0]
    env.close()


def test_a_slow_server_is_given_up(textcraft: tuple[str, State]) -> None:
    import threading

    address, state = textcraft
    env = opened(address, timeout_s=0.2)
    env.reset(env.tasks("train")[0])
    released = threading.Event()
    state.delay = lambda path: None if path != "/step" else void(released.wait(20))
    with pytest.raises(EnvironmentFault, match=r"no answer in 0\.2 s") as caught:
        env.step("up")
    assert "timeout_s" in caught.value.hint
    released.set()
    env.close()


def void(_: object) -> None:
    """For lambdas."""


@pytest.mark.parametrize("alien", [[1], {"obs": "x"}, {"observation": 7}, "text", None])
def test_nonsense_is_named_with_its_path(textcraft: tuple[str, State], alien: object) -> None:
    address, state = textcraft
    env = opened(address)
    env.reset(env.tasks("train")[0])
    state.alien = alien if alien is not None else {}
    with pytest.raises(EnvironmentFault, match=r"POST /step: .* is not what a 'textcraft' server"):
        env.step("up")
    env.close()


def test_the_wrong_kind_is_refused_with_the_servers_words(textcraft: tuple[str, State]) -> None:
    env = opened(textcraft[0], "webshop")
    with pytest.raises(EnvironmentFault, match=r"is not what a 'webshop' server answers|HTTP 422"):
        env.reset(env.tasks("train")[0])
    env.close()


def test_games_that_change_are_noticed(textcraft: tuple[str, State]) -> None:
    address, state = textcraft
    env = opened(address, sessions=1)
    first, second = env.tasks("train")[:2]
    env.reset(first)
    env.step("up")
    held = env.snapshot()
    env.reset(second)
    state.drifts = True
    env.restore(held)
    with pytest.raises(EnvironmentFault, match="led to another state when they were repeated"):
        env.step("up")
    env.close()


def test_published_games_are_the_default_where_there_are_some() -> None:
    with serving("textcraft") as (address, _):
        env = opened(address)
        assert len(env.tasks("test")) == 100
        assert len(env.tasks("train")) + len(env.tasks("dev")) == 438
        env.close()
    with serving("sciworld") as (address, _):
        env = opened(address)
        assert [len(env.tasks(split)) for split in ("train", "dev", "test")] == [2312, 1156, 1171]
        env.close()


def test_the_shops_splits_lie_within_upstreams() -> None:
    with serving("webshop") as (address, _):
        env = opened(address)
        numbers = {
            split: [int(task.payload["number"]) for task in env.tasks(split)]
            for split in ("train", "dev", "test")
        }
        assert numbers["train"] == list(range(1500, 1620))
        assert numbers["dev"] == list(range(500, 520))
        assert numbers["test"] == list(range(60))
        env.close()
    # Other kinds' games have no order of record.
    split = split_numbers(PROFILES["maze"])
    assert {name: len(members) for name, members in split.items()} == {
        "train": 15,
        "dev": 3,
        "test": 8,
    }


def test_games_can_be_chosen(textcraft: tuple[str, State]) -> None:
    env = opened(textcraft[0], train="0-2,7", dev=[9], test=12)
    names = [[task.name for task in env.tasks(split)] for split in ("train", "dev", "test")]
    assert names == [
        ["textcraft-0", "textcraft-1", "textcraft-2", "textcraft-7"],
        ["textcraft-9"],
        ["textcraft-12"],
    ]
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "0-5", "test": "5"}, "game 5 is in train and in test"),
        ({"train": "a-b"}, "no range of numbers"),
        ({"train": [0.5]}, "needs numbers of games"),
        ({"max_steps": -1}, "max_steps needs a whole number"),
        ({"timeout_s": 0}, "timeout_s needs a number > 0"),
        ({"kind": "textcarft"}, r"cannot determine the kind .*/textcarft.*'textcraft'"),
    ],
)
def test_wrong_options_are_named(
    textcraft: tuple[str, State], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(textcraft[0], **options)


def test_a_kind_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match=r"no kind 'textcarft' .*'textcraft'"):
        make_env("agentgym+http://127.0.0.1:9", {"kind": "textcarft"})


@pytest.mark.parametrize("address", ["ftp://host", "http://", "http://host:port", "http://h?x=1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="not the address of an AgentGym server"):
        make_env(f"agentgym+{address}")


def test_a_path_before_the_kind_belongs_to_the_address() -> None:
    from agentr_lite.envs.agentgym.detect import parse_address

    assert parse_address("http://h:1/lab/textcraft/") == ("http://h:1/lab", "textcraft")
    assert parse_address("http://h:1/lab") == ("http://h:1/lab", "")
    assert parse_address("http://h:1/") == ("http://h:1", "")
    # A host's name is no kind.
    assert parse_address("http://textcraft") == ("http://textcraft", "")


@pytest.mark.parametrize("kind", list(PROFILES))
def test_every_kind_has_instructions(kind: str) -> None:
    assert "Action: " in PROFILES[kind].instructions
