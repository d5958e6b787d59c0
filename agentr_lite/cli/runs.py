"""``agentr-lite runs``: list, show, copy and delete runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentr_lite.cli.common import (
    db_from_command_line,
    db_option,
    group_database,
    json_option,
    may_be_new,
)
from agentr_lite.cli.completion import complete_environments, complete_runs
from agentr_lite.cli.runs_labels import name_run, note_run, tag_run
from agentr_lite.cli.runs_transfer import export_runs, merge_runs
from agentr_lite.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentr_lite.store import Store
    from agentr_lite.store.records import RoundRow, RunRow


class _RunsGroup(click.Group):
    """``rm`` means ``delete``: the name that a Unix user tries first."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, {"rm": "delete"}.get(cmd_name, cmd_name))


_tag_option = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="Only runs with this tag; several: with all.",
)


@click.group(cls=_RunsGroup, invoke_without_command=True)
@_tag_option
@db_option
@json_option
@click.pass_context
def runs(context: click.Context, tags: tuple[str, ...], db: Path | None, as_json: bool) -> None:
    """List runs, show, name, tag or delete one, copy some into another database."""
    context.obj = db if db_from_command_line(context) else None
    if context.invoked_subcommand is None:
        context.invoke(list_runs, db=db, tags=tags, as_json=as_json)


runs.add_command(export_runs)
runs.add_command(merge_runs)
runs.add_command(name_run)
runs.add_command(note_run)
runs.add_command(tag_run)


@runs.command("list")
@_tag_option
@click.option("--env", help="Only runs of this environment.", shell_complete=complete_environments)
@db_option
@json_option
@click.pass_context
def list_runs(
    context: click.Context,
    db: Path | None,
    env: str | None = None,
    tags: tuple[str, ...] = (),
    as_json: bool = False,
) -> None:
    """List runs, the newest first."""
    from agentr_lite.console.streams import emit_json, emit_table, say, terminal_width
    from agentr_lite.store import Store
    from agentr_lite.store.runs import list_runs as stored_runs

    path = group_database(context, db)
    rows: list[dict[str, Any]] = []
    nothing = f"No runs in {path}. Begin with `agentr-lite run textcraft`."
    if not may_be_new(context, path):
        with Store.open_to_read(path) as store:
            rows = [_overview(store, run) for run in stored_runs(store, env=env)]
            rows = [row for row in rows if set(tags) <= set(row["tags"])]
            if not rows:
                nothing = _why_none(store, env, tags) or nothing
    if as_json:
        emit_json(rows)
        return
    if not rows:
        say(nothing)
        return
    graded = any(row["graded"] for row in rows)
    results = ["success", *(["reward"] if graded else [])]
    named = any(row["name"] for row in rows)
    tagged = ["tags"] if any(row["tags"] for row in rows) else []
    columns = ["run", *(["name"] if named else []), *results, *tagged, "status", "created", "model"]
    columns += ["last stage", "env", "seed", "trees"]
    width = terminal_width()
    short = width is not None and _width(rows, results) > width
    emit_table(
        columns,
        [
            [
                row["id"],
                *([row["name"]] if named else []),
                *_results(row, results, short=short),
                *([", ".join(row["tags"])] if tagged else []),
                row["status"],
                row["created_utc"][:16].replace("T", " "),
                row["model"],
                row["last_stage"],
                row["env"],
                row["seed"],
                row["trees"],
            ]
            for row in rows
        ],
        # The result comes early and stays: it is what the list is for.
        keep=["run", *results],
    )


@runs.command("show")
@click.argument("run", default="latest", shell_complete=complete_runs)
@db_option
@json_option
@click.pass_context
def show_run(context: click.Context, run: str, db: Path | None, as_json: bool) -> None:
    """Show the model, the stages, the cost and the counts of RUN (default: the newest run)."""
    from agentr_lite.console.streams import emit, emit_json, emit_table
    from agentr_lite.console.text import format_duration
    from agentr_lite.store import Store
    from agentr_lite.store.runs import get_run, list_stages

    with Store.open_to_read(group_database(context, db)) as store:
        row = get_run(store, run)
        stages = list_stages(store, row.id)
        overview = _overview(store, row)
        # Inside: a damaged value may only show when it is printed.
        if as_json:
            emit_json({"run": row, "stages": stages, **overview})
            return
        facts = [
            ("run", row.id),
            ("name", overview["name"]),
            ("note", " ".join(overview["note"].split())),
            ("tags", ", ".join(overview["tags"])),
            ("status", row.status + (f": {row.error}" if row.error else "")),
            ("created", row.created_utc),
            ("finished", row.finished_utc),
            ("environment", row.env),
            ("model", f"{overview['model']} {row.model_path}".strip()),
            ("model sha256", row.model_sha256),
            ("seed", row.seed),
            ("versions", ", ".join(f"{name} {number}" for name, number in row.versions.items())),
        ]
        emit_table(["", ""], [[name, value] for name, value in facts if value not in (None, "")])
        emit("")
        emit_table(
            ["round", "stage", "wall", "model", "prompt tokens", "decoded", "output"],
            [
                [
                    stage.round,
                    stage.stage + ("" if stage.finished else " (not finished)"),
                    format_duration(stage.wall_s),
                    format_duration(stage.model_ms / 1000),
                    stage.prompt_tokens,
                    stage.decoded_prompt_tokens,
                    stage.output_tokens,
                ]
                for stage in stages
            ],
        )
        for stage in stages:
            counts = _counts(stage)
            if counts:
                emit("")
                emit_table([f"round {stage.round} {stage.stage}", ""], counts)


