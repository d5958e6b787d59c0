"""Goals of customers, made from the catalogue or written by people.

Source: WebShop's ``engine/goal.py`` and ``envs/web_agent_text_env.py`` for both kinds, the price
limits and the order; AgentGym's copy of them for the seed of the limits, which upstream does not
fix.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.webshop.catalogue import Catalogue, Product
from agentr_lite.envs.webshop.reward import Goal

_SEED = 233
_STEPS = tuple(10.0 * step for step in range(1, 100))
_NO_LIMIT = 1_000_000.0
UPSTREAM_TEST, UPSTREAM_DEV = 500, 1000
"""Number of goals in upstream's test and development set; they come first in its order."""
BUNDLED_TEST, BUNDLED_DEV = 2, 1
"""Number of goals of each kind of product in the bundled catalogue."""


def synthetic_goals(catalogue: Catalogue, known: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    """One goal for each combination of options of each product that has an instruction.

    Args:
        catalogue: the products.
        known: by ASIN, ``instruction`` and ``instruction_attributes``.
    """
    return [
        _synthetic(product, row, options, limit)
        for product, row, limit in _instructed(catalogue, known)
        for options in _combinations(product)
    ]


_Limit = tuple[float, str]
"""A price limit in dollars, and its text."""


def _instructed(
    catalogue: Catalogue, known: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[Product, Mapping[str, Any], _Limit]]:
    """The products with an instruction, as (product, instruction's row, price limit)."""
    draw = random.Random(_SEED)
    for product in catalogue.products:
        row = known.get(product.asin, {})
        if row.get("instruction") is not None and row.get("instruction_attributes"):
            yield product, row, _price_limit(product, draw)


def _combinations(product: Product) -> list[dict[str, str]]:
    """All ways to choose the product's options."""
    names = sorted(product.options)
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(product.options[name] for name in names))
    ]


def _synthetic(
    product: Product, row: Mapping[str, Any], options: Mapping[str, str], limit: _Limit
) -> Goal:
    wishes = ", and ".join(f"{name}: {value}" for name, value in options.items())
    with_options = f" with {wishes}" if wishes else ""
    instruction = f"{row['instruction']}{with_options}{limit[1]}"
    wanted = row["instruction_attributes"]
    return _goal(product, instruction, wanted, tuple(options.values()), limit[0])


def human_goals(
    catalogue: Catalogue, written: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Goal]:
    """The goals that were written by people.

    Args:
        catalogue: the products.
        written: by ASIN, rows with ``instruction``, ``instruction_attributes`` and
            ``instruction_options``.
    """
    draw = random.Random(_SEED)
    goals = []
    for product in catalogue.products:
        for row in written.get(product.asin, ()):
            if not row["instruction_attributes"]:
                continue
            limit, limit_text = _price_limit(product, draw)
            options = row["instruction_options"]
            values = options.values() if isinstance(options, Mapping) else options
            instruction = row["instruction"].strip(".") + limit_text
            goals.append(
                _goal(product, instruction, row["instruction_attributes"], tuple(values), limit)
            )
    return goals


def in_upstream_order(goals: list[Goal]) -> list[Goal]:
    """The goals in upstream's order, which is shuffled with its seed."""
    order = list(goals)
    random.Random(_SEED).shuffle(order)
    return order


def upstream_tasks(goals: Sequence[Goal]) -> dict[str, list[Task]]:
    """Tasks ``goal-0``, ``goal-1``, ... with upstream's splits.

    Test: the first 500; dev: the next 1,000; train: the rest. If there are fewer than 3,000 goals:
    a quarter, an eighth, the rest.

    Args:
        goals: in upstream's order.
    """
    test, dev = UPSTREAM_TEST, UPSTREAM_TEST + UPSTREAM_DEV
    if len(goals) < 2 * dev:
        test, dev = len(goals) // 4, len(goals) // 4 + len(goals) // 8
    tasks: dict[str, list[Task]] = {split: [] for split in SPLITS}
    for number, goal in enumerate(goals):
        split = "test" if number < test else "dev" if number < dev else "train"
        tasks[split].append(task_of_goal(f"goal-{number}", split, goal))
    return tasks


def bundled_tasks(
    catalogue: Catalogue, known: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Task]]:
    """The bundled catalogue's tasks: one for each product, with all kinds in every split."""
    by_kind: dict[str, list[Goal]] = {}
    for product, row, limit in _instructed(catalogue, known):
        choices = _combinations(product)
        options = choices[_draw(f"options/{product.asin}") % len(choices)]
        goal = _synthetic(product, row, options, limit)
        by_kind.setdefault(product.query, []).append(goal)
    tasks: dict[str, list[Task]] = {split: [] for split in SPLITS}
    for query, kind in by_kind.items():
        slug = query.replace("'", "").replace(" ", "-")
        ranked = sorted(range(len(kind)), key=lambda place: _draw(f"split/{kind[place].asin}"))
        for rank, place in enumerate(ranked):
            split = (
                "test"
                if rank < BUNDLED_TEST
                else "dev"
                if rank < BUNDLED_TEST + BUNDLED_DEV
                else "train"
            )
            tasks[split].append(task_of_goal(f"{slug}-{place}", split, kind[place]))
    for members in tasks.values():
        members.sort(key=lambda task: (_draw(f"order/{task.name}"), task.name))
    return tasks


def _draw(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def task_of_goal(name: str, split: str, goal: Goal) -> Task:
    """A goal as a task; its level is the number of wanted properties and options."""
    payload = {
        "asin": goal.asin,
        "instruction": goal.instruction,
        "attributes": list(goal.attributes),
        "options": list(goal.options),
        "price_limit": goal.price_limit,
    }
    level = len(goal.attributes) + len(goal.options)
    line = " ".join(goal.instruction.split())
    return Task(name, split, line, level=level, payload=payload)


def goal_of_task(catalogue: Catalogue, task: Task) -> Goal:
    """The goal that a task's payload describes.

    Raises:
        UsageError: its product is not in the catalogue, or a field is missing.
    """
    payload = task.payload
    product = catalogue.by_asin.get(str(payload.get("asin")))
    if product is None:
        raise UsageError(
            f"webshop: no product '{payload.get('asin')}' here (task '{task.name}')",
            hint="The task may have been made with another data_dir.",
        )
    try:
        if not payload["attributes"]:
            raise ValueError("no attributes")
        return _goal(
            product,
            str(payload["instruction"]),
            payload["attributes"],
            tuple(map(str, payload.get("options", ()))),
            float(payload.get("price_limit", _NO_LIMIT)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"webshop: task '{task.name}' cannot be read: {type(error).__name__} {error}",
            hint="A task's payload needs asin, instruction and attributes; options and price_limit"
            " are optional.",
        ) from error


def _goal(
    product: Product,
    instruction: str,
    attributes: Sequence[str],
    options: Sequence[str],
    limit: float,
) -> Goal:
    return Goal(
        asin=product.asin,
        instruction=instruction,
        attributes=tuple(map(str, attributes)),
        options=tuple(options),
        price_limit=limit,
        category=product.category,
        query=product.query,
        title=product.title,
        product_category=product.product_category,
    )


def _price_limit(product: Product, draw: random.Random) -> _Limit:
    """One of the next four $10 steps above the price, but not the first of them."""
    steps = [step for step in _STEPS if step > product.price][:4]
    if len(steps) < 2:
        return _NO_LIMIT, ""
    limit = max(draw.sample(steps, 2))
    return limit, f", and price lower than {limit:.2f} dollars"
