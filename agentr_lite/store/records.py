"""The rows that the store's queries return, as frozen dataclasses.

Texts are resolved: where a table holds a text's id, the record holds the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from agentr_lite.core.messages import Message
from agentr_lite.core.preferences import PreferenceKind
from agentr_lite.core.steps import Step, StepKind
from agentr_lite.core.verdicts import Verdict

RunStatus = Literal["running", "finished", "failed", "interrupted"]
Stage = Literal["imitate", "search", "splice", "train", "eval"]
NodeKind = Literal["root"] | StepKind
CallPurpose = Literal["expand", "judge", "recover", "eval"]
TrajectoryKind = Literal["good", "bad"]
Critic = Literal["score", "reason", "none"]
RevisionStatus = Literal["naive", "replayed", "recovered", "rejected"]
ItemKind = Literal["revision", "good", "general", "demonstration", "preference"]
ItemSplit = Literal["train", "valid"]
EvalMode = Literal["greedy", "sampled", "recovery"]

_STEP_FIELDS = tuple(field.name for field in fields(Step))
"""A node's row has a field of the same name for each."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run."""

    id: str
    created_utc: str
    finished_utc: str | None
    status: RunStatus
    env: str
    seed: int
    recipe: Mapping[str, Any]
    """The resolved recipe, as ``Recipe.to_dict`` gave it."""
    versions: Mapping[str, str]
    model_sha256: str
    """Empty where no model was recorded or it has no file."""
    model_path: str
    model_description: Mapping[str, Any]
    error: str | None

    @property
    def imitates(self) -> bool:
        """Whether the run learns from demonstrations before its first round."""
        shared = self.recipe.get("imitation") or {}
        own = [each.get("imitation") or {} for each in self.recipe.get("env") or ()]
        return any(settings.get("tasks") for settings in (shared, *own))


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One stage of one round; ``core.rounds`` says what round 0 is."""

    run_id: str
    round: int
    stage: Stage
    started_utc: str
    finished_utc: str | None
    wall_s: float
    """Seconds of work, over all attempts to finish the stage."""
    model_ms: float
    prompt_tokens: int
    decoded_prompt_tokens: int
    output_tokens: int
    summary: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the stage is complete."""
        return self.finished_utc is not None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as the run saw it; its payload stays with the environment."""

    id: int
    env: str
    name: str
    split: str
    goal: str
    level: int


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One task's search tree."""

    id: int
    run_id: str
    round: int
    wave: int
    """From 0, within the round."""
    task: TaskRow
    best_reward: float
    """Highest reward of a terminal node; 0 where none was reached."""
    node_count: int
    simulations: int
    """Simulations that reached a terminal node."""
    error: str | None


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node; ``text``, ``action`` and ``observation`` are its own turn only."""

    tree_id: int
    idx: int
    """0 is the root; parents come before their children."""
    parent_idx: int | None
    depth: int
    kind: NodeKind
    action: str | None
    text: str
    """The assistant turn that led here; empty at the root."""
    observation: str
    reward: float
    terminated: bool
    truncated: bool
    """The episode was cut here, by the environment or by the search's depth limit."""
    invalid: bool
    disaster: bool
    visits: int
    value_sum: float
    merged: int
    """Sampled candidates with this action; 0 at the root."""
    token_ids: tuple[int, ...] = ()
    """The turn's tokens where its text does not say them; see ``Message.token_ids``."""
    thinking: str = ""
    """What the model thought before the turn."""

    @property
    def ended(self) -> bool:
        """Whether the episode is over here."""
        return self.terminated or self.truncated

    @property
    def value(self) -> float:
        """Mean reward over the visits; 0 before the first."""
        return self.value_sum / self.visits if self.visits else 0.0

    @classmethod
    def root(cls, observation: str, *, visits: int = 0, value_sum: float = 0.0) -> NodeRow:
        """The row of a tree's root: no turn yet, only the first observation."""
        blank = Step("", None, observation)
        node = cls.from_step(blank, 0, None, 0, visits=visits, value_sum=value_sum, merged=0)
        return replace(node, kind="root")

    @classmethod
    def from_step(
        cls,
        step: Step,
        idx: int,
        parent_idx: int | None,
        depth: int,
        *,
        visits: int = 0,
        value_sum: float = 0.0,
        merged: int = 1,
    ) -> NodeRow:
        """The row of a step at its place in a tree; ``to_step`` gives the step back."""
        return cls(
            tree_id=0,
            idx=idx,
            parent_idx=parent_idx,
            depth=depth,
            visits=visits,
            value_sum=value_sum,
            merged=merged,
            **{name: getattr(step, name) for name in _STEP_FIELDS},
        )

    def to_step(self) -> Step:
        """The turn that led to this node. Not for the root."""
        if self.kind == "root":
            raise ValueError("the root is no step")
        return Step(**{name: getattr(self, name) for name in _STEP_FIELDS})


