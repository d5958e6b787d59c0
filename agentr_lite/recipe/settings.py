"""A recipe: its environments and its groups of settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.recipe.fields import per_env_keys, setting
from agentr_lite.recipe.groups import (
    AgentSettings,
    EvalSettings,
    SearchSettings,
    SpliceSettings,
    TrainSettings,
)
from agentr_lite.recipe.imitation import ImitationSettings
from agentr_lite.recipe.shares import divide
from agentr_lite.recipe.values import own_values, plain


@dataclass(frozen=True)
class EnvironmentSettings:
    """One environment of a recipe: how it is made, and in what it differs from the others."""

    name: str = setting("textcraft", "Its name; `agentr-lite envs` lists them.")
    share: float = setting(
        1.0,
        "Its share of `imitation.tasks`, `search.tasks` and `eval.tasks`, in proportion to the"
        " other environments'.",
        low=0.001,
        high=1000,
    )
    options: Mapping[str, Any] = setting(
        {}, "Options of the environment; `env_options` is short for it where there is only one."
    )
    agent: Mapping[str, Any] = setting({}, "Its own values in the group `agent`.")
    imitation: Mapping[str, Any] = setting(
        {}, "Its own values in the group `imitation`; its own `tasks` replace its share."
    )
    search: Mapping[str, Any] = setting(
        {}, "Its own values in the group `search`; its own `tasks` replace its share."
    )
    splice: Mapping[str, Any] = setting({}, "Its own values in the group `splice`.")
    eval: Mapping[str, Any] = setting(
        {}, "Its own values in the group `eval`; its own `tasks` replace its share."
    )


DIVIDED = ("imitation", "search", "eval")
"""Groups whose ``tasks`` are divided among the environments."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a run's result depends on, besides the model file itself."""

    name: str = setting(
        "custom", "What reports call the run; default: the name of the recipe's file."
    )
    env: tuple[EnvironmentSettings, ...] = setting(
        (EnvironmentSettings(),),
        "The environment; `agentr-lite envs` lists them. Several: a list of names, or a mapping of"
        " names to their own settings (see below).",
    )
    """In the order of their names, whatever the order in the file."""
    model: str = setting(
        "starter",
        "`starter`, GGUF file, name, `mlx:DIRECTORY` or `openai:URL#MODEL` (docs/models.md).",
    )
    train_model: str = setting(
        "",
        "MLX or Hugging Face directory of the same weights, for training; empty: the starter's own,"
        " an MLX model's own, or weights taken from the GGUF file.",
    )
    seed: int = setting(1, "Every random draw of the run comes from it.", low=0, high=2**31 - 1)
    rounds: int = setting(
        3,
        "How often to search, splice, train and evaluate; 0 = only evaluate the base model.",
        low=0,
        high=100,
    )
    agent: AgentSettings = field(default_factory=AgentSettings)
    imitation: ImitationSettings = field(default_factory=ImitationSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    splice: SpliceSettings = field(default_factory=SpliceSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)

    def __post_init__(self) -> None:
        by_name = sorted(self.env, key=lambda environment: environment.name)
        object.__setattr__(self, "env", tuple(by_name))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of ``recipe_from_dict``."""
        return typing.cast(dict[str, Any], plain(dataclasses.asdict(self)))

    def alpha(self, round_index: int) -> float:
        """The good-trajectory threshold of round ``round_index`` (from 1)."""
        return self.splice.alpha[min(round_index, len(self.splice.alpha)) - 1]

    @property
    def imitates(self) -> bool:
        """Whether the run learns from demonstrations before its first round."""
        own = (environment.imitation.get("tasks") for environment in self.env)
        return bool(self.imitation.tasks) or any(own)

    @property
    def searches(self) -> bool:
        """Whether the rounds search; otherwise they learn from further demonstrations."""
        return not self.imitation.further

    @property
    def env_names(self) -> tuple[str, ...]:
        """The environments' names, sorted."""
        return tuple(environment.name for environment in self.env)

    @property
    def env_label(self) -> str:
        """The environments as one text, e.g. ``textcraft+webshop``."""
        return "+".join(self.env_names)

    @property
    def environment(self) -> EnvironmentSettings:
        """The environment of a recipe that has only one.

        Raises:
            ValueError: it has several.
        """
        [environment] = self.env
        return environment

    def by_environment(self) -> list[Recipe]:
        """One recipe for each environment, in the order of their names.

        Each holds the shared settings, replaced where the environment has its own, and the
        environment's share of the tasks. The seed stays the run's.

        Raises:
            RecipeError: an environment's own setting is wrong.
        """
        shares = {environment.name: environment.share for environment in self.env}
        tasks = {group: divide(getattr(self, group).tasks, shares) for group in DIVIDED}
        recipes = []
        for environment in self.env:
            groups: dict[str, Any] = {}
            for group in own_keys():
                settings = getattr(self, group)
                if group in DIVIDED:
                    settings = dataclasses.replace(settings, tasks=tasks[group][environment.name])
                if isinstance(settings, ImitationSettings):
                    further = tuple(
                        divide(count, shares)[environment.name] for count in settings.further
                    )
                    settings = dataclasses.replace(settings, further=further)
                prefix = f"env.{environment.name}.{group}."
                own = own_values(type(settings), getattr(environment, group), group, prefix)
                groups[group] = dataclasses.replace(settings, **own)
            alone = EnvironmentSettings(environment.name, options=environment.options)
            recipes.append(dataclasses.replace(self, env=(alone,), **groups))
        return recipes


def own_keys() -> dict[str, tuple[str, ...]]:
    """Group to its keys of which an environment of several may have its own value."""
    found: dict[str, tuple[str, ...]] = {}
    for name, kind in typing.get_type_hints(Recipe).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found[name] = per_env_keys(kind)
    return {name: keys for name, keys in found.items() if keys}
