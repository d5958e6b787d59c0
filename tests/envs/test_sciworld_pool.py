"""How simulators are shared, on simulators that only count. Needs no Java."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from agentr_lite.envs.sciworld import pool as pool_module
from agentr_lite.envs.sciworld.jvm import JvmLost, SimulatorFailed
from agentr_lite.envs.sciworld.pool import Pool, PoolSettings, borrow_pool, return_pool
from agentr_lite.envs.sciworld.world import GameKey, Place, World


class FakeServer:
    """A simulator whose only state is what it was told."""

    def __init__(self, jvm: FakeJvm) -> None:
        self.jvm = jvm
        self.told: list[str] = []

    def load(self, task: str, variation: int, simplifications: str, gold: bool) -> str:
        self.jvm.work("load")
        self.told = [f"{task}-{variation}"]
        return "ERROR: unknown" if task == "unknown" else ""

    def step(self, action: str) -> str:
        self.jvm.work("step")
        if action == "die":
            self.jvm.alive = False
            raise JvmLost("died")
        if action == "interrupt":
            raise KeyboardInterrupt
        if action == "raise":
            raise SimulatorFailed("MatchError")
        self.told.append(action)
        return f"saw {' '.join(self.told)}"

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, object] = {
            "getTaskDescription": "Count.",
            "getScore": 0.0,
            "getCompleted": False,
            "getNumMoves": 0,
            "taskMaker_$eq": None,
        }
        return lambda *arguments: answers[name]


class FakeJvm:
    """Counts work, and notices when two threads are in it at a time."""

    made: ClassVar[list[FakeJvm]] = []

    def __init__(self, heap_mb: int) -> None:
        self.lock = threading.RLock()
        self.done: list[str] = []
        self.alive = True
        self.closed = False
        self.inside = 0
        self.crowded = False
        self.pid = len(FakeJvm.made)
        FakeJvm.made.append(self)

    def work(self, what: str) -> None:
        self.inside += 1
        self.crowded |= self.inside > 1
        if not self.alive:
            self.inside -= 1
            raise JvmLost("dead")
        self.done.append(what)
        time.sleep(0)
        self.inside -= 1

    def turn_to(self, owner: object) -> None:
        """Nothing is shared here."""

    def new_simulator(self) -> FakeServer:
        return FakeServer(self)

    def call(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool_module, "Jvm", FakeJvm)
    FakeJvm.made = []
    yield


def a_pool(jvms: int = 1, worlds: int = 4) -> Pool:
    return Pool(PoolSettings(jvms, worlds, 64))


def a_game(number: int) -> GameKey:
    return GameKey("boil", number, "")


def took(what: str) -> int:
    return sum(jvm.done.count(what) for jvm in FakeJvm.made)


def advance(pool: Pool, place: Place, action: str) -> Place:
    def act(world: World) -> Place:
        world.step(action)
        assert world.place is not None
        return world.place

    return pool.run(place, act)


def test_nothing_is_started_before_it_is_needed() -> None:
    pool = a_pool()
    assert pool.pids == []
    pool.opening(a_game(0))
    assert pool.pids == [0]


def test_an_opening_is_played_once() -> None:
    pool = a_pool()
    assert pool.opening(a_game(0)) == pool.opening(a_game(0))
    assert took("load") == 1


def test_going_on_costs_one_step() -> None:
    pool = a_pool()
    place = pool.opening(a_game(0)).place
    for action in "abc":
        place = advance(pool, place, action)
    assert place.actions == ("a", "b", "c")
    # The opening is a look around.
    assert (took("load"), took("step")) == (1, 4)


def test_a_sibling_is_replayed_elsewhere_and_the_first_stays() -> None:
    pool = a_pool()
    parent = advance(pool, pool.opening(a_game(0)).place, "a")
    first = advance(pool, parent, "b")
    advance(pool, parent, "c")
    loads, steps = took("load"), took("step")
    advance(pool, first, "d")
    assert (took("load"), took("step")) == (loads, steps + 1)


def test_the_nearest_on_the_way_is_played_on() -> None:
    pool = a_pool()
    place = pool.opening(a_game(0)).place
    path = [place]
    for action in "abcd":
        path.append(advance(pool, path[-1], action))
    # A second simulator at the second state, by way of a sibling.
    advance(pool, path[1], "x")
    advance(pool, path[2], "c")
    loads = took("load")
    advance(pool, path[4], "e")
    assert took("load") == loads


def test_many_episodes_in_turn_need_no_replay_where_there_is_room() -> None:
    pool = a_pool(worlds=16)
    places = [pool.opening(a_game(number)).place for number in range(16)]
    for action in "abcde":
        places = [advance(pool, place, action) for place in places]
    assert took("load") == 16


def test_a_few_more_episodes_than_room_do_not_make_every_step_a_replay() -> None:
    pool = a_pool(worlds=16)
    places = [pool.opening(a_game(number)).place for number in range(20)]
    before = took("load")
    for round_index in range(10):
        places = [advance(pool, place, str(round_index)) for place in places]
    # Putting out the one unused for longest would load for each of the 200 steps.
    assert took("load") - before < 120
    assert all(place.actions == tuple("0123456789") for place in places)


def test_a_dead_process_is_replaced_and_the_state_replayed() -> None:
    pool = a_pool()
    place = advance(pool, pool.opening(a_game(0)).place, "a")
    FakeJvm.made[0].alive = False
    assert advance(pool, place, "b").actions == ("a", "b")
    assert FakeJvm.made[0].closed
    assert pool.pids == [1]


def test_what_kills_twice_is_a_fault() -> None:
    pool = a_pool()
    place = pool.opening(a_game(0)).place
    with pytest.raises(JvmLost):
        advance(pool, place, "die")
    assert [jvm.closed for jvm in FakeJvm.made] == [True, True]
    # And costs nobody else anything.
    assert advance(pool, place, "a").actions == ("a",)


def test_an_interrupted_process_is_not_used_again() -> None:
    pool = a_pool()
    place = pool.opening(a_game(0)).place
    with pytest.raises(KeyboardInterrupt):
        advance(pool, place, "interrupt")
    assert FakeJvm.made[0].closed
    assert advance(pool, place, "a").actions == ("a",)


def test_a_simulator_that_raised_is_not_trusted_again() -> None:
    pool = a_pool()
    place = advance(pool, pool.opening(a_game(0)).place, "a")
    with pytest.raises(SimulatorFailed):
        advance(pool, place, "raise")
    loads = took("load")
    assert advance(pool, place, "b").actions == ("a", "b")
    assert took("load") == loads + 1


def test_a_game_that_cannot_be_loaded_is_said_so() -> None:
    pool = a_pool()
    with pytest.raises(SimulatorFailed, match="cannot load 'unknown-3': ERROR: unknown"):
        pool.opening(GameKey("unknown", 3, ""))


def test_threads_share_processes_and_never_one_at_a_time() -> None:
    pool = a_pool(jvms=3, worlds=2)
    results: dict[int, Place] = {}
    problems: list[BaseException] = []

    def play(number: int) -> None:
        try:
            place = pool.opening(a_game(number)).place
            for action in "abcdefgh":
                place = advance(pool, place, action)
            results[number] = place
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert {place.actions for place in results.values()} == {tuple("abcdefgh")}
    assert len(results) == 12
    assert 1 <= len(FakeJvm.made) <= 3
    assert not any(jvm.crowded for jvm in FakeJvm.made)


def test_one_thread_starts_one_process() -> None:
    pool = a_pool(jvms=4, worlds=2)
    for number in range(8):
        pool.opening(a_game(number))
    assert len(FakeJvm.made) == 1


def test_a_process_that_does_not_start_does_not_hold_up_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = a_pool()

    def broken(heap_mb: int) -> FakeJvm:
        raise JvmLost("no")

    monkeypatch.setattr(pool_module, "Jvm", broken)
    with pytest.raises(JvmLost):
        pool.opening(a_game(0))
    monkeypatch.setattr(pool_module, "Jvm", FakeJvm)
    assert pool.opening(a_game(0)).description == "Count."


def test_equal_settings_share_one_pool_until_the_last_returns_it() -> None:
    settings = PoolSettings(1, 5, 65)
    first, second = borrow_pool(settings), borrow_pool(settings)
    assert first is second
    assert borrow_pool(PoolSettings(1, 6, 65)) is not first
    first.opening(a_game(0))
    return_pool(first)
    assert not FakeJvm.made[0].closed
    return_pool(second)
    assert FakeJvm.made[0].closed
    assert borrow_pool(settings) is not first
