"""All rounds of one kind of evaluation, task by task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from agentr_lite.console.outcomes import GAINED, LOST
from agentr_lite.core.errors import UsageError
from agentr_lite.core.rounds import START, round_name
from agentr_lite.metrics.episode_pairs import flip, kept
from agentr_lite.metrics.episodes import is_faulty
from agentr_lite.report.model.episodes import Key, episode_mark
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow, EvalRow
from agentr_lite.store.runs import get_run

from ..episode_reader import read_episode
from ..error_reader import failing_step
from ..layout.columns import Column, Row, put_env, with_env
from ..layout.documents import lay_out_step
from ..layout.episodes import flip_span, key_of, keys_of
from ..layout.figures import counted, percent
from ..layout.lines import Line, Span, one_line
from ..navigation import ToBeside, ToEpisode
from ..widgets.document_view import Layout
from ..widgets.table import Table
from .base import SORT
from .env_filter import ENV, EnvFilterScreen, has_several
from .filter import ASK
from .preview import PreviewScreen

_WHICH = ("all", "changed", "gained", "lost", "kept")


class CompareScreen(PreviewScreen, EnvFilterScreen):
    """A row per task, a column per round: what training gained and what it lost."""

    HINT = (
        "Each held-out task over all rounds. ▲ solved in the chosen round but not in the first one,"
        " ▼ the reverse; [ and ] choose the round. u shows all, changed, gained, lost or kept"
        " tasks. Enter steps through the chosen round's episode, b shows it beside the first"
        " round's."
    )
    PROMPT = "show tasks whose name or goal contains …"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Step through", id="compare.open"),
        Binding("b", "beside", "Beside", id="compare.beside"),
        Binding("u", "which", "Filter", id="compare.which"),
        Binding(
            "left_square_bracket,left",
            "round(-1)",
            "Round",
            id="compare.previous",
            key_display="[ ]",
        ),
        Binding(
            "right_square_bracket,right",
            "round(1)",
            "Next round",
            show=False,
            id="compare.next",
            key_display="]",
        ),
        *SORT,
        ASK,
        ENV,
    ]

    def __init__(self, store: Store, run_id: str, eval_id: int, env: str = "") -> None:
        """
        Args:
            store: the database.
            run_id: the run.
            eval_id: one of the evaluations; the screen shows all with its mode and split.
            env: the environment to show first; empty: all.

        Raises:
            UsageError: no such evaluation in the run.
        """
        super().__init__(store, run_id, env)
        self._columns: Sequence[Column] = ()
        self._imitates = get_run(store, run_id).imitates
        self._kind = next(
            ((row.mode, row.split) for row in list_evals(store, run_id) if row.id == eval_id), None
        )
        if self._kind is None:
            raise UsageError("this evaluation no longer exists: its round was evaluated again")
        self._which = "all"
        self._evals = self._evals_of_kind()
        self._chosen = len(self._evals) - 1
        """The place of the round that is compared with the first one."""
        self._played: Sequence[Collection[Key]] = [() for _ in self._evals]

    def _evals_of_kind(self) -> list[EvalRow]:
        rows = list_evals(self.store, self.run_id)
        return sorted(
            (row for row in rows if (row.mode, row.split) == self._kind), key=lambda row: row.round
        )

    def body(self) -> Iterable[Widget]:
        rounds = [
            Column(
                f"round {row.round}",
                round_name(row.round, imitates=self._imitates),
                right=True,
                drop=0 if row.round <= START else 1,
            )
            for row in self._evals
        ]
        columns = (
            Column("flip", " "),
            Column("goal", "goal", flex=True, least=24),
            Column("task", "task", flex=True, least=40, drop=3),
            Column("level", "level", right=True, drop=2),
            *rounds,
        )
        self._columns = with_env(columns, several=has_several(self.store, self.run_id))
        table = Table(self._columns, id="compare")
        yield from self.with_preview(table)

    def refresh_data(self) -> None:
        evals = self._evals_of_kind()
        if not evals:
            raise UsageError("these evaluations no longer exist")
        # A round that was evaluated after the screen was opened has no column on it.
        fresh = {row.id: row for row in evals}
        self._evals = [fresh.get(row.id, row) for row in self._evals]
        by_round: list[dict[Key, EvalItemRow]] = []
        envs: set[str] = set()
        for row in self._evals:
            items = list_eval_items(self.store, row.id, last_step_only=True)
            envs |= {item.task.env for item in items}
            shown_items = [item for item in items if self.in_env(item.task.env)]
            by_round.append({key_of(item): item for item in shown_items})
        self._played = [items.keys() for items in by_round]
        self.set_envs(envs)
        tasks = {key: item for items in reversed(by_round) for key, item in items.items()}
        shown = {
            key: item
            for key, item in tasks.items()
            if self.matches(item.task.name, item.task.goal) and self._wanted(key, by_round)
        }
        table = self.query_one(Table)
        table.empty = self.nothing_shown(len(tasks), "No tasks of this environment.")
        table.fill(
            [
                Row(
                    key,
                    put_env(
                        _cells(key, item, by_round, self._flip(key, by_round)),
                        self._columns,
                        item.task.env,
                    ),
                    self._sort_values(key, item, by_round),
                )
                for key, item in shown.items()
            ]
        )
        self.show_preview()
        mode, split = self._kind or ("", "")
        self.crumbs([self.run_id, f"task by task, {mode}, {split}"])
        self.caption(self._counts(tasks, by_round, len(shown)), self._tabs())

    def _wanted(self, key: Key, by_round: Sequence[Mapping[Key, EvalItemRow]]) -> bool:
        if self._which == "all":
            return True
        if self._which == "changed":
            return len({items[key].success for items in by_round if key in items}) > 1
        if self._which == "kept":
            return kept(by_round[0].get(key), by_round[self._chosen].get(key))
        return self._flip(key, by_round) == (1 if self._which == "gained" else -1)

    def _flip(self, key: Key, by_round: Sequence[Mapping[Key, EvalItemRow]]) -> int:
        """1 if the chosen round succeeded and the first did not, -1 in the reverse case, else 0."""
        return flip(by_round[0].get(key), by_round[self._chosen].get(key))

    def _tabs(self) -> Line:
        """The rounds, the chosen one in brackets."""
        spans: list[Span] = []
        for at, row in enumerate(self._evals):
            here = at == self._chosen
            text = str(row.round) if row.round > START else self._round_name(row)
            spans.append((f"[{text}]" if here else f" {text} ", "strong" if here else "dim"))
        return (*spans, (" ", "plain"))

    def _round_name(self, row: EvalRow) -> str:
        return round_name(row.round, imitates=self._imitates)

    def _sort_values(
        self, key: Key, item: EvalItemRow, by_round: Sequence[Mapping[Key, EvalItemRow]]
    ) -> dict[str, float | str | None]:
        values: dict[str, float | str | None] = {
            "flip": self._flip(key, by_round),
            "goal": item.task.goal,
            "env": item.task.env,
            "task": item.task.name,
            "level": item.task.level,
        }
        for row, items in zip(self._evals, by_round, strict=True):
            values[f"round {row.round}"] = items[key].reward if key in items else None
        return values

    def _counts(
        self,
        tasks: Mapping[Key, EvalItemRow],
        by_round: Sequence[Mapping[Key, EvalItemRow]],
        shown: int,
    ) -> Line:
        spans: list[Span] = [(counted(len(tasks), "task"), "dim")]
        # What was chosen comes first: a narrow terminal cuts the end.
        if shown < len(tasks):
            spans.append((f" · {shown} shown", "dim"))
        if self._which != "all":
            spans += [(" · ", "dim"), (self._which, "match")]
        spans += [*self.env_note(), *self.needle_note()]
        gained = sum(self._flip(key, by_round) > 0 for key in tasks)
        lost = sum(self._flip(key, by_round) < 0 for key in tasks)
        spans += [(" · ", "dim"), (f"{GAINED.glyph} {gained}", GAINED.style)]
        spans += [(" ", "plain"), (f"{LOST.glyph} {lost}", LOST.style)]
        for row, items in zip(self._evals, by_round, strict=True):
            sound = [item for item in items.values() if not is_faulty(item)]
            if sound:
                share = percent(_success(sound)) + ("" if row.whole else " so far")
                spans.append(
                    (f" · {round_name(row.round, imitates=self._imitates)} {share}", "dim")
                )
        return tuple(spans)

    def action_open(self) -> None:
        """Step through the chosen round's episode of the task under the cursor."""
        table = self.query_one(Table)
        if table.current is not None:
            key = keys_of(table.rows)[table.cursor]
            self.go_to(ToEpisode(self.run_id, self._eval_of(key), key))

    def _eval_of(self, key: Key) -> EvalRow:
        """The chosen round's evaluation; an earlier one where that has not come to the task."""
        played = [at for at, keys in enumerate(self._played) if key in keys]
        return self._evals[max((at for at in played if at <= self._chosen), default=played[0])]

    def preview_of(self, key: object) -> Layout:
        """The step where the chosen round's episode goes wrong."""
        assert isinstance(key, tuple)
        view = failing_step(read_episode(self.store, self._eval_of(key), key).views)
        return lambda width: lay_out_step(view, width)

    def action_beside(self) -> None:
        """Show the chosen round's episode beside the first round's."""
        table = self.query_one(Table)
        if table.current is None:
            return
        if len(self._evals) < 2:
            self.notify("No other round has played these tasks yet.", timeout=3)
            return
        rounds = (0, self._chosen) if self._chosen else (0, len(self._evals) - 1)
        self.go_to(ToBeside(self._evals, rounds, keys_of(table.rows), table.cursor))

    def action_round(self, by: int) -> None:
        """Choose the round that is compared with the first one."""
        self._chosen = max(0, min(self._chosen + by, len(self._evals) - 1))
        self.reread()

    def action_which(self) -> None:
        """Show all, changed, gained, lost or kept tasks in turn."""
        self._which = _WHICH[(_WHICH.index(self._which) + 1) % len(_WHICH)]
        self.reread()


def _success(items: Iterable[EvalItemRow]) -> float:
    """The share of solved tasks; with several environments their mean, as in the tables."""
    by_env: dict[str, list[bool]] = {}
    for item in items:
        by_env.setdefault(item.task.env, []).append(item.success)
    return sum(sum(solved) / len(solved) for solved in by_env.values()) / len(by_env)


def _cells(
    key: Key, item: EvalItemRow, by_round: Sequence[Mapping[Key, EvalItemRow]], flipped: int
) -> list[Span]:
    cells: list[Span] = [
        flip_span(flipped),
        (one_line(item.task.goal), "plain"),
        (one_line(item.task.name), "dim"),
        (str(item.task.level), "plain"),
    ]
    for items in by_round:
        played = items.get(key)
        if played is None:
            cells.append(("–", "dim"))
        else:
            mark = episode_mark(played)
            cells.append((f"{mark.glyph} {played.reward:.2f}", mark.style))
    return cells
