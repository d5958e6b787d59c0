"""One wave of trees, from nodes to revision trajectories; pure work, nothing is stored here.

All bad paths of a wave are judged together and all recoveries sampled together, so that the actor
sees wide batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agentr_lite.actors.base import Actor, Sampling
from agentr_lite.agent.conversation import conversation
from agentr_lite.agent.grammar import TurnGrammar
from agentr_lite.agent.turns import AnswerFormat, answer_format
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.messages import Message
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.steps import Step
from agentr_lite.core.usage import ModelCall
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.groups import SpliceSettings
from agentr_lite.recipe.settings import Recipe
from agentr_lite.splice.judging import (
    JudgedStep,
    TreeInput,
    failed_paths,
    judge_seed,
    judged_steps,
    new_judgements,
)
from agentr_lite.splice.pairs import (
    Pair,
    Trajectory,
    choose_pairs,
    find_trajectories,
    is_good,
)
from agentr_lite.splice.preferences import Preference, episode_preferences, step_preferences
from agentr_lite.splice.splice import flag_executed, reflection, splice
from agentr_lite.splice.trajectories import FlaggedStep, flagged_messages
from agentr_lite.splice.transition import BadPath, Cut, Judgements, direct_cut, late_cut
from agentr_lite.splice.verify import Recovery, Replay, recover, replay
from agentr_lite.store.records import RevisionStatus

ENVIRONMENT_FAULT = "environment fault"
"""Kind of reason of a pair that was dropped because the environment broke."""


@dataclass(slots=True)
class Revision:
    """What became of one pair."""

    pair: Pair
    cut: Cut
    signal: str
    status: RevisionStatus = "rejected"
    reason: str = ""
    """``kind: details``; the kind is what the summary counts."""
    naive_reward: float | None = None
    reward: float = 0.0
    """Of the accepted trajectory; of one that was never executed, its good trajectory's."""
    messages: list[Message] | None = None
    loss: list[bool] | None = None

    @property
    def length(self) -> int:
        """Bad steps from the parting up to and including t'."""
        return self.cut.step - self.pair.parting_step

    def reject(self, kind: str, details: str) -> None:
        """Drop the pair, with the reason."""
        self.status, self.reason = "rejected", f"{kind}: {details}"


@dataclass(slots=True)
class TreeResult:
    """Everything that splicing one tree made."""

    tree_id: int
    trajectories: list[Trajectory]
    revisions: list[Revision] = field(default_factory=list)
    judged: list[JudgedStep] = field(default_factory=list)
    recovery_calls: list[ModelCall] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)


@dataclass(slots=True)
class _Work:
    """One pair, and what is known of it so far."""

    tree: TreeInput
    revision: Revision
    path: BadPath
    good: tuple[Step, ...]
    """The good trajectory's steps after the parting."""
    replayed: Replay | None = None
    recovery: Recovery | None = None

    @property
    def pair(self) -> Pair:
        return self.revision.pair


def splice_wave(
    trees: Sequence[TreeInput],
    *,
    recipe: Recipe,
    round_index: int,
    env: Environment,
    actor: Actor,
) -> list[TreeResult]:
    """Pair, judge, splice and verify the trajectories of some trees.

    An environment fault costs its pair only.

    Args:
        trees: the wave.
        recipe: the run's settings.
        round_index: from 1; decides alpha and the seeds.
        env: for replays; its episode is replaced.
        actor: the current model: critic, and recoverer.

    Returns:
        One result a tree, in order.
    """
    alpha = recipe.alpha(round_index)
    results = [TreeResult(tree.tree_id, find_trajectories(tree.nodes)) for tree in trees]
    works: list[_Work] = []
    for tree, result in zip(trees, results, strict=True):
        pairs = choose_pairs(
            result.trajectories,
            alpha=alpha,
            beta=recipe.splice.beta,
            limit=recipe.splice.pairs_per_task,
        )
        works.extend(_pair_work(tree, pair) for pair in pairs)
    judgements = _choose_cuts(works, recipe, round_index, actor)
    failed: list[BadPath] = []
    if judgements is not None and recipe.splice.judge_failures:
        for tree, result in zip(trees, results, strict=True):
            limit = recipe.splice.pairs_per_task
            failed += failed_paths(tree, result.trajectories, alpha=alpha, limit=limit)
        # After the pairs and apart from them: their batches, and so their verdicts, stay the same.
        judgements.ask(actor, failed, judge_seed(trees, recipe, round_index))
    _drop_duplicates(works)
    if recipe.splice.verify == "off":
        _accept_unverified(works)
    else:
        calls = _verify(works, recipe, round_index, env, actor, alpha)
        for result in results:
            result.recovery_calls = [call for tree_id, call in calls if tree_id == result.tree_id]
    for tree, result in zip(trees, results, strict=True):
        mine = [work for work in works if work.tree.tree_id == result.tree_id]
        result.revisions = [work.revision for work in mine]
        paths = [work.path for work in mine]
        paths += [path for path in failed if path.tree_id == result.tree_id]
        result.judged = judged_steps(paths, judgements) if judgements is not None else []
        result.preferences = _preferences(tree, result.trajectories, mine, recipe.splice, alpha)
    return results