@runs.command("delete")
@click.argument("run", shell_complete=complete_runs)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-files", is_flag=True, help="Leave the adapters beside the database.")
@db_option
@json_option
@click.pass_context
def delete_run(
    context: click.Context,
    run: str,
    yes: bool,
    keep_files: bool,
    db: Path | None,
    as_json: bool,
) -> None:
    """Delete RUN from the database with its trees, data and evaluations, and its adapter files.

    `agentr-lite runs rm` is the same.
    """
    from agentr_lite.console.streams import emit_json, say, warn
    from agentr_lite.runs.removal import remove_run
    from agentr_lite.store import Store
    from agentr_lite.store import runs as table

    path = group_database(context, db)
    with Store.open(path, create=False) as store:
        row = table.get_run(store, run)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"deleting {row.id} needs a yes", hint="Add --yes.")
            if not click.confirm(f"Delete {row.id} ({row.status}) from {path}?", err=True):
                say("Nothing was deleted.")
                return
        removed = remove_run(store, row.id, keep_files=keep_files)
    if as_json:
        emit_json(
            {
                "deleted": removed.run,
                "files": removed.files,
                "bytes": removed.bytes,
                "left": list(removed.left),
            }
        )
    files = f" and {removed.files} files" if removed.files else ""
    say(f"Deleted {removed.run}{files}.")
    for left in removed.left:
        warn(f"{left} is still there")


def _overview(store: Store, run: RunRow) -> dict[str, Any]:
    """What the list shows of a run; JSON types."""
    from agentr_lite.metrics.evaluation import EvalFigures
    from agentr_lite.store.evals import list_evals
    from agentr_lite.store.labels import labels_of
    from agentr_lite.store.runs import list_stages

    labels = labels_of(store, run.id)
    stages = list_stages(store, run.id)
    last = stages[-1] if stages else None
    # Figures of different splits do not make a series over rounds.
    split = run.recipe["eval"]["split"]
    greedy = [
        EvalFigures.from_json(row.summary)
        for row in list_evals(store, run.id, mode="greedy")
        if row.summary.get("success") is not None and row.split == split
    ]
    return {
        "id": run.id,
        "name": labels.name,
        "note": labels.note,
        "tags": list(labels.tags),
        "status": run.status,
        "created_utc": run.created_utc,
        "env": run.env,
        "model": run.recipe.get("model", ""),
        "seed": run.seed,
        "last_stage": f"{last.stage} {last.round}" if last else "",
        "trees": store.scalar("SELECT count(*) FROM trees WHERE run_id = ?", (run.id,)),
        "success": [figures.success.value for figures in greedy if figures.success],
        "reward": [figures.reward.value for figures in greedy if figures.reward],
        "graded": any(figures.graded for figures in greedy),
    }


def _why_none(store: Store, env: str | None, tags: Sequence[str]) -> str:
    """Why the filters leave no run; empty where there is none without them."""
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.store.labels import none_tagged, runs_tagged
    from agentr_lite.store.runs import list_runs as stored_runs

    envs = sorted({run.env for run in stored_runs(store)})
    if not envs:
        return ""
    if env is not None and env not in envs:
        known = f"Its runs are of {', '.join(envs)}."
        return f"No run in {store.path} is of {env}{did_you_mean(env, envs)}. {known}"
    if not runs_tagged(store, tags):
        message, hint = none_tagged(store, tags)
        return f"{message[0].upper()}{message[1:]}. {hint}"
    return f"No run of {env} in {store.path} has the tags {', '.join(tags)}."


def _results(
    overview: Mapping[str, Any], measures: Sequence[str], *, short: bool = False
) -> list[str | None]:
    """A run's results by round, a cell for each measure.

    Args:
        overview: of the run.
        measures: ``success`` and, where any run's environment gives rewards between 0 and 1,
            ``reward``.
        short: show the first and the last value only.
    """
    cells: list[str | None] = []
    for measure in measures:
        form = "{:.3f}" if measure == "reward" else "{:.1%}"
        values = [form.format(value) for value in overview[measure]]
        if short and len(values) > 2:
            values = [values[0], "…", values[-1]]
        has_values = measure != "reward" or overview["graded"]
        cells.append(" → ".join(values) if has_values else None)
    return cells


def _width(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> int:
    """Terminal columns of a list that shows the runs' ids, whole results and status."""
    cells = [[row["id"], row["name"], *_results(row, measures), row["status"]] for row in rows]
    columns = zip(*cells, strict=True)
    return sum(max(len(cell or "") for cell in column) + 2 for column in columns)


def _counts(stage: RoundRow) -> list[list[Any]]:
    """A stage's plain counts as rows of a name and a value; ``--json`` has the nested ones."""
    return [
        [name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value]
        for name, value in stage.summary.items()
        if isinstance(value, int | float | str) and not name.endswith("_tokens")
    ]
