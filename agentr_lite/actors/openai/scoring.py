"""Log-likelihoods from a server that echoes the prompt with its tokens' log-probabilities.

``echo`` with ``logprobs`` on ``/v1/completions`` gives them for a text or for token ids, so the
conversation must be rendered before it is sent. There are two ways: the server's own ``/tokenize``
(vLLM), which is exact, or a chat template from the user. If a server accepts ``echo`` but ignores
it, all scores would be wrong; a probe detects this.

llama_cpp.server leaves out the begin-of-text token wherever it stands. With SmolLM2, whose turns
all begin with that token, an echo has fewer values than the prompt has tokens. So a continuation's
values are counted from the end::

    tokens   <s> user : Go <s> bot :  Yes          10 of the prompt, 1 of the continuation
    values       user : Go     bot :  Yes  +1      the last one is generated
                                      ^^^

Source: https://platform.openai.com/docs/api-reference/completions for the two fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agentr_lite.actors.base import ScoreRequest, ScoreResult
from agentr_lite.actors.chat.template import ChatTemplate
from agentr_lite.actors.openai.client import Client, Refusal, ServerFailed
from agentr_lite.actors.openai.servers import Served
from agentr_lite.core.messages import Message, spoken

_PROBE: list[Message] = [{"role": "user", "content": "Is water wet? Answer with one word."}]
_PROBE_ANSWER = "Yes"


MOST_TOKENS = 10**9
"""Of one answer; a larger count is none."""


_TOLERANCE = 0.5
"""Between two values of the same token; other batches change the rounding."""


class NoEcho(ServerFailed):
    """The server's answer does not hold what scoring needs."""


@dataclass(frozen=True, slots=True)
class Echo:
    """One echoed text."""

    log_probabilities: list[float | None]
    """One for each token that is not left out, natural log; the first one may have none."""
    tokens: int
    """Tokens of the text, with those that are left out."""
    cached_tokens: int


