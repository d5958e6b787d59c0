"""What a run gave, as plain data: dataclasses, and rows that become a pandas frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agentr_lite.core.errors import UsageError
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.report.model.run import EvalLine, RunReport
from agentr_lite.report.tables.verdict import run_verdict
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.trees import list_trees

if TYPE_CHECKING:
    from agentr_lite.store import Store
    from agentr_lite.store.records import EvalMode

T = TypeVar("T")


class Rows(tuple[T, ...]):
    """Results of one kind: a tuple that knows how to become a table."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dictionary for each row."""
        return [asdict(row) for row in self]  # type: ignore[call-overload]

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each result.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "to_frame() needs pandas", hint="pip install pandas, or use to_dicts()."
            ) from error
        return pandas.DataFrame(self.to_dicts())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one round's model played one split of the tasks."""

    round: int
    """-1: the base before imitation, 0: what round 1 begins with, 1 and more: after that round."""
    name: str
    """``base``, ``imitation`` or ``round 2``."""
    mode: str
    """``greedy``, ``sampled`` or ``recovery``."""
    split: str
    episodes: int
    success: float | None
    """Share of the episodes, in [0, 1]."""
    success_low: float | None
    """Lower end of the 95 % interval; None where it is not known."""
    success_high: float | None
    reward: float | None
    """Mean, in [0, 1]."""
    difference: float | None
    """In success, from ``versus`` on the same tasks; None for what nothing is compared with."""
    difference_low: float | None
    difference_high: float | None
    versus: str
    """The name of the round that it is compared with; empty: none."""
    too_few: bool
    """Whether the tasks are too few to tell anything of the difference."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of a round cost."""

    round: int
    stage: str
    finished: bool
    wall_s: float
    model_s: float
    output_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Episode:
    """One evaluated episode."""

    round: int
    mode: str
    task: str
    level: int
    sample: int
    success: bool
    reward: float
    steps: int
    invalid_actions: int
    repeated_actions: int
    reflections: int
    error: str
    """Empty where nothing broke."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One search tree."""

    id: int
    round: int
    task: str
    level: int
    best_reward: float
    simulations: int
    nodes: int
    error: str
    """Empty where the search did not fail."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run as it is stored; reading it again shows what has been added since."""

    id: str
    name: str
    """What people call it (``agentr-lite runs name``); empty: nothing."""
    env: str
    model: str
    seed: int
    status: str
    """``running``, ``finished``, ``failed`` or ``interrupted``."""
    database: Path
    recipe: dict[str, Any] = field(repr=False)
    """Every setting, resolved."""
    evaluations: Rows[Evaluation] = field(repr=False)
    stages: Rows[Stage] = field(repr=False)
    verdict: str = ""
    """One line on whether the last round is better than what the run began with."""

    def to_frame(self) -> Any:
        """The evaluations as a ``pandas.DataFrame``; see ``Rows.to_frame``."""
        return self.evaluations.to_frame()

    def episodes(self, round: int | None = None, mode: EvalMode = "greedy") -> Rows[Episode]:
        """Evaluated episodes, by round and task.

        Args:
            round: only this one's.
            mode: ``greedy``, ``sampled`` or ``recovery``.
        """

        def read(store: Store) -> Rows[Episode]:
            return Rows(
                Episode(
                    row.round,
                    row.mode,
                    item.task.name,
                    item.task.level,
                    item.sample,
                    item.success,
                    item.reward,
                    item.steps,
                    item.invalid_actions,
                    item.repeated_actions,
                    item.reflections,
                    item.error or "",
                )
                for row in list_evals(store, self.id, mode=mode)
                if round is None or row.round == round
                for item in list_eval_items(store, row.id, last_step_only=True)
            )

        return self._read(read)

    def trees(self, round: int | None = None) -> Rows[Tree]:
        """Search trees, of one round or of all."""
        return self._read(lambda store: trees_of(store, self.id, round))

    def report(self) -> str:
        """The tables of `agentr-lite report`, as Markdown."""
        from agentr_lite.report import render_run

        return self._read(lambda store: render_run(store, self.id, "markdown"))

    def _read(self, read: Callable[[Store], T]) -> T:
        from agentr_lite.store import Store

        with Store.open_to_read(self.database) as store:
            return read(store)

    def _repr_markdown_(self) -> str:
        """How a notebook shows it."""
        return f"**{self.name or self.id}**: {self.verdict}"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A round's search."""

    run: str
    """The run's id."""
    round: int
    database: Path
    trees: Rows[Tree] = field(repr=False)
    solved: int = 0
    """Trees with a path that earns the whole reward."""
    nodes: int = 0

    def to_frame(self) -> Any:
        """The trees as a ``pandas.DataFrame``; see ``Rows.to_frame``."""
        return self.trees.to_frame()


def trees_of(store: Store, run_id: str, round_index: int | None) -> Rows[Tree]:
    """A run's trees, of one round or of all."""
    return Rows(
        Tree(
            row.id,
            row.round,
            row.task.name,
            row.task.level,
            row.best_reward,
            row.simulations,
            row.node_count,
            row.error or "",
        )
        for row in list_trees(store, run_id, round_index=round_index)
    )


def run_result(report: RunReport, database: Path) -> RunResult:
    """A run's report as the interface gives it."""
    run = report.run
    return RunResult(
        run.id,
        report.labels.name,
        run.env,
        str(run.recipe.get("model", "")),
        run.seed,
        run.status,
        database,
        dict(run.recipe),
        Rows(_evaluation(line) for line in report.evals),
        Rows(
            Stage(
                line.round,
                line.stage,
                line.finished,
                line.wall_s,
                line.model_s,
                line.output_tokens,
                line.prompt_tokens,
            )
            for line in report.stages
        ),
        run_verdict(report).text.removeprefix("verdict: "),
    )


def _evaluation(line: EvalLine) -> Evaluation:
    figures, versus = line.figures, line.figures.versus_base
    difference = versus.success if versus else None
    return Evaluation(
        line.round,
        line.name,
        line.mode,
        line.split,
        figures.episodes,
        *_with_bounds(figures.success),
        figures.reward.value if figures.reward else None,
        *_with_bounds(difference),
        line.reference if difference else "",
        bool(difference and difference.too_few),
    )


def _with_bounds(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    if estimate is None:
        return None, None, None
    return estimate.value, *(estimate.bounds or (None, None))
