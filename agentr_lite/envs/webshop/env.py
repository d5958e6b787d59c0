"""WebShop as an ``Environment``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.expert import expert_turns
from agentr_lite.envs.webshop import oracle
from agentr_lite.envs.webshop.catalogue import MAX_HITS, PAGE_SIZE, Catalogue
from agentr_lite.envs.webshop.expert import Buyer, Informed
from agentr_lite.envs.webshop.goals import (
    bundled_tasks,
    goal_of_task,
    human_goals,
    in_upstream_order,
    synthetic_goals,
    upstream_tasks,
)
from agentr_lite.envs.webshop.original import load_human_goals, load_products, products_file
from agentr_lite.envs.webshop.pages import Visit, advance, clickables, page_text
from agentr_lite.envs.webshop.reward import Goal, Score, score_purchase
from agentr_lite.envs.webshop.stock import bundled_rows

_INSTRUCTIONS = """\
You shop in a web store, page by page. The instruction says what to buy; it stays in view. Buy \
the product that fits it best, in the version asked for and within the price named.

Write two lines each turn:
Thought: what the page shows, and what you do next
Action: exactly one action

There are two kinds of actions:
- search[words] looks for products: name the kind of product and its most telling properties.
- click[text] presses what the page offers; copy the text exactly as it stands between two [SEP].

What can be clicked:
- on the results: the number of a product (B0 and more), Next >, < Prev, Back to Search
- on a product: each value of its options, such as a color or a size; Description, Features and \
Reviews, which tell more; Buy Now; < Prev; Back to Search
- on Description, Features or Reviews: < Prev to return to the product, Back to Search

Properties that the title does not mention may be among the features. Click every option that the \
instruction names before you buy: the page does not show what is chosen, and a new search or \
leaving the product forgets it. Buy Now ends the game; the reward is the share of the wishes that \
the purchase meets.

