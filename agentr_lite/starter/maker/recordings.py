"""Recorded episodes of ScienceWorld's training variations, because the simulator is slow.

    python -m agentr_lite.starter.maker.recordings FILE.jsonl --plays 6000

After an interruption, the same command continues: an episode depends only on its number.
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
from agentr_lite.envs.sciworld.expert import answers_of
from agentr_lite.starter.maker.episodes import ANSWERS, Episode, take_turn
from agentr_lite.starter.maker.explorer import Explorer, ExplorerHabits

KINDS = "4,7"
"""The kinds of task that the starter plays: finding a thing, and comparing life spans."""
SEED = 20_260_201
MAX_STEPS = 30
_VERDICTS = {answer: verdict for verdict, answer in ANSWERS.items()}


def record(
    env: Environment,
    task: Task,
    answers: Sequence[frozenset[str]],
    rng: random.Random,
    habits: ExplorerHabits,
    max_steps: int = MAX_STEPS,
) -> Episode:
    """Let the player play a task.

    Args:
        env: ScienceWorld.
        task: a task of one of ``KINDS``.
        answers: see ``Explorer``.
        rng: random stream of this episode.
        habits: the player's slips.
        max_steps: the maximum number of steps.
    """
    opening, _ = env.reset(task)
    player = Explorer(opening, answers, rng, habits)
    episode = Episode("sciworld", env.instructions(brief=True), opening, [], [], 0.0)
    reward = 0.0
    for _ in range(max_steps):
        move = take_turn(player, episode.steps, episode.verdicts)
        if move is None:
            continue
        turn, action = move
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
        closed = result.observation == "The door is not open."
        episode.verdicts.append("bad" if failed or closed else turn.verdict)
        if result.terminated:
            break
        player.observe(result.observation)
        if player.gives_up:
            break
    return Episode(
        episode.env, episode.instructions, opening, episode.steps, episode.verdicts, reward
    )


def to_row(task: Task, episode: Episode) -> dict[str, Any]:
    """An episode as a line of the file."""
    return {
        "task": task.name,
        "opening": episode.opening,
        "steps": [[s.text, s.observation, s.kind, s.invalid] for s in episode.steps],
        "verdicts": [ANSWERS[verdict] for verdict in episode.verdicts],
        "reward": episode.reward,
    }


def read_recordings(file: Path, instructions: str) -> list[tuple[str, Episode]]:
    """(task, episode) of every recorded episode; an incomplete last line is left out."""
    episodes = []
    for line in file.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        steps = [
            Step(text, parse_action(text), observation, kind=kind, invalid=invalid)
            for text, observation, kind, invalid in row["steps"]
        ]
        verdicts = [_VERDICTS[answer] for answer in row["verdicts"]]
        episode = Episode("sciworld", instructions, row["opening"], steps, verdicts, row["reward"])
        episodes.append((row["task"], episode))
    return episodes


def record_all(file: Path, plays: int, habits: ExplorerHabits | None = None) -> None:
    """Append episodes until the file holds ``plays`` of them."""
    habits = habits or ExplorerHabits()
    file.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    if file.exists():
        # An episode whose line is incomplete is played again.
        kept = file.read_text("utf-8").split("\n")[:-1]
        done = len(kept)
        file.write_text("".join(line + "\n" for line in kept), "utf-8")
    if done >= plays:
        return
    env = SciWorld(kinds=KINDS, step_limit=0, jvms=1)
    tasks = list(env.tasks("train"))
    answers: dict[str, list[frozenset[str]]] = {}
    started = time.monotonic()
    with file.open("a", encoding="utf-8") as out:
        for number in range(done, plays):
            rng = random.Random(SEED + number)
            # All tasks take turns, so that a short file has every task.
            order = list(range(len(tasks)))
            random.Random(SEED + number // len(tasks)).shuffle(order)
            task = tasks[order[number % len(tasks)]]
            if task.name not in answers:
                answers[task.name] = answers_of(env, task)
            episode = record(env, task, answers[task.name], rng, habits)
            out.write(json.dumps(to_row(task, episode)) + "\n")
            if number % 100 == 99:
                out.flush()
                rate = (number + 1 - done) / (time.monotonic() - started)
                print(f"{number + 1} of {plays} episodes, {rate:.1f} per second", file=sys.stderr)
    env.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--plays", type=int, default=6000)
    arguments = parser.parse_args()
    record_all(arguments.file, arguments.plays)


if __name__ == "__main__":
    main()
