"""A recipe's groups of settings: every key with its default, its range and its meaning.

Everything that changes a result is a key of the recipe, and the resolved recipe is stored with the
run. Source of the defaults: Agent-R (arXiv 2501.11425) section 4 and appendix, where it gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentr_lite.core.preferences import PreferenceKind
from agentr_lite.recipe.fields import setting


@dataclass(frozen=True)
class AgentSettings:
    """How the program talks to the model that acts."""

    brief: bool = setting(
        False,
        "Use the short system prompt, for models that were trained on the environment (the"
        " starter).",
        per_env=True,
    )
    max_tokens: int = setting(
        128, "Longest assistant turn, in tokens.", low=1, high=65_536, per_env=True
    )
    context_tokens: int = setting(
        4096,
        "Longest conversation, in tokens; beyond it the oldest turns are dropped whole.",
        low=64,
        high=1 << 20,
    )
    chat_template: str = setting(
        "",
        "A Jinja file to use instead of the model's own chat template, in play and in training.",
    )
    grammar: str = setting(
        "",
        "What the agent's turns must look like, in GBNF: a file, the text itself, `env` for the"
        " environment's own grammar, or `actions` for the actions that it lists in each state;"
        " empty: anything. A file's text becomes part of the recipe.",
        per_env=True,
    )
    examples: int = setting(
        0,
        "How many demonstrations of training tasks to show before the task, as chat turns"
        " (few-shot prompting). The seed chooses them, short ones first; the run searches and"
        " imitates other tasks. `imitation.source` says whose.",
        low=0,
        high=1000,
        per_env=True,
    )
    action: Literal["first", "last"] = setting(
        "first",
        "Which action counts where an answer holds several: the `first`, or the `last`, as in ReAct"
        " and AgentGym's evaluation.",
        per_env=True,
    )
    history: Literal["exact", "template"] = setting(
        "exact",
        "How finished turns become tokens, in play and in training. `exact`: the tokens that were"
        " played, between pieces of the chat template; a conversation is then always a prefix of"
        " its continuations. `template`: as the chat template renders the whole conversation.",
    )
    thinking: int = setting(
        0,
        "Most tokens that a reasoning model may think before each answer; 0: it does not think. The"
        " thoughts are shown and learnt, and never searched for an action.",
        low=0,
        high=65_536,
    )
    deterministic: bool = setting(
        False,
        "Answer each request by itself: no bit of an answer then depends on the other requests."
        " This is slower. Without it, only the same requests at the same times give the same bits.",
    )


@dataclass(frozen=True)
class SearchSettings:
    """Monte Carlo tree search (Agent-R section 3.1)."""

    tasks: int = setting(
        100,
        "How many training tasks to search in each round; 0 = all. Each round takes the next ones.",
        low=0,
        high=10**9,
        per_env=True,
    )
    simulations: int = setting(
        8,
        "Simulations in each tree: each walks from the root to the end of an episode.",
        low=1,
        high=10**6,
        per_env=True,
    )
    width: int = setting(4, "Candidate actions at each node.", low=1, high=64, per_env=True)
    depth: int = setting(
        20,
        "Longest episode in steps; a longer one is cut there and keeps the reward that it has"
        " reached.",
        low=1,
        high=10_000,
        per_env=True,
    )
    c: float = setting(0.25, "UCT's exploration constant.", low=0, high=10**6, per_env=True)
    temperature: float = setting(
        1.0,
        "Sampling temperature of the candidates; 0 = greedy, which makes all candidates of a node"
        " equal.",
        low=0,
        high=100,
        per_env=True,
    )
    top_p: float = setting(
        1.0,
        "Keep the likeliest tokens up to this sum of probabilities; 1 = all.",
        low=0,
        high=1,
        per_env=True,
    )
    top_k: int = setting(
        0, "Keep this many of the likeliest tokens; 0 = all.", low=0, high=10**6, per_env=True
    )
    min_p: float = setting(
        0.0,
        "Keep the tokens that are at least this share as likely as the likeliest; 0 = all.",
        low=0,
        high=1,
        per_env=True,
    )
    descent: Literal["paper", "textbook"] = setting(
        "paper",
        "`paper`: expand every level on the way down; `textbook`: expand a leaf, then roll out.",
        per_env=True,
    )
    merge: bool = setting(
        True,
        "Siblings with the same action become one node. Off: each sampled turn gets its own node,"
        " even where two are alike.",
        per_env=True,
    )
    wave: int = setting(
        16,
        "Trees that advance in lockstep. An interrupted search is resumed wave by wave.",
        low=1,
        high=4096,
        per_env=True,
    )


@dataclass(frozen=True)
class SpliceSettings:
    """From trees to revision data (Agent-R section 3.2)."""

    alpha: tuple[float, ...] = setting(
        (0.5, 0.7, 1.0),
        "Smallest reward of a good trajectory, by round; the last value holds for later rounds.",
        low=0,
        high=1,
        per_env=True,
    )
    beta: float = setting(
        0.2,
        "By how much the good reward must exceed the bad one.",
        low=0,
        high=1,
        per_env=True,
    )
    critic: Literal["score", "reason", "none"] = setting(
        "score",
        "How the model finds its first error. `score`: it compares the likelihoods of three"
        " verdicts; `reason`: it answers in words; `none`: it is not asked, and the whole bad"
        " trajectory is kept (direct revision).",
    )
    critic_tokens: int = setting(
        192, "Longest answer of the critic `reason`, in tokens.", low=1, high=65_536
    )
    critic_margin: float = setting(
        0.0,
        "By how many nats the likeliest verdict of the critic `score` must lead; with a smaller"
        " lead it is `uncertain`. Leads below about 0.3 can be rounding noise (docs/models.md).",
        low=0,
        high=100,
        per_env=True,
    )
    judge_failures: bool = setting(
        False,
        "Also ask the critic about tasks that no trajectory solved. They give no pair and nothing"
        " to train on; the inspector then shows their first error, too.",
    )
    unseen: Literal["last", "drop"] = setting(
        "last",
        "What to do with a bad trajectory in which the model finds no error. `last`: the model"
        " learns to revise at the latest point possible; `drop`: discard the pair.",
        per_env=True,
    )
    verify: Literal["replay", "off"] = setting(
        "replay",
        "`replay`: execute each spliced trajectory and keep those that still earn alpha; `off`:"
        " join the texts, as the paper does.",
    )
    recovery_attempts: int = setting(
        4,
        "How many continuations to sample where a replay fails; 0 = drop the pair.",
        low=0,
        high=64,
        per_env=True,
    )
    pairs_per_task: int = setting(
        4,
        "At most this many pairs of a good and a bad trajectory from each tree.",
        low=0,
        high=10**6,
        per_env=True,
    )
    good_per_task: int = setting(
        2,
        "At most this many good trajectories of each tree in the training set, the best first;"
        " 0 = all.",
        low=0,
        high=10**6,
    )
    contested: bool = setting(
        True,
        "Learn good trajectories only of tasks that also failed in the search: where every attempt"
        " succeeds, there is nothing to learn.",
    )
    good_flaws: bool = setting(
        True,
        "Also learn good trajectories that hold an impossible action or a reflection: of these, the"
        " reflections and what follows the last flaw. Off: learn only those without any flaw.",
    )
    preferences: tuple[PreferenceKind, ...] = setting(
        (),
        "Which pairs of a better and a worse continuation to look for: `episode` (a successful and"
        " a failed episode of one task, from where they part), `step` (two actions in one state"
        " whose values differ) and `revision` (a revision, and going on as the bad trajectory did)."
        " They are trained on with `train.objective` `dpo` or `sft+dpo` (docs/preferences.md).",
    )
    preference_margin: float = setting(
        0.25,
        "By how much the values (mean rewards) of two actions must differ at least to make a `step`"
        " pair.",
        low=0,
        high=1,
        per_env=True,
    )
    preference_visits: int = setting(
        1,
        "How often the search must have visited each of the two actions of a `step` pair.",
        low=1,
        high=10**6,
        per_env=True,
    )
    preferences_per_task: int = setting(
        8,
        "At most this many pairs of each kind from each tree; 0 = all.",
        low=0,
        high=10**6,
        per_env=True,
    )
    late_cuts: float = setting(
        0.0,
        "Share of the revisions that leave the bad trajectory later than at its first error: at a"
        " step that the seed draws between there and its end. They teach recovery from a long bad"
        " beginning.",
        low=0,
        high=1,
        per_env=True,
    )
    data: Literal["revision", "good", "both", "none"] = setting(
        "both",
        "What goes into the training set: revision trajectories, good trajectories, both, or"
        " neither (only general data, as many examples as with both; this is a control).",
    )


CHOOSING = ("data", "good_per_task", "good_flaws", "contested")
"""Keys of ``splice`` that choose what to train on; they do not change what splicing produces."""


STARTER_GENERAL = "starter"
"""``train.general`` for the bundled sample."""


@dataclass(frozen=True)
class TrainSettings:
    """LoRA training (Agent-R section 3.3 trains all weights)."""

    eta: float = setting(
        0.2,
        "Share of the agent's own examples in the mixture; 1 = only these.",
        low=0.01,
        high=1,
    )
    general: str = setting(
        "",
        "JSONL file of chats to mix in; `starter` = the bundled sample; empty = none. It is checked"
        " before a run begins: chats that the model's chat template refuses are left out and"
        " counted, and a malformed line stops the run.",
    )
    epochs: float = setting(3.0, "Passes over the training set.", low=0, high=1000)
    learning_rate: float = setting(
        1e-4, "The highest learning rate, reached after the warm-up.", low=0, high=1
    )
    rank: int = setting(16, "Rank of the adapter's matrices.", low=1, high=1024)
    scale: float = setting(
        2.0, "LoRA's output is multiplied by this (alpha / rank).", low=0, high=1000
    )
    layers: int = setting(
        -1, "How many of the last layers get adapters; -1 = all.", low=-1, high=10_000
    )
    batch_size: int = setting(8, "Examples in each optimizer step.", low=1, high=4096)
    max_length: int = setting(
        2048,
        "Longest example, in tokens; longer ones are dropped and counted.",
        low=1,
        high=1 << 20,
    )
    warmup: float = setting(
        0.03, "Share of the steps over which the learning rate rises.", low=0, high=1
    )
    clip_norm: float = setting(
        1.0,
        "Largest norm of the gradient; a larger gradient is scaled down to it. 0 = no limit.",
        low=0,
        high=10**6,
    )
    validation: float = setting(
        0.05, "Share of the examples that is held out for the validation loss.", low=0, high=0.5
    )
    validations: int = setting(
        10,
        "How often a training stops to save a checkpoint and to take the validation loss; the best"
        " of these adapters is kept. With `patience: 0` no adapter is chosen, and the validation"
        " loss is taken at the beginning, at the end, and once an epoch.",
        low=1,
        high=10_000,
    )
    patience: int = setting(
        3,
        "Stop after this many validations without improvement, and keep the best adapter; 0 ="
        " never stop, and keep the last adapter. A handful of held-out examples says little about"
        " how well the model plays.",
        low=0,
        high=10**6,
    )
    start: Literal["base", "previous"] = setting(
        "base",
        "Train each round's adapter anew (`base`), or continue from the last round's (`previous`).",
    )
    accumulate: bool = setting(
        True, "Train on the data of all rounds so far. Off: only on this round's data."
    )
    memory: float = setting(
        0.0,
        "Most memory that training takes, in GB; 0 = half of what is free. Less memory makes it"
        " slower and does not change the result.",
        low=0,
        high=10**6,
    )
    workers: int = setting(
        1,
        "How many processes share each batch. On processors of one kind, they do not change the"
        " result. One process uses all cores of its machine, so several are for several machines"
        " (docs/scale.md).",
        low=1,
        high=1024,
    )
    hosts: str = setting(
        "",
        "Where these processes run: a file in the format of `mlx.launch`, which names a machine for"
        " each of them; empty = all on this machine.",
    )
    products: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Precision of the factors in matrix products on an x86 processor with Linux. `bfloat16` is"
        " faster where the processor has units for it (AMX, AVX512-BF16), and needs the extra"
        " `bfloat16`; sums, weights and everything else stay float32.",
    )
    max_examples: int = setting(
        0, "At most this many of the agent's own examples; 0 = all.", low=0, high=10**9
    )
    max_tokens: int = setting(
        0,
        "Stop a training before it has seen more tokens than this, whatever `epochs` says, but take"
        " at least one step; 0 = no limit. With enough epochs, methods that find more or less to"
        " learn from train equally long. What the two continuations of a pair share counts once.",
        low=0,
        high=10**12,
    )
    objective: Literal["sft", "dpo", "sft+dpo"] = setting(
        "sft",
        "What the training minimises. `sft`: the loss of the examples; `dpo`: that of pairs of"
        " continuations (direct preference optimisation); `sft+dpo`: the sum of both.",
    )
    beta: float = setting(
        0.1,
        "DPO's beta: the larger, the closer the model stays to where it started.",
        low=1e-4,
        high=100,
    )
    label_smoothing: float = setting(
        0.0, "DPO: assumed share of pairs that are the wrong way round.", low=0, high=0.49
    )
    length_normalised: bool = setting(
        False, "DPO: compare mean log-likelihoods of a token instead of their sums."
    )
    dpo_weight: float = setting(
        1.0, "Weight of DPO's loss beside that of the examples in `sft+dpo`.", low=1e-4, high=10**4
    )


@dataclass(frozen=True)
class EvalSettings:
    """Evaluation on held-out tasks."""

    split: Literal["train", "dev", "test"] = setting("test", "Which tasks to play.")
    tasks: int = setting(
        0,
        "How many tasks, evenly spaced over the split; 0 = all.",
        low=0,
        high=10**9,
        per_env=True,
    )
    max_steps: int = setting(20, "Longest episode, in steps.", low=1, high=10_000, per_env=True)
    samples: int = setting(
        0, "Sampled episodes of each task besides the greedy one.", low=0, high=1000
    )
    temperature: float = setting(1.0, "Temperature of the sampled episodes.", low=0, high=100)
    recovery: bool = setting(True, "Also continue the base model's failed trajectories.")
    recovery_prefix: float = setting(
        0.5,
        "Share of a failed trajectory's steps that is given as the prefix to recover from.",
        low=0,
        high=1,
        per_env=True,
    )
    recovery_steps: int = setting(
        20, "Longest continuation of such a prefix, in steps.", low=1, high=10_000, per_env=True
    )
    batch: int = setting(64, "Episodes played in lockstep.", low=1, high=4096)
