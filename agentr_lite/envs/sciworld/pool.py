"""Simulators shared by all environments of this program.

Any number of environments, trees and threads play on a few Java processes. A state is described by
the actions that lead to it (``Place``). To act in a state, a caller gets a simulator that is in it,
or one that is on the way to it, or one that plays all actions again. The choice changes only the
time that this takes.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from agentr_lite.envs.sciworld.jvm import Jvm, JvmLost, SimulatorFailed
from agentr_lite.envs.sciworld.world import GameKey, Opening, Place, World

_T = TypeVar("_T")

_OPENINGS_KEPT = 8192
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How much of the machine a pool may use."""

    jvms: int
    """Most Java processes; more than one is used only if several threads play at a time."""
    worlds: int
    """Most games held in each process."""
    heap_mb: int
    """Heap of each process, in MiB."""


class Pool:
    """Java processes, which are started when they are needed, and the simulators in them.

    It may be used from several threads. Java is looked for when the first simulator is needed.

    Args:
        settings: the pool's size.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._changed = threading.Condition()
        self._jvms: list[Jvm] = []
        self._worlds: list[World] = []
        self._busy: set[World] = set()
        self._starting = 0
        self._openings: OrderedDict[GameKey, Opening] = OrderedDict()
        self._draw = random.Random(0)
        self._closed = False

    def opening(self, game: GameKey) -> Opening:
        """A game's first observation; it is played once and then cached.

        Raises:
            EnvironmentFault: it cannot be played.
        """
        with self._changed:
            known = self._openings.get(game)
        if known is None:
            known = self.run(Place(game), lambda world: world.load(game))
            with self._changed:
                self._openings[game] = known
                if len(self._openings) > _OPENINGS_KEPT:
                    self._openings.popitem(last=False)
        return known

    def run(self, place: Place, work: Callable[[World], _T]) -> _T:
        """Do some work in a state.

        Args:
            place: the state. Without a trace, it is the start of a game, which ``work`` loads.
            work: called with a simulator in this state, which nobody else uses meanwhile. If the
                process dies, it is called again with another simulator.

        Raises:
            JavaError: there is no Java.
            JvmLost: the process died twice.
            EnvironmentFault: a replay of the actions leads to another state.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            world = self._take(place)
            try:
                with world.jvm.lock:
                    if place.trace:
                        world.go_to(place)
                    return work(world)
            except JvmLost:
                self._bury(world.jvm)
                if attempt == _ATTEMPTS:
                    raise
            except SimulatorFailed:
                world.place = None
                raise
            except Exception:
                raise
            except BaseException:
                # After Ctrl-C or a time limit, the call may still run, beside which no other may.
                self._bury(world.jvm)
                raise
            finally:
                self._give_back(world)
        raise AssertionError("unreachable")

    @property
    def pids(self) -> list[int]:
        """The running Java processes."""
        with self._changed:
            return [jvm.pid for jvm in self._jvms]

    def close(self) -> None:
        """End all processes; calls of other threads fail."""
        with self._changed:
            self._closed = True
            jvms = list(self._jvms)
            self._jvms.clear()
            self._worlds.clear()
            self._changed.notify_all()
        for jvm in jvms:
            jvm.close()

    def _take(self, place: Place) -> World:
        """Reserve a simulator: one in this state, or on the way to it, or a new one, or any."""
        with self._changed:
            while True:
                if self._closed:
                    raise JvmLost("its Java processes were closed")
                free = [world for world in self._worlds if world not in self._busy]
                if on_the_way := [
                    (missing, index)
                    for index, world in enumerate(free)
                    if (missing := world.missing(place)) is not None
                ]:
                    return self._reserve(free[min(on_the_way)[1]])
                jvm = self._room()
                if jvm is not None:
                    world = World(jvm)
                    self._worlds.append(world)
                    return self._reserve(world)
                if self._may_start():
                    self._starting += 1
                    break
                if free:
                    # Not the least recently used one: if many episodes take turns, it is needed
                    # next.
                    ended = [world for world in free if world.over or world.place is None]
                    return self._reserve(self._draw.choice(ended or free))
                self._changed.wait()
        return self._start()

    def _reserve(self, world: World) -> World:
        self._busy.add(world)
        return world

    def _room(self) -> Jvm | None:
        """The process for another simulator: an idle one, or else the one with the fewest."""
        load = dict.fromkeys(self._jvms, 0)
        at_work = {world.jvm for world in self._busy}
        for world in self._worlds:
            load[world.jvm] = load.get(world.jvm, 0) + 1
        roomy = [jvm for jvm in self._jvms if load[jvm] < self.settings.worlds]
        idle = [jvm for jvm in roomy if jvm not in at_work]
        if not idle and self._may_start():
            return None
        return min(idle or roomy, key=load.__getitem__, default=None)

    def _may_start(self) -> bool:
        """Whether another process would have work: all running ones are busy."""
        if len(self._jvms) + self._starting >= self.settings.jvms:
            return False
        at_work = {world.jvm for world in self._busy}
        return all(jvm in at_work for jvm in self._jvms)

    def _start(self) -> World:
        try:
            jvm = Jvm(self.settings.heap_mb)
        except BaseException:
            with self._changed:
                self._starting -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._starting -= 1
            world = World(jvm)
            if not self._closed:
                self._jvms.append(jvm)
                self._worlds.append(world)
                self._changed.notify_all()
                return self._reserve(world)
        jvm.close()
        raise JvmLost("its Java processes were closed")

    def _give_back(self, world: World) -> None:
        with self._changed:
            self._busy.discard(world)
            self._changed.notify_all()

    def _bury(self, jvm: Jvm) -> None:
        with self._changed:
            if jvm in self._jvms:
                self._jvms.remove(jvm)
            self._worlds = [world for world in self._worlds if world.jvm is not jvm]
        jvm.close()


_SHARED: dict[tuple[int, PoolSettings], tuple[Pool, int]] = {}
_SHARED_LOCK = threading.Lock()


def borrow_pool(settings: PoolSettings) -> Pool:
    """The program's only pool with these settings; the caller must return it (``return_pool``)."""
    # A forked child has its parent's sockets, but must not use them.
    key = (os.getpid(), settings)
    with _SHARED_LOCK:
        pool, users = _SHARED.get(key) or (Pool(settings), 0)
        _SHARED[key] = (pool, users + 1)
        return pool


def return_pool(pool: Pool) -> None:
    """Return a pool; when its last user does so, its processes end."""
    with _SHARED_LOCK:
        for key, (known, users) in list(_SHARED.items()):
            if known is pool:
                if users > 1:
                    _SHARED[key] = (known, users - 1)
                    return
                del _SHARED[key]
                break
        else:
            return
    with contextlib.suppress(OSError):
        pool.close()
