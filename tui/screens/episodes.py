"""The episodes of one evaluation beside the base model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.console.outcomes import GAINED, LOST
from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import reference_round, round_name
from agentr_lite.metrics.episode_pairs import flip, kept
from agentr_lite.metrics.episodes import is_faulty
from agentr_lite.metrics.intervals import mcnemar_exact
from agentr_lite.report.model.episodes import Key, episode_mark
from agentr_lite.report.words import p_value
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalRow
from agentr_lite.store.runs import get_run

from ..episode_reader import read_episode
from ..error_reader import failing_step
from ..layout.columns import Column, Row, put_env, with_env
from ..layout.documents import lay_out_step
from ..layout.episodes import flip_span, key_of, keys_of
from ..layout.figures import percent, reward_span
from ..layout.lines import Line, Span, one_line
from ..navigation import ToBeside, ToEpisode
from ..widgets.document_view import Layout
from ..widgets.table import Table
from .base import SORT
from .env_filter import ENV, EnvFilterScreen, has_several
from .filter import ASK
from .preview import PreviewScreen

_WHICH = ("all", "gained", "lost", "failed", "kept")


class EpisodesScreen(PreviewScreen, EnvFilterScreen):
    """A table of episodes; enter steps through one."""

    HINT = (
        "Episodes of one evaluation. ▲ solved now but not by the base model, ▼ the reverse."
        " ☠ ended by a fatal mistake, … cut at the step limit. ⚠ the environment failed: the"
        " figures leave the episode out. u shows all, gained, lost, failed or kept episodes; enter"
        " steps through an episode, b shows it beside the base model's."
    )
    PROMPT = "show episodes whose task or goal contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Step through", id="episodes.open"),
        Binding("b", "beside", "Beside", id="episodes.beside"),
        Binding("u", "which", "Filter", id="episodes.which"),
        *SORT,
        ASK,
        ENV,
    ]

    COLUMNS = (
        Column("mark", " "),
        Column("flip", " "),
        Column("goal", "goal", flex=True, least=36),
        Column("task", "task", flex=True, least=40, drop=5),
        Column("level", "level", right=True, drop=2),
        Column("reward", "reward", right=True),
        Column("base", "base", right=True),
        Column("steps", "steps", right=True),
        Column("invalid", "invalid", right=True, drop=3),
        Column("repeated", "repeated", right=True, drop=4),
    )

    def __init__(self, store: Store, run_id: str, eval_id: int, env: str = "") -> None:
        """
        Args:
            store: the database.
            run_id: the run.
            eval_id: the evaluation.
            env: the environment to show first; empty: all.

        Raises:
            UsageError: no such evaluation in the run.
        """
        super().__init__(store, run_id, env)
        self._imitates = get_run(store, run_id).imitates
        columns = [
            replace(column, title="start") if column.key == "base" and self._imitates else column
            for column in self.COLUMNS
        ]
        self.eval_id = eval_id
        self._which = "all"
        self._evals: list[EvalRow] = []
        self._eval, self._base = self._find()
        self._compares = self._base is not None
        if not self._compares:
            # The base's own episodes, or nothing to compare with: the columns would be empty.
            columns = [column for column in columns if column.key not in ("base", "flip")]
        self._columns = with_env(columns, several=has_several(store, run_id))

    def body(self) -> Iterable[Widget]:
        table = Table(self._columns, id="episodes")
        yield from self.with_preview(table)

    def refresh_data(self) -> None:
        self._eval, self._base = self._find()
        played = list_eval_items(self.store, self.eval_id, last_step_only=True)
        self.set_envs(item.task.env for item in played)
        items = [item for item in played if self.in_env(item.task.env)]
        base: dict[Key, EvalItemRow] = {}
        if self._base is not None:
            rows = list_eval_items(self.store, self._base.id, with_episodes=False)
            base = {key_of(item): item for item in rows}
        shown = [
            item
            for item in items
            if self.matches(item.task.name, item.task.goal) and self._wanted(item, base)
        ]
        table = self.query_one(Table)
        table.empty = self.nothing_shown(len(items), "No episodes yet.")
        table.fill(
            [
                Row(
                    key_of(item),
                    put_env(_cells(item, base, self._compares), self._columns, item.task.env),
                    _sort_values(item, base),
                )
                for item in shown
            ]
        )
        self.show_preview()
        name = round_name(self._eval.round, imitates=self._imitates)
        self.crumbs([self.run_id, f"{name}, {self._eval.mode}, {self._eval.split}"])
        self.caption(self._counts(items, base, len(shown)))

    def preview_of(self, key: object) -> Layout:
        """The step where the episode goes wrong."""
        assert isinstance(key, tuple)
        view = failing_step(read_episode(self.store, self._eval, key).views)
        return lambda width: lay_out_step(view, width)

    def _find(self) -> tuple[EvalRow, EvalRow | None]:
        evals = list_evals(self.store, self.run_id)
        current = next((row for row in evals if row.id == self.eval_id), None)
        if current is None:
            raise UsageError("this evaluation no longer exists: its round was evaluated again")
        kind = (current.mode, current.split)
        self._evals = [row for row in evals if (row.mode, row.split) == kind]
        reference = reference_round(current.round, imitates=self._imitates)
        if reference is None:
            return current, None
        return current, next((row for row in self._evals if row.round == reference), None)

    def _wanted(self, item: EvalItemRow, base: Mapping[Key, EvalItemRow]) -> bool:
        if self._which == "all":
            return True
        if self._which == "failed":
            return not item.success and not is_faulty(item)
        if self._which == "kept":
            return kept(base.get(key_of(item)), item)
        return _flip(item, base) == (1 if self._which == "gained" else -1)

    def _counts(
        self, items: list[EvalItemRow], base: Mapping[Key, EvalItemRow], shown: int
    ) -> Line:
        sound = [item for item in items if not is_faulty(item)]
        spans: list[Span] = [(f"{sum(item.success for item in sound)}", "good")]
        spans.append((f" of {len(sound)} solved", "dim"))
        if len(sound) < len(items):
            spans.append((f" · {len(items) - len(sound)} broken, left out", "odd"))
        if base:
            gained = sum(_flip(item, base) > 0 for item in items)
            lost = sum(_flip(item, base) < 0 for item in items)
            spans += [(" · ", "dim"), (f"{GAINED.glyph} {gained} {GAINED.word}", GAINED.style)]
            spans += [(" · ", "dim"), (f"{LOST.glyph} {lost} {LOST.word}", LOST.style)]
            if all(item.sample == 0 for item in items):
                p = p_value(mcnemar_exact(gained, lost)) or ""
                sign = "" if p.startswith("<") else "= "
                spans.append((f" · p {sign}{p} (McNemar)", "dim"))
        if shown < len(items):
            spans.append((f" · {shown} shown", "dim"))
        if self._which != "all":
            spans += [(" · ", "dim"), (self._which, "match")]
        return (*spans, *self.env_note(), *self.needle_note())

    def action_which(self) -> None:
        """Show all, gained, lost, failed or kept episodes in turn."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()

    def action_open(self) -> None:
        """Step through the episode under the cursor."""
        table = self.query_one(Table)
        if table.current is not None:
            self.go_to(ToEpisode(self.run_id, self._eval, keys_of(table.rows)[table.cursor]))

    def action_beside(self) -> None:
        """Show the episode beside the base's; one of the base beside the last round's."""
        table = self.query_one(Table)
        if table.current is None:
            return
        here = next(at for at, row in enumerate(self._evals) if row.id == self.eval_id)
        other = len(self._evals) - 1
        if self._base is not None:
            other = next(at for at, row in enumerate(self._evals) if row.id == self._base.id)
        if other == here:
            self.notify("No other round has played these tasks yet.", timeout=3)
            return
        rounds = (min(here, other), max(here, other))
        self.go_to(ToBeside(self._evals, rounds, keys_of(table.rows), table.cursor))


