"""How fast WebShop is: loading, resets, steps, searches, snapshots, the oracle.

    python -m benchmarks.webshop [--webshop-data DIR] [--seconds S] [--json]

All figures are processor time, which is the wall time of one thread without waiting on an idle
machine. The episodes are the oracle's on the training tasks, with a look at the features. In
``steps, pages through HTML``, every page is also written as HTML and read back with Python's own
parser. The original does at least this much with a template engine and Beautiful Soup.
"""

from __future__ import annotations

import html
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser

import click

from agentr_lite.console.streams import emit_json, emit_table, say

_LOAD = """
import time
started = time.process_time()
from agentr_lite.envs.webshop import WebShop
imported = time.process_time()
env = WebShop({place!r})
env.tasks("train")
loaded = time.process_time()
env.catalogue.index
print((imported - started) * 1e3, (loaded - imported) * 1e3, (time.process_time() - loaded) * 1e3)
"""

_UPSTREAM_STEPS = 43.0
"""Steps per second of the original with its 1,000 products on a machine with 2 cores."""
_EPISODES = 200


@click.command()
@click.option("--webshop-data", "place", help="The original files instead of the bundled shop.")
@click.option("--seconds", default=1.0, show_default=True, help="Minimum seconds per figure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(place: str | None, seconds: float, as_json: bool) -> None:
    """Print a table of figures on stdout."""
    from agentr_lite.envs.webshop import WebShop

    import_ms, load_ms, index_ms = _load(place)
    env = WebShop(place)
    catalogue = env.catalogue
    tasks = env.tasks("train")[:_EPISODES]
    episodes = []
    for task in tasks:
        find, look, *rest = env.solve(task)
        episodes.append((task, [find, look, "click[features]", "click[< prev]", *rest]))
    steps = sum(len(actions) for _, actions in episodes)
    queries = [actions[0].removeprefix("search[").removesuffix("]") for _, actions in episodes]

    def play() -> None:
        for task, actions in episodes:
            env.reset(task)
            for action in actions:
                env.step(action)

    def play_without_memory() -> None:
        for task, actions in episodes:
            # This query is new, so no result is remembered.
            catalogue.forget_searches()
            env.reset(task)
            for action in actions:
                env.step(action)

    def play_as_html() -> None:
        for task, actions in episodes:
            _through_html(env.reset(task)[0])
            for action in actions:
                _through_html(env.step(action).observation)

    def resets() -> None:
        for task in tasks:
            env.reset(task)

    def search() -> None:
        for query in queries:
            catalogue.index.search(query, 50)

    def save_and_restore() -> None:
        held = env.snapshot()
        for _ in range(1000):
            env.restore(env.snapshot())
        env.restore(held)

    def solve() -> None:
        for task in tasks:
            env.solve(task)

    env.reset(tasks[0])
    per_second = steps / _per_call(play, seconds) * 1e3
    fresh = steps / _per_call(play_without_memory, seconds) * 1e3
    as_html = steps / _per_call(play_as_html, seconds) * 1e3
    figures = {
        "import": (import_ms, "ms"),
        "load and tasks": (load_ms, "ms"),
        "search index": (index_ms, "ms"),
        "steps": (per_second, "/s"),
        "steps, no search remembered": (fresh, "/s"),
        "steps, pages through HTML": (as_html, "/s"),
        "times the original's 43 steps/s": (fresh / _UPSTREAM_STEPS, "x"),
        "search": (_per_call(search, seconds) / len(queries) * 1e3, "µs"),
        "reset": (_per_call(resets, seconds) / len(tasks) * 1e3, "µs"),
        "snapshot and restore": (_per_call(save_and_restore, seconds), "µs"),
        "solve": (_per_call(solve, seconds) / len(tasks) * 1e3, "µs"),
    }
    if as_json:
        emit_json({name: {"value": value, "unit": unit} for name, (value, unit) in figures.items()})
        return
    emit_table(
        ["figure", "value", "unit"],
        [[name, f"{value:,.1f}", unit] for name, (value, unit) in figures.items()],
    )
    say(
        f"{len(catalogue.products)} products, {len(tasks)} tasks, {steps} steps a pass,"
        f" Python {sys.version.split()[0]}"
    )


def _load(place: str | None) -> tuple[float, float, float]:
    """Milliseconds to import, to load with tasks, and to index, in a fresh process."""
    code = _LOAD.format(place=place)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import_ms, load_ms, index_ms = map(float, done.stdout.split())
    return import_ms, load_ms, index_ms


class _Texts(HTMLParser):
    """Collects a page's texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _through_html(page: str) -> str:
    """Write a page as HTML and read it back."""
    rows = "".join(f"<h4>{html.escape(text)}</h4>" for text in page.split(" [SEP] "))
    parser = _Texts()
    parser.feed(f"<html><body><div class='container'>{rows}</div></body></html>")
    return " [SEP] ".join(parser.texts)


def _per_call(run: Callable[[], object], seconds: float) -> float:
    """Milliseconds of the fastest call in ``seconds``; at least one call is made."""
    best = float("inf")
    end = time.process_time() + seconds
    while True:
        started = time.process_time()
        run()
        now = time.process_time()
        best = min(best, (now - started) * 1e3)
        if now >= end:
            return best


if __name__ == "__main__":
    main()
