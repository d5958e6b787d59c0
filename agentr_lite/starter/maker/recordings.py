"""Plays of ScienceWorld's training variations, recorded once: the simulator is slow.

    python -m agentr_lite.starter.maker.recordings FILE.jsonl --plays 6000

goes on after an interruption: a play depends on its number alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentr_lite.agent.turns import parse_action
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.starter.maker.episodes import Episode, take_turn
from agentr_lite.starter.maker.explorer import Explorer, ExplorerHabits

KINDS = "4,7"
"""The kinds of task that the starter plays: find a thing, tell life spans."""
SEED = 20_260_201
MAX_STEPS = 30


def record(
    env: Environment,
    task: Task,
    answers: Sequence[frozenset[str]],
    rng: random.Random,
    habits: ExplorerHabits,
    max_steps: int = MAX_STEPS,
) -> Episode:
    """Let a player play ``task``.

    Args:
        env: ScienceWorld.
        task: of the kinds that the player knows.
        answers: see ``Explorer``.
        rng: of this play.
        habits: the player's.
        max_steps: the play ends there at the latest.
    """
    opening, _ = env.reset(task)
    player = Explorer(opening, answers, rng, habits)
    episode = Episode("sciworld", env.instructions(brief=True), opening, [], [], 0.0)
    reward = 0.0
    for _ in range(max_steps):
        taken = take_turn(player, episode.steps, episode.verdicts)
        if taken is None:
            continue
        turn, action = taken
        result = env.step(action)
        failed = bool(result.info.get("invalid") or result.info.get("disaster"))
        reward = result.reward
        episode.steps.append(
            Step(
                turn.text,
                action,
                result.observation,
                reward=reward,
                terminated=result.terminated,
                invalid=bool(result.info.get("invalid")),
                disaster=bool(result.info.get("disaster")),
            )
        )
        unopened = result.observation == "The door is not open."
        episode.verdicts.append("Bad" if failed or unopened else turn.verdict)
        if result.terminated:
            break
        player.observe(result.observation)
        if player.gives_up:
            break
    return Episode(
        episode.env, episode.instructions, opening, episode.steps, episode.verdicts, reward
    )


def answers_of(env: Environment, task: Task) -> list[frozenset[str]]:
    """The things that the simulator's own solution points at, each as its set of words."""
    if "lifespan" not in task.name:
        return []
    return [
        frozenset(action.removeprefix("focus on ").split())
        for action in env.solve(task)
        if action.startswith("focus on ")
    ]


def to_row(task: Task, episode: Episode) -> dict[str, Any]:
    """An episode as a line of the file."""
    return {
        "task": task.name,
        "opening": episode.opening,
        "steps": [[s.text, s.observation, s.kind, s.invalid] for s in episode.steps],
        "verdicts": episode.verdicts,
        "reward": episode.reward,
    }


def read_recordings(file: Path, instructions: str) -> list[tuple[str, Episode]]:
    """The recorded episodes with their tasks' names; a torn last line is left out."""
    episodes = []
    for line in file.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        steps = [
            Step(text, parse_action(text), observation, kind=kind, invalid=invalid)
            for text, observation, kind, invalid in row["steps"]
        ]
        episode = Episode(
            "sciworld", instructions, row["opening"], steps, row["verdicts"], row["reward"]
        )
        episodes.append((row["task"], episode))
    return episodes


def record_all(file: Path, plays: int, habits: ExplorerHabits | None = None) -> None:
    """Append plays until the file holds ``plays`` of them."""
    habits = habits or ExplorerHabits()
    file.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    if file.exists():
        # What was cut off in the middle of a line is played again.
        kept = file.read_text("utf-8").split("\n")[:-1]
        done = len(kept)
        file.write_text("".join(line + "\n" for line in kept), "utf-8")
    if done >= plays:
        return
    env = SciWorld(kinds=KINDS, step_limit=0, jvms=1)
    tasks = list(env.tasks("train"))
    known: dict[str, list[frozenset[str]]] = {}
    began = time.monotonic()
    with file.open("a", encoding="utf-8") as out:
        for number in range(done, plays):
            rng = random.Random(SEED + number)
            # Every task in turn, so that a short file covers all.
            order = list(range(len(tasks)))
            random.Random(SEED + number // len(tasks)).shuffle(order)
            task = tasks[order[number % len(tasks)]]
            if task.name not in known:
                known[task.name] = answers_of(env, task)
            episode = record(env, task, known[task.name], rng, habits)
            out.write(json.dumps(to_row(task, episode)) + "\n")
            if number % 100 == 99:
                out.flush()
                rate = (number + 1 - done) / (time.monotonic() - began)
                print(f"{number + 1} of {plays} plays, {rate:.1f} a second", file=sys.stderr)
    env.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--plays", type=int, default=6000)
    arguments = parser.parse_args()
    record_all(arguments.file, arguments.plays)


if __name__ == "__main__":
    main()