def _flip(item: EvalItemRow, base: Mapping[Key, EvalItemRow]) -> int:
    """1 if the episode succeeded and the base model's did not, -1 in the reverse case, else 0."""
    return flip(base.get(key_of(item)), item)


def _repeated(item: EvalItemRow) -> float:
    """The share of the played steps that repeat the ones just before, as in the report."""
    return item.repeated_actions / item.steps if item.steps else 0.0


def _cells(item: EvalItemRow, base: Mapping[Key, EvalItemRow], compares: bool) -> list[Span]:
    """The cells of a row; those of the base only if the table has its columns."""
    mark = episode_mark(item)
    before = base.get(key_of(item))
    goal = item.task.goal if not item.error else f"{item.task.goal}  ({item.error})"
    return [
        (mark.glyph, mark.style),
        *([flip_span(_flip(item, base))] if compares else []),
        (one_line(goal), "plain"),
        (one_line(item.task.name), "dim"),
        (str(item.task.level), "plain"),
        reward_span(item.reward),
        *([reward_span(before.reward) if before else ("–", "dim")] if compares else []),
        (str(item.steps), "plain"),
        (str(item.invalid_actions), "odd" if item.invalid_actions else "dim"),
        (percent(_repeated(item)), "partial" if item.repeated_actions else "dim"),
    ]


def _sort_values(
    item: EvalItemRow, base: Mapping[Key, EvalItemRow]
) -> dict[str, float | str | None]:
    before = base.get(key_of(item))
    return {
        "mark": item.success,
        "flip": _flip(item, base) if before else None,
        "goal": item.task.goal,
        "env": item.task.env,
        "task": item.task.name,
        "level": item.task.level,
        "reward": item.reward,
        "base": before.reward if before else None,
        "steps": item.steps,
        "invalid": item.invalid_actions,
        "repeated": _repeated(item),
    }
