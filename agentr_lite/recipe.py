"""Recipes: YAML to dataclasses, validated, with ``--set key=value`` on top.

Everything that changes a result is in here and nowhere else; the resolved recipe is stored with
the run. Source of the defaults: Agent-R (arXiv 2501.11425) section 4 and appendix, where it
gives them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from agentr_lite.errors import RecipeError

RECIPE_PACKAGE = "agentr_lite_recipes"


@dataclass(frozen=True)
class AgentSettings:
    """How the actor is spoken to."""

    brief: bool = False
    """Short system prompt, for models trained on the environment (the starter)."""
    max_tokens: int = 128
    """Longest assistant turn."""
    context_tokens: int = 4096
    """Longest conversation; older turns are dropped whole beyond it."""
    chat_template: str = ""
    """A Jinja file to use instead of the model's own chat template, in play and in training."""


@dataclass(frozen=True)
class SearchSettings:
    """Monte Carlo tree search (Agent-R section 3.1)."""

    tasks: int = 100
    """How many training tasks a round; 0 = all. Each round takes the next ones."""
    simulations: int = 8
    """Simulations a tree: each walks from the root to the end of an episode."""
    width: int = 4
    """Candidate actions a node."""
    depth: int = 20
    """Longest episode in steps; a node there is truncated with reward 0."""
    c: float = 0.25
    """UCT's exploration constant."""
    temperature: float = 1.0
    """Of the sampled candidates; 0 = greedy, which makes all of a node's candidates equal."""
    top_p: float = 1.0
    """Keep the likeliest tokens up to this sum of probabilities; 1 = all."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 = all."""
    min_p: float = 0.0
    """Keep tokens at least this share as likely as the likeliest; 0 = all."""
    descent: Literal["paper", "textbook"] = "paper"
    """``paper``: expand every level on the way down; ``textbook``: expand a leaf, then roll out."""
    wave: int = 16
    """Trees that advance in lockstep; also the unit of resume."""


@dataclass(frozen=True)
class SpliceSettings:
    """From trees to revision data (Agent-R section 3.2)."""

    alpha: tuple[float, ...] = (0.5, 0.7, 1.0)
    """A good trajectory's least reward, by round; the last holds for further rounds."""
    beta: float = 0.2
    """By how much the good reward must exceed the bad one."""
    critic: Literal["score", "reason", "none"] = "score"
    """How the model finds its first error. ``score``: by the likelihood of three verdicts;
    ``reason``: in words; ``none``: not at all, the whole bad trajectory is kept (direct
    revision)."""
    verify: Literal["replay", "off"] = "replay"
    """``replay``: execute each spliced trajectory and keep what still earns alpha; ``off``: join
    the texts, as the paper does."""
    recovery_attempts: int = 4
    """Sampled continuations tried where a replay fails; 0 = drop the pair."""
    pairs_per_task: int = 4
    """At most this many pairs of a good and a bad trajectory a tree."""
    good_per_task: int = 2
    """At most this many good trajectories a tree in the training set, best first; 0 = all."""
    contested: bool = True
    """Learn good trajectories only of tasks that also failed in the search: where every attempt
    succeeds there is nothing to learn."""
    data: Literal["revision", "good", "both", "none"] = "both"
    """What goes into the training set: revision trajectories, good ones, both, or neither (general
    data alone, as many examples as with both: a control)."""


@dataclass(frozen=True)
class TrainSettings:
    """LoRA (Agent-R section 3.3 fine-tunes in full)."""

    eta: float = 0.2
    """Share of agent data in the mixture, by examples; 1 = agent data only."""
    general: str = ""
    """JSONL of chat messages to mix in; ``starter`` = the bundled sample; empty = none."""
    epochs: float = 3.0
    """Passes over the training set."""
    learning_rate: float = 1e-4
    """The highest one, after the warm-up."""
    rank: int = 16
    """Of the adapter's matrices."""
    scale: float = 2.0
    """LoRA's output is multiplied by this (alpha / rank)."""
    layers: int = -1
    """How many of the last layers get adapters; -1 = all."""
    batch_size: int = 8
    """Examples an optimizer step."""
    max_length: int = 2048
    """In tokens; longer examples are dropped and counted."""
    warmup: float = 0.03
    """Share of the steps over which the learning rate rises."""
    validation: float = 0.05
    """Share of examples held out for the validation loss."""
    patience: int = 3
    """Stop after this many validations without improvement; 0 = never."""
    start: Literal["base", "previous"] = "base"
    """Train each round's adapter anew, or go on from the last round's."""
    accumulate: bool = True
    """Train on the data of all rounds so far rather than on this round's alone."""
    max_examples: int = 0
    """At most this many agent examples; 0 = all."""


