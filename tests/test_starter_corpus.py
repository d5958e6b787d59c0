"""The demonstrations that the starter is trained on: true, labelled and free of held-out goals."""

from __future__ import annotations

import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest

from agentr_lite.actors.registry import resolve_model
from agentr_lite.actors.starter.corpus import Corpus, Mixture, play
from agentr_lite.actors.starter.demonstrator import EXPERT, Habits, Player
from agentr_lite.actors.starter.worlds import Vocabulary, WorldMaker
from agentr_lite.agent import REFLECTIONS, is_reflection, parse_action
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.book import bundled_table
from agentr_lite.envs.textcraft.rules import shown_name
from agentr_lite.envs.textcraft.world import World
from agentr_lite.splice.critic import CRITIC_ANSWERS, CRITIC_QUESTION

GOAL = re.compile(r"\nGoal: craft (.+)\.$", re.MULTILINE)
ENV = TextCraft()
HELD_OUT = frozenset(ENV.world(t).goal for split in ("dev", "test") for t in ENV.tasks(split))


def corpus(**mixture: object) -> Corpus:
    table = bundled_table()
    names = [*table.by_output, *table.gettable, *table.tags]
    return Corpus(
        [ENV.world(task) for task in ENV.tasks("train")],
        Vocabulary.of(names, dict(table.tags), HELD_OUT),
        HELD_OUT,
        ENV.instructions(brief=True),
        Mixture(**mixture),  # type: ignore[arg-type]
    )


def goals(messages: list[dict[str, str]]) -> list[str]:
    return GOAL.findall(messages[1]["content"])


def test_an_expert_solves_every_training_task() -> None:
    rng = random.Random(0)
    for task in ENV.tasks("train"):
        world = ENV.world(task)
        episode = play(world, Player(world.commands, world.goal, rng, EXPERT), 30)
        assert episode.solved, task.name
        assert set(episode.verdicts) == {"Good"}


def test_careless_players_leave_headroom_and_sometimes_recover() -> None:
    rng = random.Random(1)
    habits = Habits(careless=1.0)
    episodes = []
    for task in ENV.tasks("train"):
        world = ENV.world(task)
        episodes.append(play(world, Player(world.commands, world.goal, rng, habits), 30))
    solved = sum(episode.solved for episode in episodes) / len(episodes)
    assert 0.3 < solved < 0.95
    recovered = [
        e for e in episodes if e.solved and any(step.kind == "reflect" for step in e.steps)
    ]
    assert recovered
    for episode in episodes:
        if not episode.solved:
            assert "Bad" in episode.verdicts


def test_failed_actions_are_bad_and_reflections_are_uncertain() -> None:
    rng = random.Random(2)
    for task in ENV.tasks("train")[::3]:
        world = ENV.world(task)
        habits = Habits(careless=1.0, get_crafted=0.5)
        episode = play(world, Player(world.commands, world.goal, rng, habits), 30)
        for step, verdict in zip(episode.steps, episode.verdicts, strict=True):
            if step.invalid:
                assert verdict == "Bad"
            if step.kind == "reflect":
                assert verdict == "Uncertain"
                assert any(signal in step.text for signal in REFLECTIONS)


def test_no_held_out_goal_is_ever_demonstrated() -> None:
    held_out = {shown_name(goal) for goal in HELD_OUT}
    for ease in (0.0, 1.0):
        for demonstration in islice(corpus().stream(3, ease=ease), 600):
            (goal,) = goals(demonstration.messages)
            assert goal not in held_out


def test_a_held_out_goal_among_the_worlds_is_refused() -> None:
    world = ENV.world(ENV.tasks("test")[0])
    with pytest.raises(ValueError, match="held-out"):
        Corpus([world], Vocabulary.of(["a_b"], {}, HELD_OUT), HELD_OUT, "play")


def test_only_assistant_turns_are_targets_and_every_turn_acts() -> None:
    for demonstration in islice(corpus().stream(4), 300):
        for message, loss in zip(demonstration.messages, demonstration.loss, strict=True):
            assert loss == (message["role"] == "assistant")
        turns = [m["content"] for m in demonstration.messages if m["role"] == "assistant"]
        acting = turns[:-1] if demonstration.kind == "judge" else turns
        assert all(parse_action(turn) for turn in acting)


def test_judged_demonstrations_ask_the_critics_own_question() -> None:
    judged = [d for d in islice(corpus(judged=1.0).stream(5), 200) if d.kind == "judge"]
    assert len(judged) == 200
    assert all(d.messages[-2]["content"].endswith(CRITIC_QUESTION) for d in judged)
    answers = {d.messages[-1]["content"] for d in judged}
    assert answers == set(CRITIC_ANSWERS)


def test_the_same_seed_gives_the_same_demonstrations() -> None:
    first = [d.messages for d in islice(corpus().stream(6), 20)]
    again = [d.messages for d in islice(corpus().stream(6), 20)]
    other = [d.messages for d in islice(corpus().stream(7), 20)]
    assert first == again
    assert first != other


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
        episode = play(world, Player(world.commands, world.goal, rng, EXPERT), 50_000)
        assert episode.solved
        assert not {recipe.output for recipe in made.commands} & HELD_OUT


def test_the_bundled_sample_holds_no_held_out_goal() -> None:
    held_out = {shown_name(goal) for goal in HELD_OUT}
    path = resolve_model("starter").gguf.parent / "general.jsonl"
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) >= 500
    for line in lines:
        assert not held_out & set(goals(json.loads(line)["messages"]))


def test_the_bundled_model_is_small() -> None:
    folder = resolve_model("starter").gguf.parent
    size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    assert size <= 25 * 2**20


def test_demonstrated_reflections_are_the_agent_loops_own() -> None:
    rng = random.Random(9)
    habits = Habits(careless=1.0, get_crafted=1.0, hoard=0.0)
    world = next(w for w in (ENV.world(t) for t in ENV.tasks("train")) if len(w.commands) > 4)
    episode = play(world, Player(world.commands, world.goal, rng, habits), 30)
    assert all(is_reflection(step.action) for step in episode.steps if step.kind == "reflect")
