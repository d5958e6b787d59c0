"""The study behind docs/results.md: does self-training help, and which part of it?

Runs every method ("arm") with every seed, at the same search budget, and writes the tables. A run
that the database has finished is not done again, one that was cut is resumed:

    python -m benchmarks.results --seeds 1 2 3 --arms verified good direct \
        --db results.db --out docs/results.md

Arms of one seed share the base's evaluation and the trees of the first round: they differ in what
they make of them. From the second round on each method searches with its own model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.errors import AgentrError, UsageError
from agentr_lite.output import Progress, dump_json, say
from agentr_lite.recipe import Recipe, load_recipe
from agentr_lite.report.markdown import escape_markdown, render_markdown
from agentr_lite.report.results import Study, gather_study, study_sections
from agentr_lite.report.tables import Section
from agentr_lite.store import Store
from agentr_lite.store.records import RunRow
from agentr_lite.store.runs import create_run, get_run, list_runs, stage_status


@dataclass(frozen=True, slots=True)
class Arm:
    """One method: what it is called and how it differs from the recipe."""

    label: str
    overrides: Mapping[str, str]


ARMS: Mapping[str, Arm] = {
    "verified": Arm(
        "Agent-R, verified",
        {"splice.data": "both", "splice.critic": "score", "splice.verify": "replay"},
    ),
    "good": Arm("good trajectories only", {"splice.data": "good"}),
    "direct": Arm(
        "direct revision",
        {"splice.data": "both", "splice.critic": "none", "splice.verify": "off"},
    ),
    "naive": Arm(
        "Agent-R, unverified",
        {"splice.data": "both", "splice.critic": "score", "splice.verify": "off"},
    ),
    "general": Arm("general data only", {"splice.data": "none"}),
}
"""The first arm asked for is compared with each of the others."""


def study_recipe(name: str, arm: str, seed: int, overrides: Sequence[str]) -> Recipe:
    """The recipe of one run; its name says which arm it is."""
    changes = [f"{key}={value}" for key, value in ARMS[arm].overrides.items()]
    label = f"name={Path(name).stem}-{arm}"
    return load_recipe(name, [*overrides, *changes, f"seed={seed}", label])


def model_digest(recipe: Recipe) -> str:
    """SHA-256 of the recipe's model: a run of another file of the same name is another run."""
    from agentr_lite.actors.digest import file_sha256
    from agentr_lite.actors.registry import resolve_model

    return file_sha256(resolve_model(recipe.model).gguf)


def find_run(store: Store, recipe: Recipe, digest: str | None) -> RunRow | None:
    """The run of exactly this recipe: a finished one, else the newest that can be resumed.

    Args:
        store: the database.
        recipe: all of it counts.
        digest: of the model; None: any model.
    """
    wanted = json.loads(json.dumps(recipe.to_dict()))
    runs = [
        run
        for run in list_runs(store, env=recipe.env_label)
        # A run that was cut before it loaded its model has no digest yet.
        if run.recipe == wanted and (digest is None or run.model_sha256 in ("", digest))
    ]
    finished = [run for run in runs if run.status == "finished"]
    return next(iter(finished or runs), None)


def shared_parts(recipe: Recipe) -> dict[str, Any]:
    """What the base's evaluation and the first search depend on; equal means shareable."""
    parts = recipe.to_dict()
    for key in ("name", "rounds", "splice", "train"):
        del parts[key]
    return parts


def find_first_round(store: Store, recipe: Recipe, digest: str) -> RunRow | None:
    """A run of the same model whose base evaluation and first search serve this recipe as well."""
    wanted = json.loads(json.dumps(shared_parts(recipe)))
    for run in list_runs(store, env=recipe.env_label):
        stored = {key: run.recipe.get(key) for key in wanted}
        if stored != wanted or run.model_sha256 != digest:
            continue
        stages = [stage_status(store, run.id, 0, "eval"), stage_status(store, run.id, 1, "search")]
        if all(stage is not None and stage.finished for stage in stages):
            return run
    return None


