"""What a stage's result depends on: runs with equal inputs may share the stage.

The evaluation of the base depends neither on the method nor on the search. Greedy episodes do not
depend on the seed either. The first round's trees do not depend on the method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentr_lite.recipe.settings import Recipe
from agentr_lite.store.records import Stage


def plain_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without what changes no result: its name, and where it trains."""
    data: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
    del data["name"]
    for key in ("workers", "hosts"):
        del data["train"][key]
    return data


def stage_inputs(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a stage depends on, besides the adapter and the examples.

    Args:
        stage: ``imitate``, ``search``, ``train`` or ``eval``.
        settings: see ``plain_settings``.
    """
    if stage == "search":
        return search_inputs(settings)
    if stage == "eval":
        return eval_inputs(settings)
    keys = ("model", "train_model", "agent", "train", "seed")
    inputs = {key: settings[key] for key in keys}
    if stage == "imitate":
        train = {key: value for key, value in settings["train"].items() if key not in _OF_ROUNDS}
        imitation = {k: v for k, v in settings["imitation"].items() if k not in _OF_LATER}
        for key in ("epochs", "learning_rate"):
            # The stage's own, where it has one: what the rounds do instead does not count.
            train[key] = imitation.pop(key) or train[key]
        inputs |= {"train": train, "imitation": imitation, "env": settings["env"]}
    return inputs


_OF_ROUNDS = (
    "start", "accumulate", "max_examples", "max_tokens", "objective", "beta", "label_smoothing",
    "length_normalised", "dpo_weight",
)  # fmt: skip
"""Keys of ``train`` that do not count in imitation."""
_OF_LATER = ("further",)
"""Keys of ``imitation`` that count in the rounds alone."""


def eval_inputs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an evaluation depends on."""
    inputs = {key: settings[key] for key in ("env", "model", "agent", "eval")}
    if settings["eval"]["samples"]:
        inputs["seed"] = settings["seed"]
    return inputs


def search_inputs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a round's trees depend on."""
    return {key: settings[key] for key in ("env", "model", "agent", "search", "seed")}
