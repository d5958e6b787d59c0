"""A study's cells: each is one run, with its complete recipe.

The grid is environments x methods x seeds. Ablations add methods, which are in the same grid under
their own names (``merge-off``, ``budget-simulations-3``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.recipe.loading import recipe_from_dict
from agentr_lite.recipe.settings import Recipe
from agentr_lite.study.methods import GOOD, IMITATION_MORE, METHODS, NAIVE, VERIFIED
from agentr_lite.study.recipe import Ablation, StudyRecipe, merged

EQUAL_DATA = "naive-equal-data"
FLAWLESS = "good-flawless"
REASON = "critic-reason"
UNMERGED = "merge-off"
EQUAL_TOKENS = "-equal-tokens"
"""The end of the names of methods that train on equally many tokens."""
_MANY_EPOCHS = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study."""

    env: str
    """The study's name for the environment."""
    method: str
    """A method's key, or the name of an ablation's method."""
    seed: int
    recipe: Recipe
    """Everything that the result depends on, except the model; ``equal_to`` adds to it."""
    label: str
    """The method's name in tables."""
    ablation: str = ""
    """The ablation that the cell belongs to; empty: the method is one of the study's own."""
    equal_to: str = ""
    """A method. Its number of examples in round 1 is this cell's ``train.max_examples``."""
    counted: Recipe | None = None
    """The recipe of another cell. Its numbers of examples, round by round, are this cell's
    ``imitation.further``."""

    @property
    def name(self) -> str:
        """``ENV/METHOD/SEED``, as ``--only`` takes it."""
        return f"{self.env}/{self.method}/{self.seed}"


@dataclass(frozen=True, slots=True)
class AblationMethod:
    """A method that an ablation adds."""

    key: str
    label: str
    changes: Mapping[str, Any]
    ablation: str
    settings: Ablation
    equal_to: str = ""
    of: str = ""
    """The study's method that is changed; empty: a method that starts as all others do."""


def study_cells(study: StudyRecipe, only: Sequence[str] = ()) -> list[Cell]:
    """All cells, in the order in which they are run.

    The order is by seed first, so that a first coarse table is there early. Within a seed, the
    methods of an environment follow each other, because they share the first round. Naive splices
    come late: if their texts are what the environment says, the verified method has computed all of
    their rounds. What counts another cell's examples comes after it.

    Args:
        study: the study.
        only: patterns ``ENV``, ``ENV/METHOD``, ``ENV/METHOD/SEED``, with ``*`` for any; a cell that
            matches one of them is included. Empty: all cells.

    Raises:
        UsageError: a pattern matches no cell.
        RecipeError: a method's changes do not fit an environment's recipe.
    """
    cells = [*_grid(study)]
    for method in ablation_methods(study):
        cells += _ablation_cells(study, method)
    envs, seeds = list(study.environments), list(study.seeds)

    def position(cell: Cell) -> tuple[bool, int, int, bool, bool]:
        return (
            bool(cell.ablation),
            seeds.index(cell.seed),
            envs.index(cell.env),
            cell.counted is not None,
            cell.method == NAIVE,
        )

    cells.sort(key=position)
    for pattern in only:
        if not any(matches(cell, pattern) for cell in cells):
            names = [cell.name for cell in cells]
            raise UsageError(
                f"--only {pattern} matches no cell of study {study.name}"
                f"{did_you_mean(pattern, [*envs, *names])}",
                hint="ENV, ENV/METHOD or ENV/METHOD/SEED, with * for any;"
                f" environments: {', '.join(envs)}; methods:"
                f" {', '.join(dict.fromkeys(cell.method for cell in cells))}.",
            )
    return [cell for cell in cells if not only or any(matches(cell, p) for p in only)]


def matches(cell: Cell, pattern: str) -> bool:
    """Whether a pattern of ``--only`` matches a cell."""
    wanted = [word.strip() for word in pattern.split("/")]
    actual = (cell.env, cell.method, str(cell.seed))
    return len(wanted) <= 3 and all(
        word in ("", "*", value) for word, value in zip(wanted, actual, strict=False)
    )


