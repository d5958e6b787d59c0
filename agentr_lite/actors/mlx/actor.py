"""The MLX actor: one model, one pool of prefixes, all requests of a call in common batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agentr_lite.actors.answer import generated
from agentr_lite.actors.base import (
    SCORE_OVERFLOW,
    Actor,
    Capabilities,
    GenerateRequest,
    GenerateResult,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.actors.chat.encoder import ChatEncoder, History, Prompt
from agentr_lite.actors.chat.template import model_template
from agentr_lite.actors.chat.tokenizer import Tokenizer
from agentr_lite.actors.digest import directory_sha256, file_sha256
from agentr_lite.actors.mlx.blas import use_fast_blas
from agentr_lite.actors.shared import open_beside
from agentr_lite.core.errors import ModelError
from agentr_lite.core.usage import Usage

if TYPE_CHECKING:
    from agentr_lite.actors.grammar.matcher import Matcher
    from agentr_lite.actors.mlx.weights import Weights


class _Asked(Protocol):
    prompt: list[int]


J = TypeVar("J", bound=_Asked)

_WIDTH = 32
"""Most rows in a batch."""
_MEMORY_SHARE = 0.25
"""Share of the free memory for the prefixes; the current batch gets as much again."""
_MAX_CELLS = 1 << 17
_STATES_SHARE = 0.125
"""Share of the free memory for the states of recurrent layers at the ends of prefixes."""
_MAX_STATES = 1 << 12
_PREFILL_TOKENS = {"cpu": 512, "gpu": 2048}
_SINGLE_ROW = frozenset({"gemma2"})
"""Models whose attention in mlx-lm broadcasts a batch's mask over the wrong axis."""


