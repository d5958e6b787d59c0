"""Study recipes: which environments, methods, seeds, rounds and ablations; YAML, validated.

A study names run recipes and what to change in them. Everything else that a result depends on is
in those recipes. ``quick`` holds the changes of the coarse form, with the same keys as the study.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.yaml_values import YamlError, load_yaml
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.recipe.fields import setting
from agentr_lite.recipe.loading import recipe_data, recipe_from_dict, study_names, yaml_text
from agentr_lite.recipe.overrides import assign
from agentr_lite.recipe.settings import Recipe
from agentr_lite.recipe.values import build, described
from agentr_lite.study.methods import IMITATION_MORE, METHODS, VERIFIED

_HINT = "docs/study.md lists a study's keys."


@dataclass(frozen=True)
class StudyEnvironment:
    """One environment of a study."""

    recipe: str = ""
    """The run recipe with its settings: a bundled one or a file; empty: the recipe with the
    environment's name."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """What to change in the recipe, e.g. ``{search: {tasks: 48}}``."""


@dataclass(frozen=True)
class Ablation:
    """An ablation that needs its own runs."""

    run: bool = True
    """False: the ablation and its finished runs are left out; ``NAME: false`` is short for it."""
    environments: tuple[str, ...] = ()
    """The ablation's environments, a part of the study's; empty: all."""
    seeds: tuple[int, ...] = ()
    """The ablation's seeds, a part of the study's; empty: all."""
    rounds: int = 1
    """Number of rounds."""


@dataclass(frozen=True)
class BudgetAblation(Ablation):
    """The ablation that searches with other budgets."""

    variants: tuple[Mapping[str, Any], ...] = (
        {"simulations": 3},
        {"simulations": 12},
        {"width": 2},
        {"width": 6},
    )
    """What to change in ``search``, one mapping per variant."""


@dataclass(frozen=True)
class TokensAblation(Ablation):
    """The ablation that trains methods on equally many tokens."""

    tokens: int = 0
    """Tokens of each round's training; 0: the ablation is left out."""
    methods: tuple[str, ...] = ("verified", "good")
    """The methods that are run again."""


@dataclass(frozen=True)
class Ablations:
    """What the study examines besides the comparison of methods."""

    naive_failures: bool = True
    """Share of naive splices that fail their replay. Needs no further runs."""
    recovery_yield: bool = True
    """What the recovery search finds, and at what cost. Needs no further runs."""
    critic_accuracy: bool = True
    """The critic's verdicts against the oracle's, if there is one. Needs no further runs."""
    equal_data: Ablation = field(default_factory=Ablation)
    """Naive splices with only as many examples as verified splices gave."""
    flawless: Ablation = field(default_factory=Ablation)
    """Good trajectories only, without those in which the model reflected by itself."""
    equal_tokens: TokensAblation = field(default_factory=TokensAblation)
    """Methods at equally many training tokens instead of equally many examples at most."""
    critic: Ablation = field(default_factory=Ablation)
    """A critic that reasons in words instead of one that scores."""
    budget: BudgetAblation = field(default_factory=BudgetAblation)
    """More and fewer simulations, wider and narrower trees."""
    merge: Ablation = field(default_factory=Ablation)
    """Siblings with the same action kept apart."""


RUN_ABLATIONS = tuple(
    name for name, entry in Ablations.__dataclass_fields__.items() if entry.type != "bool"
)
"""The ablations that need their own runs."""


