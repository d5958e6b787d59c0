"""Writes a study up: the outcomes of the database, and the page that is made from them."""

from __future__ import annotations

from pathlib import Path

from agentr_lite.store import Store
from agentr_lite.study.outcomes.file import to_bytes
from agentr_lite.study.outcomes.records import OutcomeReader, Record
from agentr_lite.study.outcomes.results import StudyResults, study_results
from agentr_lite.study.recipe import StudyRecipe
from agentr_lite.study.writeup.document import Document
from agentr_lite.study.writeup.pages import PageFiles, PageMaker


class Writer:
    """Writes a study's outcomes and its page; what has not changed since the last time is kept.

    The page is made from the records of the outcomes, as ``write_from_outcomes`` makes it from
    their file: it shows nothing that the file does not hold.
    """

    def __init__(self, store: Store, study: StudyRecipe, target: Path, *, command: str) -> None:
        """
        Args:
            store: the database.
            study: the whole study: the document shows all cells, whichever are being run.
            target: a Markdown file, or a folder for one.
            command: the command that writes the document, which names it.
        """
        self._reader = OutcomeReader(store, study, command=command)
        self._maker = PageMaker()
        self._files = PageFiles(target)
        self.written: list[Path] = []
        """The files of the last call of ``write``."""

    def write(self) -> Document | None:
        """Make the document and write its files.

        Returns:
            The document; None, without any file, until something has been evaluated.

        Raises:
            OSError: a file cannot be written.
        """
        records = self._reader.records()
        if not records:
            return None
        document = self._maker.document(self._results(records))
        self.written = self._files.write(document, to_bytes(records))
        return document

    def _results(self, records: list[Record]) -> StudyResults:
        return study_results(records, self._files.outcomes)
