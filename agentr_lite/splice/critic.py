"""The critic: the current actor itself judges which step of a bad trajectory was wrong.

Source: Agent-R (arXiv 2501.11425) section 3.2 for the idea (good / bad / uncertain, the first bad
is the transition point); the wording is ours. Where upstream samples a verdict at temperature 1
and looks for substrings ("not good" passes as good), we compare the likelihoods of three fixed
answers, or reason greedily and parse one strict last line.

Likelihoods carry rounding noise: llama.cpp's cache of keys and values is in 16 bits, and the batch
decides the order of the sums. Measured on Gemma 3 270M against a cache in 32 bits, gaps below about
0.3 nat were noise. ``splice.critic_margin`` makes such a verdict ``uncertain``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.actors.base import Actor, GenerateRequest, Sampling, ScoreRequest
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.core.verdicts import VERDICTS, Verdict, probabilities
from agentr_lite.recipe.groups import SpliceSettings

Critic = Literal["score", "reason"]

CRITIC_QUESTION = "Judge the last action for the task: good, bad or uncertain?"
"""Put after the observation of the judged action. The starter model is trained on this text."""

CRITIC_ANSWERS: tuple[str, ...] = ("Good", "Bad", "Uncertain")
"""The whole assistant turns whose likelihoods are compared, in the order of ``VERDICTS``."""

_VERDICT_OF: dict[str, Verdict] = {verdict: verdict for verdict in VERDICTS}

REASON_QUESTION = (
    "Judge the last action for the task. Say in one or two sentences why it helps or harms,"
    " then end with exactly one line of this form:\nJudgement: good, bad or uncertain"
    " (one of the three words)"
)

_JUDGEMENT_LINE = re.compile(
    r"[*_#\s]*judge?ment[*_\s]*:[*_\s\"'`]*(good|bad|uncertain)[*_\s\"'`.!]*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the critic said of one step."""

    verdict: Verdict
    log_likelihoods: tuple[float, ...] | None = None
    """Natural-log likelihoods in the order of ``VERDICTS``; None where the critic reasoned."""
    reason: str | None = None
    """The critic's words, or why it has none. Where the answers were scored: why the likeliest is
    not the verdict, or None."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def probabilities(self) -> tuple[float, ...] | None:
        """``log_likelihoods`` normalised over the three verdicts; None where not scored."""
        if self.log_likelihoods is None:
            return None
        return probabilities(self.log_likelihoods)


def judge_message(messages: Sequence[Message], question: str = CRITIC_QUESTION) -> list[Message]:
    """The conversation in which the last action is judged.

    The question joins the last observation in one user turn, so that everything before it stays
    the prefix that search has decoded already.

    Args:
        messages: a conversation that ends with the observation of the action to judge.
        question: what is asked.

    Raises:
        ValueError: the conversation does not end with a user turn.
    """
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("a judged conversation must end with the action's observation")
    last = messages[-1]
    return [
        *messages[:-1],
        {"role": "user", "content": f"{last['content']}\n\n{question}"},
    ]


def judge(
    actor: Actor,
    critic: Critic,
    conversations: Sequence[Sequence[Message]],
    *,
    seeds: Sequence[int] = (),
    max_tokens: int = SpliceSettings.critic_tokens,
    margin: float = SpliceSettings.critic_margin,
) -> list[Judged]:
    """Judge the last action of each conversation, all in one batch.

    Args:
        actor: the current model.
        critic: ``score`` compares likelihoods; ``reason`` lets it think aloud first.
        conversations: each ends with the observation of the action to judge.
        seeds: one a conversation for ``reason`` (greedy, but the protocol asks for one).
        max_tokens: longest answer of ``reason``.
        margin: nats, >= 0: by how much the likeliest verdict of ``score`` must lead the second;
            otherwise it is ``uncertain``.

    Returns:
        One verdict a conversation; ``uncertain`` where it is too long for the model's context.

    Raises:
        ModelError: ``score`` with a back end that gives no likelihoods.
    """
    if not conversations:
        return []
    if critic == "score":
        return _by_score(actor, conversations, margin)
    return _by_reason(actor, conversations, seeds or [1] * len(conversations), max_tokens)


def parse_judgement(text: str) -> Verdict:
    """The verdict of a reasoned answer: its last ``Judgement:`` line, and nothing but that line.

    ``Judgement: not good`` is no verdict, nor is a "good" anywhere else: both are ``uncertain``,
    so the next step is judged.
    """
    for line in reversed(text.splitlines()):
        if re.match(r"[*_#\s]*judge?ment\b", line, re.IGNORECASE):
            match = _JUDGEMENT_LINE.fullmatch(line)
            if match is None:
                return "uncertain"
            return _VERDICT_OF[match.group(1).lower()]
    return "uncertain"


def _by_score(
    actor: Actor, conversations: Sequence[Sequence[Message]], margin: float
) -> list[Judged]:
    if not actor.capabilities.scoring:
        raise ModelError(
            "this model's back end gives no likelihoods, which the critic 'score' needs",
            hint="use --set splice.critic=reason (or none for direct revision).",
        )
    requests = [ScoreRequest(judge_message(chat), CRITIC_ANSWERS) for chat in conversations]
    judged = []
    for result in actor.score(requests):
        if result.overflow:
            # As with a reasoning critic that has no room to answer: the step is skipped.
            judged.append(Judged("uncertain", reason="too long for the model's context"))
            continue
        values = result.log_likelihoods
        # Sums over tokens, not means: these are the probabilities of three whole answers.
        best, second = sorted(range(len(VERDICTS)), key=lambda index: -values[index])[:2]
        verdict, reason = VERDICTS[best], None
        lead = values[best] - values[second]
        if verdict != "uncertain" and lead < margin:
            reason = f"{verdict} leads by {lead:.2f} nats, less than the margin of {margin:g}"
            verdict = "uncertain"
        judged.append(
            Judged(
                verdict,
                log_likelihoods=tuple(values),
                reason=reason,
                prompt_tokens=result.prompt_tokens,
                cached_tokens=result.cached_tokens,
            )
        )
    return judged


def _by_reason(
    actor: Actor,
    conversations: Sequence[Sequence[Message]],
    seeds: Sequence[int],
    max_tokens: int,
) -> list[Judged]:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    requests = [
        GenerateRequest(judge_message(chat, REASON_QUESTION), (seed,), sampling)
        for chat, seed in zip(conversations, seeds, strict=True)
    ]
    judged = []
    for result in actor.generate(requests):
        answer = result.completions[0]
        judged.append(
            Judged(
                parse_judgement(answer.text),
                reason=answer.text,
                prompt_tokens=result.prompt_tokens,
                cached_tokens=result.cached_tokens,
                output_tokens=answer.output_tokens,
            )
        )
    return judged
