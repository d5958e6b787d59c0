"""Held-out episodes in the HTML report: a table, and transcripts that are unpacked one by one."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from agentr_lite.console.outcomes import INVALID, REPEATED
from agentr_lite.report.model.episodes import difference_sentence, load_evaluated
from agentr_lite.report.render.blocks import pack
from agentr_lite.report.render.episode_pages import (
    BLOCKS_BUDGET,
    GIVEN,
    PLAIN_ROWS,
    REPEATS,
    EpisodePages,
    episode_pages,
)
from agentr_lite.report.render.excerpts import TEXT_BUDGET, shorten, without_action
from agentr_lite.report.render.page import render_page
from agentr_lite.store import Store
from tests.support.episode_case import (
    EPISODES,
    INSTRUCTIONS,
    LOOP,
    REFUSED,
    SEEN,
    plant_episodes,
    step,
)
from tests.support.report_case import HOSTILE, Page


def unpack(packed: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(packed)))


class Read:
    """What the page's script would unpack."""

    def __init__(self, pages: EpisodePages) -> None:
        blocks = dict(pages.blocks)
        table = unpack(blocks["episodes-table"])
        self.marks, self.sets = table["marks"], table["sets"]
        self._shared = unpack(blocks["episodes-shared"])
        self._blocks = {name: unpack(packed) for name, packed in blocks.items()}
        self.texts = [*self._shared, *(t for b in self._own() for t in b["texts"])]

    def _own(self) -> list[Any]:
        return [b for name, b in self._blocks.items() if name.removeprefix("episodes-").isdigit()]

    def row(self, name: str, at: int = 0) -> list[Any]:
        return next(row for row in self.sets[at]["rows"] if row[0] == name)

    def transcripts(self, name: str, at: int = 0) -> tuple[list[Any], list[Any]]:
        """The episodes of a task with their texts, and (shared steps, sentence) of each pair."""
        block, place = self.row(name, at)[5]
        own = self._blocks[f"episodes-{block}"]

        def text(ref: int) -> str | None:
            if ref >= 0:
                return str(own["texts"][ref])
            return None if ref == -1 else str(self._shared[-2 - ref])

        played, parted = own["records"][place]
        shown = [
            episode
            and {
                "before": text(episode[0]),
                "saw": text(episode[1]),
                "note": text(episode[2]),
                "end": self.marks[episode[3]],
                "steps": [[self.marks[s[0]], s[1], *map(text, s[2:])] for s in episode[5]],
            }
            for episode in played
        ]
        return shown, [[shared, text(words)] for shared, words in parted]


def read(path: Path, run: str, **options: Any) -> tuple[EpisodePages, Read]:
    with Store.open(path, create=False, read_only=True) as store:
        pages = episode_pages([(store, run, "")], **options)
    return pages, Read(pages)


@pytest.fixture
def planted(tmp_path: Path) -> tuple[EpisodePages, Read]:
    path = tmp_path / "runs.db"
    return read(path, plant_episodes(path))


def test_rows_say_outcome_reward_steps_and_errors_of_every_round(
    planted: tuple[EpisodePages, Read],
) -> None:
    pages, page = planted
    (evaluated,) = page.sets
    assert evaluated["rounds"] == ["base", "round 1", "round 2"]
    assert evaluated["pairs"] == [[0, 1], [0, 2], [1, 2]]
    changes = {row[0]: [page.marks[at][2] for at in row[4]] for row in evaluated["rows"]}
    assert changes == {
        "gained": ["gained", "gained", "kept"],
        "lost": ["kept", "lost", "lost"],
        "kept": ["kept"] * 3,
        "failed": ["failed in both"] * 3,
    }
    # Mark, reward, steps, errors; the refused action is repeated: one step is both.
    mark, reward, steps, errors, invalid, _ = page.row("gained")[3][0]
    assert (page.marks[mark][2], reward, steps) == ("cut at the step limit", 0, 4)
    assert (errors, invalid) == (2, 2)
    # Tasks on which the rounds disagree come first, those that all of them solved last.
    assert [row[0] for row in evaluated["rows"]] == ["gained", "lost", "failed", "kept"]
    assert [row.change.word for row in pages.tables[0].rows] == [
        "gained",
        "lost",
        "failed in both",
        "kept",
    ]
    assert (pages.tables[0].rows[0].reward, pages.tables[0].rows[0].steps) == ("0 → 1", "4 → 3")


