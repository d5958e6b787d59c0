"""The report as one HTML file: no network, no other file, and no text of others as markup.

Everything that comes from a model or an environment is cleaned of control characters and escaped by
the template engine, and the page's content security policy allows its own script and style sheet
alone, by their hashes. Even a mistake in this program could not make the page run or load
anything else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agentr_lite import __version__
from agentr_lite.console.glossary import TERMS
from agentr_lite.console.json import dump_json
from agentr_lite.console.outcomes import LEGEND, SEGMENT_WORDS
from agentr_lite.console.text import Styled, clean, format_duration
from agentr_lite.report.charts.outcomes import Figure, Shown, comparison_figures, run_figures
from agentr_lite.report.charts.svg import el, marker, series_class
from agentr_lite.report.model.chosen import Choice, choose_trees
from agentr_lite.report.model.comparison import Compared, gather_compared, model_name
from agentr_lite.report.model.run import RunReport
from agentr_lite.report.model.series import load_series
from agentr_lite.report.render.episode_pages import LEGEND as EPISODE_LEGEND
from agentr_lite.report.render.episode_pages import episode_pages
from agentr_lite.report.render.excerpts import Excerpts
from agentr_lite.report.render.splice_page import SplicePage, splice_page
from agentr_lite.report.render.terms import anchor, linker
from agentr_lite.report.render.tree_page import MARKS, best_steps, tree_record
from agentr_lite.report.tables.comparison import comparison_sections
from agentr_lite.report.tables.headline import Tile, pooled_tiles, run_tiles
from agentr_lite.report.tables.run import run_sections
from agentr_lite.report.tables.section import Section
from agentr_lite.store.database import Store
from agentr_lite.store.labels import RunLabels
from agentr_lite.store.records import RunRow, TreeRow

TREES_OF_ONE_RUN = 6
TREES_OF_EACH_OF_SEVERAL = 3
_SCRIPTS = (
    "elements.js",
    "explorer.js",
    "node_detail.js",
    "unpack.js",
    "transcript.js",
    "episodes.js",
    "page.js",
)
"""In the order in which they run; later ones use what earlier ones define."""
_TONES = {"green": "good", "yellow": "partial", "red": "bad", "cyan": "signal", "magenta": "odd"}


@dataclass(frozen=True, slots=True)
class TreeSection:
    """A tree's part of the page."""

    anchor: str
    place: int
    """Its index among the records that the script reads."""
    tree: TreeRow
    where: str
    """Its run's label, where there are several, and its environment, where there are several."""
    why: str
    drawing: Markup
    best: Sequence[tuple[str, str]]
    """(action, observation) along the best path, for pages without a script."""
    splices: Sequence[str]
    """Anchors of its splices."""
    more_splices: int
    held: int
    """Nodes in the page."""
    nodes: int
    """Nodes in all."""


@dataclass(frozen=True, slots=True)
class RunSection:
    """A run's part of the page."""

    anchor: str
    label: str
    labels: RunLabels
    run: RunRow
    model: str
    facts: Sequence[tuple[str, str]]
    figures: Sequence[Figure]
    sections: Sequence[Section]
    recipe: str
    """As YAML."""


@dataclass(slots=True)
class _Trees:
    """Tree sections, records for the script and splices of all runs."""

    texts: Excerpts = field(default_factory=Excerpts)
    records: list[dict[str, Any]] = field(default_factory=list)
    sections: list[TreeSection] = field(default_factory=list)
    splices: list[SplicePage] = field(default_factory=list)


def render_page(
    sources: Sequence[tuple[Store, str]],
    *,
    tasks: Sequence[str] = (),
    trees: int | None = None,
) -> str:
    """The report of one or more runs as an HTML document.

    Args:
        sources: databases and full run ids; a run may come from any database.
        tasks: show the trees and splices of these; default: a few instructive ones.
        trees: how many trees a run to choose where no tasks are named; default: 6 of one run, 3
            of each of several.

    Returns:
        The document; equal databases give equal documents.
    """
    several = len(sources) > 1
    limit = (
        trees if trees is not None else (TREES_OF_EACH_OF_SEVERAL if several else TREES_OF_ONE_RUN)
    )
    compared = gather_compared(sources)
    shown = [
        Shown(run.label, run.report, load_series(store, run.report, run.played.rounds))
        for (store, _), run in zip(sources, compared, strict=True)
    ]
    gathered = _Trees()
    for (store, run_id), run in zip(sources, compared, strict=True):
        envs = len(run.report.envs) > 1
        for choice in choose_trees(store, run_id, tasks=tasks, limit=limit):
            names = [run.label] if several else []
            names += [choice.tree.task.env] if envs else []
            _add_tree(gathered, store, choice, " · ".join(names))
    runs = [_run_section(at, each) for at, each in enumerate(shown)]
    title = f"{len(runs)} runs compared" if several else _title(runs[0])
    data = {
        "marks": [[mark.glyph, mark.style, mark.word] for mark in MARKS],
        "trees": gathered.records,
        "texts": gathered.texts.finish(),
    }
    episodes = episode_pages(
        [
            (store, run_id, run.label if several else "")
            for (store, run_id), run in zip(sources, compared, strict=True)
        ]
    )
    style, script = _asset("report.css"), _script()
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=title,
            several=several,
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
            runs=runs,
            tiles=_tiles(compared),
            figures=comparison_figures(shown) if several else runs[0].figures,
            sections=comparison_sections(compared) if several else runs[0].sections,
            trees=gathered.sections,
            splices=gathered.splices,
            data=embedded_json(data),
            episodes=episodes.tables,
            blocks=episodes.blocks,
            cut_at=episodes.cut_at,
            left_out=episodes.left_out,
            transcripts=episodes.transcripts,
            legend=LEGEND,
            episode_legend=EPISODE_LEGEND,
            terms=TERMS,
            version=__version__,
        )
    )


