"""A study's cells: one run each, with the recipe that it comes down to.

The grid is environments x methods x seeds; ablations add variants of a method, which stand in the
same grid under names of their own (``merge-off``, ``budget-simulations-3``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.metrics.methods import BASE
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.study.methods import GOOD, METHODS, NAIVE, VERIFIED
from agentr_lite.study.recipe import Ablation, StudyRecipe, merged

EQUAL_DATA = "naive-equal-data"
FLAWLESS = "good-flawless"
REASON = "critic-reason"
UNMERGED = "merge-off"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study."""

    env: str
    """The study's name for the environment."""
    method: str
    """A method's key, or an ablation's variant."""
    seed: int
    recipe: Recipe
    """All that the result depends on, besides the model; ``equal_to`` adds to it."""
    label: str
    """The method as tables name it."""
    ablation: str = ""
    """The ablation that it belongs to; empty: one of the study's own methods."""
    equal_to: str = ""
    """Method whose number of examples of round 1 is this cell's ``train.max_examples``."""

    @property
    def name(self) -> str:
        """``ENV/METHOD/SEED``, as ``--only`` takes it."""
        return f"{self.env}/{self.method}/{self.seed}"

    @property
    def key(self) -> tuple[str, str, int]:
        """(env, method, seed)."""
        return (self.env, self.method, self.seed)


@dataclass(frozen=True, slots=True)
class Variant:
    """A method of an ablation."""

    method: str
    label: str
    changes: Mapping[str, Any]
    ablation: str
    settings: Ablation
    equal_to: str = ""


def study_cells(study: StudyRecipe, only: Sequence[str] = ()) -> list[Cell]:
    """All cells, in the order of the work.

    Seeds come outermost, so that a first coarse table is there early; within a seed the methods of
    an environment follow each other, as they share its first round. Naive splices come last: where
    their texts are what the environment says, all of their rounds are the verified method's.

    Args:
        study: the study.
        only: filters ``ENV``, ``ENV/METHOD``, ``ENV/METHOD/SEED`` or with ``*`` in place of any
            part; a cell that fits one of them is in. Empty: all.

    Raises:
        UsageError: a filter that fits no cell.
        RecipeError: a method's changes do not fit an environment's recipe.
    """
    cells = [
        *_grid(study),
        *(cell for variant in variants(study) for cell in _variant_cells(study, variant)),
    ]
    envs, seeds = list(study.environments), list(study.seeds)

    def turn(cell: Cell) -> tuple[bool, int, int, bool]:
        first = seeds.index(cell.seed), envs.index(cell.env)
        return (bool(cell.ablation), *first, cell.method == NAIVE)

    cells.sort(key=turn)
    for one in only:
        if not any(fits(cell, one) for cell in cells):
            names = [cell.name for cell in cells]
            raise UsageError(
                f"--only {one} fits nothing in study {study.name}"
                f"{did_you_mean(one, [*envs, *names])}",
                hint="ENV, ENV/METHOD or ENV/METHOD/SEED, with * for any;"
                f" environments: {', '.join(envs)}; methods:"
                f" {', '.join(dict.fromkeys(cell.method for cell in cells))}.",
            )
    return [cell for cell in cells if not only or any(fits(cell, one) for one in only)]


def fits(cell: Cell, pattern: str) -> bool:
    """Whether a filter of ``--only`` lets a cell in."""
    parts = [part.strip() for part in pattern.split("/")]
    own = (cell.env, cell.method, str(cell.seed))
    return len(parts) <= 3 and all(
        part in ("", "*", mine) for part, mine in zip(parts, own, strict=False)
    )


def variants(study: StudyRecipe) -> list[Variant]:
    """The methods that the ablations add."""
    wanted = study.ablations
    found: list[Variant] = []
    if wanted.equal_data.run and {VERIFIED, NAIVE} <= {*study.methods}:
        naive = METHODS[NAIVE]
        found.append(
            Variant(
                *(EQUAL_DATA, "naive, as many examples", naive.changes, "equal_data"),
                settings=wanted.equal_data,
                equal_to=VERIFIED,
            )
        )
    if wanted.flawless.run:
        changes = merged(METHODS[GOOD].changes, {"splice": {"good_flaws": False}})
        label = "good data without reflections"
        found.append(Variant(FLAWLESS, label, changes, "flawless", wanted.flawless))
    reference = METHODS[VERIFIED].changes
    if wanted.critic.run:
        changes = merged(reference, {"splice": {"critic": "reason"}})
        found.append(Variant(REASON, "critic reasons", changes, "critic", wanted.critic))
    for search in wanted.budget.variants if wanted.budget.run else ():
        told = ", ".join(f"{key} {value}" for key, value in search.items())
        name = "budget-" + "-".join(f"{key}-{value}" for key, value in search.items())
        changes = merged(reference, {"search": dict(search)})
        found.append(Variant(name, told, changes, "budget", wanted.budget))
    if wanted.merge.run:
        changes = merged(reference, {"search": {"merge": False}})
        found.append(Variant(UNMERGED, "siblings kept apart", changes, "merge", wanted.merge))
    return found


def _grid(study: StudyRecipe) -> Iterator[Cell]:
    methods = [BASE, *study.trained]
    for env in study.environments:
        recipe = study.env_recipe(env)
        for method in methods:
            changed = _with(recipe, METHODS[method].changes, env, method)
            if method == BASE:
                changed = replace(changed, rounds=0)
            for seed in study.seeds:
                own = replace(changed, seed=seed)
                yield Cell(env, method, seed, own, METHODS[method].label)


def _variant_cells(study: StudyRecipe, variant: Variant) -> Iterator[Cell]:
    settings = variant.settings
    for env in settings.environments or study.environments:
        reference = _with(study.env_recipe(env), METHODS[VERIFIED].changes, env, VERIFIED)
        recipe = _with(study.env_recipe(env), variant.changes, env, variant.method)
        if VERIFIED in study.methods and _setting(recipe) == _setting(reference):
            # A budget that is the study's own has been run already.
            continue
        recipe = replace(recipe, rounds=settings.rounds)
        for seed in settings.seeds or study.seeds:
            if seed in study.seeds:
                yield Cell(
                    *(env, variant.method, seed, replace(recipe, seed=seed), variant.label),
                    ablation=variant.ablation,
                    equal_to=variant.equal_to,
                )


def _with(recipe: Recipe, changes: Mapping[str, Any], env: str, method: str) -> Recipe:
    data = merged(recipe.to_dict(), changes)
    return recipe_from_dict({**data, "name": f"{env}-{method}"})


def _setting(recipe: Recipe) -> str:
    data = recipe.to_dict()
    return json.dumps({key: value for key, value in data.items() if key != "name"}, sort_keys=True)