class Scorer:
    """Scores continuations with one server; conversations are rendered in one way."""

    def __init__(self, client: Client, served: Served, template: ChatTemplate | None) -> None:
        """
        Args:
            client: the server.
            served: the model.
            template: renders conversations here; None: the server tokenizes them.
        """
        self._client = client
        self._served = served
        self._template = template
        self._continuations: dict[str, list[int]] = {}

    async def score(self, request: ScoreRequest) -> ScoreResult:
        """Log-likelihoods of each continuation.

        Raises:
            ModelError: the server fails, or its answer does not hold the log-probabilities.
        """
        prompt: str | list[int]
        if self._template is None:
            prompt = await self._tokens(messages=spoken(request.messages))
            # All of its tokens have values; it need not be echoed by itself.
            alone = Echo([None] * len(prompt), len(prompt), 0)
        else:
            prompt = self._template.render_text(request.messages)
            # Only the server knows how many tokens this is.
            alone = await self._echo(prompt)
        jobs = [self._one(prompt, alone, text) for text in request.continuations]
        scored = await self._client.gather(jobs)
        return ScoreResult(
            tuple(value for value, _ in scored),
            alone.tokens,
            min((cached for _, cached in scored), default=0),
        )

    async def _one(
        self, prompt: str | list[int], alone: Echo, continuation: str
    ) -> tuple[float, int]:
        """The score of one continuation, and how many of the prompt's tokens were cached.

        Args:
            prompt: the conversation.
            alone: its echo.
            continuation: what comes after it.
        """
        if isinstance(prompt, str):
            whole: str | list[int] = prompt + continuation
        else:
            # It is tokenized by itself, as if it were generated after the prompt.
            if continuation not in self._continuations:
                ids = await self._tokens(prompt=continuation, add_special_tokens=False)
                self._continuations[continuation] = ids
            whole = prompt + self._continuations[continuation]
        echo = await self._echo(whole)
        values = echo.log_probabilities[len(alone.log_probabilities) :]
        if not values or any(value is None for value in values):
            raise NoEcho(
                f"the server at {self._client.spec.url} gave no log-probabilities for"
                f" {continuation!r}"
            )
        if len(values) != echo.tokens - alone.tokens:
            raise NoEcho(
                f"the server at {self._client.spec.url} gave log-probabilities for {len(values)}"
                f" of the {echo.tokens - alone.tokens} tokens of {continuation!r}"
            )
        total = math.fsum(value for value in values if value is not None)
        return total, min(echo.cached_tokens, alone.tokens)

    async def _tokens(self, **content: Any) -> list[int]:
        body = {"model": self._served.model, **content}
        if "messages" in content:
            body["add_generation_prompt"] = True
            body["chat_template_kwargs"] = {"enable_thinking": False}
        answer = await self._client.post("!/tokenize", body)
        tokens = answer.get("tokens")
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            raise NoEcho(f"the server at {self._client.spec.url} gave no token ids")
        return tokens

    def _body(self, prompt: str | list[int], *, echo: bool = False) -> dict[str, Any]:
        return {
            "model": self._served.model,
            "prompt": prompt,
            **({"echo": True} if echo else {}),
            "logprobs": 1,
            # Some servers refuse 0; the extra token is removed from an echo.
            "max_tokens": 1,
            "temperature": 0.0,
        }

    async def _echo(self, prompt: str | list[int]) -> Echo:
        # Some servers answer 500 to a field that they do not know.
        answer = await self._client.post("/completions", self._body(prompt, echo=True), final={500})
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        length = usage.get("prompt_tokens")
        if isinstance(prompt, list):
            length = len(prompt)
        values = _log_probabilities(answer)
        generated = usage.get("completion_tokens")
        if type(generated) is not int or generated not in (0, 1):
            # One was asked for.
            generated = 1
        if (
            type(length) is not int
            or not 1 <= length <= MOST_TOKENS
            or not self._may_be_whole(prompt, length, len(values) - generated)
        ):
            raise NoEcho(
                f"the server at {self._client.spec.url} does not echo a prompt with its"
                " log-probabilities"
            )
        values = values[: min(length, len(values) - generated)]
        if not all(value is None or _is_log_probability(value) for value in values):
            raise NoEcho(
                f"the server at {self._client.spec.url} gives log-probabilities that are none"
            )
        return Echo(values, length, cached_tokens(usage))

    def _may_be_whole(self, prompt: str | list[int], length: int, values: int) -> bool:
        """Whether so many values can be those of a prompt.

        Tokens are missing only where the server tokenizes, and most have values: a chat has one
        begin-of-text token in three at the very most.
        """
        if values >= length:
            return True
        return isinstance(prompt, str) and values >= 1 and 3 * values >= length

    async def check_alignment(self) -> None:
        """Compare what the server says of a token when it generates it and when it echoes it.

        Raises:
            NoEcho: these are different, so each echoed value belongs to another token.
            ModelError: the server fails.
        """
        if self._template is None:
            # Ids come back as they were sent; vLLM's echo has been compared with the model's own.
            return
        prompt = self._template.render_text(_PROBE)
        said = await self._client.post("/completions", self._body(prompt), final={500})
        text, values = _text(said), _log_probabilities(said)
        if not text or not values or not _is_log_probability(values[-1]):
            # It ends at once, or says nothing of the generated token; nothing can be compared.
            return
        alone, whole = await self._echo(prompt), await self._echo(prompt + text)
        if whole.tokens != alone.tokens + 1 or not whole.log_probabilities:
            # The text's tokens are others than the one that was generated.
            return
        echoed, generated = whole.log_probabilities[-1], float(values[-1])
        if echoed is None or abs(echoed - generated) > _TOLERANCE:
            raise NoEcho(
                f"the server at {self._client.spec.url} echoes log-probabilities of other tokens:"
                f" {generated:.2f} for {text!r} when it generates it, and"
                f" {math.nan if echoed is None else echoed:.2f} when it echoes it"
            )


async def find_scorer(
    client: Client, served: Served, template: ChatTemplate | None
) -> tuple[Scorer | None, str]:
    """Find out whether this server can score.

    Returns:
        (the scorer, "") or (None, the reason why there is none).

    Raises:
        ModelError: the server cannot be reached.
    """
    if template is None and not served.kind.tokenizes:
        return None, (
            "the server does not tell how it renders a conversation; with agent.chat_template,"
            " scoring may be possible"
        )
    scorer = Scorer(client, served, template)
    try:
        result = await scorer.score(ScoreRequest(_PROBE, (_PROBE_ANSWER, "No")))
        await scorer.check_alignment()
    except Refusal as refusal:
        return None, f"the server refuses echo and logprobs (HTTP {refusal.status}: {refusal.said})"
    except NoEcho as error:
        return None, error.message
    if not all(math.isfinite(value) and value <= 0 for value in result.log_likelihoods):
        return None, "the server's log-probabilities are not valid"
    return scorer, ""


def cached_tokens(usage: dict[str, Any]) -> int:
    """Prompt tokens that the server reports as cached; 0 if it does not report them."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return cached if type(cached) is int and 0 <= cached <= MOST_TOKENS else 0


def _is_log_probability(value: Any) -> bool:
    # Rounding may make the logarithm of 1 a little larger than 0.
    return type(value) in (int, float) and -1e6 < value < 0.01


def _text(answer: dict[str, Any]) -> str:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    text = first.get("text") if isinstance(first, dict) else None
    return text if isinstance(text, str) else ""


def _log_probabilities(answer: dict[str, Any]) -> list[Any]:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    logprobs = first.get("logprobs") if isinstance(first, dict) else None
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    return values if isinstance(values, list) else []