def copy_first_round(store: Store, source: str, target: str) -> None:
    """Give a new run another run's base evaluation and first-round trees.

    Both runs then hold rows of their own, as if each had played: a report needs no special case.
    """
    with store.atomic():
        store.execute(
            "UPDATE runs SET model_id = (SELECT model_id FROM runs WHERE id = ?) WHERE id = ?",
            (source, target),
        )
        for number, stage in ((0, "eval"), (1, "search")):
            where = {"run_id": source, "round": number, "stage": stage}
            _copy(store, "rounds", where, {"run_id": target})
        for row in store.rows(
            "SELECT id FROM evals WHERE run_id = ? AND round = 0 ORDER BY id", (source,)
        ):
            copied = _copy(store, "evals", {"id": row["id"]}, {"id": None, "run_id": target})
            _copy(store, "eval_items", {"eval_id": row["id"]}, {"eval_id": copied})
        for row in store.rows(
            "SELECT id FROM trees WHERE run_id = ? AND round = 1 ORDER BY id", (source,)
        ):
            copied = _copy(store, "trees", {"id": row["id"]}, {"id": None, "run_id": target})
            calls = {"id": None, "run_id": target, "tree_id": copied}
            where = {"tree_id": row["id"], "purpose": "expand"}
            _copy(store, "model_calls", where, calls)
            _copy(store, "nodes", {"tree_id": row["id"]}, {"tree_id": copied})


def _copy(store: Store, table: str, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Copy rows with some columns replaced; returns the last new row's id."""
    columns = [row["name"] for row in store.rows(f"PRAGMA table_info({table})")]
    chosen = [f":new_{name}" if name in changes else name for name in columns]
    cursor = store.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)} FROM {table}"
        f" WHERE {' AND '.join(f'{name} = :old_{name}' for name in where)}",
        {
            **{f"new_{name}": value for name, value in changes.items()},
            **{f"old_{name}": value for name, value in where.items()},
        },
    )
    return cursor.lastrowid or 0


def obtain_run(store: Store, recipe: Recipe) -> str:
    """The finished run of a recipe: found, resumed, or run from what another arm shares."""
    from agentr_lite.actors.registry import open_actor
    from agentr_lite.cli.session import equip, package_versions
    from agentr_lite.pipeline import run_pipeline

    digest = model_digest(recipe)
    run = find_run(store, recipe, digest)
    if run is not None and run.status == "finished":
        say(f"{recipe.name}, seed {recipe.seed}: finished before ({run.id})")
        return run.id
    if run is None:
        source = find_first_round(store, recipe, digest)
        with store.atomic():
            run_id = create_run(store, recipe, versions=package_versions())
            if source is not None:
                copy_first_round(store, source.id, run_id)
        shared = f", first round from {source.id}" if source else ""
    else:
        run_id, shared = run.id, ", resumed"
    say(f"{recipe.name}, seed {recipe.seed}: {run_id}{shared}")
    with Progress() as progress:
        run_pipeline(
            store,
            run_id,
            recipe,
            open_actor=lambda: open_actor(recipe),
            equip=lambda actor, number: equip(store, get_run(store, run_id), actor, number),
            progress=progress,
        )
    return run_id


def document(study: Study, recipe: Recipe, command: str) -> str:
    """docs/results.md as a whole."""
    sections = study_sections(study)
    head = _head(study, recipe)
    short = [
        str(note)
        for section in sections
        if section.title.startswith(("Success", "Between", "Recovery from"))
        for note in section.notes
    ]
    short += [
        f"{row[0]}: {row[2]} of {row[1]} naive splices ({row[3]}) failed their replay."
        for section in sections
        if section.title.startswith("Naive")
        for row in section.rows
    ]
    parts = ["# Results", f"Written by `{command}`; do not edit."]
    parts.append("## In short\n\n" + "\n".join(f"- {escape_markdown(line)}" for line in short))
    parts.append(
        "Success is greedy, on held-out tasks that training never saw. Settings were chosen on"
        " other tasks (dev); where a choice was looked at on these as well, the"
        " [lab notes](lab-notes.md) say so. Intervals are 95 %; over several seeds they resample"
        " tasks as clusters, since the same tasks come once a seed: they say how far a result holds"
        " for other tasks, while what another training seed may change stands in the seed-by-seed"
        " table. A difference is called inside the noise where its interval includes 0."
    )
    parts.append("## What was run\n\n" + "\n".join(f"- {escape_markdown(line)}" for line in head))
    return "\n\n".join(parts) + "\n\n" + render_markdown([], sections)


