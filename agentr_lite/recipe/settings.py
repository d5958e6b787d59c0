"""Recipes: YAML to dataclasses, validated, with ``--set key=value`` on top.

Everything that changes a result is in here and nowhere else; the resolved recipe is stored with
the run. Source of the defaults: Agent-R (arXiv 2501.11425) section 4 and appendix, where it
gives them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentr_lite.recipe import environments as recipe_envs
from agentr_lite.recipe.environments import Env
from agentr_lite.recipe.values import RANGES as RANGES
from agentr_lite.recipe.values import plain


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
    grammar: str = ""
    """What the agent's turns must look like, in GBNF: a file, the text itself, or ``env`` for the
    environment's own; empty: anything. A file's text becomes part of the recipe."""
    deterministic: bool = False
    """Answer each request by itself: not a bit of its answers then depends on what else is asked.
    Slower. Without it, only the same requests at the same times give the same bits."""


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
    """Longest episode in steps; it is cut there and keeps the reward that it has reached."""
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
    merge: bool = True
    """Siblings with the same action become one node; off: each sampled turn has a node of its
    own, as if no two were alike."""
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
    unseen: Literal["last", "drop"] = "last"
    """A bad trajectory in which the model finds no error. ``last``: it learns to revise at the
    latest point possible; ``drop``: what it cannot see, it is not to notice."""
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
    good_flaws: bool = True
    """Learn good trajectories that hold an impossible action or a reflection, too: of these, what
    follows the last flaw, and the reflections. Off: only those without any."""
    data: Literal["revision", "good", "both", "none"] = "both"
    """What goes into the training set: revision trajectories, good ones, both, or neither (general
    data alone, as many examples as with both: a control)."""


CHOOSING = ("data", "good_per_task", "good_flaws", "contested")
"""Keys of ``splice`` that choose from what splicing gives, for training; they do not change it."""


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
    """Stop after this many validations without improvement, and keep the best adapter; 0 = never,
    and keep the last. A handful of examples held out tell little of how well it plays."""
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
    env: Env = "textcraft"
    """The environment; ``agentr-lite envs`` lists them. Several: a list of names, or a mapping of
    names to settings of their own (see below)."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the environment, e.g. ``{recipes_dir: /path}`` for TextCraft."""
    model: str = "starter"
    """``starter``, GGUF file, name, ``mlx:DIRECTORY`` or ``openai:URL#MODEL`` (docs/models.md)."""
    train_model: str = ""
    """MLX/HF directory of the same weights for training; empty: the starter's own, an MLX model's
    own, or taken out of the GGUF file."""
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
        return typing.cast(dict[str, Any], plain(dataclasses.asdict(self)))

    def alpha(self, round_index: int) -> float:
        """The good-trajectory threshold of round ``round_index`` (from 1)."""
        return self.splice.alpha[min(round_index, len(self.splice.alpha)) - 1]

    @property
    def env_names(self) -> tuple[str, ...]:
        """The environments' names, sorted."""
        return (self.env,) if isinstance(self.env, str) else tuple(sorted(self.env))

    @property
    def env_label(self) -> str:
        """The environments as one text, e.g. ``textcraft+webshop``."""
        return "+".join(self.env_names)

    def parts(self) -> list[Recipe]:
        """One recipe for each environment, by name, with its share of the tasks."""
        return recipe_envs.parts(self)
