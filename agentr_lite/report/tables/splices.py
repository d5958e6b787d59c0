"""Naive splices that fail their replay, and the recovery search, as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.core.rounds import round_name
from agentr_lite.report.model.run import failure_share
from agentr_lite.report.model.splices import Spliced, SpliceRound
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, count, interval, percent_of

Named = tuple[str, int, Sequence[SpliceRound]]
"""(environment or method, round, one record for each seed)."""


def failure_section(named: Sequence[Named]) -> Section:
    """How many naive splices do not hold when they are executed."""
    rows: list[list[Cell]] = []
    for name, number, seeds in named:
        pairs = [pair for run in seeds for pair in run.pairs]
        share = failure_share([(pair.task, pair.failed) for pair in pairs], seed=1)
        rows.append(
            [
                f"{name}, {round_name(number)}",
                len(seeds),
                len(pairs),
                sum(pair.failed for pair in pairs),
                percent_of(share),
                interval(share),
                sum(pair.recovered for pair in pairs),
                sum(pair.untrue for pair in pairs),
            ]
        )
    columns = ["", "seeds", "replayed", "failed", "share", "95 % interval", "recovered"]
    columns.append("held, untrue")
    notes = [
        "Every naive splice was replayed in the environment from reset. Failed: it did not earn the"
        " reward that a good trajectory must earn. Held, untrue: it did, but its text shows an"
        " observation that the environment does not give after the bad steps. Counts are sums over"
        " seeds; the interval resamples tasks."
    ]
    return Section("Naive splices that fail their replay", columns, rows, notes)


def failure_sentences(named: Sequence[Named]) -> list[str]:
    """The failures over all rounds, in one sentence for each environment or method."""
    by_name: dict[str, list[Spliced]] = {}
    for name, _, seeds in named:
        by_name.setdefault(name, []).extend(pair for run in seeds for pair in run.pairs)
    sentences = []
    for name, pairs in by_name.items():
        failed, untrue = sum(pair.failed for pair in pairs), sum(pair.untrue for pair in pairs)
        sentences.append(
            f"{name}: {failed} of {len(pairs)} naive splices failed their replay; of the other"
            f" {len(pairs) - failed}, {untrue} hold but are untrue."
        )
    return sentences


def recovery_section(named: Sequence[Named]) -> Section:
    """What the search for a true way back finds, and at what price."""
    rows: list[list[Cell]] = []
    for name, number, seeds in named:
        tried = [pair for run in seeds for pair in run.pairs if pair.searched]
        if not tried:
            continue
        share = failure_share([(pair.task, pair.recovered) for pair in tried], seed=1)
        calls, tokens = sum(run.calls for run in seeds), sum(run.output_tokens for run in seeds)
        recovered = sum(pair.recovered for pair in tried)
        rows.append(
            [
                f"{name}, {round_name(number)}",
                len(seeds),
                len(tried),
                recovered,
                percent_of(share),
                interval(share),
                count(calls),
                count(tokens),
                count(round(tokens / recovered)) if recovered else None,
            ]
        )
    columns = ["", "seeds", "searched", "recovered", "share", "95 % interval"]
    columns += ["model calls", "generated", "tokens a recovery"]
    notes = [
        "Searched: failed splices from whose state a continuation could be sampled. A round in"
        " which nothing was searched has no row."
    ]
    return Section("What the recovery search finds", columns, rows, notes)