def _head(study: Study, recipe: Recipe) -> list[str]:
    first = study.runs[0].report.run
    tasks = len(study.runs[0].items.get(("greedy", 0), ()))
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in study.runs}))
    lines = [
        f"environment {recipe.env_label}, recipe {recipe.name.rpartition('-')[0]},"
        f" {recipe.rounds} rounds, seeds {seeds}",
        f"model {recipe.model}, SHA-256 {first.model_sha256[:16]}",
        f"{tasks} held-out tasks of split {recipe.eval.split}",
        f"search a round: {recipe.search.tasks or 'all'} training tasks,"
        f" {recipe.search.simulations} simulations, width {recipe.search.width},"
        f" depth {recipe.search.depth}, temperature {recipe.search.temperature:g}",
        "versions: " + ", ".join(f"{name} {v}" for name, v in sorted(first.versions.items())),
    ]
    for arm in study.arms:
        changes = ", ".join(f"{key}={value}" for key, value in ARMS[arm].overrides.items())
        lines.append(f"{study.label(arm)}: {changes}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--recipe", default="textcraft")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=["verified", "good", "direct"]
    )
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="Markdown file. [default: stdout]")
    parser.add_argument("--json", type=Path, help="Write the tables as JSON, too.")
    parser.add_argument(
        "--no-run", action="store_true", help="Only write up what the database has finished."
    )
    options = parser.parse_args(arguments)
    try:
        return _study(options)
    except AgentrError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"Hint: {error.hint}", file=sys.stderr)
        return error.exit_code


def _study(options: argparse.Namespace) -> int:
    with Store.open(options.db, create=not options.no_run) as store:
        found: dict[tuple[str, int], str] = {}
        for seed in options.seeds:
            for arm in options.arms:
                recipe = study_recipe(options.recipe, arm, seed, options.overrides)
                if not options.no_run:
                    found[arm, seed] = obtain_run(store, recipe)
                elif (run := find_run(store, recipe, None)) and run.status == "finished":
                    found[arm, seed] = run.id
        if not found:
            raise UsageError(
                f"{options.db} holds no finished run of this study", hint="Leave out --no-run."
            )
        ordered = {key: found[key] for arm in options.arms for key in found if key[0] == arm}
        models = {get_run(store, run_id).model_sha256 for run_id in found.values()}
        if len(models) > 1:
            raise UsageError(
                f"the finished runs in {options.db} are of {len(models)} different models",
                hint="Leave out --no-run to do the missing ones, or use another --db.",
            )
        study = gather_study(store, ordered, labels={name: arm.label for name, arm in ARMS.items()})
    recipe = study_recipe(options.recipe, options.arms[0], options.seeds[0], options.overrides)
    text = document(study, recipe, _command(options))
    if options.json:
        options.json.write_text(dump_json(_as_json(study_sections(study))), "utf-8")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, "utf-8")
        say(f"wrote {options.out}")
    else:
        print(text, end="")
    return 0


def _as_json(sections: Sequence[Section]) -> list[dict[str, Any]]:
    return [
        {
            "title": section.title,
            "columns": list(section.columns),
            "rows": [[None if c is None else str(c) for c in row] for row in section.rows],
            "notes": [str(note) for note in section.notes],
        }
        for section in sections
    ]


def _command(options: argparse.Namespace) -> str:
    words = ["python -m benchmarks.results"]
    if options.recipe != "textcraft":
        words.append(f"--recipe {options.recipe}")
    words += [f"--set {override}" for override in options.overrides]
    words.append("--seeds " + " ".join(map(str, options.seeds)))
    words.append("--arms " + " ".join(options.arms))
    return " ".join([*words, "--db results.db", "--out docs/results.md"])


if __name__ == "__main__":
    sys.exit(main())
