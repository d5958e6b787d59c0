"""The time of each stage of the whole loop, for a small recipe.

    python -m benchmarks.loop                       # the smoke recipe, about a minute
    python -m benchmarks.loop textcraft             # the default recipe, about 7 minutes
    python -m benchmarks.loop smoke --set search.tasks=12

This runs `agentr-lite run` in a temporary folder, as a user would, and reads the stored run. The
model's time is what the back end measured around its calls. The rest of a stage is training, the
environment, search, loading models and the database.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agentr_lite.recipe.loading import load_recipe
from agentr_lite.store import Store, runs
from agentr_lite.store.records import RoundRow
from benchmarks import tables


def main() -> None:
    """Run a recipe and print its stages."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", default="smoke")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    tables.warn_if_busy()
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "runs.db"
        seconds = _run(options.recipe, options.settings, database)
        with Store.open_to_read(database) as store:
            run = runs.list_runs(store)[0]
            stages = runs.list_stages(store, run.id)
    _print(options.recipe, stages, seconds)


def _run(recipe: str, settings: Sequence[str], database: Path) -> float:
    """Run the recipe; returns the seconds, with start-up."""
    env = load_recipe(recipe, list(settings)).env_names
    command = [sys.executable, "-m", "agentr_lite", "run", *env, "--recipe", recipe]
    command += ["--db", str(database)]
    for setting in settings:
        command += ["--set", setting]
    started = time.perf_counter()
    finished = subprocess.run(command, stdout=sys.stderr)
    if finished.returncode != 0:
        raise SystemExit(f"agentr-lite ended with {finished.returncode}")
    return time.perf_counter() - started


def _print(recipe: str, stages: Sequence[RoundRow], seconds: float) -> None:
    tables.begin(
        f"The whole loop: recipe {recipe}",
        [
            "round",
            "stage",
            "seconds",
            "of it the model",
            "share",
            "answer tokens",
            "prompt tokens",
            "of them decoded",
        ],
    )
    for stage in stages:
        tables.row(_cells(f"{stage.round}", stage.stage, [stage]))
    tables.row(_cells("all", "", stages))
    inside = sum(stage.wall_s for stage in stages)
    tables.note(
        f"{seconds:.1f} s by the clock, of which {seconds - inside:.1f} s outside the stages:"
        " starting Python, loading the model, opening the database."
    )


def _cells(number: str, name: str, stages: Sequence[RoundRow]) -> list[str]:
    wall = sum(stage.wall_s for stage in stages)
    model = sum(stage.model_ms for stage in stages) / 1000
    return [
        number,
        name,
        f"{wall:.1f}",
        f"{model:.1f}",
        f"{model / wall:.0%}" if wall else "",
        f"{sum(stage.output_tokens for stage in stages):,}",
        f"{sum(stage.prompt_tokens for stage in stages):,}",
        f"{sum(stage.decoded_prompt_tokens for stage in stages):,}",
    ]


if __name__ == "__main__":
    main()
