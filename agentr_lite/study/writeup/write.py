"""Writing a study up: from the store to a document, and to the files that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agentr_lite.console.json import dump_json
from agentr_lite.console.outcomes import round_name
from agentr_lite.console.text import Styled, format_duration
from agentr_lite.envs.registry import make_env
from agentr_lite.metrics.measures import BEHAVIOUR, LENGTH, OUTCOMES, REPEATED, Measure
from agentr_lite.metrics.methods import BASE
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.splices import SpliceRound, splice_rounds
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.splices import failure_section, failure_sentences, recovery_section
from agentr_lite.report.tables.wording import difference_phrase, value_text
from agentr_lite.store import Store
from agentr_lite.study.jobs.cells import REASON, study_cells
from agentr_lite.study.methods import METHODS, VERIFIED
from agentr_lite.study.recipe import StudyRecipe
from agentr_lite.study.writeup.critic_truth import (
    CriticTruth,
    judge_the_judge,
    path_section,
    step_section,
)
from agentr_lite.study.writeup.document import Document, Part
from agentr_lite.study.writeup.glance import glance_sections, told_in_short
from agentr_lite.study.writeup.plots import environment_plot
from agentr_lite.study.writeup.results import CellResult, EnvResults, Gatherer
from agentr_lite.study.writeup.variants import TITLES, variant_section

EXPLAINED = (
    "Greedy episodes on held-out tasks that training never saw. Methods of one environment have the"
    " same search and training budget (tasks, simulations, epochs, most examples), and methods of"
    " one seed begin with the same trees. Intervals are 95 %, of bootstraps that draw tasks, each"
    " with all its seeds, and independently of them training seeds where there are several: so they"
    " say how far a result holds for other tasks and for another training, as far as a few seeds"
    " can tell. p is of a paired test that swaps the two sides of whole tasks; it takes the seeds"
    " as given and can be small where they disagree. A difference is called inside the noise where"
    " its interval includes 0; of as many comparisons as there are here, one in twenty would leave"
    " it out by chance. n counts tasks."
)


class Writer:
    """Writes a study's documents; keeps what it has worked out from one time to the next."""

    def __init__(self, store: Store, study: StudyRecipe, target: Path, *, command: str) -> None:
        """
        Args:
            store: the database.
            study: the study, whole: documents show all that there is, whatever is worked on.
            target: a Markdown file, or a folder for one.
            command: what writes, to be told in the document.
        """
        self._store = store
        self._study = study
        self._command = command
        self._cells = study_cells(study)
        self._recipes = {env: study.env_recipe(env) for env in study.environments}
        self._gatherer = Gatherer(store)
        self._parts: dict[str, tuple[Any, Part]] = {}
        self._truths: dict[tuple[str, int], Mapping[int, CriticTruth]] = {}
        is_file = target.suffix.lower() in (".md", ".markdown")
        self._file = target if is_file else target / "results.md"
        self._json = None if is_file else target / "results.json"
        self._pictures = self._file.with_suffix("")
        self.written: list[Path] = []
        """Files of the last time."""

    def write(self) -> Document | None:
        """Work the document out and write its files.

        Returns:
            The document; None where nothing has been evaluated yet, and nothing is written.

        Raises:
            OSError: a file cannot be written.
        """
        document = self.document()
        if document is None:
            return None
        pictures = [part for part in document.parts if part.picture is not None]
        files = {self._pictures / f"{part.slug}.svg": part.picture or "" for part in pictures}
        files[self._file] = document.markdown(self._pictures.name)
        if self._json is not None:
            files[self._json] = dump_json(document.as_json()) + "\n"
        for path, content in files.items():
            _write_whole(path, content)
        self.written = list(files)
        return document

    def document(self) -> Document | None:
        """The document of what there is now; None where nothing has been evaluated yet."""
        found = self._gatherer.gather(self._cells, self._recipes, self._study.methods)
        known = [results for results in found if results.runs]
        if not known:
            return None
        parts = [self._env_part(results) for results in known]
        ablations = self._ablation_part(known)
        if ablations is not None:
            parts.append(ablations)
        return Document(
            "Results" if not self._study.name.endswith("-quick") else "Results, coarse",
            self._command,
            self._head(known),
            EXPLAINED,
            parts,
            glance_sections(known),
            {"cells": _data(known)},
        )

    def _env_part(self, results: EnvResults) -> Part:
        state = tuple(
            (one.run.id, one.run.status, tuple(sorted(one.rounds))) for one in results.runs
        )
        known = self._parts.get(results.env)
        if known is None or known[0] != state:
            part = Part(
                results.env,
                method_sections(results),
                _env_facts(results),
                _env_short(results),
                environment_plot(results),
                _slug(results.env),
            )
            self._parts[results.env] = known = (state, part)
        return known[1]

    def _head(self, found: Sequence[EnvResults]) -> list[str]:
        study = self._study
        cells = [one for results in found for one in results.runs]
        done = sum(one.run.status == "finished" for one in cells)
        seeds = ", ".join(str(seed) for seed in study.seeds)
        lines = [
            f"study {study.name}: environments {', '.join(study.environments)}; {study.rounds}"
            f" round{'s' if study.rounds != 1 else ''}; seeds {seeds}",
            f"{done} of {len(self._cells)} cells are through"
            + (" (a cell: one environment, method and seed)" if done < len(self._cells) else ""),
        ]
        models = sorted({(one.run.recipe["model"], one.run.model_sha256[:16]) for one in cells})
        lines += [f"model {Path(name).name}, SHA-256 {sha or 'unknown'}" for name, sha in models]
        versions: dict[str, set[str]] = {}
        for one in cells:
            for name, version in one.run.versions.items():
                versions.setdefault(name, set()).add(version)
        told = (f"{name} {' / '.join(sorted(seen))}" for name, seen in sorted(versions.items()))
        lines.append(f"versions: {', '.join(told)}")
        for method in study.trained:
            lines.append(f"{METHODS[method].label}: {METHODS[method].told}")
        return lines

    def _ablation_part(self, found: Sequence[EnvResults]) -> Part | None:
        wanted = self._study.ablations
        sections: list[Section] = []
        rounds: list[tuple[str, int, list[SpliceRound]]] = []
        if wanted.naive_failures or wanted.recovery_yield:
            rounds = self._spliced(found)
            if wanted.naive_failures:
                sections.append(failure_section(rounds))
            if wanted.recovery_yield:
                sections.append(recovery_section(rounds))
        if wanted.critic_accuracy:
            sections += self._critic_sections(found)
        for name in TITLES:
            if getattr(wanted, name).run:
                sections.append(variant_section(self._store, found, name))
        sections = [section for section in sections if section.rows]
        if not sections:
            return None
        return Part("Ablations", sections, short=failure_sentences(rounds) if rounds else ())

    def _spliced(self, found: Sequence[EnvResults]) -> list[tuple[str, int, list[SpliceRound]]]:
        named = []
        for results in found:
            by_round: dict[int, list[SpliceRound]] = {}
            for one in results.of(VERIFIED):
                for number, spliced in splice_rounds(self._store, one.run.id).items():
                    by_round.setdefault(number, []).append(spliced)
            named += [(results.env, number, seeds) for number, seeds in sorted(by_round.items())]
        return named

    def _critic_sections(self, found: Sequence[EnvResults]) -> list[Section]:
        sections = []
        for results in found:
            named: dict[tuple[str, int], list[CriticTruth]] = {}
            for one in results.runs:
                label = results.labels[one.cell.method]
                own = one.cell.method in (VERIFIED, REASON)
                for number, truth in self._truth(results.recipe, one).items():
                    # The first round's critic is the base, whatever is made of its verdicts.
                    if own or (number > 1 and not one.cell.ablation):
                        named.setdefault((label, number), []).append(truth)
            # In the order of the methods, not of the work.
            order = {label: index for index, label in enumerate(results.labels.values())}
            rows = [
                (label, number, truths)
                for (label, number), truths in sorted(
                    named.items(), key=lambda item: (order[item[0][0]], item[0][1])
                )
            ]
            sections += [step_section(rows, results.env), path_section(rows, results.env)]
        return sections

    def _truth(self, recipe: Recipe, one: CellResult) -> Mapping[int, CriticTruth]:
        through = sum(row.stage == "splice" and row.finished for row in one.stages)
        key = (one.run.id, through)
        if key not in self._truths:
            with closing(make_env(recipe.environment.name, recipe.environment.options)) as env:
                self._truths[key] = judge_the_judge(self._store, one.run.id, env)
        return self._truths[key]


