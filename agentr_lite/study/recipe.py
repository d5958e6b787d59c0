"""Study recipes: which environments, methods, seeds, rounds and ablations; YAML, validated.

A study names run recipes and what to change in them; everything else that a result depends on is
in those. ``quick`` holds what the coarse form changes, in the same shape as the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.metrics.methods import BASE
from agentr_lite.recipe.fields import setting
from agentr_lite.recipe.loading import recipe_data, recipe_from_dict, study_names, yaml_text
from agentr_lite.recipe.overrides import assign
from agentr_lite.recipe.settings import Recipe
from agentr_lite.recipe.values import build, one_line, type_name
from agentr_lite.study.methods import METHODS

_HINT = "docs/study.md lists a study's keys."


@dataclass(frozen=True)
class StudyEnvironment:
    """One environment of a study."""

    recipe: str = ""
    """Run recipe that its settings come from: a bundled one or a file; empty: the one of the
    environment's name."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """What to change in it, e.g. ``{search: {tasks: 48}}``."""


@dataclass(frozen=True)
class Ablation:
    """One ablation that needs runs of its own."""

    run: bool = True
    """Off: left out, its finished runs too. ``NAME: false`` is short for it."""
    environments: tuple[str, ...] = ()
    """In which of the study's; empty: in all."""
    seeds: tuple[int, ...] = ()
    """With which of the study's; empty: with all."""
    rounds: int = 1
    """How many."""


@dataclass(frozen=True)
class BudgetAblation(Ablation):
    """Search with other budgets."""

    variants: tuple[Mapping[str, Any], ...] = (
        {"simulations": 3},
        {"simulations": 12},
        {"width": 2},
        {"width": 6},
    )
    """What to change in ``search``, one mapping a variant."""


@dataclass(frozen=True)
class Ablations:
    """What is looked at besides the comparison of methods."""

    naive_failures: bool = True
    """Share of naive splices that fail their replay. Takes no further runs."""
    recovery_yield: bool = True
    """What the recovery search finds, and at what price. Takes no further runs."""
    critic_accuracy: bool = True
    """The critic's verdicts against the oracle's, where there is one. Takes no further runs."""
    equal_data: Ablation = field(default_factory=Ablation)
    """Naive splices, but only as many examples as the verified ones gave."""
    flawless: Ablation = field(default_factory=Ablation)
    """Good trajectories only, and of these only such without a reflection of the model's own."""
    critic: Ablation = field(default_factory=Ablation)
    """A critic that reasons in words in place of the one that scores."""
    budget: BudgetAblation = field(default_factory=BudgetAblation)
    """More and fewer simulations, wider and narrower trees."""
    merge: Ablation = field(default_factory=Ablation)
    """Siblings with the same action kept apart."""


RUN_ABLATIONS = tuple(
    name for name, of in Ablations.__dataclass_fields__.items() if of.type != "bool"
)
"""Those with runs of their own."""


