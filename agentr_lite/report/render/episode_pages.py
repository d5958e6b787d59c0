"""Held-out episodes as the page holds them: rows of a table, and transcripts in packed blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentr_lite.console.outcomes import (
    BROKEN,
    CUT_EPISODE,
    FAILED,
    FATAL,
    GAINED,
    INVALID,
    LOST,
    NO_ACTION,
    PARTIAL,
    REFLECTED,
    REPEATED,
    SOLVED,
    Mark,
    turn_mark,
)
from agentr_lite.console.text import clean, truncate
from agentr_lite.core.openings import Example, Opening
from agentr_lite.metrics.episode_pairs import same_steps
from agentr_lite.metrics.episodes import played_steps, repeated_places
from agentr_lite.report.model.episodes import (
    NO_ACTION_TITLE,
    Evaluated,
    Key,
    difference_sentence,
    episode_end,
    episode_mark,
    load_evaluated,
    outcome_mark,
)
from agentr_lite.report.render.blocks import Packed, Record, deflated, pack
from agentr_lite.report.render.excerpts import shorten, without_action
from agentr_lite.store.database import Store
from agentr_lite.store.examples import list_examples
from agentr_lite.store.records import EvalItemRow, TaskRow
from agentr_lite.store.trees import run_instructions

BLOCKS_BUDGET = 3_500_000
"""Characters of all packed transcripts."""
PLAIN_ROWS = 200
"""Rows of all tables together that are there without a script; each table has some."""
_FEWEST_ROWS = 20
_TASKS_OF_A_BLOCK = 8
"""Few enough to be unpacked at once, many enough that their texts compress well."""
_GOAL = 240
"""Characters of a goal in a table."""

LEGEND = (
    *(GAINED, LOST, SOLVED, PARTIAL, FAILED, FATAL, CUT_EPISODE, BROKEN),
    *(INVALID, REPEATED, NO_ACTION, REFLECTED),
)
"""The signs of episodes that need an explanation."""

GIVEN, REPEATS, FAULTY = 1, 2, 4
"""Bits that say what else is true of a step, beside its mark."""


@dataclass(frozen=True, slots=True)
class PlainRow:
    """A task's row, for pages without a script: the last round against the first one."""

    goal: str
    name: str
    level: int
    change: Mark
    marks: Sequence[Mark | None]
    """One for each round; None: not played."""
    reward: str
    steps: str
    errors: str


@dataclass(frozen=True, slots=True)
class EpisodeTable:
    """One kind of evaluation of one run."""

    anchor: str
    place: int
    """Its index among the tables that the script reads."""
    where: str
    """Its run's label, where there are several."""
    name: str
    rounds: Sequence[str]
    tasks: int
    rows: Sequence[PlainRow]


@dataclass(frozen=True, slots=True)
class EpisodePages:
    """All held-out episodes of a page."""

    tables: Sequence[EpisodeTable] = ()
    blocks: Sequence[tuple[str, str]] = ()
    """(id in the page, packed text)."""
    cut_at: int = 0
    """Longer texts are cut to so many characters; 0: none is."""
    left_out: int = 0
    """Tasks without a transcript in the page."""
    transcripts: int = 0
    """Tasks in all."""


@dataclass(slots=True)
class _Gathered:
    """What all runs' evaluations give, in the order of the page."""

    marks: dict[Mark, int] = field(
        default_factory=lambda: {mark: at for at, mark in enumerate(LEGEND)}
    )
    """The signs that the script shows, those of flags among them."""
    sets: list[tuple[str, Evaluated]] = field(default_factory=list)
    groups: dict[tuple[int, int], dict[tuple[int, Key], Record]] = field(default_factory=dict)
    """(run, task id) to its records by (table, task and sample)."""

    def mark(self, mark: Mark) -> int:
        """The place of a mark among those that the script reads."""
        return self.marks.setdefault(mark, len(self.marks))