def _env_facts(results: EnvResults) -> list[str]:
    recipe = results.recipe
    search, train = recipe.search, recipe.train
    done = ", ".join(
        f"{results.labels[m]} {sum(c.run.status == 'finished' for c in results.of(m))}"
        f" of {results.planned[m]}"
        for m in results.labels
        if m not in results.ablation_of
    )
    base = results.value(results.main, BASE, 0)
    tasks = f"{base.n} held-out tasks of split {recipe.eval.split}" if base else "no tasks yet"
    facts = [
        f"{tasks}; episodes of at most {recipe.eval.max_steps} steps, {recipe.eval.recovery_steps}"
        " in recovery",
        f"search a round: {search.tasks or 'all'} training tasks, {search.simulations} simulations,"
        f" width {search.width}, depth {search.depth}, temperature {search.temperature:g}",
        f"training a round: at most {train.max_examples or 'all'} examples of the agent's,"
        f" {train.eta:g} of the mixture, {train.epochs:g} epochs, learning rate"
        f" {train.learning_rate:g}, rank {train.rank}, batches of {train.batch_size}",
        f"seeds that are through: {done}",
    ]
    # A stage that was copied from another run began and ended when that one did.
    played = {
        (row.round, row.stage, row.started_utc, row.finished_utc): row.wall_s
        for one in results.runs
        for row in one.stages
    }
    wall = sum(played.values())
    if wall:
        facts.append(f"{format_duration(wall)} of work, all processes together")
    return facts


