"""The training set: what goes in, how it is mixed and split, and that it comes out the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentr_lite.core.errors import ModelError, RecipeError
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.groups import SearchSettings, SpliceSettings, TrainSettings
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.runs.creation import create_run
from agentr_lite.splice.trajectories import best_good, flagged, flagged_messages
from agentr_lite.store import Store, splices
from agentr_lite.train.batches import TrainExample
from agentr_lite.train.dataset import Dataset, build_dataset
from agentr_lite.train.general import load_general, parse_example
from tests.support.corridor import Corridor
from tests.support.splice_cases import RuleActor, actions, plant
from tests.support.stages import splice_stage

GOOD = "forward, take, forward, open"
SLOW = "forward, take, back, forward, forward, open"
FLAWED = "forward, take, take, forward, open"
BAD = "forward, take, jump high, shout, leave"


class Corridors(Corridor):
    """Many tasks of one shape."""

    def tasks(self, split: str) -> list[Task]:
        payload = {"length": 3, "key": 1}
        return [
            Task(f"t{i:02}", split, f"open door {i}", level=3, payload=payload) for i in range(12)
        ]


def recipe(data: str = "both", **train: object) -> Recipe:
    values = {"eta": 1.0, "validation": 0.0, **train}
    return Recipe(
        env=(EnvironmentSettings("corridor"),),
        search=SearchSettings(depth=8),
        splice=SpliceSettings((1.0,), critic="none", data=data),
        train=TrainSettings(**values),
    )


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Store, str]:
    """Twelve trees in round 1: each with two good paths, a flawed one and a bad one."""
    store = Store.open(tmp_path / "runs.db")
    run_id = create_run(store, recipe())
    env = Corridors()
    for task in env.tasks("train"):
        plant(store, run_id, env, task, [FLAWED, SLOW, GOOD, BAD])
    splice_stage(store, run_id, 1, recipe(), env, RuleActor())
    return store, run_id


def general(count: int) -> dict[int, TrainExample]:
    return {
        line: TrainExample(
            [{"role": "user", "content": f"q{line}"}, {"role": "assistant", "content": "a"}],
            [False, True],
        )
        for line in range(1, count + 1)
    }


def goal(example: TrainExample) -> str:
    return example.messages[1]["content"]


def is_agent(example: TrainExample) -> bool:
    return example.messages[0]["role"] == "system"


def same(one: Dataset, other: Dataset) -> bool:
    return (one.id, one.train, one.valid) == (other.id, other.train, other.valid)


@pytest.mark.parametrize(
    ("data", "revisions", "good"), [("revision", 12, 0), ("good", 0, 24), ("both", 12, 24)]
)
def test_the_recipe_says_what_goes_in(
    planted: tuple[Store, str], data: str, revisions: int, good: int
) -> None:
    dataset = build_dataset(*planted, 1, recipe(data), {})

    assert (dataset.counts["revision"], dataset.counts["good"]) == (revisions, good)
    assert len(dataset.train) == revisions + good
    assert dataset.valid == []


def test_the_cleanest_good_trajectories_are_taken(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe("good"), {})

    done = {", ".join(actions(example.messages)) for example in dataset.train}
    assert done == {GOOD, SLOW}
    assert all(all(example.loss[2::2]) for example in dataset.train)


def test_turns_up_to_a_flaw_of_a_good_trajectory_carry_no_loss(planted: tuple[Store, str]) -> None:
    rows = best_good(*planted, round_index=1, per_task=0)

    flawed = [(opening, steps) for _, opening, steps in rows if len(steps) == 5]
    opening, steps = flawed[0]
    messages, loss = flagged_messages(opening, flagged(steps))
    assert (len(rows), len(flawed)) == (36, 12)
    assert actions(messages) == FLAWED.split(", ")
    assert loss[2::2] == [False, False, False, True, True]


def test_flawed_good_trajectories_can_be_left_out(planted: tuple[Store, str]) -> None:
    rows = best_good(*planted, round_index=1, per_task=0, with_flaws=False)
    assert len(rows) == 24
    assert not any(step.invalid or step.kind == "reflect" for _, _, steps in rows for step in steps)
    every = replace(recipe("good").splice, good_per_task=0)
    for flaws, count in ((True, 36), (False, 24)):
        wanted = replace(recipe("good"), splice=replace(every, good_flaws=flaws))
        assert build_dataset(*planted, 1, wanted, {}).counts["good"] == count


def test_tasks_that_never_failed_teach_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs.db")
    run_id = create_run(store, recipe())
    env = Corridors()
    for index, task in enumerate(env.tasks("train")):
        plant(store, run_id, env, task, [GOOD, SLOW, BAD] if index < 3 else [GOOD, SLOW])
    splice_stage(store, run_id, 1, recipe(), env, RuleActor())

    every = replace(recipe("good"), splice=replace(recipe("good").splice, contested=False))
    assert build_dataset(store, run_id, 1, recipe("good"), {}).counts["good"] == 6
    assert build_dataset(store, run_id, 1, every, {}).counts["good"] == 24


def test_revisions_keep_their_flags(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe("revision"), {})

    for example in dataset.train:
        done = actions(example.messages)
        assert done == [*BAD.split(", ")[:4], "reflect", "forward", "open"]
        assert example.loss[2::2] == [False, False, False, False, True, True, True]
        assert not any(example.loss[1::2])


def test_eta_is_the_share_of_agent_examples(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe(eta=0.2), general(500))

    agent = sum(map(is_agent, dataset.train))
    assert agent == 36
    assert dataset.counts["general"] == 144
    assert agent / len(dataset.train) == pytest.approx(0.2)
    asked = {e.messages[0]["content"] for e in dataset.train if not is_agent(e)}
    assert len(asked) == 144
    assert dataset.counts["general_repeated"] == 0


def test_a_short_general_file_is_repeated_and_counted(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe(eta=0.2), general(100))

    assert dataset.counts["general"] == 144
    assert dataset.counts["general_repeated"] == 44


def test_without_general_data_the_agent_data_stands_alone(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe(eta=0.2), {})

    assert dataset.counts["general"] == 0
    assert len(dataset.train) == 36


def test_the_control_trains_on_as_many_general_examples(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe("none", eta=0.25), general(500))

    assert dataset.counts["revision"] == dataset.counts["good"] == 0
    assert dataset.counts["general"] == len(dataset.train) == 36 * 4
    with pytest.raises(RecipeError, match=r"train\.general"):
        build_dataset(*planted, 1, recipe("none"), {})


def test_no_task_and_no_line_is_on_both_sides(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe(eta=0.5, validation=0.2), general(20))

    train = {e.messages[-2]["content"] if not is_agent(e) else goal(e) for e in dataset.train}
    valid = {e.messages[-2]["content"] if not is_agent(e) else goal(e) for e in dataset.valid}
    assert not train & valid
    held = sum(map(is_agent, dataset.valid))
    assert 0 < held <= 0.3 * 36
    assert any(not is_agent(e) for e in dataset.valid)


def test_the_limit_is_balanced_over_tasks(planted: tuple[Store, str]) -> None:
    dataset = build_dataset(*planted, 1, recipe(max_examples=12), {})

    assert dataset.counts["over_limit"] == 24
    assert len({goal(example) for example in dataset.train}) == 12


def test_the_same_rows_give_the_same_set(planted: tuple[Store, str]) -> None:
    store, run_id = planted
    settings = recipe(eta=0.5, validation=0.2, max_examples=30)

    first = build_dataset(store, run_id, 1, settings, general(50))
    second = build_dataset(store, run_id, 1, settings, general(50))

    assert same(first, second)
    assert len(splices.list_datasets(store, run_id)) == 1
    other = build_dataset(store, run_id, 1, recipe(eta=0.5), general(50))
    assert other.id != first.id


def test_every_example_is_on_record(planted: tuple[Store, str]) -> None:
    store, run_id = planted

    dataset = build_dataset(store, run_id, 1, recipe(eta=0.5, validation=0.1), general(50))

    items = splices.list_dataset_items(store, dataset.id)
    assert [item.split for item in items] == ["train"] * len(dataset.train) + ["valid"] * len(
        dataset.valid
    )
    for item, example in zip(items, dataset.train + dataset.valid, strict=True):
        if item.kind == "revision":
            assert item.revision_id is not None
            row = splices.get_revision(store, item.revision_id)
            assert row.messages == example.messages
        elif item.kind == "general":
            assert example.messages[0]["content"] == f"q{item.general_line}"
        else:
            assert item.trajectory_id is not None
    counts = splices.list_datasets(store, run_id)[0].settings["counts"]
    assert counts == dict(dataset.counts)


def test_rounds_accumulate_without_duplicates(planted: tuple[Store, str]) -> None:
    store, run_id = planted
    env = Corridors()
    for task in env.tasks("train")[:3]:
        plant(store, run_id, env, task, [GOOD, "forward, take, shout, leave"], round_index=2)
    splice_stage(store, run_id, 2, recipe(), env, RuleActor())

    alone = build_dataset(store, run_id, 2, recipe(accumulate=False), {})
    both = build_dataset(store, run_id, 2, recipe(), {})

    assert alone.counts["good"] == 3
    assert both.counts["good"] == 24
    assert both.counts["duplicates"] == 3
    assert both.counts["revision"] == 12 + alone.counts["revision"]


def test_nothing_to_learn_from_is_an_empty_set(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs.db")
    run_id = create_run(store, recipe())

    dataset = build_dataset(store, run_id, 1, recipe(eta=0.2), general(5))

    assert (dataset.train, dataset.valid) == ([], [])


def test_general_lines_of_both_layouts(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        None,
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "b"}]},
        {
            "messages": [
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "\u2028"},
                {"role": "assistant", "content": "y"},
            ],
            "loss": [False, False, True],
        },
    ]
    path.write_text(
        "\n".join("" if line is None else json.dumps(line, ensure_ascii=False) for line in lines)
    )

    loaded = load_general(str(path))

    assert sorted(loaded) == [1, 3, 4]
    assert loaded[3].messages[1] == {"role": "assistant", "content": "b"}
    assert [loaded[line].loss for line in (1, 3, 4)] == [
        [False, True],
        [False, True],
        [False, False, True],
    ]
    assert load_general("") == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "Expecting"),
        ("[]", "not a JSON object"),
        ("{}", "neither"),
        ('{"messages": []}', "not empty"),
        ('{"messages": [3]}', "turn must be"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "'role' must be one of"),
        ('{"messages": [{"role": "user", "content": 3}]}', "'content' must be a text"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "nothing to learn"),
        ('{"messages": [{"role": "assistant", "content": "x"}], "loss": [1]}', "true and false"),
        ('{"messages": [{"role": "assistant", "content": "x"}], "loss": []}', "0 loss flags"),
        ('{"messages": [{"role": "user", "content": "x"}], "loss": [true]}', "only assistant"),
        pytest.param("[" * 100_000, "nested more than 100 levels deep", id="deep"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "chats.jsonl"
    good = '{"messages": [{"role": "assistant", "content": "x"}]}'
    path.write_text(f"{good}\n{line}\n")

    with pytest.raises(RecipeError, match="line 2") as caught:
        load_general(str(path))

    assert problem in caught.value.message
    assert str(path) in caught.value.message


def test_a_missing_general_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the general data .*none\.jsonl"):
        load_general(str(tmp_path / "none.jsonl"))


def test_the_bundled_sample_or_a_clear_error() -> None:
    try:
        loaded = load_general("starter")
    except ModelError as error:
        assert error.hint
        return
    assert loaded


def test_parse_example_keeps_texts_as_they_are() -> None:
    text = "  <|im_end|>\n\x1b[31m "

    parsed = parse_example({"messages": [{"role": "assistant", "content": text, "name": "x"}]})

    assert parsed.messages == [{"role": "assistant", "content": text}]