@dataclass(frozen=True)
class StudyRecipe:
    """All that a study compares."""

    name: str = "study"
    """What it is called; default: the file's name."""
    environments: Mapping[str, StudyEnvironment] = field(default_factory=dict)
    """Name to recipe and changes; the name is the study's own and shows in tables."""
    methods: tuple[str, ...] = ("base", "verified", "naive", "direct", "good")
    """What is compared, in the order of the tables; the first after ``base`` leads."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the runs: every method once with each."""
    rounds: int = setting(3, "Rounds of every method.", low=0, high=100)
    set: Mapping[str, Any] = field(default_factory=dict)
    """What to change in every run recipe, e.g. ``{model: starter, eval: {batch: 32}}``."""
    ablations: Ablations = field(default_factory=Ablations)
    """See below."""
    quick: Mapping[str, Any] = field(default_factory=dict)
    """What ``--quick`` changes: any of the keys above."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods that train."""
        return tuple(method for method in self.methods if method != BASE)

    def env_recipe(self, env: str) -> Recipe:
        """The run recipe of one of the environments, before any method's changes.

        Raises:
            RecipeError: a wrong key or value in it.
        """
        entry = self.environments[env]
        # The file's own form, in which `env_options` stands where `set` may change it.
        data = merged(merged(recipe_data(entry.recipe or env), self.set), entry.set)
        try:
            found = recipe_from_dict({**data, "rounds": self.rounds})
        except RecipeError as error:
            raise RecipeError(f"environments.{env}: {error.message}", hint=error.hint) from error
        if len(found.env) > 1:
            raise RecipeError(
                f"environments.{env}: its recipe is for several environments",
                hint="List them under `environments` one by one.",
            )
        return found


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with ``changes`` on top: mappings are merged, all else is replaced."""
    found = copy.deepcopy(dict(data))
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            found[key] = merged(old, value)
        else:
            found[key] = copy.deepcopy(value)
    return found


def study_text(name_or_path: str) -> str:
    """The YAML of a bundled study or of a file.

    Raises:
        RecipeError: neither a bundled name nor a readable file.
    """
    names = study_names()
    hint = f"Bundled: {', '.join(names)}; a path to a YAML file works too."
    return yaml_text(name_or_path, names, kind="study", hint=hint)


def load_study(
    name_or_path: str, overrides: Sequence[str] = (), *, quick: bool = False
) -> StudyRecipe:
    """Read a study recipe.

    Args:
        name_or_path: bundled name or path of a YAML file.
        overrides: ``"rounds=1"``, ``"set.search.tasks=5"`` and the like; values are YAML.
        quick: with what ``quick`` changes; it is checked in any case.

    Raises:
        RecipeError: unreadable, not a mapping, an unknown key, a wrong type, a value out of range,
            an environment or method that does not exist.
    """
    import yaml

    try:
        data = yaml.safe_load(study_text(name_or_path)) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"study {name_or_path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"study {name_or_path} must be a mapping, not {type_name(data)}")
    data.setdefault("name", Path(name_or_path).stem)
    coarse = data.get("quick") or {}
    if not isinstance(coarse, dict):
        raise RecipeError(f"quick: needs a mapping, not {type_name(coarse)}", hint=_HINT)
    if "quick" in coarse:
        raise RecipeError("quick.quick: there is no quicker form", hint=_HINT)
    changed = merged(data, coarse)
    if not quick:
        # A mistake in it is found before somebody is in a hurry.
        study_from_dict(changed)
    if quick and "name" not in coarse:
        changed["name"] = f"{data['name']}-quick"
    chosen = changed if quick else data
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: needs the form key=value")
        try:
            assign(chosen, key.strip(), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {key}: {one_line(error)}") from error
    return study_from_dict(chosen)


def study_from_dict(data: Mapping[str, Any]) -> StudyRecipe:
    """Validate a plain mapping, the run recipes of its environments included.

    Raises:
        RecipeError: see ``load_study``.
    """
    values = dict(data)
    environments = values.pop("environments", None)
    values["ablations"] = _ablations(values.get("ablations"))
    try:
        study = build(StudyRecipe, values)
        study = replace(study, environments=_environments(environments))
        _check(study)
    except RecipeError as error:
        # Hints about run recipes lead nowhere here.
        error.hint = _HINT if "recipes show" in error.hint else error.hint
        raise
    return study


def _environments(data: Any) -> dict[str, StudyEnvironment]:
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        data = {name: {} for name in data}
    if not isinstance(data, Mapping) or not data:
        raise RecipeError(
            "environments: needs a mapping of names to settings, or a list of names", hint=_HINT
        )
    for name in data:
        if not isinstance(name, str) or not name or "/" in name:
            raise RecipeError(f"environments: a name is text without '/', not {name!r}")
    return {
        name: build(StudyEnvironment, own or {}, f"environments.{name}.")
        for name, own in data.items()
    }


def _ablations(data: Any) -> Any:
    """``NAME: true`` and ``NAME: false`` in place of a group."""
    if isinstance(data, bool):
        # All or none.
        data = {} if data else dict.fromkeys(Ablations.__dataclass_fields__, False)
    if not isinstance(data, Mapping):
        return {} if data is None else data
    return {
        key: {"run": value} if key in RUN_ABLATIONS and isinstance(value, bool) else value
        for key, value in data.items()
    }


def _check(study: StudyRecipe) -> None:
    """What types alone do not say.

    Raises:
        RecipeError: an unknown method or environment, something twice, or nothing at all.
    """
    for method in study.methods:
        if method not in METHODS:
            raise RecipeError(f"methods: no method '{method}'{did_you_mean(method, list(METHODS))}")
    lists: dict[str, Sequence[Any]] = {"methods": study.methods, "seeds": study.seeds}
    for key, found in lists.items():
        if not found:
            raise RecipeError(f"{key}: needs at least one value")
        twice = [one for index, one in enumerate(found) if one in found[:index]]
        if twice:
            raise RecipeError(f"{key}: {twice[0]} stands there twice")
    for name in RUN_ABLATIONS:
        settings: Ablation = getattr(study.ablations, name)
        for env in settings.environments:
            if env not in study.environments:
                known = list(study.environments)
                raise RecipeError(
                    f"ablations.{name}.environments: '{env}' is not in this study"
                    f"{did_you_mean(env, known)}"
                )
        if settings.rounds < 1:
            raise RecipeError(f"ablations.{name}.rounds: needs at least 1")
    for env in study.environments:
        study.env_recipe(env)
    for seed in study.seeds:
        if not 0 <= seed < 2**31:
            raise RecipeError(f"seeds: {seed} is outside 0 to {2**31 - 1:,}")
