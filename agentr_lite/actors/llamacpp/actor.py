"""The llama.cpp actor: one model, one cache, all requests of a call in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agentr_lite.actors.answer import generated
from agentr_lite.actors.base import (
    SCORE_OVERFLOW,
    Actor,
    Capabilities,
    GenerateRequest,
    GenerateResult,
    Sampling,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.actors.chat.encoder import ChatEncoder, History, Prompt
from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.llamacpp import tuning
from agentr_lite.actors.llamacpp.attention import attention_kernel
from agentr_lite.actors.llamacpp.grammar import Constrained
from agentr_lite.actors.llamacpp.isolated import (
    IsolatedLane,
    IsolatedStreamLane,
    plan_isolated,
)
from agentr_lite.actors.llamacpp.lanes import Lanes
from agentr_lite.actors.llamacpp.library import gpus, library_version
from agentr_lite.actors.llamacpp.machine import physical_cores
from agentr_lite.actors.llamacpp.plan import plan_lanes
from agentr_lite.actors.llamacpp.sampler import Chooser, Forced, make_chooser
from agentr_lite.actors.llamacpp.scheduler import Job, Sample
from agentr_lite.actors.llamacpp.weights import Weights
from agentr_lite.actors.shared import open_beside
from agentr_lite.core.errors import ModelError
from agentr_lite.core.usage import Usage


class LlamaCppActor(Actor):
    """Batched tree decoding on llama.cpp.

    Prefixes stay in the cache between calls and are shared by requests, samples and turns, so a
    conversation's history is decoded once. A call's results depend on the requests, the adapter
    and the cached prefixes; the latter change the shape of batches and thereby the rounding, which
    can decide a near tie. They never depend on the clock: the same calls after ``reset_cache`` give
    the same results bit for bit on the same machine, build and thread count. With
    ``deterministic``, results depend neither on cached prefixes nor on other requests.
    """

    capabilities = Capabilities(
        adapters=True, scoring=True, prefix_sharing=True, grammar=True, side_by_side=True
    )

    def __init__(
        self,
        path: Path,
        *,
        context_tokens: int = 4096,
        n_cells: int | None = None,
        live_tokens: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int = -1,
        chat_template: Path | None = None,
        history: History = "exact",
        thinking: bool = False,
        tuned: bool = True,
        deterministic: bool = False,
        streams: bool | None = None,
        windowed: bool | None = None,
        weights: Weights | None = None,
    ) -> None:
        """Load the model.

        Args:
            path: a GGUF file.
            context_tokens: longest conversation with its answer; limited by the model's training
                context.
            n_cells: tokens that all caches hold together, at least one conversation. Default:
                chosen by the model's size and the free memory.
            live_tokens: most tokens of all conversations that are in play at a time, if known; the
                default of ``n_cells`` is not larger.
            n_threads: default: the physical cores that this process may use.
            n_gpu_layers: -1 = all, if llama.cpp was built with GPU support.
            chat_template: a Jinja file to use instead of the model's own template.
            history: how finished turns become tokens; see ``ChatEncoder``.
            thinking: let a reasoning model think before it answers; see ``ThinkingActor``.
            tuned: use the batch shapes that `agentr-lite doctor --tune` measured, if it was run.
            deterministic: answer each request by itself, so that no bit of its answers depends on
                earlier or simultaneous requests. This is slower.
            streams: whether each conversation gets cells of its own; default: see ``plan_lanes``.
                ``deterministic`` and models with recurrent layers leave no choice.
            windowed: whether layers with a sliding window keep the window's cells only; default:
                see ``plan_lanes``. With ``deterministic``, they keep all.
            weights: the loaded weights of ``path`` (for ``beside``). The actor is one of their
                users; it leaves them when it is closed.

        Raises:
            ModelError: the file is missing, damaged or of an unsupported kind, has no usable chat
                template, or does not fit in memory.
        """
        self.usage = Usage()
        self._path = path
        self._weights = weights or Weights(
            path,
            n_gpu_layers=n_gpu_layers,
            chat_template=chat_template,
            history=history,
            thinking=thinking,
        )
        try:
            self._model = model = self._weights.model
            if model.n_ctx_train > 0:
                context_tokens = min(context_tokens, model.n_ctx_train)
            self._context_tokens = context_tokens
            self._encoder = self._weights.encoder
            self._threads = n_threads or physical_cores()
            on_gpu = model.on_gpu
            self._gpus = [gpu.name for gpu in gpus()] if on_gpu else []
            plan = plan_lanes(
                model,
                context_tokens=context_tokens,
                n_cells=n_cells,
                live_tokens=live_tokens,
                gpu=on_gpu,
                n_threads=self._threads,
                streams=False if deterministic else streams,
                # A window's cells lie in another order after they were restored.
                windowed=False if deterministic else windowed,
                kernel=not on_gpu and attention_kernel() is not None,
            )
            # The digest of a large file takes seconds: compute it only if anything is stored.
            self._tuning = (
                tuning.stored(file_sha256(path)) if tuned and tuning.any_stored() else None
            )
            if self._tuning is not None:
                plan = plan.tuned(self._tuning)
            self._deterministic = deterministic
            self._window = plan.window
            if deterministic:
                plan = plan_isolated(plan, context_tokens=context_tokens, n_threads=self._threads)
            isolated = IsolatedStreamLane if plan.streams else IsolatedLane
            self._lanes = Lanes(
                model, plan, n_threads=self._threads, kind=isolated if deterministic else None
            )
        except BaseException:
            # The caller leaves weights that it passed in.
            if weights is None:
                self._weights.leave()
            raise
        self._adapter: Path | None = None
        self._handle: Any = None
        self._chat_template = chat_template
        self._another = partial(
            LlamaCppActor,
            path,
            context_tokens=context_tokens,
            n_cells=n_cells,
            live_tokens=live_tokens,
            n_threads=n_threads,
            n_gpu_layers=n_gpu_layers,
            chat_template=chat_template,
            history=history,
            thinking=thinking,
            tuned=tuned,
            deterministic=deterministic,
            streams=streams,
            windowed=windowed,
        )
        self._closed = False

    @property
    def description(self) -> dict[str, Any]:
        """See ``Actor``; sizes in tokens and parameters."""
        header = self._model.header
        return {
            "backend": "llama.cpp",
            "llama_cpp_python": library_version(),
            "path": str(self._path),
            "sha256": file_sha256(self._path),
            "name": str(header.metadata.get("general.name", self._path.stem)),
            "architecture": header.architecture,
            "n_params": self._model.n_params,
            "context_tokens": self._context_tokens,
            "cache_tokens": [lane.context.n_cells for lane in self._lanes.lanes],
            **({"streams": self._lanes.streams} if self._lanes.streams else {}),
            **({"window": self._window} if self._window else {}),
            "threads": self._threads,
            **({"gpus": self._gpus} if self._gpus else {}),
            "deterministic": self._deterministic,
            **({"tuning": asdict(self._tuning)} if self._tuning is not None else {}),
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
                Sample(self._chooser(sampling, seed), longest, stop) for seed in request.seeds
            ]
            jobs.append(Job(asked, samples))
        self._run([job for job in jobs if job is not None])
        return [
            generated(request, prompt, job, self._encoder)
            for request, prompt, job in zip(requests, prompts, jobs, strict=True)
        ]

    def _chooser(self, sampling: Sampling, seed: int) -> Chooser:
        if not sampling.grammar:
            return make_chooser(sampling, seed)
        matcher = self._weights.grammars.compiled(sampling.grammar).begin()
        return Constrained(make_chooser(sampling, seed), matcher, sampling, seed)

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """See ``Actor``.

        A continuation is tokenized by itself, as if it were generated after the prompt. The end of
        the turn is not part of it.

        Raises:
            ModelError: a continuation is empty.
        """
        jobs: list[tuple[Job, list[Forced]] | None] = []
        for request in requests:
            tokens = [tuple(self._encoder.answer(text)) for text in request.continuations]
            if not all(tokens):
                raise ModelError("a continuation to score has no tokens")
            prompt = self._encoder.fit(
                request.messages,
                self._context_tokens - len(request.answer_start) - max(map(len, tokens), default=1),
            )
            if prompt.tokens is None:
                jobs.append(None)
                continue
            forced = [Forced(ids) for ids in tokens]
            samples = [Sample(c, len(ids)) for c, ids in zip(forced, tokens, strict=True)]
            jobs.append((Job([*prompt.tokens, *request.answer_start], samples), forced))
        self._run([scored[0] for scored in jobs if scored is not None])
        return [
            _score_result(scored[0], scored[1]) if scored is not None else SCORE_OVERFLOW
            for scored in jobs
        ]

    def _run(self, jobs: Sequence[Job]) -> None:
        if self._closed:
            raise ModelError("the model is closed")
        started = time.perf_counter()
        before = self._lanes.counters()
        self._lanes.run(jobs)
        after = self._lanes.counters()
        usage = self.usage
        usage.calls += 1
        usage.prompt_tokens += sum(len(job.prompt) for job in jobs)
        usage.decoded_prompt_tokens += after.prefilled_tokens - before.prefilled_tokens
        usage.decoded_prompt_tokens += after.replayed_tokens - before.replayed_tokens
        usage.output_tokens += sum(len(s.tokens) for job in jobs for s in job.samples)
        usage.model_ms += (time.perf_counter() - started) * 1000.0

    def use_adapter(self, path: Path | None) -> None:
        """See ``Actor``. A change empties the prefix cache: its cells are valid for one adapter."""
        handle = self._weights.adapters.load(path) if path is not None else None
        self._adapter = path
        if handle == self._handle:
            return
        self._handle = handle
        for lane in self._lanes.lanes:
            lane.context.set_adapter(handle)
        self.reset_cache()

    def beside(self, adapter: Path | None) -> LlamaCppActor:
        """See ``Actor``. It costs only the memory of its caches."""
        if self._closed:
            raise ModelError("the model is closed")
        weights = self._weights
        return open_beside(weights, lambda: self._another(weights=weights), adapter)

    def reset_cache(self) -> None:
        """See ``Actor``."""
        self._lanes.reset()

    def close(self) -> None:
        """Free everything that no other actor uses; it may be called twice."""
        if not self._closed:
            self._closed = True
            # Contexts point into the model.
            self._lanes.close()
            self._weights.leave()


def _score_result(job: Job, forced: Sequence[Forced]) -> ScoreResult:
    values = tuple(chooser.log_likelihood for chooser in forced)
    return ScoreResult(values, len(job.prompt), job.cached_tokens)
