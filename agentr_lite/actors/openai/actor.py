"""The actor behind an OpenAI-compatible server."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from agentr_lite.actors.base import (
    SCORE_OVERFLOW,
    Actor,
    Capabilities,
    Completion,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    Sampling,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.actors.chat.encoder import split_exchanges
from agentr_lite.actors.chat.template import ChatTemplate
from agentr_lite.actors.digest import file_sha256
from agentr_lite.actors.openai.client import Client, Refusal
from agentr_lite.actors.openai.grammar import Form, find_form, grammar_field
from agentr_lite.actors.openai.scoring import MOST_TOKENS, Scorer, cached_tokens, find_scorer
from agentr_lite.actors.openai.servers import find_model
from agentr_lite.actors.openai.spec import ServerSpec
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message, spoken
from agentr_lite.core.text_files import read_text
from agentr_lite.core.unicode import without_surrogates
from agentr_lite.core.usage import Usage

_OVERFLOW = re.compile(
    r"context[ _-]?(length|size|window)|maximum (sequence|model) length|max_model_len"
    r"|exceed_context|prompt is too long",
    re.IGNORECASE,
)
_SEEN = 120
"""Characters of an unexpected answer that a message shows."""
_CHARACTERS = 10_000
_CHARACTERS_A_TOKEN = 200
"""A text that is longer than this many and so many for each token is no answer to the request."""
_EOS_MARK = "\ue000end of turn\ue000"
_EOS_PROBE: list[Message] = [
    {"role": "system", "content": "first probe"},
    {"role": "user", "content": "second probe"},
    {"role": "assistant", "content": "third probe"},
    {"role": "user", "content": "fourth probe"},
]


@dataclass(frozen=True, slots=True)
class _Answer:
    """The texts and the token counts of one HTTP answer."""

    texts: list[tuple[str, FinishReason]]
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class OpenAIActor(Actor):
    """A model behind vLLM, SGLang, llama-server, LM Studio, Ollama or the like.

    The requests of a call are sent together, as many at a time as the settings allow; results come
    back in the order of the requests. Seeds are passed on, but the server decides whether the same
    seed gives the same answer: in a batch, other requests change the rounding.
    """

    def __init__(self, client: Client, *, chat_template: Path | None = None) -> None:
        """Find the model, ask it for one token, and find out whether it can score.

        Args:
            client: the server; closed with the actor.
            chat_template: a Jinja file to render conversations with, instead of the server's own.

        Raises:
            ModelError: there is no such server or model, it refuses, or the template is unusable.
        """
        self._client = client
        self._chat_template = chat_template
        self._template = _load_template(chat_template)
        self.usage = Usage()
        self._single = False
        self._grammar_form: Form | None = None
        try:
            client.run(self._open())
        except BaseException:
            client.close()
            raise

    async def _open(self) -> None:
        self.served = await find_model(self._client)
        self.spec = ServerSpec(self._client.spec.url, self.served.model)
        await self._ask([{"role": "user", "content": "Hi"}], Sampling(0.0, max_tokens=1), 1, 1)
        self._scorer, self.why_no_scoring = await find_scorer(
            self._client, self.served, self._template
        )
        self.capabilities = Capabilities(
            adapters=False,
            scoring=self._scorer is not None,
            prefix_sharing=True,
            grammar=bool(self.served.kind.grammars),
        )

    @property
    def description(self) -> dict[str, Any]:
        """See ``Actor``. ``identity`` replaces the digest, which servers do not tell."""
        return {
            "backend": "openai",
            "server": self.served.kind.name,
            "path": str(self.spec),
            "sha256": "",
            "name": self.served.model,
            "context_tokens": self.served.context_tokens,
            "identity": {"name": self.served.model, **self.served.facts},
            **({"no_scoring": self.why_no_scoring} if self.why_no_scoring else {}),
            "chat_template": file_sha256(self._chat_template) if self._chat_template else "server",
        }

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """See ``Actor``.

        If an answer has several samples, its tokens are divided among their ``output_tokens`` by
        the length of their texts. ``token_ids`` is empty, because servers do not tell them.

        Raises:
            ModelError: the server refuses, gives no answer in any attempt, or ignores grammars.
        """
        self._check_sampling(requests)
        if self._grammar_form is None and any(request.sampling.grammar for request in requests):
            self._grammar_form = self._client.run(find_form(self.served.kind, self._greeting))
        return self._timed(self._client.gather(self._one(request) for request in requests))

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """See ``Actor``.

        Raises:
            ModelError: this server gives no log-probabilities of prompts.
        """
        if self._scorer is None:
            raise ModelError(f"no scores from {self.spec}: {self.why_no_scoring}")
        scorer = self._scorer
        results = self._timed(
            self._client.gather(_score_one(scorer, request) for request in requests)
        )
        self.usage.prompt_tokens += sum(result.prompt_tokens for result in results)
        self.usage.decoded_prompt_tokens += sum(
            result.prompt_tokens - result.cached_tokens for result in results
        )
        return results

    def use_adapter(self, path: Path | None) -> None:
        """See ``Actor``: no adapter can be loaded.

        Raises:
            ModelError: ``path`` is not None.
        """
        if path is not None:
            raise ModelError(
                f"{self.spec} cannot load adapter {path}: it is a server's model",
                hint="Evaluate it with the GGUF file of the same model: --model FILE.gguf.",
            )

    def close(self) -> None:
        """Close the connections; it may be called twice."""
        self._client.close()

    def _timed(self, work: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._client.run(work)
        finally:
            self.usage.calls += 1
            self.usage.model_ms += (time.perf_counter() - started) * 1000.0

    def _check_sampling(self, requests: Sequence[GenerateRequest]) -> None:
        for request in requests:
            sampling = request.sampling
            if sampling.temperature <= 0.0:
                continue
            for name, value in (("top_k", sampling.top_k), ("min_p", sampling.min_p)):
                if value and name not in self.served.kind.cuts:
                    raise ModelError(
                        f"{self.served.kind.name} has no {name} and would ignore {value:g}",
                        hint=f"Leave it out: --set search.{name}=0.",
                    )

    async def _greeting(self, more: Mapping[str, Any]) -> str:
        """A short answer to a request with additional fields."""
        hello: list[Message] = [{"role": "user", "content": "Hi"}]
        answer = await self._ask(hello, Sampling(0.0, max_tokens=8), 1, 1, more)
        return answer.texts[0][0]

    async def _one(self, request: GenerateRequest) -> GenerateResult:
        """All samples of one conversation; the oldest exchanges are dropped if it is too long."""
        head, exchanges = split_exchanges(request.messages)
        for dropped in range(max(1, len(exchanges))):
            kept = [message for exchange in exchanges[dropped:] for message in exchange]
            try:
                answers = await self._samples([*head, *kept], request)
            except Refusal as refusal:
                if not _too_long(refusal):
                    raise
                continue
            return self._result(request, answers, dropped)
        return GenerateResult(tuple(Completion("", 0, "overflow") for _ in request.seeds), 0, 0)

    async def _samples(
        self, messages: Sequence[Message], request: GenerateRequest
    ) -> list[_Answer]:
        sampling, seeds = request.sampling, request.seeds
        if sampling.temperature <= 0.0:
            # All greedy samples are equal, so one request is enough.
            return [await self._ask(messages, sampling, seeds[0], 1)] if seeds else []
        answers: list[_Answer] = []
        done = 0
        if self.served.kind.several and len(seeds) > 1 and not self._single:
            try:
                answers = [await self._ask(messages, sampling, seeds[0], len(seeds))]
            except Refusal as refusal:
                if _too_long(refusal) or refusal.status not in (400, 422, 501):
                    raise
                # llama-server, for example, makes at most as many samples as it has slots.
                self._single = True
            else:
                done = len(answers[0].texts)
        jobs = [self._ask(messages, sampling, seed, 1) for seed in seeds[done:]]
        return [*answers, *await self._client.gather(jobs)]

    async def _ask(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seed: int,
        samples: int,
        more: Mapping[str, Any] | None = None,
    ) -> _Answer:
        kind, limit = self.served.kind, sampling.max_tokens
        if self.served.context_tokens:
            # As with files, the answer's limit may be too large for a small context.
            limit = max(1, min(limit, self.served.context_tokens // 2))
        body: dict[str, Any] = {
            "model": self.served.model,
            "temperature": max(0.0, sampling.temperature),
            "seed": seed,
            kind.max_tokens_key: limit,
            **(more or {}),
        }
        if sampling.grammar and self._grammar_form:
            body |= grammar_field(self._grammar_form, sampling.grammar)
        if samples > 1:
            body["n"] = samples
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.temperature > 0.0:
            cuts = {"top_k": sampling.top_k, "min_p": sampling.min_p}
            body |= {"top_p": sampling.top_p, **kind.neutral}
            body |= {name: value for name, value in cuts.items() if value}
        else:
            body |= {k: v for k, v in kind.neutral.items() if k not in ("top_k", "min_p")}
        if self._template is not None:
            body["prompt"] = self._template.render_text(messages)
            answer = await self._client.post("/completions", body)
        else:
            body["messages"] = spoken(messages)
            if kind.template_switches:
                # A thinking model would spend the answer's few tokens on its thoughts.
                body["chat_template_kwargs"] = {"enable_thinking": False}
            answer = await self._client.post("/chat/completions", body)
        return self._read(answer, sampling, samples)

    def _read(self, answer: Mapping[str, Any], sampling: Sampling, samples: int) -> _Answer:
        choices = answer.get("choices")
        rows = [row for row in choices if isinstance(row, dict)] if _is_list(choices) else []
        rows.sort(key=_index)
        texts = [_text(row) for row in rows]
        if not texts or any(text is None for text in texts):
            said = str(answer.get("error") or answer)[:_SEEN]
            raise self._client.failed(
                f"it answered without a text: {said}",
                hint="It must be a text model, and the server must be OpenAI-compatible.",
            )
        longest = max(len(str(text)) for text in texts)
        if longest > _CHARACTERS + _CHARACTERS_A_TOKEN * sampling.max_tokens:
            raise self._client.failed(
                f"it answered with {longest:,} characters where {sampling.max_tokens:,} tokens"
                " were asked for",
                hint="It must follow max_tokens.",
            )
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        prompt, output = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        cached = min(cached_tokens(usage), prompt)
        self.usage.prompt_tokens += prompt
        self.usage.decoded_prompt_tokens += prompt - cached
        self.usage.output_tokens += output
        finished = [
            _finish(str(text), row, sampling) for text, row in zip(texts, rows, strict=True)
        ]
        return _Answer(finished[:samples], prompt, cached, output)

    def _result(
        self, request: GenerateRequest, answers: Sequence[_Answer], dropped: int
    ) -> GenerateResult:
        completions: list[Completion] = []
        for answer in answers:
            shares = _shares(answer.output_tokens, [len(text) for text, _ in answer.texts])
            completions += [
                Completion(text, tokens, reason)
                for (text, reason), tokens in zip(answer.texts, shares, strict=True)
            ]
        if request.sampling.temperature <= 0.0:
            completions *= len(request.seeds)
        return GenerateResult(
            tuple(completions),
            max((answer.prompt_tokens for answer in answers), default=0),
            max((answer.cached_tokens for answer in answers), default=0),
            dropped,
        )


def _load_template(path: Path | None) -> ChatTemplate | None:
    if path is None:
        return None
    try:
        source = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"cannot read chat template {path}: {error}",
            hint="Set agent.chat_template to a Jinja file, or to '' for the server's own.",
        ) from error
    marked = ChatTemplate(source, origin=str(path), eos=_EOS_MARK)
    if _EOS_MARK in marked.render(_EOS_PROBE):
        raise ModelError(
            f"the chat template {path} ends turns with eos_token, but servers do not tell what"
            " their eos_token is, so turns would have no end",
            hint="Leave agent.chat_template empty, so that the server uses its own template; or"
            " write the token's text instead of eos_token.",
        )
    # The server adds the begin-of-text token itself.
    return ChatTemplate(source, origin=str(path))


async def _score_one(scorer: Scorer, request: ScoreRequest) -> ScoreResult:
    """One conversation's scores; the oldest exchanges are dropped if it is too long."""
    head, exchanges = split_exchanges(request.messages)
    for dropped in range(max(1, len(exchanges))):
        kept = [message for exchange in exchanges[dropped:] for message in exchange]
        try:
            return await scorer.score(replace(request, messages=[*head, *kept]))
        except Refusal as refusal:
            if not _too_long(refusal):
                raise
    return SCORE_OVERFLOW