@dataclass(frozen=True)
class StudyRecipe:
    """A whole study."""

    name: str = "study"
    """The study's name; default: the file's name."""
    environments: Mapping[str, StudyEnvironment] = field(default_factory=dict)
    """Name to recipe and changes; tables show this name."""
    methods: tuple[str, ...] = ("base", "verified", "naive", "direct", "good")
    """Methods in the order of the tables; the first that has rounds is compared with the others."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of the runs: every method is run once with each."""
    rounds: int = setting(3, "Rounds of every method.", low=0, high=100)
    start: Literal["base", "imitation"] = "base"
    """What the rounds of every method start from; ``imitation`` needs ``imitation.tasks``."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """What to change in every run recipe, e.g. ``{model: starter, eval: {batch: 32}}``."""
    ablations: Ablations = field(default_factory=Ablations)
    """What the study examines besides."""
    paper: bool = False
    """Whether the page begins with the paper's claims and figures beside the study's own."""
    quick: Mapping[str, Any] = field(default_factory=dict)
    """What ``--quick`` changes: any of the keys above."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods with rounds, in the study's order."""
        return tuple(method for method in self.methods if method not in (BASE, IMITATION))

    @property
    def counted(self) -> str | None:
        """The method whose examples ``imitation-more`` has as many demonstrations as.

        It is ``verified``, or else the first other method with rounds; None: there is none.
        """
        others = [method for method in self.trained if method != IMITATION_MORE]
        return VERIFIED if VERIFIED in others else next(iter(others), None)

    def imitates(self, method: str) -> bool:
        """Whether the runs of a method begin with imitation."""
        always = method in (IMITATION, IMITATION_MORE)
        return always or (method != BASE and self.start == IMITATION)

    def env_recipe(self, env: str) -> Recipe:
        """The run recipe of an environment, before any method's changes.

        Raises:
            RecipeError: the recipe has a wrong key or value.
        """
        entry = self.environments[env]
        # The form of the file, in which `set` can change `env_options`.
        data = merged(merged(recipe_data(entry.recipe or env), self.set), entry.set)
        try:
            recipe = recipe_from_dict({**data, "rounds": self.rounds})
        except RecipeError as error:
            raise RecipeError(f"environments.{env}: {error.message}", hint=error.hint) from error
        if len(recipe.env) > 1:
            raise RecipeError(
                f"environments.{env}: its recipe is for several environments",
                hint="List them under `environments` one by one.",
            )
        return recipe


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with ``changes``: mappings are merged, everything else is replaced."""
    result = copy.deepcopy(dict(data))
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def study_text(name_or_path: str) -> str:
    """The YAML of a bundled study or of a file.

    Raises:
        RecipeError: the name is neither a bundled study nor a readable file.
    """
    names = study_names()
    hint = f"Bundled: {', '.join(names)}; a path to a YAML file works too."
    return yaml_text(name_or_path, names, kind="study", hint=hint)


def load_study(
    name_or_path: str, overrides: Sequence[str] = (), *, quick: bool = False
) -> StudyRecipe:
    """Load a study recipe.

    Args:
        name_or_path: bundled name or path of a YAML file.
        overrides: ``"rounds=1"``, ``"set.search.tasks=5"`` and the like; values are YAML.
        quick: apply the changes in ``quick``; they are checked in any case.

    Raises:
        RecipeError: the file is unreadable or not a mapping, a key is unknown, a value has a wrong
            type or is out of range, or an environment or method does not exist.
    """
    text = study_text(name_or_path)
    try:
        data = load_yaml(text) or {}
    except YamlError as error:
        raise RecipeError(f"study {name_or_path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"study {name_or_path} must be a mapping, not {described(data)}")
    data.setdefault("name", Path(name_or_path).stem)
    coarse = data.get("quick") or {}
    if not isinstance(coarse, dict):
        raise RecipeError(f"quick: needs a mapping, not {described(coarse)}", hint=_HINT)
    if "quick" in coarse:
        raise RecipeError("quick.quick: there is no quicker form", hint=_HINT)
    changed = merged(data, coarse)
    if not quick:
        # Report a mistake in it even without --quick.
        study_from_dict(changed)
    if quick and "name" not in coarse:
        changed["name"] = f"{data['name']}-quick"
    chosen = changed if quick else data
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: needs the form key=value")
        try:
            assign(chosen, key.strip(), load_yaml(value))
        except YamlError as error:
            raise RecipeError(f"--set {key}: {error}") from error
    return study_from_dict(chosen)


def study_from_dict(data: Mapping[str, Any]) -> StudyRecipe:
    """Validate a plain mapping and the run recipes of its environments.

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
        # Hints about run recipes do not help with a study.
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
            raise RecipeError(f"environments: a name must be text without '/', not {name!r}")
    return {
        name: build(StudyEnvironment, settings or {}, f"environments.{name}.")
        for name, settings in data.items()
    }


def _ablations(data: Any) -> Any:
    """Expand ``NAME: true`` and ``NAME: false`` to groups."""
    if isinstance(data, bool):
        # `ablations: true` means all, `false` none.
        data = {} if data else dict.fromkeys(Ablations.__dataclass_fields__, False)
    if not isinstance(data, Mapping):
        return {} if data is None else data
    if data.get("equal_tokens") is True:
        raise RecipeError(
            "ablations.equal_tokens: needs a number of tokens",
            hint="For example equal_tokens: {tokens: 100000}.",
        )
    return {
        key: {"run": value} if key in RUN_ABLATIONS and isinstance(value, bool) else value
        for key, value in data.items()
    }


def _check(study: StudyRecipe) -> None:
    """Check what types cannot express.

    Raises:
        RecipeError: a method or environment is unknown, a value occurs twice, or a list is empty.
    """
    for method in study.methods:
        if method not in METHODS:
            raise RecipeError(f"methods: no method '{method}'{did_you_mean(method, list(METHODS))}")
    lists: dict[str, Sequence[Any]] = {"methods": study.methods, "seeds": study.seeds}
    for key, values in lists.items():
        if not values:
            raise RecipeError(f"{key}: needs at least one value")
        repeated = [value for index, value in enumerate(values) if value in values[:index]]
        if repeated:
            raise RecipeError(f"{key}: {repeated[0]} occurs twice")
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
    tokens = study.ablations.equal_tokens
    if tokens.tokens < 0:
        raise RecipeError("ablations.equal_tokens.tokens: needs at least 0")
    for method in tokens.methods if tokens.run and tokens.tokens else ():
        if method not in study.trained:
            known = list(study.trained)
            raise RecipeError(
                f"ablations.equal_tokens.methods: '{method}' has no rounds in this study"
                f"{did_you_mean(method, known)}"
            )
    for env in study.environments if tokens.run and tokens.tokens else ():
        # An early stop would leave tokens over; and imitation must be the same as in other runs.
        if study.env_recipe(env).train.patience:
            raise RecipeError(
                f"environments.{env}: ablations.equal_tokens needs train.patience=0, so that a"
                " training takes all of its tokens",
                hint="Set it for all environments: set: {train: {patience: 0}}.",
            )
    if IMITATION_MORE in study.methods and study.counted is None:
        raise RecipeError(
            f"methods: {IMITATION_MORE} takes as many demonstrations as another method has"
            " examples, and there is none",
            hint="Add a method with rounds, e.g. verified.",
        )
    wanted = bool({IMITATION, IMITATION_MORE} & {*study.methods}) or study.start == IMITATION
    for env in study.environments:
        if not study.env_recipe(env).imitates and wanted:
            raise RecipeError(
                f"environments.{env}: imitation needs demonstrations, but imitation.tasks is 0",
                hint="Set it for all environments, e.g. set: {imitation: {tasks: 100}}.",
            )
    for seed in study.seeds:
        if not 0 <= seed < 2**31:
            raise RecipeError(f"seeds: {seed} is outside 0 to {2**31 - 1:,}")
