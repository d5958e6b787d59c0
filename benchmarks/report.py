"""How large the HTML report of a run with many evaluated episodes is, and how fast it opens.

    python -m benchmarks.report

This makes a database in a temporary folder: a run whose rounds have played the same held-out tasks,
with texts of random words, which compress worse than those of a model. Then it writes the report,
and opens it in a headless Chromium, if there is one: `apt install chromium-headless-shell`,
`playwright install chromium`, or the path of one in ``CHROMIUM``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentr_lite.core.steps import Step, turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.render.page import render_page
from agentr_lite.runs.creation import create_run
from agentr_lite.store import Store, runs
from agentr_lite.store.evals import open_eval, save_eval_items
from agentr_lite.store.records import EpisodeStep, EvalItemRow, TaskRow

BROWSERS = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
_OPENINGS = 5
"""Times that the page is opened; the median counts."""


def make_words(draw: random.Random, count: int = 2_000) -> list[str]:
    """Words of random letters."""
    return [
        "".join(draw.choices("abcdefghijklmnoprstuvwy", k=draw.randint(3, 9))) for _ in range(count)
    ]


def make_episode(
    draw: random.Random, words: Sequence[str], shared: Sequence[Step], most: int
) -> list[Step]:
    """An episode that begins with ``shared``; some of its steps are invalid or repeated."""
    steps = list(shared)
    while len(steps) < most:
        thought = " ".join(draw.choices(words, k=25))
        action = f"get {draw.randint(1, 9)} {' '.join(draw.choices(words, k=2))}"
        invalid = draw.random() < 0.15
        said = "Could not find that item." if invalid else " ".join(draw.choices(words, k=18))
        steps.append(Step(turn_text(thought, action), action, said, invalid=invalid))
        if draw.random() < 0.2:
            steps.append(steps[-1])
        if draw.random() < 0.08:
            break
    solved = draw.random() < 0.5
    steps[-1] = replace(steps[-1], terminated=solved, truncated=not solved, reward=float(solved))
    return steps


def make_database(path: Path, *, tasks: int, rounds: int, most: int, seed: int = 0) -> str:
    """A run of ``rounds`` evaluations of ``tasks`` tasks, the base's counted; its id."""
    draw = random.Random(seed)
    words = make_words(draw)
    with Store.open(path) as store:
        run_id = create_run(store, Recipe(rounds=rounds - 1))
        made = [
            Task(f"task-{at}", "test", f"craft {' '.join(draw.choices(words, k=6))}")
            for at in range(tasks)
        ]
        ids = runs.task_ids(store, "textcraft", made)
        first = [" ".join(draw.choices(words, k=60)) for _ in made]
        instructions = " ".join(draw.choices(words, k=400))
        begun: list[list[Step]] = [[] for _ in made]
        for number in range(rounds):
            items = []
            for at, task in enumerate(made):
                steps = make_episode(draw, words, begun[at], most)
                begun[at] = begun[at] or steps[: draw.randint(0, max(0, len(steps) - 1))]
                row = EvalItemRow(
                    TaskRow(ids[task.name], "textcraft", task.name, "test", task.goal, 1),
                    0,
                    steps[-1].reward,
                    steps[-1].reward == 1,
                    len(steps),
                    sum(step.invalid for step in steps),
                    0,
                    0,
                    [EpisodeStep(step) for step in steps],
                    instructions=instructions,
                    observation=first[at],
                )
                items.append((ids[task.name], row))
            save_eval_items(store, open_eval(store, run_id, number, "greedy", "test"), items)
        return run_id


def find_browser() -> str | None:
    """The path of a Chromium; None: none but playwright's own."""
    paths = [os.environ.get("CHROMIUM"), *map(shutil.which, BROWSERS)]
    return next((path for path in paths if path), None)


def open_page(page: Path) -> dict[str, Any] | None:
    """Milliseconds to open a page and an episode in it; None without a browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=find_browser(), args=["--no-sandbox"]
            )
        except Error:
            return None
        loads, ready, opens = [], [], []
        for _ in range(_OPENINGS):
            tab = browser.new_context(offline=True).new_page()
            clock = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            loads.append((time.perf_counter() - clock) * 1000)
            tab.wait_for_selector(".played tbody button")
            ready.append((time.perf_counter() - clock) * 1000)
            clock = time.perf_counter()
            tab.locator(".played tbody button").first.click()
            tab.wait_for_selector(".transcript .opened")
            opens.append((time.perf_counter() - clock) * 1000)
            tab.context.close()
        version = browser.version
        browser.close()
    middle = _OPENINGS // 2
    return {
        "version": version,
        "load": sorted(loads)[middle],
        "ready": sorted(ready)[middle],
        "open": sorted(opens)[middle],
        "worst": max(ready),
    }


def main() -> None:
    """Make the report, print its size and how fast it opens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4, help="evaluations, the base's counted")
    parser.add_argument("--steps", type=int, default=20, help="most steps of an episode")
    parser.add_argument("--keep", type=Path, help="write the page here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database, page = Path(folder) / "runs.db", Path(folder) / "report.html"
        run_id = make_database(
            database, tasks=options.tasks, rounds=options.rounds, most=options.steps
        )
        clock = time.perf_counter()
        with Store.open(database, create=False, read_only=True) as store:
            page.write_text(render_page([(store, run_id)]), "utf-8")
        wrote = time.perf_counter() - clock
        episodes = options.tasks * options.rounds
        stored, size = database.stat().st_size, page.stat().st_size
        print(
            f"{episodes:,} episodes of at most {options.steps} steps: database"
            f" {stored / 1e6:.2f} MB, page {size / 1e6:.2f} MB, written in {wrote:.1f} s"
        )
        if options.keep:
            options.keep.write_bytes(page.read_bytes())
        times = open_page(page)
        if times is None:
            print("no Chromium here: how fast the page opens was not measured")
            return
        print(
            f"Chromium {times['version']}, median of {_OPENINGS}: loaded after"
            f" {times['load']:.0f} ms, its table ready after {times['ready']:.0f} ms (worst"
            f" {times['worst']:.0f}), an episode open after {times['open']:.0f} ms"
        )


if __name__ == "__main__":
    main()