@dataclass(frozen=True)
class EvalSettings:
    """Held-out evaluation."""

    split: Literal["train", "dev", "test"] = "test"
    """Whose tasks."""
    tasks: int = 0
    """How many, evenly spaced over the split; 0 = all."""
    max_steps: int = 20
    """Longest episode."""
    samples: int = 0
    """Sampled episodes a task besides the greedy one."""
    temperature: float = 1.0
    """Of the sampled episodes."""
    recovery: bool = True
    """Also continue the base model's failed trajectories."""
    recovery_prefix: float = 0.5
    """Share of a failed trajectory's steps that is given as the prefix to recover from."""
    recovery_steps: int = 20
    """Longest continuation of such a prefix."""
    batch: int = 64
    """Episodes in lockstep."""


@dataclass(frozen=True)
class Recipe:
    """All that a run's result depends on, besides the model file itself."""

    name: str = "custom"
    """What the run is called in reports; default: the recipe file's name."""
    env: str = "textcraft"
    """The environment; ``agentr-lite envs`` lists them."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the environment, e.g. ``{recipes_dir: /path}`` for TextCraft."""
    model: str = "starter"
    """``starter``, or the path of a GGUF file."""
    train_model: str = ""
    """MLX/HF directory of the same weights for training; empty: known for the starter only."""
    seed: int = 1
    """Every random draw of the run comes from it."""
    rounds: int = 3
    """How often to search, splice, train and evaluate; 0 = evaluate the base model only."""
    agent: AgentSettings = field(default_factory=AgentSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    splice: SpliceSettings = field(default_factory=SpliceSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of ``recipe_from_dict``."""
        return typing.cast(dict[str, Any], _plain(dataclasses.asdict(self)))

    def alpha(self, round_index: int) -> float:
        """The good-trajectory threshold of round ``round_index`` (from 1)."""
        return self.splice.alpha[min(round_index, len(self.splice.alpha)) - 1]


RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "rounds": (0, 100),
    "agent.max_tokens": (1, 65_536),
    "agent.context_tokens": (64, 1 << 20),
    "search.tasks": (0, 10**9),
    "search.simulations": (1, 10**6),
    "search.width": (1, 64),
    "search.depth": (1, 10_000),
    "search.c": (0, 10**6),
    "search.temperature": (0, 100),
    "search.top_p": (0, 1),
    "search.top_k": (0, 10**6),
    "search.min_p": (0, 1),
    "search.wave": (1, 4096),
    "splice.alpha": (0, 1),
    "splice.beta": (0, 1),
    "splice.recovery_attempts": (0, 64),
    "splice.pairs_per_task": (0, 10**6),
    "splice.good_per_task": (0, 10**6),
    "train.eta": (0.01, 1),
    "train.epochs": (0, 1000),
    "train.learning_rate": (0, 1),
    "train.rank": (1, 1024),
    "train.scale": (0, 1000),
    "train.layers": (-1, 10_000),
    "train.batch_size": (1, 4096),
    "train.max_length": (1, 1 << 20),
    "train.warmup": (0, 1),
    "train.validation": (0, 0.5),
    "train.patience": (0, 10**6),
    "train.max_examples": (0, 10**9),
    "eval.tasks": (0, 10**9),
    "eval.max_steps": (1, 10_000),
    "eval.samples": (0, 1000),
    "eval.temperature": (0, 100),
    "eval.recovery_prefix": (0, 1),
    "eval.recovery_steps": (1, 10_000),
    "eval.batch": (1, 4096),
}
"""Least and greatest value of every key that holds a number (of each value, where it is a list)."""


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted."""
    files = resources.files(RECIPE_PACKAGE).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def recipe_text(name_or_path: str) -> str:
    """The YAML of a bundled recipe or of a file.

    Raises:
        RecipeError: neither a bundled name nor a readable file.
    """
    names = recipe_names()
    if name_or_path in names:
        return resources.files(RECIPE_PACKAGE).joinpath(f"{name_or_path}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"no recipe '{name_or_path}'{did_you_mean(name_or_path, names)}"
            if isinstance(error, FileNotFoundError)
            else f"cannot read recipe {path}: {error}",
            hint="`agentr-lite recipes` lists the bundled ones; a path to a YAML file works too.",
        ) from error


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``--set key=value`` overrides.

    Args:
        name_or_path: bundled name or path of a YAML file.
        overrides: ``"search.width=2"`` and the like; values are YAML.

    Raises:
        RecipeError: unreadable, not a mapping, unknown key, wrong type, out of range.
    """
    import yaml

    text = recipe_text(name_or_path)
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {name_or_path} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {name_or_path} must be a mapping, not {_type_name(data)}")
    data.setdefault("name", Path(name_or_path).stem)
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def with_overrides(stored: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """A stored recipe with some keys changed; ``stored`` stays as it is.

    Raises:
        RecipeError: see ``load_recipe``.
    """
    data = copy.deepcopy(dict(stored))
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set keys of a recipe that is still plain data.

    Args:
        data: changed in place.
        overrides: ``"search.width=2"`` and the like; values are YAML.

    Raises:
        RecipeError: not of the form ``key=value``, not YAML, or a group where a key was meant.
    """
    import yaml

    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: needs the form key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {key}: {_one_line(error)}") from error
        _assign(data, key.strip(), parsed)


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """Validate a plain mapping.

    Raises:
        RecipeError: see ``load_recipe``.
    """
    recipe = _build(Recipe, data, "")
    assert isinstance(recipe, Recipe)
    if not recipe.splice.alpha:
        raise RecipeError("splice.alpha: needs at least one value")
    return recipe


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` (did you mean 'x'?)`` or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _build(cls: type, data: Any, prefix: str) -> Any:
    if not isinstance(data, Mapping):
        raise RecipeError(f"{prefix.rstrip('.')}: needs a mapping, not {_type_name(data)}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            raise RecipeError(
                f"unknown key '{prefix}{key}'{did_you_mean(str(key), list(hints))}",
                hint="`agentr-lite recipes show textcraft` prints a recipe with its keys.",
            )
        values[key] = _convert(hints[key], value, f"{prefix}{key}")
    return cls(**values)


def _convert(hint: Any, value: Any, key: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, f"{key}.")
    if origin is Literal:
        allowed = typing.get_args(hint)
        # YAML reads a bare `off` as False.
        value = "off" if value is False and "off" in allowed else value
        if value not in allowed:
            raise RecipeError(f"{key}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(typing.get_args(hint)[0], item, key) for item in items)
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key}: needs a mapping, not {_type_name(value)}")
        return dict(value)
    if isinstance(hint, types.UnionType):  # pragma: no cover - no such key today
        raise TypeError(f"unsupported recipe type {hint}")
    return _scalar(hint, value, key)


def _scalar(hint: type, value: Any, key: str) -> Any:
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads `1e-4` as a string.
        with contextlib.suppress(ValueError):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecipeError(f"{key}: needs {hint.__name__}, not {_type_name(value)} ({value!r})")
    low, high = RANGES.get(key, (float("-inf"), float("inf")))
    # NaN is in no range.
    if isinstance(value, int | float) and not low <= value <= high:
        raise RecipeError(f"{key}: {value} is outside {low:,} to {high:,}")
    return value


def _assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"--set {dotted}: '{parent}' is not a group of keys")
    data[last] = value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _type_name(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
