"""TextCraft's demonstrations: true, labelled, with headroom."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from agentr_lite.agent.turns import REFLECTIONS, is_reflection
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.world import World
from agentr_lite.starter.maker.crafter import EXPERT, Habits, Player
from agentr_lite.starter.maker.crafting import Crafting, play
from agentr_lite.starter.maker.worlds import Vocabulary, WorldMaker

ENV = TextCraft()
HELD_OUT = frozenset(ENV.world(t).goal for split in ("dev", "test") for t in ENV.tasks(split))


def test_an_expert_solves_every_training_task() -> None:
    rng = random.Random(0)
    for task in ENV.tasks("train"):
        world = ENV.world(task)
        episode = play(world, Player(world.commands, world.goal, rng, EXPERT), "play", 30)
        assert episode.solved, task.name
        assert set(episode.verdicts) == {"good"}


def test_careless_players_leave_headroom_and_sometimes_recover() -> None:
    rng = random.Random(1)
    habits = Habits(careless=1.0)
    episodes = []
    for task in ENV.tasks("train"):
        world = ENV.world(task)
        episodes.append(play(world, Player(world.commands, world.goal, rng, habits), "play", 30))
    solved = sum(episode.solved for episode in episodes) / len(episodes)
    assert 0.3 < solved < 0.95
    recovered = [
        e for e in episodes if e.solved and any(step.kind == "reflect" for step in e.steps)
    ]
    assert recovered
    for episode in episodes:
        if not episode.solved:
            assert "bad" in episode.verdicts


def test_failed_actions_are_bad_and_reflections_are_uncertain() -> None:
    rng = random.Random(2)
    for task in ENV.tasks("train")[::3]:
        world = ENV.world(task)
        habits = Habits(careless=1.0, get_crafted=0.5)
        episode = play(world, Player(world.commands, world.goal, rng, habits), "play", 30)
        for step, verdict in zip(episode.steps, episode.verdicts, strict=True):
            if step.invalid:
                assert verdict == "bad"
            if step.kind == "reflect":
                assert verdict == "uncertain"
                assert any(signal in step.text for signal in REFLECTIONS)


def test_demonstrated_reflections_are_the_agent_loops_own() -> None:
    rng = random.Random(9)
    habits = Habits(careless=1.0, get_crafted=1.0, hoard=0.0)
    world = next(w for w in (ENV.world(t) for t in ENV.tasks("train")) if len(w.commands) > 4)
    episode = play(world, Player(world.commands, world.goal, rng, habits), "play", 30)
    assert all(is_reflection(step.action) for step in episode.steps if step.kind == "reflect")


def test_a_held_out_goal_among_the_worlds_is_refused() -> None:
    world = ENV.world(ENV.tasks("test")[0])
    with pytest.raises(ValueError, match="held-out"):
        Crafting([world], Vocabulary.of(["a_b"], {}, HELD_OUT), HELD_OUT, "play")


def test_procedural_worlds_can_be_solved() -> None:
    table = bundled_table()
    names = [*table.by_output, *table.gettable, *table.tags]
    vocabulary = Vocabulary.of(names, dict(table.tags), HELD_OUT)
    rng = random.Random(8)
    maker = WorldMaker(vocabulary, HELD_OUT, rng)
    for index in range(120):
        made = maker.world(1 + index % 4, index % 11)
        world = World.of_recipes(made.goal, made.commands, tags=vocabulary.tags)
        # Nine of nine of nine: some worlds need thousands of crafts.
        episode = play(world, Player(world.commands, world.goal, rng, EXPERT), "play", 50_000)
        assert episode.solved
        assert not {recipe.output for recipe in made.commands} & HELD_OUT


def test_the_stream_holds_book_and_made_up_worlds() -> None:
    crafting = Crafting.bundled()
    episodes = list(islice(crafting.episodes(random.Random(3)), 200))
    known = {f"Goal: craft {world.goal.replace('_', ' ')}." for world in crafting.worlds}
    of_the_book = sum(episode.opening.rsplit("\n", 1)[-1] in known for episode in episodes)
    assert 20 < of_the_book < 180