def episode_pages(
    sources: Sequence[tuple[Store, str, str]], *, budget: int = BLOCKS_BUDGET
) -> EpisodePages:
    """The held-out episodes of runs.

    Args:
        sources: (database, run id, the run's label; empty where it is the only one).
        budget: characters of all transcripts.
    """
    gathered = _Gathered()
    for run, (store, run_id, label) in enumerate(sources):
        openings = _Openings(store, run_id)
        for evaluated in load_evaluated(store, run_id):
            place = len(gathered.sets)
            gathered.sets.append((label, evaluated))
            for key in evaluated.tasks:
                record = partial(_record, evaluated, key, openings.of, gathered.mark)
                gathered.groups.setdefault((run, key[0]), {})[place, key] = record
    if not gathered.sets:
        return EpisodePages()
    tasks = list(gathered.groups.values())
    parts = [tasks[at : at + _TASKS_OF_A_BLOCK] for at in range(0, len(tasks), _TASKS_OF_A_BLOCK)]
    packed = pack([[r for task in part for r in task.values()] for part in parts], budget)
    where = {
        name: (block, at)
        for block, part in enumerate(parts[: len(packed.blocks)])
        for at, name in enumerate(name for task in part for name in task)
    }
    return _pages(gathered, packed, where, parts)