def test_transcripts_hold_every_step_as_it_is_stored(planted: tuple[EpisodePages, Read]) -> None:
    _, page = planted
    for name, episodes in EPISODES.items():
        shown, _ = page.transcripts(name)
        assert len(shown) == len(episodes)
        for episode, steps in zip(shown, episodes, strict=True):
            assert (episode["before"], episode["saw"]) == (INSTRUCTIONS, SEEN)
            assert [each[2] for each in episode["steps"]] == [each.action for each in steps]
            assert [each[3] for each in episode["steps"]] == [
                without_action(each.action, each.text) for each in steps
            ]
            assert [each[5] for each in episode["steps"]] == [each.observation for each in steps]


def test_episodes_are_aligned_to_their_first_difference(
    planted: tuple[EpisodePages, Read],
) -> None:
    _, page = planted
    _, parted = page.transcripts("gained")
    assert parted == [
        [1, "They differ from step 2 on: get 9 suns against craft thing."],
        [1, "They differ from step 2 on: get 9 suns against get 2 log."],
        [1, "They differ from step 2 on: craft thing against get 2 log."],
    ]
    assert page.transcripts("kept")[1] == [[2, "The two episodes are the same."]] * 3
    assert page.transcripts("failed")[1][1] == [2, "The same up to step 2; only base goes on."]


@pytest.mark.parametrize(
    ("left", "right", "shared", "said"),
    [
        (None, ["look"], 0, "base has not played this task."),
        (["look"], ["look"], 0, "step 1 on: the same action, but the environment answered"),
        (["(no action)"], ["(no action)"], 0, "step 1 on: neither turn holds an action."),
    ],
)
def test_a_difference_is_said_in_a_sentence(
    left: list[str] | None, right: list[str] | None, shared: int, said: str
) -> None:
    assert said in difference_sentence(("base", "round 1"), left, right, shared)


def test_invalid_and_repeated_steps_have_their_signs(planted: tuple[EpisodePages, Read]) -> None:
    _, page = planted
    steps = page.transcripts("gained")[0][0]["steps"]
    assert [each[0][0] for each in steps] == ["·", INVALID.glyph, INVALID.glyph, "…"]
    assert [bool(each[1] & REPEATS) for each in steps] == [False, False, True, False]
    assert [REPEATED.glyph, REPEATED.style, REPEATED.word] in page.marks


