"""ScienceWorld's demonstrations: the player in the simulator, and varied recordings."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import islice
from pathlib import Path

import pytest

from agentr_lite.envs.sciworld import SciWorld
from agentr_lite.envs.sciworld.expert import answers_of
from agentr_lite.envs.sciworld.games import chosen_kinds, split_tasks
from agentr_lite.envs.sciworld.house import DOORS, matching_things, read_errand, read_room, route
from agentr_lite.envs.sciworld.java import JavaError, find_java
from agentr_lite.starter.maker.explorer import ExplorerHabits
from agentr_lite.starter.maker.exploring import Exploring, varied
from agentr_lite.starter.maker.recordings import (
    KINDS,
    read_recordings,
    record,
    record_all,
)

RECORDED = Path(__file__).parents[1] / "data" / "starter_sciworld.jsonl"


def no_java() -> str:
    """Why there is none; empty if there is."""
    try:
        find_java()
    except JavaError as error:
        return str(error)
    return ""


needs_java = pytest.mark.skipif(bool(no_java()), reason=f"needs Java: {no_java()}")


def test_doors_lead_both_ways() -> None:
    for room, doors in DOORS.items():
        assert all(room in DOORS[door] for door in doors)


def test_a_way_goes_through_doors() -> None:
    assert route("bedroom", "outside") == ["hallway", "kitchen", "outside"]
    assert route("kitchen", "kitchen") == []
    for start in DOORS:
        for end in DOORS:
            here = start
            for room in route(start, end):
                assert room in DOORS[here]
                here = room
            assert here == end


def test_openings_and_listings_are_read() -> None:
    for _, episode in read_recordings(RECORDED, "Do it."):
        errand = read_errand(episode.opening)
        assert errand is not None
        assert read_room(episode.opening) in DOORS
        assert errand.place in DOORS
        for step in episode.steps:
            if step.action == "look around" and read_room(step.observation) == errand.place:
                assert matching_things(step.observation, errand.wanted)


def test_a_retold_play_is_the_same_play() -> None:
    rng = random.Random(0)
    changed = 0
    for _, episode in read_recordings(RECORDED, "Do it."):
        changed_episode = varied(episode, rng)
        changed += changed_episode.opening != episode.opening
        assert changed_episode.verdicts == episode.verdicts
        assert len(changed_episode.opening.splitlines()) == len(episode.opening.splitlines())
        seen = changed_episode.opening
        for step in changed_episode.steps:
            assert step.action is not None and step.action in step.text
            thing = step.action.removeprefix("focus on ").partition(" in ")[0]
            if step.action.startswith("focus on "):
                # What is pointed at was read before, under the same name.
                assert thing in seen
            seen += step.observation
    assert changed


def test_recordings_of_held_out_tasks_are_refused(tmp_path: Path) -> None:
    row = json.loads(RECORDED.read_text("utf-8").splitlines()[0])
    for split in ("dev", "test"):
        task = split_tasks(kinds=chosen_kinds(KINDS))[split][0]
        file = tmp_path / f"{split}.jsonl"
        file.write_text(json.dumps({**row, "task": task.name}) + "\n", "utf-8")
        with pytest.raises(ValueError, match="held-out"):
            Exploring(file)


def test_recordings_may_grow_and_be_torn(tmp_path: Path) -> None:
    lines = RECORDED.read_text("utf-8").splitlines(keepends=True)
    file = tmp_path / "plays.jsonl"
    file.write_text(lines[0] + lines[1][:40], "utf-8")
    exploring = Exploring(file)
    assert len(exploring.recorded) == 1
    file.write_text("".join(lines[:3]), "utf-8")
    assert len(list(islice(exploring.episodes(random.Random(1)), 5))) == 5
    assert len(exploring.recorded) == 3


@needs_java
def test_the_careful_earn_everything_in_the_simulator() -> None:
    env = SciWorld(kinds=KINDS, step_limit=0, jvms=1)
    tasks = list(env.tasks("train"))
    for index, task in enumerate(random.Random(2).sample(tasks, 10)):
        rng = random.Random(index)
        answers = answers_of(env, task)
        episode = record(env, task, answers, rng, ExplorerHabits(careless=0.0))
        assert episode.solved, task.name
        assert "bad" not in episode.verdicts
    env.close()


@needs_java
def test_recording_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    record_all(whole, 4)
    lines = whole.read_text("utf-8").splitlines(keepends=True)
    assert len(lines) == 4
    cut.write_text(lines[0] + lines[1][: len(lines[1]) // 2], "utf-8")
    record_all(cut, 4)
    assert cut.read_text("utf-8") == whole.read_text("utf-8")
    names = {json.loads(line)["task"] for line in lines}
    train = {task.name for task in split_tasks(kinds=chosen_kinds(KINDS))["train"]}
    assert names <= train


@needs_java
def test_recorded_episodes_are_the_same_to_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "plays.jsonl"
    record_all(file, 40)
    # The bundled model was trained on these.
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] == "7e64a4aee031790a"
