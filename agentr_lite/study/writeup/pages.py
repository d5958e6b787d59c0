"""A study's page, from its results alone: the document, and the files that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentr_lite.console.files import write_whole
from agentr_lite.console.json import dump_json
from agentr_lite.core.errors import UsageError
from agentr_lite.envs.names import env_slug
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.study.outcomes.file import FILE_NAME, read_records, to_bytes
from agentr_lite.study.outcomes.merge import merge_outcomes
from agentr_lite.study.outcomes.results import EnvResults, StudyResults, study_results
from agentr_lite.study.writeup.ablations import ablation_chapter
from agentr_lite.study.writeup.document import Chapter, Document, Figure, kept_notes
from agentr_lite.study.writeup.facts import environment_facts, study_facts
from agentr_lite.study.writeup.figures import figures_json
from agentr_lite.study.writeup.findings import environment_findings
from agentr_lite.study.writeup.glance import glance_sections
from agentr_lite.study.writeup.plots import environment_plot
from agentr_lite.study.writeup.reproduction import reproduction_chapters

EXPLAINED = (
    "The figures come from greedy episodes on held-out tasks that were never used for training. All"
    " methods of one environment have the same search and training budget (tasks, simulations,"
    " epochs, maximum number of examples), and all methods of one seed start from the same trees."
    " Intervals are 95 % bootstrap intervals. Each draw takes tasks, each with all its seeds. If"
    " there are several training seeds, each draw also takes seeds, independently of the tasks. So"
    " the intervals say how far a result holds for other tasks and for another training run, as far"
    " as a few seeds can show. p comes from a paired test that swaps the two sides of whole tasks."
    " It takes the seeds as given, so it can be small where the seeds disagree. A difference is"
    " called inside the noise if its interval includes 0. Of as many comparisons as this page has,"
    " about one in twenty would be outside the noise by chance. n is the number of tasks."
)


class PageMaker:
    """Makes the document of a study; what has not changed since the last time is kept."""

    def __init__(self) -> None:
        self._chapters: dict[str, tuple[Any, Chapter]] = {}

    def document(self, study: StudyResults) -> Document:
        """The document of some results."""
        environments = study.environments
        chapters = [self._environment_chapter(results) for results in environments]
        ablations = ablation_chapter(study)
        if ablations is not None:
            chapters.append(ablations)
        title = "Reproduction" if study.paper else "Results"
        return Document(
            f"{title}, coarse" if study.name.endswith("-quick") else title,
            study.command,
            study_facts(study),
            EXPLAINED,
            chapters,
            glance_sections(environments),
            {"cells": figures_json(environments)},
            reproduction_chapters(study) if study.paper else (),
        )

    def _environment_chapter(self, results: EnvResults) -> Chapter:
        """The chapter of one environment; made again only after one of its runs has changed."""
        state = tuple(
            (result.run.id, result.run.status, tuple(sorted(result.rounds)))
            for result in results.runs
        )
        cached = self._chapters.get(results.env)
        if cached is not None and cached[0] == state:
            return cached[1]
        svg = environment_plot(results)
        chapter = Chapter(
            results.env,
            method_sections(results),
            facts=environment_facts(results),
            findings=environment_findings(results),
            figure=Figure(env_slug(results.env), svg) if svg is not None else None,
        )
        self._chapters[results.env] = (state, chapter)
        return chapter


class PageFiles:
    """Where a study's page lies: a Markdown file, and a folder for its plots and outcomes."""

    def __init__(self, target: Path) -> None:
        """
        Args:
            target: a Markdown file, or a folder for ``results.md`` and ``results.json``.
        """
        is_file = target.suffix.lower() in (".md", ".markdown")
        self.page = target if is_file else target / "results.md"
        self.data = None if is_file else target / "results.json"
        self.folder = self.page.with_suffix("")

    @property
    def outcomes(self) -> Path:
        """The table of outcomes."""
        return self.folder / FILE_NAME

    def write(self, document: Document, outcomes: bytes | None = None) -> list[Path]:
        """Write a document's files.

        Args:
            document: the document.
            outcomes: what it was made from; None: that is not written.

        Returns:
            The files.

        Raises:
            OSError: a file cannot be written.
        """
        files: dict[Path, str | bytes] = {}
        if outcomes is not None:
            files[self.outcomes] = outcomes
        for figure in document.figures:
            files[self.folder / f"{figure.slug}.svg"] = figure.svg
        notes = kept_notes(self.page.read_text("utf-8")) if self.page.is_file() else ""
        files[self.page] = document.markdown(self.folder.name, notes)
        if self.data is not None:
            files[self.data] = dump_json(document.as_json()) + "\n"
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content if isinstance(content, bytes) else [content])
        return list(files)


def write_from_outcomes(tables: Sequence[Path], target: Path | None) -> tuple[Document, list[Path]]:
    """Make a study's page from its tables of outcomes.

    Args:
        tables: the files, or the folders that they lie in. Several are put together, and written
            as one table beside the page.
        target: see ``PageFiles``; None: the page in whose folder the only file lies.

    Returns:
        The document, and the files that were written.

    Raises:
        UsageError: a file does not hold a study's outcomes, or they contradict each other; there
            are several files and no target.
        OSError: a file cannot be written.
    """
    if target is None and len(tables) > 1:
        raise UsageError(
            "several tables of outcomes need --out",
            hint="Name the page or the folder that gets their common table.",
        )
    files_of = [path / FILE_NAME if path.is_dir() else path for path in tables]
    read = [(path, read_records(path)) for path in files_of]
    path, records = read[0]
    merged = None
    if len(read) > 1:
        records = merge_outcomes(read)
        merged = to_bytes(records)
    document = PageMaker().document(study_results(records, path))
    folder = path.absolute().parent
    files = PageFiles(target or folder.with_name(f"{folder.name}.md"))
    return document, files.write(document, merged)
