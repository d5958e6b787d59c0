"""Which games there are: numbers, names and splits. Needs no Java."""

from __future__ import annotations

import pytest

from agentr_lite.envs.sciworld.games import (
    KINDS,
    PUBLISHED_TEST_IDS,
    chosen_kinds,
    games,
    split_tasks,
)


@pytest.mark.parametrize(
    ("which", "total", "sizes"),
    [
        ("published", 4339, {"train": 2162, "dev": 1081, "test": 1096}),
        ("agentgym", 4639, {"train": 2312, "dev": 1156, "test": 1171}),
        ("all", 7207, {"train": 3592, "dev": 1796, "test": 1819}),
    ],
)
def test_lists_are_as_long_as_the_published_ones(
    which: str, total: int, sizes: dict[str, int]
) -> None:
    assert sum(1 for _ in games(which)) == total  # type: ignore[arg-type]
    splits = split_tasks(which)  # type: ignore[arg-type]
    assert {split: len(tasks) for split, tasks in splits.items()} == sizes


def test_the_published_ids_are_test_games_in_their_own_list_only() -> None:
    assert len(set(PUBLISHED_TEST_IDS)) == 200
    by_number = {game.number: game for game in games("published")}
    assert {by_number[number].split for number in PUBLISHED_TEST_IDS} == {"test"}
    # In AgentGym's longer list the same numbers would mean training games, too.
    longer = {game.number: game for game in games("agentgym")}
    assert {longer[number].split for number in PUBLISHED_TEST_IDS} == {"train", "dev", "test"}


def test_the_published_test_set_is_those_games() -> None:
    tasks = split_tasks("published", "published")
    assert [task.payload["number"] for task in tasks["test"]] == list(PUBLISHED_TEST_IDS)
    assert len(tasks["train"]) == 2162


def test_numbers_go_through_kinds_and_variations_in_order() -> None:
    listed = list(games("published"))
    assert [game.number for game in listed] == list(range(4339))
    assert (listed[0].task.name, listed[29].task.name) == ("boil-0", "boil-29")
    assert listed[120].task.name == "use-thermometer-0"
    assert listed[-1].task.name == "identify-life-stages-2-9"


def test_names_are_unique_and_splits_disjoint() -> None:
    splits = split_tasks("all")
    names = [task.name for tasks in splits.values() for task in tasks]
    assert len(names) == len(set(names)) == 7207
    assert all(task.split == split for split, tasks in splits.items() for task in tasks)
    assert {task.level for tasks in splits.values() for task in tasks} == set(range(1, 11))


def test_splits_follow_the_packages_rule() -> None:
    # Its own answers for kinds whose number of variations is, and is not, a multiple of four.
    expected = {
        "boil": (14, 7, 9),
        "use-thermometer": (270, 135, 135),
        "grow-plant": (62, 31, 33),
        "lifespan-longest-lived": (62, 31, 32),
        "identify-life-stages-1": (6, 3, 5),
        "identify-life-stages-2": (4, 2, 4),
        "inclined-plane-friction-named-surfaces": (692, 346, 348),
    }
    splits = split_tasks("all")
    for name, sizes in expected.items():
        variations = [
            [task.payload["variation"] for task in splits[split] if task.payload["task"] == name]
            for split in ("train", "dev", "test")
        ]
        assert tuple(map(len, variations)) == sizes
        assert [*variations[0], *variations[1], *variations[2]] == list(range(sum(sizes)))


def test_kinds_are_the_packages() -> None:
    constants = pytest.importorskip("scienceworld.constants")
    assert [(kind.code, kind.name) for kind in KINDS] == list(constants.ID2TASK.items())


def test_kinds_are_chosen_by_code_topic_or_name() -> None:
    assert chosen_kinds("4-1, find-plant") == {"4-1", "4-3"}
    assert chosen_kinds("4,7") == {"4-1", "4-2", "4-3", "4-4", "7-1", "7-2", "7-3"}
    assert chosen_kinds("") == {kind.code for kind in KINDS}
    with pytest.raises(ValueError, match="cook"):
        chosen_kinds("4, cook")


def test_a_choice_of_kinds_keeps_numbers_and_splits() -> None:
    everything = {task.name: task for tasks in split_tasks().values() for task in tasks}
    chosen = split_tasks(kinds=chosen_kinds("4,7"))
    assert {split: len(tasks) for split, tasks in chosen.items()} == {
        "train": 786,
        "dev": 393,
        "test": 396,
    }
    for tasks in chosen.values():
        assert all(everything[task.name] == task for task in tasks)