def _env_short(results: EnvResults) -> list[str | Styled]:
    """The few sentences that matter of one environment."""
    behaviour = [
        told for method in results.methods[:1] for told in _told_behaviour(results, method)
    ]
    return [*told_in_short(results), *behaviour]


def _told_behaviour(results: EnvResults, method: str) -> list[str]:
    number = results.last_round(method)
    found = []
    for measure in (REPEATED, LENGTH):
        before = results.value(measure, BASE, 0)
        after = results.value(measure, method, number)
        difference = results.versus_base(measure, method, number)
        if before and after and difference:
            found.append(
                f"{measure.column} {value_text(measure, before.value)} in the base,"
                f" {value_text(measure, after.value)} after {round_name(number)}:"
                f" {difference_phrase(measure, difference)}"
            )
    return [f"{results.labels[method]}: {'; '.join(found)}."] if found else []


def _data(found: Sequence[EnvResults]) -> list[dict[str, Any]]:
    """Every figure of every method and round, for programs."""
    rows = []
    measures: Iterable[Measure] = (*OUTCOMES, *BEHAVIOUR)
    for results in found:
        for method in results.labels:
            last = 0 if method == BASE else results.last_round(method)
            for number in [0] if method == BASE else range(1, last + 1):
                for measure in measures:
                    value = results.value(measure, method, number)
                    if value is None:
                        continue
                    difference = results.versus_base(measure, method, number) if number else None
                    rows.append(
                        {
                            "env": results.env,
                            "method": method,
                            "round": number,
                            "measure": measure.key,
                            **value.to_json(),
                            "versus_base": difference.to_json() if difference else None,
                        }
                    )
    return rows


def _slug(env: str) -> str:
    from agentr_lite.envs.names import env_slug

    return env_slug(env)


def _write_whole(path: Path, content: str) -> None:
    """Write beside the target and rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(content, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
