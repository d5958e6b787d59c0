"""A study's results by environment, made from the records of its outcomes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentr_lite.core.errors import RecipeError, UsageError
from agentr_lite.metrics.measures import Played
from agentr_lite.metrics.methods import MethodRun, MethodRuns
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.report.model.splices import Spliced, SpliceRound
from agentr_lite.store.records import EvalMode, RoundRow, RunRow
from agentr_lite.study.jobs.cells import Cell
from agentr_lite.study.outcomes.critic_accuracy import CriticRound, JudgedPath, JudgedStep
from agentr_lite.study.outcomes.file import cell_key, not_outcomes, study_head
from agentr_lite.study.outcomes.records import FORMAT, Record

_TRAINING = "train"
"""The split that is searched."""


@dataclass(frozen=True, slots=True)
class CellResult(MethodRun):
    """A cell with at least one finished evaluation."""

    cell: Cell
    nodes: Mapping[int, int] = field(default_factory=dict)
    """Round to the nodes of its trees."""
    examples: Mapping[int, int] = field(default_factory=dict)
    """Round to how many of the agent's own examples it trained on."""
    splices: Mapping[int, SpliceRound] = field(default_factory=dict)
    """Round to its replayed splices, where there are any."""
    critic: Mapping[int, CriticRound] = field(default_factory=dict)
    """Round to the critic's verdicts, where an oracle can judge them."""


@dataclass(slots=True)
class EnvResults(MethodRuns[CellResult]):
    """The results of one environment.

    The labels are in the study's order; the methods of the ablations follow.
    """

    env: str = ""
    recipe: Recipe = field(default_factory=Recipe)
    """The environment's run recipe without any method's changes."""
    planned: dict[str, int] = field(default_factory=dict)
    """Method to the number of its cells in the study."""
    ablation_of: dict[str, str] = field(default_factory=dict)
    """A method of an ablation to this ablation."""

    @property
    def methods(self) -> list[str]:
        """The study's own methods that have been evaluated after training."""
        own = (method for method in self.labels if method not in self.ablation_of)
        return [method for method in own if self.is_trained(method)]


@dataclass(frozen=True, slots=True)
class StudyMethod:
    """One of the study's own methods."""

    key: str
    label: str
    changes: str
    """What it changes in a run's recipe."""
    trained: bool
    """Whether it has rounds."""


@dataclass(frozen=True, slots=True)
class StudyResults:
    """All results of a study, and what it set out to do."""

    name: str
    command: str
    """The command that runs it."""
    rounds: int
    seeds: Sequence[int]
    paper: bool
    """Whether the page compares the results with the paper's."""
    methods: Sequence[StudyMethod]
    """The study's own, in the order of the tables."""
    ablations: Mapping[str, bool]
    """Name to whether it is wanted."""
    cell_count: int
    """Number of the study's cells."""
    planned_environments: Sequence[str]
    environments: Sequence[EnvResults]
    """Those with results."""


def study_results(records: Sequence[Record], path: Path) -> StudyResults:
    """The results that some records hold.

    Args:
        records: of one study, in the order of the file.
        path: where they are from, for messages.

    Raises:
        UsageError: they are not a study's outcomes, or a newer version wrote them.
    """
    head = study_head(path, records)
    if head.get("format") != FORMAT:
        raise UsageError(
            f"{path} has the format {head.get('format')}, and this version reads {FORMAT}",
            hint="Use the version of agentr-lite that wrote it.",
        )
    builder = _Builder()
    try:
        builder.begin(head)
        for record in records[1:]:
            builder.add(record)
        return builder.finish(head)
    except (LookupError, TypeError, ValueError, AttributeError, RecipeError) as error:
        where = f"record {builder.taken + 1} is damaged"
        raise not_outcomes(path, f"{where} ({type(error).__name__}: {error})") from error


class _CellParts:
    """What the records of one cell have given so far."""

    def __init__(self, cell: Cell, run: RunRow) -> None:
        self.cell = cell
        self.run = run
        self.stages: list[RoundRow] = []
        self.rounds: dict[tuple[EvalMode, int], list[Played]] = {}
        self.nodes: dict[int, int] = {}
        self.examples: dict[int, int] = {}
        self.recoveries: dict[int, tuple[int, int]] = {}
        self.pairs: dict[int, list[Spliced]] = {}
        self.critic: dict[int, CriticRound] = {}

    def result(self) -> CellResult:
        splices = {
            number: SpliceRound(self.pairs.get(number, []), *cost)
            for number, cost in self.recoveries.items()
        }
        return CellResult(
            self.cell.method,
            self.cell.seed,
            self.run,
            self.rounds,
            self.stages,
            self.cell,
            nodes=self.nodes,
            examples=self.examples,
            splices=splices,
            critic=self.critic,
        )


