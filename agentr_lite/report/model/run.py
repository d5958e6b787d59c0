"""A run's results, read from the store into plain data; the renderers know nothing of SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from agentr_lite.core.rounds import reference_round, round_name
from agentr_lite.metrics.environments import figures_by_env
from agentr_lite.metrics.episodes import Endings, count_endings
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.evaluation import EvalFigures, figures_of
from agentr_lite.metrics.learning import (
    Diagnosis,
    learning_counts,
    partial_notes,
    round_diagnosis,
)
from agentr_lite.metrics.resampling import clustered_rate
from agentr_lite.report.model.preferences import PreferenceLine, preference_lines
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.labels import RunLabels, labels_of
from agentr_lite.store.records import EvalItemRow, EvalMode, RunRow, Stage
from agentr_lite.store.runs import get_run, list_stages
from agentr_lite.store.splices import list_adapters, list_datasets


@dataclass(frozen=True, slots=True)
class EvalLine:
    """One evaluation of one round's actor."""

    round: int
    mode: EvalMode
    split: str
    figures: EvalFigures
    partial: bool = False
    """Not finished: the figures are of the episodes played so far."""
    env: str = ""
    """The environment, where this line is of one of several; empty: the run's only one, or the
    mean over all."""
    endings_by_env: Mapping[str, Endings] = field(default_factory=dict)
    """Environment to how many of its episodes were cut or ended in a disaster."""
    imitates: bool = False
    """Whether the run has imitation, which ``core.rounds`` explains."""

    @property
    def name(self) -> str:
        """``base``, ``imitation`` or ``round 2``."""
        return round_name(self.round, imitates=self.imitates)

    @property
    def reference(self) -> str:
        """The name of the round that ``versus_base`` compares with."""
        number = reference_round(self.round, imitates=self.imitates)
        return "base" if number is None else round_name(number, imitates=self.imitates)

    @property
    def graded(self) -> bool:
        """Whether there are rewards between none and all."""
        return self.figures.graded

    @property
    def endings(self) -> Endings:
        """How many of its episodes were cut or ended in a disaster."""
        known = self.endings_by_env
        mine = [known[self.env]] if self.env in known else [] if self.env else known.values()
        return Endings(sum(each.cut for each in mine), sum(each.disasters for each in mine))

    def by_env(self) -> list[EvalLine]:
        """A line for each of several environments, by name; none where there is only one."""
        return [
            replace(self, figures=figures, env=name)
            for name, figures in sorted((self.figures.by_env or {}).items())
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON types; ``cut`` and ``disasters`` only where there are any."""
        endings = {name: count for name, count in asdict(self.endings).items() if count}
        return {
            "round": self.round,
            "mode": self.mode,
            "split": self.split,
            "figures": self.figures.to_json(),
            "partial": self.partial,
            "env": self.env,
            **({"name": self.name, "versus": self.reference} if self.imitates else {}),
            **endings,
        }


@dataclass(frozen=True, slots=True)
class StageLine:
    """What one stage of one round cost."""

    round: int
    stage: Stage
    finished: bool
    wall_s: float
    model_s: float
    """Seconds inside the model."""
    prompt_tokens: int
    decoded_prompt_tokens: int
    """Prompt tokens that were decoded, without those that prefix reuse spared."""
    output_tokens: int
    trees: int | None = None
    """Trees of a search."""
    nodes: int | None = None
    """Nodes of a search."""

    @property
    def model_share(self) -> float | None:
        """Share of the wall time that the model took; None where no model ran."""
        return self.model_s / self.wall_s if self.wall_s and self.model_s else None


@dataclass(frozen=True, slots=True)
class SpliceLine:
    """What splicing made of one round's trees."""

    round: int
    good: int
    """Good trajectories."""
    bad: int
    """Bad trajectories."""
    pairs: int
    checked: int
    """Pairs whose naive splice was replayed."""
    naive_failures: int
    """Naive splices that did not earn alpha when they were replayed."""
    naive_failure_share: Estimate | None
    """The interval is a bootstrap over tasks; None where nothing was replayed."""
    naive: int
    """Kept without a check (verification off)."""
    replayed: int
    """Kept because the replay earned alpha."""
    recovered: int
    """Kept with a true continuation found by search."""
    rejected: int
    reasons: Mapping[str, int]
    """Why pairs were rejected, most frequent first."""
    revision_length: float | None
    """Mean number of bad steps up to the reflection, over what was kept."""
    verdicts: Mapping[str, int]
    """The critic's judgements: good, bad, uncertain."""
    late: int
    """Kept revisions that leave the bad trajectory later than at its first error."""
    env: str = ""
    """The environment, where this line is of one of several; empty: all of the run's."""


@dataclass(frozen=True, slots=True)
class TrainLine:
    """What one round trained on."""

    round: int
    examples: Mapping[str, int]
    """Kind (revision, good, demonstration, general) to number; ``refused``: general chats that were
    left out because the chat template refuses them, where there are any."""
    validation: int
    """How many of these are held out for the validation loss."""
    adapter: Mapping[str, Any] | None
    """The adapter's summary; None where none was trained."""


@dataclass(frozen=True, slots=True)
class LearningLine:
    """What kept a round's trees from giving more to learn from, or anything at all."""

    round: int
    notes: Sequence[str]
    """What stands out in its counts, e.g. ``rewards tie in 38 of 48 trees``."""
    diagnosis: Diagnosis | None
    """Why there was nothing to train on; None where there was something."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that a run's report shows."""

    run: RunRow
    evals: list[EvalLine] = field(default_factory=list)
    stages: list[StageLine] = field(default_factory=list)
    splices: list[SpliceLine] = field(default_factory=list)
    splices_by_env: list[SpliceLine] = field(default_factory=list)
    """By environment and round, where there are several environments."""
    training: list[TrainLine] = field(default_factory=list)
    learning: list[LearningLine] = field(default_factory=list)
    """Rounds whose trees gave little or nothing to learn from."""
    preferences: list[PreferenceLine] = field(default_factory=list)
    envs: list[str] = field(default_factory=list)
    """What its environments call themselves, where its recipe names several."""
    labels: RunLabels = field(default_factory=RunLabels)
    """What people call the run."""

    def evals_of(self, mode: EvalMode, split: str) -> list[EvalLine]:
        """One mode's evaluations by round."""
        return [line for line in self.evals if (line.mode, line.split) == (mode, split)]

    def to_json(self) -> dict[str, Any]:
        """Its fields; the evaluations as JSON types."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "evals": [line.to_json() for line in self.evals]}


def gather(store: Store, run_id: str) -> RunReport:
    """Read a run's results.

    Args:
        store: the database.
        run_id: a run's id, a unique beginning of it, or ``latest``.

    Raises:
        UsageError: no such run.
    """
    run = get_run(store, run_id)
    several = len(run.recipe.get("env") or ()) > 1
    envs = _envs(store, run.id) if several else []
    return RunReport(
        run,
        evals=_evals(store, run, several=several),
        stages=_stages(store, run.id),
        splices=_splices(store, run.id, seed=run.seed),
        splices_by_env=[
            line for env in envs for line in _splices(store, run.id, seed=run.seed, env=env)
        ],
        training=_training(store, run.id),
        learning=_learning(store, run.id),
        preferences=preference_lines(store, run.id),
        envs=envs,
        labels=labels_of(store, run.id),
    )


def _envs(store: Store, run_id: str) -> list[str]:
    """What the environments of a run's trees call themselves."""
    rows = store.rows(
        "SELECT DISTINCT k.env FROM trees r JOIN tasks k ON k.id = r.task_id WHERE r.run_id = ?"
        " ORDER BY 1",
        (run_id,),
    )
    return [row[0] for row in rows]


def _evals(store: Store, run: RunRow, *, several: bool) -> list[EvalLine]:
    lines = []
    for row in list_evals(store, run.id):
        partial = not row.whole
        if not partial:
            figures = EvalFigures.from_json(row.summary)
        else:
            items = list_eval_items(store, row.id)
            if not items:
                continue
            names = sorted({item.task.env for item in items})
            figures = (
                figures_by_env(items, None, names, seed=0)
                if several
                else figures_of(items, None, seed=0)
            )
        by_env: dict[str, list[EvalItemRow]] = {}
        for item in list_eval_items(store, row.id, last_step_only=True):
            by_env.setdefault(item.task.env, []).append(item)
        endings = {name: count_endings(items) for name, items in by_env.items()}
        lines.append(
            EvalLine(
                row.round,
                row.mode,
                row.split,
                figures,
                partial,
                endings_by_env=endings,
                imitates=run.imitates,
            )
        )
    return lines


def _stages(store: Store, run_id: str) -> list[StageLine]:
    counts = {
        row["round"]: (row["trees"], row["nodes"])
        for row in store.rows(
            "SELECT round, count(*) AS trees, sum(node_count) AS nodes FROM trees"
            " WHERE run_id = ? GROUP BY round",
            (run_id,),
        )
    }
    lines = []
    order = get_args(Stage)
    for stage in sorted(list_stages(store, run_id), key=lambda s: (s.round, order.index(s.stage))):
        searched = stage.stage == "search" and stage.round in counts
        trees, nodes = counts[stage.round] if searched else (None, None)
        lines.append(
            StageLine(
                stage.round,
                stage.stage,
                stage.finished,
                stage.wall_s,
                stage.model_ms / 1000,
                stage.prompt_tokens,
                stage.decoded_prompt_tokens,
                stage.output_tokens,
                trees,
                nodes,
            )
        )
    return lines


def _splices(store: Store, run_id: str, *, seed: int, env: str | None = None) -> list[SpliceLine]:
    where = "r.run_id = :run AND (:env IS NULL OR r.task_id IN (SELECT id FROM tasks"
    where += " WHERE env = :env))"
    params = {"run": run_id, "env": env}
    trajectories = _counts(
        store,
        "SELECT r.round, j.kind, count(*) FROM trajectories j JOIN trees r ON r.id = j.tree_id"
        f" WHERE {where} GROUP BY 1, 2",
        params,
    )
    verdicts = _counts(
        store,
        "SELECT r.round, u.verdict, count(*) FROM judgements u"
        " JOIN trajectories j ON j.id = u.trajectory_id JOIN trees r ON r.id = j.tree_id"
        f" WHERE {where} GROUP BY 1, 2",
        params,
    )
    pairs: dict[int, list[Mapping[str, Any]]] = {}
    for row in store.rows(
        "SELECT v.round, v.status, v.reason, v.naive_reward, v.revision_length, v.first_error,"
        " r.task_id"
        " FROM revisions v JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        f" WHERE v.run_id = :run AND {where} ORDER BY v.id",
        params,
    ):
        pairs.setdefault(row["round"], []).append(dict(row))
    lines = []
    for number in sorted({*trajectories, *pairs}):
        here = pairs.get(number, [])
        kept = [row for row in here if row["status"] != "rejected"]
        status = Counter(row["status"] for row in here)
        # A reason is "kind: details"; the kind is what can be counted.
        reasons = Counter(
            row["reason"].partition(":")[0] for row in here if row["status"] == "rejected"
        )
        failures = naive_failures(here)
        lines.append(
            SpliceLine(
                number,
                good=trajectories.get(number, {}).get("good", 0),
                bad=trajectories.get(number, {}).get("bad", 0),
                pairs=len(here),
                checked=len(failures),
                naive_failures=sum(failed for _, failed in failures),
                naive_failure_share=failure_share(failures, seed=seed),
                naive=status["naive"],
                replayed=status["replayed"],
                recovered=status["recovered"],
                rejected=status["rejected"],
                reasons=dict(reasons.most_common()),
                revision_length=(
                    sum(row["revision_length"] for row in kept) / len(kept) if kept else None
                ),
                verdicts=verdicts.get(number, {}),
                late=sum(row["first_error"] is not None for row in kept),
                env=env or "",
            )
        )
    return lines


def naive_failures(pairs: Iterable[Mapping[str, Any]]) -> list[tuple[int, bool]]:
    """(task id, whether the naive splice fell short of alpha) of every replayed pair.

    Args:
        pairs: with ``task_id``, ``status`` and ``naive_reward`` (None: not replayed). A replay
            that earns alpha has the status ``replayed``; any other fate means that it did not.
    """
    return [
        (row["task_id"], row["status"] != "replayed")
        for row in pairs
        if row["naive_reward"] is not None
    ]


def failure_share(failures: Sequence[tuple[int, bool]], *, seed: int) -> Estimate | None:
    """The share of failures with an interval by bootstrap over tasks.

    Pairs of one task come from one tree and are not independent.

    Args:
        failures: (task id, whether it failed).
        seed: of the bootstrap.
    """
    if not failures:
        return None
    failed, tasks = [f for _, f in failures], [task for task, _ in failures]
    return clustered_rate(failed, tasks, seed=seed)


def _learning(store: Store, run_id: str) -> list[LearningLine]:
    lines = []
    for row in list_stages(store, run_id):
        if row.stage == "search" and row.finished:
            notes = partial_notes(learning_counts(store, run_id, row.round))
            diagnosis = round_diagnosis(store, run_id, row.round)
            if notes or diagnosis:
                lines.append(LearningLine(row.round, notes, diagnosis))
    return sorted(lines, key=lambda line: line.round)


def _training(store: Store, run_id: str) -> list[TrainLine]:
    adapters = {row.round: row.summary for row in list_adapters(store, run_id)}
    # A stage that was repeated leaves earlier data sets behind; the newest is the round's.
    newest = {row.round: row for row in list_datasets(store, run_id)}
    lines = []
    for number, dataset in sorted(newest.items()):
        if adapters.get(number, {}).get("adopted"):
            # It was trained elsewhere, on data that nobody here knows.
            continue
        rows = store.rows(
            "SELECT kind, split, count(*) AS n FROM dataset_items WHERE dataset_id = ?"
            " GROUP BY kind, split",
            (dataset.id,),
        )
        examples: Counter[str] = Counter()
        for row in rows:
            examples[row["kind"]] += row["n"]
        if refused := dataset.settings.get("counts", {}).get("general_refused"):
            examples["refused"] = refused
        lines.append(
            TrainLine(
                number,
                dict(examples),
                sum(row["n"] for row in rows if row["split"] == "valid"),
                adapters.get(number),
            )
        )
    return lines


def _counts(store: Store, sql: str, params: Mapping[str, Any]) -> dict[int, dict[str, int]]:
    """Round to name to count, from a query with those three columns."""
    counts: dict[int, dict[str, int]] = {}
    for number, name, count in store.rows(sql, params):
        counts.setdefault(number, {})[name] = count
    return counts