def _pages(
    gathered: _Gathered,
    packed: Packed,
    where: dict[tuple[int, Key], tuple[int, int]],
    parts: Sequence[Sequence[dict[tuple[int, Key], Record]]],
) -> EpisodePages:
    plain = max(_FEWEST_ROWS, PLAIN_ROWS // len(gathered.sets))
    tables, data = [], []
    for place, (label, evaluated) in enumerate(gathered.sets):
        data.append(
            {
                "rounds": list(evaluated.names),
                "pairs": evaluated.pairs,
                "rows": [
                    _row(evaluated, key, task, gathered.mark, where.get((place, key)))
                    for key, task in evaluated.tasks.items()
                ],
            }
        )
        tables.append(
            EpisodeTable(
                f"played-{place + 1}",
                place,
                label,
                f"{evaluated.mode.capitalize()}, {evaluated.split}",
                evaluated.names,
                len(evaluated.tasks),
                [_plain_row(evaluated, key) for key in list(evaluated.tasks)[:plain]],
            )
        )
    marks = [[mark.glyph, mark.style, mark.word] for mark in gathered.marks]
    named = [("episodes-table", deflated({"marks": marks, "sets": data}))]
    named.append(("episodes-shared", packed.shared))
    named += [(f"episodes-{at}", block) for at, block in enumerate(packed.blocks)]
    return EpisodePages(
        tables,
        named,
        packed.limit if packed.has_cuts else 0,
        sum(len(part) for part in parts[len(packed.blocks) :]),
        sum(map(len, parts)),
    )


class _Openings:
    """What the model saw before its first turn; what a whole run shares is read once."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._examples: dict[str, tuple[Example, ...]] = {}
        self._instructions: dict[str, str] = {}

    def of(self, item: EvalItemRow) -> tuple[str, str, str]:
        """(before the task, the task, a note) of an episode."""
        env = item.task.env
        if env not in self._examples:
            self._examples[env] = tuple(list_examples(self._store, self._run_id, env))
            self._instructions[env] = run_instructions(self._store, self._run_id, env)
        note = ""
        instructions = item.instructions
        if item.observation is None:
            instructions = self._instructions[env]
            note = "An older release has not stored what the model saw first: this is the goal"
            note += ", and the instructions of the run's searches." if instructions else "."
        elif not item.observation:
            note = "The environment could not begin this task."
        saw = item.observation or item.task.goal
        opening = Opening(instructions or "", saw, self._examples[env])
        return opening.before_task, saw, note


def _row(
    evaluated: Evaluated,
    key: Key,
    task: TaskRow,
    mark: Callable[[Mark], int],
    where: tuple[int, int] | None,
) -> list[Any]:
    """A row for the script: task, its rounds, the change between every two, its transcripts."""
    items = [played.get(key) for played in evaluated.played]
    cells = [
        None
        if item is None
        else [
            *(mark(episode_mark(item)), round(item.reward, 4), item.steps, len(_errors(item))),
            *(item.invalid_actions, item.repeated_actions),
        ]
        for item in items
    ]
    return [
        _name(evaluated, key),
        shorten(task.goal, _GOAL),
        task.level,
        cells,
        [mark(outcome_mark(items[left], items[right])) for left, right in evaluated.pairs],
        list(where) if where else None,
    ]


def _plain_row(evaluated: Evaluated, key: Key) -> PlainRow:
    task = evaluated.tasks[key]
    items = [played.get(key) for played in evaluated.played]
    first, last = items[0], items[-1]
    ends = [last] if len(items) == 1 else [first, last]
    return PlainRow(
        shorten(task.goal, _GOAL),
        _name(evaluated, key),
        task.level,
        outcome_mark(first, last) if len(items) > 1 else Mark("–", "dim", "one round only"),
        [None if item is None else episode_mark(item) for item in items],
        _arrow(ends, lambda item: f"{item.reward:.3g}"),
        _arrow(ends, lambda item: str(item.steps)),
        _arrow(ends, lambda item: str(len(_errors(item)))),
    )


def _name(evaluated: Evaluated, key: Key) -> str:
    """A task's name, with its environment where there are several, and which sample it is."""
    task = evaluated.tasks[key]
    name = f"{task.env} · {task.name}" if evaluated.has_several_envs else task.name
    return shorten(name + (f", sample {key[1] + 1}" if key[1] else ""), _GOAL)


def _arrow(items: Iterable[EvalItemRow | None], show: Callable[[EvalItemRow], str]) -> str:
    return " → ".join("–" if item is None else show(item) for item in items)


def _repeated(item: EvalItemRow) -> set[int]:
    """The places of repeated steps in the whole episode, given steps counted."""
    own = [at for at, played in enumerate(item.episode) if not played.given]
    return {own[at] for at in repeated_places(played_steps(item))}


def _errors(item: EvalItemRow) -> set[int]:
    """The places of steps that the model chose and that were invalid or repeated."""
    invalid = {
        at for at, played in enumerate(item.episode) if played.step.invalid and not played.given
    }
    return invalid | _repeated(item)


def _record(
    evaluated: Evaluated,
    key: Key,
    opening: Callable[[EvalItemRow], tuple[str, str, str]],
    mark: Callable[[Mark], int],
    place: Callable[[str | None], int],
) -> list[Any]:
    """A task's transcripts for the script: one for each round, and where every two part."""
    items = [played.get(key) for played in evaluated.played]
    played = [
        None if item is None else _transcript(item, opening(item), mark, place) for item in items
    ]
    actions = [None if item is None else _actions(item) for item in items]
    parted = []
    for left, right in evaluated.pairs:
        before, now = items[left], items[right]
        shared = same_steps(before.episode, now.episode) if before and now else 0
        names = (evaluated.names[left], evaluated.names[right])
        words = difference_sentence(names, actions[left], actions[right], shared)
        parted.append([shared, place(words)])
    return [played, parted]


def _actions(item: EvalItemRow) -> list[str]:
    return [
        truncate(clean(played.step.action, keep=""), 80) if played.step.action else NO_ACTION_TITLE
        for played in item.episode
    ]


def _transcript(
    item: EvalItemRow,
    opening: tuple[str, str, str],
    mark: Callable[[Mark], int],
    place: Callable[[str | None], int],
) -> list[Any]:
    before, saw, note = opening
    repeated = _repeated(item)
    steps = []
    for at, played in enumerate(item.episode):
        step = played.step
        shown = turn_mark(step)
        flags = GIVEN * played.given + REPEATS * (at in repeated)
        flags += FAULTY * (step.invalid and shown is not INVALID)
        said = without_action(step.action, step.text)
        steps.append(
            [
                mark(shown),
                flags,
                place(step.action),
                place(said or None),
                place(step.thinking or None),
                place(step.observation or None),
            ]
        )
    end = episode_end(item, [played.step for played in item.episode])
    return [
        place(before or None),
        place(saw),
        place(note or None),
        mark(end),
        place(item.error),
        steps,
    ]