class _Builder:
    """Takes records in the order of the file.

    Attributes:
        taken: how many it has taken, the first one included.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._labels: dict[tuple[str, str, int], tuple[str, str]] = {}
        self._environments: dict[str, EnvResults] = {}
        self._tasks: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._cells: dict[tuple[str, str, int], _CellParts] = {}

    def begin(self, head: Record) -> None:
        labels = {method["method"]: method["label"] for method in head["methods"]}
        for env, values in head["environments"].items():
            recipe = recipe_from_dict(values)
            self._environments[env] = EnvResults(labels=dict(labels), env=env, recipe=recipe)
        for cell in head["cells"]:
            key = cell_key(cell)
            self._labels[key] = (cell["label"], cell["ablation"])
            results = self._environments[cell["environment"]]
            method = cell["method"]
            results.labels[method] = cell["label"]
            results.planned[method] = results.planned.get(method, 0) + 1
            if cell["ablation"]:
                results.ablation_of[method] = cell["ablation"]
        self.taken = 1

    def finish(self, head: Record) -> StudyResults:
        for parts in self._cells.values():
            self._environments[parts.cell.env].runs.append(parts.result())
        return StudyResults(
            name=head["study"],
            command=head["command"],
            rounds=head["rounds"],
            seeds=head["seeds"],
            paper=head["paper"],
            methods=[
                StudyMethod(each["method"], each["label"], each["changes"], each["trained"])
                for each in head["methods"]
            ],
            ablations=head["ablations"],
            cell_count=len(head["cells"]),
            planned_environments=list(self._environments),
            environments=[results for results in self._environments.values() if results.runs],
        )

    def add(self, record: Record) -> None:
        kind = record["record"]
        if kind == "task":
            key = (record["environment"], record["split"], record["task"])
            self._tasks[key] = (record["game"], int(record["number"]))
        elif kind == "cell":
            self._cell(record)
        elif kind in _ADD:
            _ADD[kind](self, self._cells[cell_key(record)], record)
        else:
            raise ValueError(f"no kind of record is called {kind!r}")
        self.taken += 1

    def _cell(self, record: Record) -> None:
        env, method, seed = key = cell_key(record)
        label, ablation = self._labels[key]
        recipe = recipe_from_dict(record["recipe"])
        run = RunRow(
            id=record["run"],
            created_utc="",
            finished_utc=None,
            status=record["status"],
            env=recipe.env_label,
            seed=seed,
            recipe=record["recipe"],
            versions=record["versions"],
            model_sha256=record["model_sha256"],
            model_path="",
            model_description={},
            error=None,
        )
        cell = Cell(env, method, seed, recipe, label, ablation=ablation)
        self._cells[key] = _CellParts(cell, run)

    def _task(self, parts: _CellParts, record: Record, split: str) -> tuple[str, int]:
        """(what its game calls itself, the number of the task)."""
        return self._tasks[parts.cell.env, split, record["task"]]

    def _stage(self, parts: _CellParts, record: Record) -> None:
        parts.stages.append(
            RoundRow(
                run_id=parts.run.id,
                round=record["round"],
                stage=record["stage"],
                started_utc=record["started_utc"],
                finished_utc=record["finished_utc"],
                wall_s=record["wall_s"],
                model_ms=record["model_ms"],
                prompt_tokens=record["prompt_tokens"],
                decoded_prompt_tokens=record["decoded_prompt_tokens"],
                output_tokens=record["output_tokens"],
                summary=record["counts"],
            )
        )

    def _round(self, parts: _CellParts, record: Record) -> None:
        parts.nodes[record["round"]] = int(record["nodes"])
        parts.examples[record["round"]] = int(record["examples"])

    def _evaluation(self, parts: _CellParts, record: Record) -> None:
        parts.rounds[record["kind"], record["round"]] = []

    def _episode(self, parts: _CellParts, record: Record) -> None:
        game, task = self._task(parts, record, parts.cell.recipe.eval.split)
        played = parts.rounds[record["kind"], record["round"]]
        if record.get("broken"):
            # It says nothing about the actor.
            return
        played.append(
            Played(
                game,
                task,
                success=bool(record["success"]),
                reward=float(record["reward"]),
                steps=int(record["steps"]),
                invalid=int(record["invalid"]),
                repeated=int(record["repeated"]),
                reflections=int(record["reflections"]),
                lengths=tuple(map(int, record.get("revision_lengths", ()))),
            )
        )

    def _recovery(self, parts: _CellParts, record: Record) -> None:
        cost = (int(record["calls"]), int(record["output_tokens"]))
        parts.recoveries[record["round"]] = cost

    def _splice(self, parts: _CellParts, record: Record) -> None:
        _, task = self._task(parts, record, _TRAINING)
        keys = ("failed", "searched", "recovered", "untrue")
        spliced = Spliced(task, **{key: bool(record[key]) for key in keys})
        parts.pairs.setdefault(record["round"], []).append(spliced)

    def _verdict(self, parts: _CellParts, record: Record) -> None:
        _, task = self._task(parts, record, _TRAINING)
        step = JudgedStep(task, record["critic"], record["oracle"])
        _judged(parts, record).steps.extend([step] * int(record["count"]))

    def _cut(self, parts: _CellParts, record: Record) -> None:
        _, task = self._task(parts, record, _TRAINING)
        path = JudgedPath(task, int(record["cut"]), int(record["error"]), record["called_bad"])
        _judged(parts, record).paths.append(path)

    def _no_error(self, parts: _CellParts, record: Record) -> None:
        _judged(parts, record).without_error = int(record["count"])


_ADD = {
    "stage": _Builder._stage,
    "round": _Builder._round,
    "evaluation": _Builder._evaluation,
    "episode": _Builder._episode,
    "recovery_search": _Builder._recovery,
    "splice": _Builder._splice,
    "verdict": _Builder._verdict,
    "cut": _Builder._cut,
    "no_error": _Builder._no_error,
}
"""Kind of a record to what takes it."""


def _judged(parts: _CellParts, record: Record) -> CriticRound:
    return parts.critic.setdefault(record["round"], CriticRound())
