"""Writes a study up: from the store to a document, and to the files that hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentr_lite.console.files import write_whole
from agentr_lite.console.json import dump_json
from agentr_lite.envs.names import env_slug
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.store import Store
from agentr_lite.study.jobs.cells import study_cells
from agentr_lite.study.recipe import StudyRecipe
from agentr_lite.study.writeup.ablations import ablation_chapter
from agentr_lite.study.writeup.critic_accuracy import CriticCache
from agentr_lite.study.writeup.document import Chapter, Document, Figure
from agentr_lite.study.writeup.facts import environment_facts, study_facts
from agentr_lite.study.writeup.findings import environment_findings
from agentr_lite.study.writeup.glance import glance_sections
from agentr_lite.study.writeup.plots import environment_plot
from agentr_lite.study.writeup.results import EnvResults, ResultsReader, figures_json

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


class Writer:
    """Writes a study's documents; what has not changed since the last time is kept."""

    def __init__(self, store: Store, study: StudyRecipe, target: Path, *, command: str) -> None:
        """
        Args:
            store: the database.
            study: the whole study: the document shows all cells, whichever are being run.
            target: a Markdown file, or a folder for one.
            command: the command that writes the document, which names it.
        """
        self._store = store
        self._study = study
        self._command = command
        self._cells = study_cells(study)
        self._recipes = {env: study.env_recipe(env) for env in study.environments}
        self._reader = ResultsReader(store)
        self._critics = CriticCache(store)
        self._chapters: dict[str, tuple[Any, Chapter]] = {}
        is_file = target.suffix.lower() in (".md", ".markdown")
        self._file = target if is_file else target / "results.md"
        self._json = None if is_file else target / "results.json"
        self._pictures = self._file.with_suffix("")
        self.written: list[Path] = []
        """The files of the last call of ``write``."""

    def write(self) -> Document | None:
        """Make the document and write its files.

        Returns:
            The document; None, without any file, until something has been evaluated.

        Raises:
            OSError: a file cannot be written.
        """
        document = self.document()
        if document is None:
            return None
        figures = [chapter.figure for chapter in document.chapters if chapter.figure is not None]
        files = {self._pictures / f"{figure.slug}.svg": figure.svg for figure in figures}
        files[self._file] = document.markdown(self._pictures.name)
        if self._json is not None:
            files[self._json] = dump_json(document.as_json()) + "\n"
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, [content])
        self.written = list(files)
        return document

    def document(self) -> Document | None:
        """The document of the results so far; None until something has been evaluated."""
        environments = [
            results
            for results in self._reader.read(self._cells, self._recipes, self._study.methods)
            if results.runs
        ]
        if not environments:
            return None
        chapters = [self._environment_chapter(results) for results in environments]
        ablations = ablation_chapter(
            self._store, environments, self._study.ablations, self._critics
        )
        if ablations is not None:
            chapters.append(ablations)
        return Document(
            "Results, coarse" if self._study.name.endswith("-quick") else "Results",
            self._command,
            study_facts(self._study, environments, len(self._cells)),
            EXPLAINED,
            chapters,
            glance_sections(environments),
            {"cells": figures_json(environments)},
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