Example:
Thought: I need a quick drying towel in grey. I search for what it is before its color.
Action: search[quick drying bath towel]"""

_BRIEF = "Buy what the instruction asks for. Answer with a Thought line and an Action line."

_GRAMMAR = r"""
action ::= ("search[" | "click[") [^\n]+ "]"
"""

_GOALS_KEPT = 16384


class WebShopSnapshot(NamedTuple):
    """The whole state of an episode."""

    task: Task
    visit: Visit


class WebShop(Environment):
    """Find and buy the product that an instruction describes.

    Tasks come from the bundled catalogue or from the original data. An instance can also start
    other tasks whose payload names a product of its catalogue
    (``agentr_lite.envs.webshop.goals.task_of_goal``). A task does not depend on the seed.

    Args:
        data_dir: the directory of WebShop's original files, or its ``items_shuffle*.json``;
            default: the bundled catalogue.
        goals: ``synthetic`` (made from products and options) or ``human`` (written by people;
            original data only).
        products: number of products to use, from the start of the original catalogue; 0 = all.
        page_size: products on a page of results, 1 to 50 (upstream: 10). A small number makes
            short pages for small models; the results of a search stay the same.

    Raises:
        UsageError: an option is wrong, or ``data_dir`` has no readable data.
    """

    name: ClassVar[str] = "webshop"
    path_options: ClassVar[tuple[str, ...]] = ("data_dir",)

    def __init__(
        self,
        data_dir: str | None = None,
        goals: str = "synthetic",
        products: int = 0,
        page_size: int = PAGE_SIZE,
    ) -> None:
        if goals not in ("synthetic", "human"):
            raise UsageError(f"webshop: goals is synthetic or human, not {goals!r}")
        if not isinstance(products, int) or isinstance(products, bool) or products < 0:
            raise UsageError(f"webshop: products needs a whole number >= 0, not {products!r}")
        if (
            not isinstance(page_size, int)
            or isinstance(page_size, bool)
            or not 1 <= page_size <= MAX_HITS
        ):
            raise UsageError(
                f"webshop: page_size needs a whole number from 1 to {MAX_HITS}, not {page_size!r}"
            )
        if data_dir is None and (goals != "synthetic" or products):
            raise UsageError(
                "webshop: goals and products choose from the original data",
                hint="Name its directory with data_dir.",
            )
        self._human = goals == "human"
        self._file: Path | None = None
        if data_dir is None:
            self._catalogue, self._known = _bundled(page_size)
        else:
            self._file = products_file(Path(data_dir).expanduser())
            self._catalogue, self._known = _original(
                self._file, products, self._file.stat().st_mtime_ns, page_size
            )
        self._tasks: dict[str, list[Task]] | None = None
        self._goals: dict[str, tuple[Task, Goal]] = {}
        self._task: Task | None = None
        self._goal: Goal | None = None
        self._visit = Visit()

    @property
    def catalogue(self) -> Catalogue:
        """The shop's products."""
        return self._catalogue

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, with mixed kinds of products; for original data, upstream's order.

        Raises:
            UsageError: there is no such split.
        """
        if self._tasks is None:
            self._tasks = self._make_tasks()
        if split not in self._tasks:
            raise UsageError(
                f"webshop has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return self._tasks[split]

    def _make_tasks(self) -> dict[str, list[Task]]:
        if self._file is None:
            return bundled_tasks(self._catalogue, self._known)
        goals = (
            human_goals(self._catalogue, load_human_goals(self._file))
            if self._human
            else synthetic_goals(self._catalogue, self._known)
        )
        return upstream_tasks(in_upstream_order(goals))

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task`` on the search page. ``seed`` changes nothing.

        Raises:
            UsageError: the task's product is not in the catalogue, or its payload is incomplete.
        """
        self._goal = self.goal(task)
        self._task = task
        self._visit = Visit()
        return page_text(self._catalogue, self._visit, self._goal.instruction), {}

    def goal(self, task: Task) -> Goal:
        """The goal of a task's customer.

        Raises:
            UsageError: see ``reset``.
        """
        known = self._goals.get(task.name)
        if known is not None and (known[0] is task or known[0] == task):
            return known[1]
        goal = goal_of_task(self._catalogue, task)
        if len(self._goals) >= _GOALS_KEPT:
            self._goals.clear()
        self._goals[task.name] = (task, goal)
        return goal

    def step(self, action: str) -> StepResult:
        """Carry out one action; buying ends the episode and earns the reward.

        An action that is not understood or is impossible shows the page again.
        """
        goal = self._playing()
        target = advance(self._catalogue, self._visit, action)
        if target is not None:
            self._visit = target
        info: dict[str, Any] = {"invalid": target is None}
        reward, over = 0.0, self._visit.page == "end"
        if over:
            score = self._score()
            reward, info["score"] = score.reward, asdict(score)
        text = page_text(self._catalogue, self._visit, goal.instruction, reward)
        return StepResult(text, reward, over, False, info)

    def _score(self) -> Score:
        """The reward of the purchase that was just made."""
        product = self._catalogue.by_asin[self._visit.asin]
        return score_purchase(product, dict(self._visit.options), self._playing())

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        return _BRIEF if brief else _INSTRUCTIONS

    def snapshot(self) -> WebShopSnapshot:
        """The task and the visit; this takes constant time, because both are immutable."""
        self._playing()
        assert self._task is not None
        return WebShopSnapshot(self._task, self._visit)

    def restore(self, snapshot: WebShopSnapshot) -> None:
        """Return to a state, even one of another instance with the same settings."""
        if snapshot.task is not self._task:
            self._goal = self.goal(snapshot.task)
            self._task = snapshot.task
        self._visit = snapshot.visit

    def solve(self, task: Task) -> list[str]:
        """The actions that buy the goal's own product, from reset on.

        With original data, the purchase may earn less than 1: some goals ask for options that their
        product does not have.
        """
        return oracle.plan(self._catalogue, self.goal(task), Visit())

    def demonstrate(self, task: Task) -> list[str]:
        """An expert's turns, which say why a product is taken or left.

        Where its purchase earns less than 1, the oracle's actions with what the pages show for
        them; where these do, too, the oracle's actions with a plain thought. The episode in
        progress is lost.
        """
        goal = self.goal(task)
        turns = expert_turns(self, task, Buyer(goal)) or expert_turns(
            self, task, Informed(goal, self.solve(task))
        )
        return turns or super().demonstrate(task)

    def plan(self) -> list[str]:
        """The oracle's actions from the current state on; empty once something is bought."""
        return oracle.plan(self._catalogue, self._playing(), self._visit)

    def valid_actions(self) -> list[str]:
        """Every possible click on the page, and a search if the page has a search bar."""
        goal = self._playing()
        if self._visit.page == "start":
            return [f"search[{oracle.good_query(self._catalogue, goal)}]"]
        return [oracle.click(text) for text in clickables(self._catalogue, self._visit)]

    def grammar(self) -> str:
        """A search or a click with any text; product titles and options may have brackets."""
        return _GRAMMAR

    def describe_state(self) -> str:
        """The page and the chosen options, which the observation does not show."""
        visit = self._visit
        if visit.page == "start":
            return "search page"
        if visit.page == "results":
            return f"results for '{visit.query}', page {visit.number}"
        chosen = ", ".join(f"{name}: {value}" for name, value in visit.options)
        where = {"item": "product", "end": "bought"}.get(visit.page, visit.page)
        return f"{where} {visit.asin}, {chosen or 'nothing chosen'}"

    def _playing(self) -> Goal:
        if self._goal is None:
            raise UsageError("webshop: reset comes before the first step")
        return self._goal


@lru_cache(maxsize=2)
def _bundled(page_size: int) -> tuple[Catalogue, Mapping[str, Any]]:
    rows, known = bundled_rows()
    return Catalogue(rows, known, page_size), known


@lru_cache(maxsize=1)
def _original(
    file: Path, products: int, changed: int, page_size: int
) -> tuple[Catalogue, Mapping[str, Any]]:
    """Cached, as a run makes several instances of a shop. ``changed``: the file's time in ns."""
    rows, known = load_products(file, products)
    return Catalogue(rows, known, page_size), known