@dataclass(frozen=True, slots=True)
class ModelCallRow:
    """One conversation that the actor was asked to continue or to judge."""

    id: int
    purpose: CallPurpose
    tree_id: int | None
    node_idx: int | None
    seeds: Sequence[int]
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    dropped_turns: int
    batch_ms: float | None = None
    """Milliseconds of the batch that the call was part of; None where it was not measured."""
    batch_size: int | None = None
    """Calls in that batch."""


@dataclass(frozen=True, slots=True)
class TrajectoryRow:
    """A root-to-leaf path that splicing looked at."""

    id: int
    tree_id: int
    leaf_idx: int
    kind: TrajectoryKind
    reward: float
    steps: int


@dataclass(frozen=True, slots=True)
class JudgementRow:
    """What the critic said of one step of a bad trajectory."""

    trajectory_id: int
    step: int
    """The step's index on the path, from 0."""
    node_idx: int
    verdict: Verdict
    critic: Critic
    scores: Sequence[float] | None = None
    """Log-likelihoods of good, bad and uncertain (critic ``score``)."""
    reason: str | None = None
    """The critic's words (critic ``reason``)."""


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A spliced trajectory, or the reason why a pair gave none."""

    id: int
    run_id: str
    round: int
    good_id: int
    bad_id: int
    parting_step: int
    """Steps that the two share, counted from reset."""
    cut_step: int
    """t': how many steps of the bad trajectory are kept, the judged error included."""
    reflection: str
    revision_length: int
    """Bad steps from the parting node up to and including t'."""
    naive_reward: float | None
    """What the naive splice earned when it was replayed; None where verification was off."""
    status: RevisionStatus
    reason: str
    messages: Sequence[Message] | None
    """The conversation; None where rejected."""
    loss: Sequence[bool] | None
    """Which of ``messages`` carry loss."""
    task: str
    """Name of the task."""
    env: str = ""
    """The task's environment."""
    first_error: int | None = None
    """Of a late cut, what t' is at the first error; None where ``cut_step`` is no late cut."""


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """Two continuations from one node of a tree, of which the first is preferred."""

    id: int
    run_id: str
    round: int
    tree_id: int
    kind: PreferenceKind
    parting_idx: int
    """The last node that the two share; 0 is the root."""
    chosen_idx: int
    """Where the preferred one ends: a leaf, or a child of the parting node (kind ``step``). Of a
    revision, the leaf of its good trajectory."""
    rejected_idx: int
    """Where the other one ends."""
    chosen_value: float
    """Reward of the preferred episode; of a step, its node's mean reward. In [0, 1]."""
    rejected_value: float
    revision_id: int | None
    """The preferred revision (kind ``revision``)."""
    task: str
    """Name of the task."""
    env: str = ""
    """The task's environment."""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One training set."""

    id: int
    run_id: str
    round: int
    settings: Mapping[str, Any]
    created_utc: str
    items: int


@dataclass(frozen=True, slots=True)
class DatasetItemRow:
    """One example: a revision, a good trajectory, a demonstration, a preference or a line of the
    general file."""

    idx: int
    kind: ItemKind
    split: ItemSplit
    revision_id: int | None = None
    trajectory_id: int | None = None
    general_line: int | None = None
    demonstration_id: int | None = None
    """None as well where the demonstration has been deleted since."""
    preference_id: int | None = None


@dataclass(frozen=True, slots=True)
class AdapterRow:
    """A trained adapter."""

    id: int
    run_id: str
    round: int
    dataset_id: int
    mlx_dir: str
    gguf_path: str
    gguf_sha256: str
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvalRow:
    """One evaluation of one round's actor."""

    id: int
    run_id: str
    round: int
    mode: EvalMode
    split: str
    summary: Mapping[str, Any]

    @property
    def whole(self) -> bool:
        """Whether all its episodes have been played; only then does it have figures."""
        return "success" in self.summary


@dataclass(frozen=True, slots=True)
class EpisodeStep:
    """One step of an evaluated episode."""

    step: Step
    given: bool = False
    """Part of a prefix to recover from: the actor did not choose it."""


@dataclass(frozen=True, slots=True)
class EvalItemRow:
    """One evaluated episode."""

    task: TaskRow
    sample: int
    reward: float
    success: bool
    steps: int
    invalid_actions: int
    repeated_actions: int
    reflections: int
    episode: Sequence[EpisodeStep] = ()
    """Its steps in order; empty where they were not loaded."""
    error: str | None = None
    instructions: str | None = None
    """The system prompt. None: not loaded, or played by a release that did not store it."""
    observation: str | None = None
    """The first observation; None as for ``instructions``."""


@dataclass(frozen=True, slots=True)
class DemonstrationRow:
    """An episode that shows how a training task is solved."""

    id: int
    task: TaskRow
    source: str
    """``solve``, ``expert``, ``person``, ``import:NAME`` or ``model:NAME``."""
    reward: float
    """Of the whole episode, as the environment gave it when the demonstration was stored."""
    instructions: str
    """The environment's full system prompt at that time."""
    opening: str
    """The first observation."""
    steps: list[Step]
    """In order; never empty, and without ``token_ids``."""
    created_utc: str


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One point of a series."""

    round: int
    name: str
    step: int
    value: float