def test_given_steps_are_marked_and_are_no_errors(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    episode = [*LOOP, LOOP[1], LOOP[1], step("look", truncated=True)]
    run = plant_episodes(path, {"t": [episode, episode]}, mode="recovery", given=3)
    pages, page = read(path, run)
    assert pages.tables[0].name == "Recovery, test"
    steps = page.transcripts("t")[0][0]["steps"]
    assert [bool(each[1] & GIVEN) for each in steps] == [True] * 3 + [False] * 2
    # Of the model's own two steps, one is refused, and it repeats no step of its own.
    assert page.row("t")[3][0][3] == 1


def test_a_task_that_one_round_has_not_played_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = plant_episodes(path, {"t": [[step("look")], None], "u": [[step("look")]] * 2})
    pages, page = read(path, run)
    assert page.marks[page.row("t")[4][0]][2] == "played by one round only"
    assert page.transcripts("t")[1] == [[0, "round 1 has not played this task."]]
    assert pages.tables[0].rows[0].reward == "0 → –"


def test_an_older_release_has_not_stored_the_opening(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    _, page = read(path, plant_episodes(path, observation=None))
    episode = page.transcripts("kept")[0][0]
    assert episode["saw"] == "craft a thing: kept"
    assert episode["note"].startswith("An older release has not stored")


def test_equal_texts_are_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    # More tasks than a block holds.
    many = {f"task-{at}": [[*LOOP, step(f"look {at}")]] * 2 for at in range(30)}
    _, page = read(path, plant_episodes(path, many))
    for text in (INSTRUCTIONS, SEEN, REFUSED):
        assert page.texts.count(text) == 1


def test_a_block_holds_few_tasks(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    many = {f"task-{at}": [[step(f"look {at}")]] * 2 for at in range(30)}
    pages, page = read(path, plant_episodes(path, many))
    assert len(pages.blocks) == 2 + 4
    where = [tuple(row[5]) for row in page.sets[0]["rows"]]
    assert len(set(where)) == 30
    assert max(sum(block == at for block, _ in where) for at in range(4)) == 8


def test_what_does_not_fit_is_cut_then_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    import random

    draw = random.Random(1)
    noise = ["".join(chr(draw.randrange(33, 0x3000)) for _ in range(5_000)) for _ in range(20)]
    many = {f"task-{at}": [[step("look", text)]] * 2 for at, text in enumerate(noise)}
    many["kept"] = EPISODES["kept"][:2]  # type: ignore[assignment]
    run = plant_episodes(path, many)
    whole, _ = read(path, run)
    assert (whole.cut_at, whole.left_out) == (0, 0)
    cut, page = read(path, run, budget=150_000)
    assert sum(len(block) for name, block in cut.blocks if name != "episodes-table") <= 150_000
    assert (cut.cut_at, cut.left_out) == (2_000, 0)
    assert "[3,000 more characters]" in page.transcripts("task-0")[0][0]["steps"][0][5]
    few, page = read(path, run, budget=40_000)
    assert sum(len(block) for name, block in few.blocks if name != "episodes-table") <= 40_000
    assert few.cut_at == 1_000
    assert 0 < few.left_out < few.transcripts == 21
    # A task that all rounds solved tells least.
    assert page.row("kept")[5] is None
    assert page.row("task-0")[5] == [0, 0]
    with Store.open(path, read_only=True) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "agentr_lite.report.render.page.episode_pages",
            lambda sources: episode_pages(sources, budget=40_000),
        )
        text = Page(render_page([(store, run)])).text
    assert "Texts of more than 1,000 characters are cut in the transcripts." in text
    assert f"The transcripts of {few.left_out} of 21 tasks are left out" in text


def test_a_page_stays_below_five_megabytes() -> None:
    # A character of a tree's text may take three bytes; rows, figures and script the rest.
    assert BLOCKS_BUDGET + TEXT_BUDGET < 4_500_000


def test_without_a_script_there_are_some_hundred_rows(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    many = {f"task-{at}": [[step("look")]] * 2 for at in range(PLAIN_ROWS + 5)}
    run = plant_episodes(path, many)
    with Store.open(path, read_only=True) as store:
        page = Page(render_page([(store, run)]))
    assert len(page.of("th", "task")) == PLAIN_ROWS
    assert f"The first {PLAIN_ROWS} of {PLAIN_ROWS + 5} tasks" in page.text
    assert "The transcripts need JavaScript." in page.text


def test_hostile_episodes_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    said = step("look", HOSTILE)
    run = plant_episodes(path, {HOSTILE: [[said], [said]]}, observation=HOSTILE, goal=HOSTILE)
    with Store.open(path, read_only=True) as store:
        source = render_page([(store, run)])
        shown = Read(episode_pages([(store, run, "")])).transcripts
        name = shorten(HOSTILE, 240)
        assert shown(name)[0][0]["steps"][0][5] == shorten(HOSTILE, 1_000)
    Page(source)
    assert "<img" not in source
    assert "\u202e" not in source
    assert source.count("<script") == 2 + 3


def test_every_run_and_mode_has_its_table(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    ids = [plant_episodes(path, seed=seed) for seed in (1, 2)]
    with Store.open(path, read_only=True) as store:
        page = Page(render_page([(store, each) for each in ids]))
        assert [each.mode for each in load_evaluated(store, ids[0])] == ["greedy"]
    assert len(page.of("section", "played")) == 2
    assert [a["href"] for a in page.of("a", "choice")] == ["#played-1", "#played-2"]


def test_packing_needs_no_records() -> None:
    assert pack([], 10).blocks == []