def _preferences(
    tree: TreeInput,
    trajectories: Sequence[Trajectory],
    works: Sequence[_Work],
    settings: SpliceSettings,
    alpha: float,
) -> list[Preference]:
    """The pairs of the kinds that are wanted, of one tree."""
    limit = settings.preferences_per_task
    found: list[Preference] = []
    if "episode" in settings.preferences:
        found += episode_preferences(trajectories, alpha=alpha, beta=settings.beta, limit=limit)
    if "step" in settings.preferences:
        found += step_preferences(
            tree.nodes,
            margin=settings.preference_margin,
            visits=settings.preference_visits,
            limit=limit,
        )
    if "revision" in settings.preferences:
        pairs = [_revision_preference(work, settings.beta) for work in works]
        found += [pair for pair in pairs if pair is not None][: limit or None]
    return found


def _revision_preference(work: _Work, beta: float) -> Preference | None:
    """An accepted revision against the rest of its bad trajectory.

    None where there is no rest that could be unlearnt, where it earns as much, and where the
    environment answered the steps before the revision otherwise than in the tree: the rest then
    belongs to another conversation.
    """
    revision, pair = work.revision, work.pair
    cut = revision.cut.step
    if revision.messages is None or revision.reward - pair.bad.reward <= beta:
        return None
    if all(step.kind == "reflect" for step in work.path.steps[cut:]):
        return None
    before = conversation(work.tree.opening, work.path.steps[:cut])
    if revision.messages[: len(before)] != before:
        return None
    good, bad = pair.good.leaf_idx, pair.bad.leaf_idx
    return Preference(
        "revision", pair.bad.path[cut - 1], good, bad, revision.reward, pair.bad.reward
    )


def _pair_work(tree: TreeInput, pair: Pair) -> _Work:
    rows = {node.idx: node for node in tree.nodes}
    bad = tuple(rows[idx].to_step() for idx in pair.bad.path)
    good = tuple(rows[idx].to_step() for idx in pair.good.path[pair.parting_step :])
    path = BadPath(tree.tree_id, tree.opening, bad, pair.bad.path, pair.parting_step)
    return _Work(tree, Revision(pair, direct_cut(path), signal=""), path, good)


def _choose_cuts(
    works: Sequence[_Work], recipe: Recipe, round_index: int, actor: Actor
) -> Judgements | None:
    """Find every pair's t' and draw its signal."""
    judgements = None
    critic = recipe.splice.critic
    if critic != "none":
        seed = judge_seed([work.tree for work in works], recipe, round_index)
        judgements = new_judgements(critic, recipe)
        judgements.ask(actor, [work.path for work in works], seed)
    for work in works:
        if judgements is not None:
            work.revision.cut = judgements.cut(work.path)
        leaves = (work.pair.bad.leaf_idx, work.pair.good.leaf_idx)
        names = (round_index, work.tree.task.name, *leaves)
        if recipe.splice.late_cuts:
            work.revision.cut = late_cut(
                work.path,
                work.revision.cut,
                share=recipe.splice.late_cuts,
                seed=stream_seed(recipe.seed, "late cut", *names),
            )
        work.revision.signal = reflection(recipe.seed, *names)
        if work.revision.cut.kind == "impossible":
            work.revision.reject("nothing to revise", work.revision.cut.reason)
        elif work.revision.cut.kind == "none judged bad" and recipe.splice.unseen == "drop":
            work.revision.reject("no error seen", "the model judged no step bad")
    return judgements


def _drop_duplicates(works: Sequence[_Work]) -> None:
    """Two bad trajectories that are left before they part give the same revision twice."""
    seen: dict[tuple[int, tuple[int, ...], int], int] = {}
    for work in _undecided(works):
        kept = work.pair.bad.path[: work.revision.cut.step]
        key = (work.tree.tree_id, kept, work.pair.good.leaf_idx)
        first = seen.setdefault(key, work.pair.bad.leaf_idx)
        if first != work.pair.bad.leaf_idx:
            work.revision.reject("duplicate", f"same steps as with the bad trajectory {first}")