class MlxActor(Actor):
    """Batched decoding on MLX.

    Prefixes stay in the pool between calls and are shared by requests, samples and turns. A call's
    results depend on the requests, the adapter and the pooled prefixes; the latter change the
    shape of batches and thereby the rounding, which can decide a near tie. They never depend on
    the clock: the same calls after ``reset_cache`` give the same results on the same machine. With
    ``deterministic``, results depend neither on pooled prefixes nor on other requests.
    """

    capabilities = Capabilities(
        adapters=True,
        scoring=True,
        prefix_sharing=True,
        adapter_format="mlx",
        grammar=True,
        side_by_side=True,
    )

    def __init__(
        self,
        path: Path,
        *,
        context_tokens: int = 4096,
        n_cells: int | None = None,
        live_tokens: int | None = None,
        width: int = _WIDTH,
        chat_template: Path | None = None,
        history: History = "exact",
        thinking: bool = False,
        deterministic: bool = False,
        weights: Weights | None = None,
    ) -> None:
        """Load the model.

        Args:
            path: a directory in MLX's or Hugging Face's format.
            context_tokens: longest conversation with its answer; limited by the model's training
                context.
            n_cells: tokens that the pool holds, at least one conversation. Default: chosen by the
                free memory.
            live_tokens: most tokens of all conversations that are in play at a time, if known; the
                default of ``n_cells`` is not larger.
            width: most answers that are decoded at once.
            chat_template: a Jinja file to use instead of the model's own template.
            history: how finished turns become tokens; see ``ChatEncoder``.
            thinking: let a reasoning model think before it answers; see ``ThinkingActor``.
            deterministic: answer each request by itself and from an empty pool, so that no bit of
                its answers depends on earlier or simultaneous requests. This is much slower.
            weights: the loaded weights of ``path`` (for ``beside``). The actor is one of their
                users; it leaves them when it is closed.

        Raises:
            ModelError: the directory is missing or incomplete, the model is of an unsupported
                kind, has no usable chat template, or does not fit in memory.
        """
        use_fast_blas()
        # These modules import MLX, and the fast BLAS must be loaded before it.
        from agentr_lite.actors.mlx.adapters import Adapters
        from agentr_lite.actors.mlx.decoder import Decoder
        from agentr_lite.actors.mlx.device import on_cpu
        from agentr_lite.actors.mlx.pool import Pool
        from agentr_lite.actors.mlx.weights import Weights

        self.usage = Usage()
        self._path = path
        self._weights = weights or Weights(path)
        # An adapter changes the layers, so each actor has its own layers over the same arrays.
        self._model = self._weights.layers()
        vocabulary = self._weights.vocabulary
        trained_on = _longest(self._model)
        self._context_tokens = min(context_tokens, trained_on) if trained_on else context_tokens
        self._chat_template = chat_template
        template = model_template(
            path,
            vocabulary.chat_template,
            override=chat_template,
            bos=vocabulary.bos_text,
            eos=vocabulary.eos_text,
            thinking=thinking,
        )
        self._encoder = ChatEncoder(
            template, Tokenizer(vocabulary), eos=vocabulary.eos_text, history=history
        )
        vocabulary.end_tokens |= self._encoder.end_tokens
        self._device = "cpu" if on_cpu() else "gpu"
        with self._computing():
            self._pool = Pool(self._model, origin=str(path))
        self._pool.capacity, fitting = self._plan(n_cells, live_tokens)
        if getattr(self._model, "model_type", "") in _SINGLE_ROW:
            fitting = 1
        self._decoder = Decoder(
            self._model,
            vocabulary,
            self._pool,
            width=max(1, min(width, fitting)),
            prefill_tokens=_PREFILL_TOKENS[self._device],
            states=self._states(),
        )
        self._deterministic = deterministic
        self._adapters = Adapters(self._model)
        self._adapter: tuple[Any, ...] | None = None
        self._another = partial(
            MlxActor,
            path,
            context_tokens=context_tokens,
            n_cells=n_cells,
            live_tokens=live_tokens,
            width=width,
            chat_template=chat_template,
            history=history,
            thinking=thinking,
            deterministic=deterministic,
        )
        self._closed = False

    def _plan(self, n_cells: int | None, live_tokens: int | None) -> tuple[int, int]:
        """The pool's number of slots, and the batch's number of rows for as much memory again."""
        from agentr_lite.actors.mlx.device import free_bytes

        affordable = int(free_bytes() * _MEMORY_SHARE) // max(1, self._pool.cell_bytes)
        if n_cells is None and affordable < self._context_tokens:
            gib = self._context_tokens * self._pool.cell_bytes / 2**30
            raise ModelError(
                f"a conversation of {self._context_tokens:,} tokens needs {gib:.1f} GiB for its"
                " cache, more than is free",
                hint="Lower agent.context_tokens, close other programs, or use a smaller model.",
            )
        cells = _MAX_CELLS
        # By halving, so that small changes of the free memory do not change evictions, which
        # change the rounding and thereby near ties.
        while cells > affordable:
            cells //= 2
        if live_tokens is not None:
            cells = min(cells, live_tokens)
        rows = _WIDTH
        row = self._context_tokens + self._pool.state_bytes // max(1, self._pool.cell_bytes)
        while rows > 1 and rows * row > affordable:
            rows //= 2
        return max(n_cells or cells, self._context_tokens), rows

    def _states(self) -> int:
        """How many states of recurrent layers are kept at a time."""
        from agentr_lite.actors.mlx.device import free_bytes

        if not self._pool.state_bytes:
            return 0
        states, affordable = _MAX_STATES, int(free_bytes() * _STATES_SHARE)
        # By halving, as in ``_plan``.
        while states > 2 and states * self._pool.state_bytes > affordable:
            states //= 2
        return states

    @property
    def description(self) -> dict[str, Any]:
        """See ``Actor``; sizes in tokens and parameters."""
        from importlib.metadata import version

        from mlx_lm.utils import get_total_parameters

        return {
            "backend": "mlx",
            "mlx": version("mlx"),
            "mlx_lm": version("mlx-lm"),
            "path": str(self._path),
            "sha256": directory_sha256(self._path),
            "name": self._path.resolve().name,
            "architecture": str(getattr(self._model, "model_type", "")),
            "n_params": int(get_total_parameters(self._model)),
            "context_tokens": self._context_tokens,
            "cache_tokens": [self._pool.capacity],
            "device": self._device,
            "deterministic": self._deterministic,
            "chat_template": file_sha256(self._chat_template) if self._chat_template else "model",
        }

    @property
    def encoder(self) -> ChatEncoder:
        """How it turns conversations into tokens."""
        return self._encoder

    @property
    def context_tokens(self) -> int:
        """Longest conversation, including its answer."""
        return self._context_tokens

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """See ``Actor``. If a stop string cuts a token, ``token_ids`` holds the whole token."""
        from agentr_lite.actors.mlx.decoder import Job
        from agentr_lite.actors.mlx.sampler import Sample

        prompts: list[Prompt] = []
        jobs: list[Job | None] = []
        for request in requests:
            sampling = request.sampling
            # The answer's limit may be too large for a small model's context.
            room = min(sampling.max_tokens, self._context_tokens // 2)
            start = request.answer_start
            prompt = self._encoder.fit(request.messages, self._context_tokens - room - len(start))
            prompts.append(prompt)
            if prompt.tokens is None:
                jobs.append(None)
                continue
            asked = [*prompt.tokens, *start]
            stop = [text.encode() for text in sampling.stop if text]
            longest = min(sampling.max_tokens, self._context_tokens - len(asked))
            samples = [
                Sample(sampling, seed, longest, stop, self._matcher(sampling.grammar))
                for seed in request.seeds
            ]
            jobs.append(Job(asked, samples))
        work = [job for job in jobs if job is not None]
        self._timed(lambda some: self._decoder.run(some), work)
        self.usage.output_tokens += sum(len(s.tokens) for job in work for s in job.samples)
        return [
            generated(request, prompt, job, self._encoder)
            for request, prompt, job in zip(requests, prompts, jobs, strict=True)
        ]

    def _matcher(self, grammar: str) -> Matcher | None:
        if not grammar:
            return None
        return self._weights.grammars(self._pool.vocabulary_size).compiled(grammar).begin()

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """See ``Actor``.

        A continuation is tokenized by itself, as if it were generated after the prompt. The end of
        the turn is not part of it.

        Raises:
            ModelError: a continuation is empty.
        """
        from agentr_lite.actors.mlx.decoder import Scoring

        jobs: list[Scoring | None] = []
        for request in requests:
            tokens = [self._encoder.answer(text) for text in request.continuations]
            if not all(tokens):
                raise ModelError("a continuation to score has no tokens")
            prompt = self._encoder.fit(
                request.messages,
                self._context_tokens - len(request.answer_start) - max(map(len, tokens), default=1),
            )
            asked = [*(prompt.tokens or ()), *request.answer_start]
            jobs.append(Scoring(asked, tokens) if prompt.tokens is not None else None)
        self._timed(
            lambda some: self._decoder.score(some), [job for job in jobs if job is not None]
        )
        return [
            SCORE_OVERFLOW
            if job is None
            else ScoreResult(tuple(job.log_likelihoods or ()), len(job.prompt), job.cached_tokens)
            for job in jobs
        ]

    def _timed(self, work: Callable[[Sequence[J]], None], jobs: Sequence[J]) -> None:
        """Carry out ``jobs`` and add them to the usage."""
        if self._closed:
            raise ModelError("the model is closed")
        started = time.perf_counter()
        counters = self._decoder.counters
        before = counters.prefilled + counters.replayed
        with self._computing():
            if self._deterministic:
                for job in jobs:
                    self.reset_cache()
                    work([job])
            else:
                work(jobs)
        usage = self.usage
        usage.calls += 1
        usage.prompt_tokens += sum(len(job.prompt) for job in jobs)
        usage.decoded_prompt_tokens += counters.prefilled + counters.replayed - before
        usage.model_ms += (time.perf_counter() - started) * 1000.0

    def _computing(self) -> Any:
        from agentr_lite.actors.mlx.delta import delta_in_blocks
        from agentr_lite.actors.mlx.device import compiled_on_gpu_only

        stack = contextlib.ExitStack()
        stack.enter_context(compiled_on_gpu_only())
        if self._device == "cpu":
            # A GPU has kernels for it.
            stack.enter_context(delta_in_blocks())
        return stack

    def use_adapter(self, path: Path | None) -> None:
        """See ``Actor``; ``path`` is mlx-lm's adapter directory. A change empties the pool."""
        mark = _mark(path) if path is not None else None
        if mark == self._adapter:
            return
        self._adapter = None
        self.reset_cache()
        self._adapters.use(path)
        self._adapter = mark

    def beside(self, adapter: Path | None) -> MlxActor:
        """See ``Actor``. It costs only the memory of its pool and of the adapter."""
        if self._closed:
            raise ModelError("the model is closed")
        weights = self._weights
        return open_beside(weights, lambda: self._another(weights=weights), adapter)

    def reset_cache(self) -> None:
        """See ``Actor``."""
        self._decoder.tree.clear()

    def close(self) -> None:
        """Free everything; it may be called twice."""
        if not self._closed:
            self._closed = True
            del self._decoder, self._pool, self._adapters, self._model
            self._weights.leave()


def _mark(path: Path) -> tuple[Any, ...]:
    """A value that differs for another adapter and for a changed one."""
    mark: list[Any] = [path.resolve()]
    for file in sorted(path.glob("adapter*")) if path.is_dir() else []:
        stat = file.stat()
        mark += [file.name, stat.st_mtime_ns, stat.st_size]
    return tuple(mark)


def _longest(model: Any) -> int:
    """The longest text that a model was trained on, in tokens; 0 if it is not known."""
    arguments = getattr(model, "args", None)
    longest = getattr(arguments, "max_position_embeddings", None)
    nested = getattr(arguments, "text_config", None)
    if not longest and isinstance(nested, dict):
        longest = nested.get("max_position_embeddings")
    return int(longest) if isinstance(longest, int | float) and longest > 0 else 0