def ablation_methods(study: StudyRecipe) -> list[AblationMethod]:
    """The methods that the study's ablations add."""
    wanted = study.ablations
    methods: list[AblationMethod] = []
    if wanted.equal_data.run and {VERIFIED, NAIVE} <= {*study.methods}:
        methods.append(
            AblationMethod(
                EQUAL_DATA,
                "naive, as many examples",
                METHODS[NAIVE].changes,
                "equal_data",
                wanted.equal_data,
                equal_to=VERIFIED,
            )
        )
    if wanted.flawless.run:
        changes = merged(METHODS[GOOD].changes, {"splice": {"good_flaws": False}})
        label = "good data without reflections"
        methods.append(AblationMethod(FLAWLESS, label, changes, "flawless", wanted.flawless))
    tokens = wanted.equal_tokens
    for method in tokens.methods if tokens.run and tokens.tokens else ():
        # More epochs than any training takes: the tokens end it.
        train = {"max_tokens": tokens.tokens, "epochs": _MANY_EPOCHS}
        changes = merged(METHODS[method].changes, {"train": train})
        name = f"{method}{EQUAL_TOKENS}"
        label = f"{METHODS[method].label}, equal tokens"
        methods.append(
            AblationMethod(name, label, changes, "equal_tokens", wanted.equal_tokens, of=method)
        )
    reference = METHODS[VERIFIED].changes
    if wanted.critic.run:
        changes = merged(reference, {"splice": {"critic": "reason"}})
        methods.append(AblationMethod(REASON, "critic reasons", changes, "critic", wanted.critic))
    for search in wanted.budget.variants if wanted.budget.run else ():
        label = ", ".join(f"{key} {value}" for key, value in search.items())
        name = "budget-" + "-".join(f"{key}-{value}" for key, value in search.items())
        changes = merged(reference, {"search": dict(search)})
        methods.append(AblationMethod(name, label, changes, "budget", wanted.budget))
    if wanted.merge.run:
        changes = merged(reference, {"search": {"merge": False}})
        label = "siblings kept apart"
        methods.append(AblationMethod(UNMERGED, label, changes, "merge", wanted.merge))
    return methods


def _grid(study: StudyRecipe) -> Iterator[Cell]:
    for env in study.environments:
        recipe = study.env_recipe(env)
        starts = [BASE, *([IMITATION] if IMITATION in study.methods else [])]
        for method in (*starts, *study.trained):
            changed = _with_changes(study, recipe, METHODS[method].changes, env, method)
            if method in starts:
                changed = replace(changed, rounds=0)
            for seed in study.seeds:
                cell = Cell(env, method, seed, replace(changed, seed=seed), METHODS[method].label)
                yield _counting(study, recipe, cell) if method == IMITATION_MORE else cell


def _ablation_cells(study: StudyRecipe, method: AblationMethod) -> Iterator[Cell]:
    settings = method.settings
    for env in settings.environments or study.environments:
        plain = study.env_recipe(env)
        reference = _with_changes(study, plain, METHODS[VERIFIED].changes, env, VERIFIED)
        recipe = _with_changes(study, plain, method.changes, env, method.key, method.of)
        if VERIFIED in study.methods and _without_name(recipe) == _without_name(reference):
            # A budget equal to the study's own needs no further run.
            continue
        recipe = replace(recipe, rounds=settings.rounds)
        for seed in settings.seeds or study.seeds:
            if seed in study.seeds:
                cell = Cell(
                    env,
                    method.key,
                    seed,
                    replace(recipe, seed=seed),
                    method.label,
                    ablation=method.ablation,
                    equal_to=method.equal_to,
                )
                yield _counting(study, plain, cell) if method.of == IMITATION_MORE else cell


def _counting(study: StudyRecipe, plain: Recipe, cell: Cell) -> Cell:
    """A cell whose rounds imitate as many demonstrations as another method has examples."""
    method = study.counted
    if method is None:
        raise ValueError("the study has no method whose examples can be counted")
    counted = _with_changes(study, plain, METHODS[method].changes, cell.env, method)
    # The numbers are not known before the other cell has trained.
    imitation = replace(cell.recipe.imitation, further=(0,) * cell.recipe.rounds)
    return replace(
        cell,
        recipe=replace(cell.recipe, imitation=imitation),
        counted=replace(counted, seed=cell.seed),
    )


def _with_changes(
    study: StudyRecipe,
    recipe: Recipe,
    changes: Mapping[str, Any],
    env: str,
    method: str,
    of: str = "",
) -> Recipe:
    data = merged(recipe.to_dict(), changes)
    if not study.imitates(of or method):
        data["imitation"]["tasks"] = 0
        for environment in data["env"]:
            environment["imitation"] = {}
    elif "epochs" in changes.get("train", {}):
        # Those of the rounds are none of the imitation's.
        data["imitation"]["epochs"] = data["imitation"]["epochs"] or recipe.train.epochs
    return recipe_from_dict({**data, "name": f"{env}-{method}"})


def _without_name(recipe: Recipe) -> str:
    data = recipe.to_dict()
    return json.dumps({key: value for key, value in data.items() if key != "name"}, sort_keys=True)