def content_policy(style: str, script: str) -> str:
    """The content security policy under which this style and this script alone work."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
        for part in (style, script)
    ]
    return (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def embedded_json(value: Any) -> Markup:
    """JSON that can stand in a ``script`` element: nothing in it can end the element."""
    text = dump_json(value, indent=None)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _add_tree(gathered: _Trees, store: Store, choice: Choice, where: str) -> None:
    tree = choice.tree
    place = len(gathered.records)
    anchor = f"tree-{place + 1}"
    record, drawing = tree_record(store, tree, gathered.texts)
    gathered.records.append(record)
    anchors = []
    for revision in choice.revisions:
        anchors.append(f"splice-{len(gathered.splices) + 1}")
        gathered.splices.append(
            splice_page(store, tree, revision.id, anchor=anchors[-1], where=where)
        )
    gathered.sections.append(
        TreeSection(
            anchor,
            place,
            tree,
            where,
            choice.why,
            drawing,
            best_steps(store, tree, [record["idx"][at] for at in record["best"]]),
            anchors,
            choice.more_revisions,
            len(record["idx"]),
            record["nodes"],
        )
    )


def _run_section(at: int, shown: Shown) -> RunSection:
    run = shown.report.run
    recipe = yaml.safe_dump(
        dict(run.recipe), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return RunSection(
        f"run-{at + 1}",
        shown.label,
        shown.report.labels,
        run,
        model_name(run),
        _facts(shown.report),
        run_figures(shown),
        run_sections(shown.report),
        recipe,
    )


def _title(each: RunSection) -> str:
    return each.labels.name or f"Run {each.run.id}"


def _facts(report: RunReport) -> list[tuple[str, str]]:
    run, labels = report.run, report.labels
    recipe = run.recipe
    facts = [
        ("name", labels.name),
        ("run", run.id),
        ("tags", ", ".join(labels.tags)),
        ("note", labels.note),
        ("environment", run.env),
        ("recipe", f"{recipe.get('name', 'custom')}, {recipe.get('rounds', 0)} rounds"),
        ("seed", str(run.seed)),
        ("model", model_name(run)),
        ("model SHA-256", run.model_sha256),
        ("status", run.status + (f": {run.error}" if run.error else "")),
        ("begun", _time(run.created_utc)),
        ("ended", _time(run.finished_utc)),
    ]
    return [(name, value) for name, value in facts if value]


def _time(utc: str | None) -> str:
    return f"{utc[:16].replace('T', ' ')} UTC" if utc else ""


def _tiles(compared: Sequence[Compared]) -> list[Tile]:
    return run_tiles(compared[0]) if len(compared) == 1 else pooled_tiles(compared)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agentr_lite.report.render", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.globals["segment_words"] = SEGMENT_WORDS
    environment.globals["linker"] = linker
    environment.filters["anchor"] = anchor
    environment.filters["cell"] = _cell
    environment.filters["tone"] = _tone
    environment.filters["swatch"] = _swatch
    environment.filters["duration"] = format_duration
    environment.filters["reward"] = lambda value: f"{value:.3g}"
    return environment


def _finalize(value: Any) -> Any:
    """The last thing that happens to a value before it is escaped."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def _tone(value: Any) -> str:
    """The class of a table's cell or note."""
    return _TONES.get(value.fg or "", "") if isinstance(value, Styled) else ""


def _swatch(number: int, filled: bool) -> Markup:
    """A legend's sign."""
    square = el("rect", x=1, y=1, width=10, height=10, class_=f"bar {series_class(number)}")
    sign = square if filled else marker(number, 6, 6)
    return el("svg", sign, viewBox="0 0 12 12", class_="swatch", aria_hidden="true")


def _script() -> str:
    """The page's script, one function of several files: nothing in it is global."""
    return "(() => {\n" + "\n".join(map(_asset, _SCRIPTS)) + "})();\n"


def _asset(name: str) -> str:
    return (files("agentr_lite.report.render") / "assets" / name).read_text("utf-8")