def _undecided(works: Sequence[_Work]) -> list[_Work]:
    """Pairs that are neither accepted nor rejected."""
    return [work for work in works if not work.revision.reason]


def _naive_splice(work: _Work) -> list[FlaggedStep]:
    shared = work.pair.parting_step
    steps, cut = work.path.steps, work.revision.cut.step
    return splice(steps[:shared], steps[shared:], cut, work.revision.signal, work.good)


def _accept(
    work: _Work, status: RevisionStatus, steps: Sequence[FlaggedStep], outcome: str, reward: float
) -> None:
    revision = work.revision
    revision.status = status
    revision.reward = reward
    revision.reason = f"{revision.cut.kind}: {revision.cut.reason}; {outcome}"
    revision.messages, revision.loss = flagged_messages(work.tree.opening, steps)


def _accept_unverified(works: Sequence[_Work]) -> None:
    for work in _undecided(works):
        _accept(work, "naive", _naive_splice(work), "never executed", work.pair.good.reward)


def _verify(
    works: Sequence[_Work],
    recipe: Recipe,
    round_index: int,
    env: Environment,
    actor: Actor,
    alpha: float,
) -> list[tuple[int, ModelCall]]:
    form = answer_format(recipe.agent.action, env)
    grammar = TurnGrammar(recipe.agent.grammar, env)
    for work in _undecided(works):
        _replay(work, env, alpha, form, grammar)
    waiting = []
    for work in _undecided(works):
        if recipe.splice.recovery_attempts == 0:
            reward = work.revision.naive_reward
            work.revision.reject("replay failed", f"reward {reward:g}, needed {alpha:g}")
            continue
        work.recovery = _recovery(work, recipe, round_index, alpha)
        waiting.append(work)
    calls = recover(
        env,
        actor,
        [work.recovery for work in waiting if work.recovery],
        attempts=recipe.splice.recovery_attempts,
        sampling=Sampling(
            temperature=recipe.search.temperature,
            top_p=recipe.search.top_p,
            top_k=recipe.search.top_k,
            min_p=recipe.search.min_p,
            max_tokens=recipe.agent.max_tokens,
        ),
        form=form,
        grammar=grammar,
    )
    for work in waiting:
        _finish_recovery(work)
    return calls


def _replay(
    work: _Work, env: Environment, alpha: float, form: AnswerFormat, grammar: TurnGrammar
) -> None:
    """Accept the pair where its replay earns alpha; leave it open where it may be recovered."""
    revision = work.revision
    try:
        executed = replay(
            env,
            work.tree.task,
            _naive_splice(work),
            signal_index=revision.cut.step,
            form=form,
            grammar=grammar,
        )
    except EnvironmentFault as fault:
        revision.reject(ENVIRONMENT_FAULT, fault.message)
        return
    work.replayed = executed
    revision.naive_reward = executed.reward
    if executed.problem:
        revision.reject("episode over", executed.problem)
    elif is_good(executed.reward, alpha):
        steps = flag_executed(executed.steps, revision.cut.step)
        outcome = f"replayed with reward {executed.reward:g}"
        _accept(work, "replayed", steps, outcome, executed.reward)


def _recovery(work: _Work, recipe: Recipe, round_index: int, alpha: float) -> Recovery:
    replayed = work.replayed
    assert replayed is not None
    names = (round_index, work.tree.task.name, work.pair.bad.leaf_idx, work.pair.good.leaf_idx)
    return Recovery(
        opening=work.tree.opening,
        steps=replayed.steps[: replayed.signal_index + 1],
        state=replayed.state,
        alpha=alpha,
        # As many steps as a good trajectory may take from the parting: the bad ones come on top.
        max_steps=recipe.search.depth - work.pair.parting_step,
        seed=lambda attempt, step: stream_seed(recipe.seed, "recover", *names, attempt, step),
        tree_id=work.tree.tree_id,
        node_idx=work.pair.bad.path[work.revision.cut.step - 1],
    )


def _finish_recovery(work: _Work) -> None:
    recovery = work.recovery
    assert recovery is not None
    best = recovery.best
    if best is None:
        work.revision.reject("no way back", recovery.outcome)
        return
    steps = flag_executed([*recovery.steps, *best.steps], work.revision.cut.step)
    _accept(work, "recovered", steps, recovery.outcome, best.reward)