def _too_long(refusal: Refusal) -> bool:
    return refusal.status in (400, 413, 422) and _OVERFLOW.search(refusal.said) is not None


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _index(row: Mapping[str, Any]) -> int:
    index = row.get("index")
    return index if type(index) is int else 0


def _text(row: Mapping[str, Any]) -> str | None:
    """The text of a chat's or a plain completion's choice; None if it has none."""
    message = row.get("message")
    if isinstance(message, dict):
        # null means that there are only thoughts, or a refusal.
        content = message.get("content")
        content = "" if content is None else content
        return without_surrogates(content) if isinstance(content, str) else None
    text = row.get("text")
    return without_surrogates(text) if isinstance(text, str) else None


def _finish(text: str, row: Mapping[str, Any], sampling: Sampling) -> tuple[str, FinishReason]:
    """The text up to the first stop string, because not every server looks for it."""
    ends = [at for stop in sampling.stop if stop and (at := text.find(stop)) >= 0]
    if ends:
        return text[: min(ends)], "stop"
    return text, "length" if row.get("finish_reason") == "length" else "stop"


def _count(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """Divide ``total`` in proportion to ``weights``, into parts that add up to it."""
    whole = sum(weights) or len(weights)
    parts, given, seen = [], 0, 0
    for weight in weights:
        seen += weight if sum(weights) else 1
        upto = total * seen // whole
        parts.append(upto - given)
        given = upto
    return parts
