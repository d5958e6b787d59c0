"""The actor protocol: batched generation and scoring over chat messages.

Search, splice and evaluation say what they want next; the actor decides on batches and reuses
prefixes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentr_lite.core.messages import Message
from agentr_lite.core.usage import ModelCall, Usage


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens. ``temperature=0`` is greedy, whatever the other settings."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps the whole vocabulary."""
    min_p: float = 0.0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these; they are not part of the text."""
    grammar: str = ""
    """GBNF with a rule ``root`` that the answer follows; empty: any answer. Needs
    ``capabilities.grammar``. An answer that ``max_tokens`` cuts is only a prefix of such a text."""

    @property
    def cuts(self) -> bool:
        """Whether some tokens of the vocabulary are left out of a draw."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Ask for ``len(seeds)`` independent continuations of one conversation."""

    messages: Sequence[Message]
    """Ends with a user turn; the actor adds the generation prompt."""
    seeds: tuple[int, ...]
    """One per sample, each in [1, 2**31 - 1]."""
    sampling: Sampling = field(default_factory=Sampling)
    answer_start: tuple[int, ...] = ()
    """Tokens that every answer begins with. They are no part of the completions."""


FinishReason = Literal["stop", "length", "overflow"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled assistant turn."""

    text: str
    output_tokens: int
    finish_reason: FinishReason
    """``overflow``: even the task with the last turns is too long for the context."""
    token_ids: tuple[int, ...] = ()
    """All tokens drawn, the one that ended the answer included."""
    drawn_ids: tuple[int, ...] = ()
    """For ``Message.token_ids``: the tokens of ``text``, where it alone would be tokenized
    otherwise."""
    thinking: str = ""
    """What a reasoning model thought before it; see ``Step.thinking``."""


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """The answers to one ``GenerateRequest``, in the order of its seeds."""

    completions: tuple[Completion, ...]
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens that were not decoded again."""
    dropped_turns: int = 0
    """Whole turns that were dropped to fit the context, oldest first; the task always stays."""
    batch_ms: float | None = field(default=None, compare=False)
    """Time that the batch with this request took. The caller fills it in; the answer does not
    depend on it."""
    batch_size: int | None = field(default=None, compare=False)
    """Number of requests in that batch."""

    def call(self, node_idx: int, seeds: tuple[int, ...]) -> ModelCall:
        """The record of the request that this answers.

        Args:
            node_idx: the tree's node that the request was made for.
            seeds: the request's.
        """
        return ModelCall(
            node_idx,
            seeds,
            self.prompt_tokens,
            self.cached_tokens,
            sum(completion.output_tokens for completion in self.completions),
            self.dropped_turns,
            self.batch_ms,
            self.batch_size,
        )


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the log-likelihood of each short assistant answer to one conversation."""

    messages: Sequence[Message]
    continuations: tuple[str, ...]
    answer_start: tuple[int, ...] = ()
    """Tokens between the conversation and every continuation; they are not scored."""


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """Natural-log likelihoods, summed over each continuation's tokens."""

    log_likelihoods: tuple[float, ...]
    """Empty if even the task with the last turns is too long for the context."""
    prompt_tokens: int
    cached_tokens: int
    overflow: bool = False
    """Nothing could be scored: the conversation is too long."""


SCORE_OVERFLOW = ScoreResult((), 0, 0, overflow=True)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a back end can do."""

    adapters: bool = False
    scoring: bool = False
    prefix_sharing: bool = False
    adapter_format: Literal["gguf", "mlx"] = "gguf"
    """What ``use_adapter`` takes: a GGUF file, or mlx-lm's adapter directory."""
    grammar: bool = False
    """``Sampling.grammar`` is followed; without this, it is refused."""
    side_by_side: bool = False
    """``beside`` works: the base and several adapters can be used at once on the same weights."""


class LoadedModel(ABC):
    """A loaded language model with an adapter, here or in other processes."""

    capabilities: Capabilities
    usage: Usage

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Everything that the results depend on: back end, model, SHA-256, sizes, versions."""

    def use_adapter(self, path: Path | None) -> None:
        """Switch to the base (None) or to a LoRA adapter without reloading the base.

        Args:
            path: the adapter, in the format that ``capabilities.adapter_format`` names.

        Raises:
            ModelError: the adapter is missing, corrupt or made for another base.
        """
        raise NotImplementedError(f"{type(self).__name__} has no adapters")

    def beside(self, adapter: Path | None) -> LoadedModel:
        """Another one over the same loaded weights, with its own adapter and caches.

        Each keeps its own adapter, cache and usage. They are used in turn, not from two threads at
        once. Each must be closed, in any order.

        Args:
            adapter: as for ``use_adapter``.

        Raises:
            ModelError: this one is closed, the adapter is unusable, or there is no memory for
                another cache.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot share its weights")

    def close(self) -> None:  # noqa: B027 - optional hook
        """Free the model, unless another one over the same weights needs it."""


class Actor(LoadedModel):
    """A language model behind a batched interface.

    Results come back in the order of the requests and do not depend on wall time.
    """

    @abstractmethod
    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """Sample continuations for all requests as one batch."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Log-likelihoods of continuations. Needs ``capabilities.scoring``."""
        raise NotImplementedError(f"{type(self).__name__} cannot score")

    def beside(self, adapter: Path | None) -> Actor:
        """See ``LoadedModel``: another actor."""
        raise NotImplementedError(f"{type(self).__name__} cannot share its weights")

    def reset_cache(self) -> None:
        """Forget cached prefixes, so that the same requests give the same batches again."""
