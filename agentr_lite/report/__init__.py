"""What a run gave, as text, tables and pages.

``model`` reads the store into plain data, ``tables`` and ``charts`` turn that into sections and
plots, and ``render`` draws them for the terminal, as Markdown or as one HTML page. ``marks`` and
``words`` are the signs and wordings that all of them share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentr_lite.report.model.run import RunReport
    from agentr_lite.store.database import Store

Format = Literal["terminal", "markdown", "json"]


def render_run(
    store: Store, run_id: str, fmt: Format = "terminal", *, width: int | None = None
) -> str:
    """A run's report.

    Args:
        store: the database.
        run_id: a run's id, a unique beginning of it, or ``latest``.
        fmt: ``terminal`` (text with ANSI styles, for ``output.emit``), ``markdown`` or ``json``.
        width: columns to fit a terminal's tables into; None: as wide as they need to be.

    Raises:
        UsageError: no such run.
    """
    from agentr_lite.console.json import dump_json
    from agentr_lite.report.model.run import gather
    from agentr_lite.report.render.markdown import render_markdown
    from agentr_lite.report.render.terminal import render_terminal
    from agentr_lite.report.tables.run import run_sections

    report = gather(store, run_id)
    if fmt == "json":
        return dump_json(report.to_json())
    head, sections = run_head(report), run_sections(report)
    if fmt == "markdown":
        return render_markdown(head, sections, title=f"Run {report.run.id}")
    return render_terminal([f"Run {report.run.id}", *head], sections, width=width)


def render_comparison(
    sources: Sequence[tuple[Store, str]],
    fmt: Literal["terminal", "markdown"] = "terminal",
    *,
    width: int | None = None,
) -> str:
    """The tables that compare several runs.

    Args:
        sources: databases and full run ids; a run may come from any database.
        fmt: as in ``render_run``.
        width: as in ``render_run``.
    """
    from agentr_lite.report.model.comparison import gather_compared
    from agentr_lite.report.render.markdown import render_markdown
    from agentr_lite.report.render.terminal import render_terminal
    from agentr_lite.report.tables.comparison import comparison_sections

    sections = comparison_sections(gather_compared(sources))
    title = f"{len(sources)} runs compared"
    if fmt == "markdown":
        return render_markdown([], sections, title=title)
    return render_terminal([title], sections, width=width)


def run_head(report: RunReport) -> list[str]:
    """What was run, with what, and how it ended; one fact on each line."""
    run = report.run
    recipe = run.recipe
    labels = report.labels
    lines = [f"name {labels.name}"] if labels.name else []
    lines += [f"tags {', '.join(labels.tags)}"] if labels.tags else []
    lines += [f"note {' '.join(labels.note.split())}"] if labels.note else []
    lines += [
        f"environment {run.env}, recipe {recipe.get('name', 'custom')},"
        f" {recipe.get('rounds', 0)} rounds, seed {run.seed}",
        f"model {recipe.get('model', '')}"
        + (f" (SHA-256 {run.model_sha256[:12]})" if run.model_sha256 else ""),
    ]
    if run.status != "finished":
        lines.append(f"status {run.status}" + (f": {run.error}" if run.error else ""))
    return lines
