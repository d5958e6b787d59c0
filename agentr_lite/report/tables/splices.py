"""Naive splices that fail their replay, and the recovery search, as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.report.model.run import failure_share
from agentr_lite.report.model.splices import Spliced, SpliceRound
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import Cell, count, interval, percent_of, round_name

Named = tuple[str, int, Sequence[SpliceRound]]
"""(environment or method, round, one a seed)."""


def failure_section(found: Sequence[Named]) -> Section:
    """How many naive splices do not hold when they are executed."""
    rows: list[list[Cell]] = []
    for name, number, seeds in found:
        pairs = [pair for one in seeds for pair in one.pairs]
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
        "Every naive splice was replayed in the environment from reset; failed: it did not earn the"
        " reward that its good trajectory had to have; held, untrue: it did, but its text shows an"
        " observation that the environment does not give after the bad steps. Sums over seeds; the"
        " interval resamples tasks."
    ]
    return Section("Naive splices that fail their replay", columns, rows, notes)


def failure_sentences(found: Sequence[Named]) -> list[str]:
    """The same in a sentence each environment or method, over all rounds."""
    by_name: dict[str, list[Spliced]] = {}
    for name, _, seeds in found:
        by_name.setdefault(name, []).extend(pair for one in seeds for pair in one.pairs)
    told = []
    for name, pairs in by_name.items():
        failed, untrue = sum(pair.failed for pair in pairs), sum(pair.untrue for pair in pairs)
        told.append(
            f"{name}: {failed} of {len(pairs)} naive splices failed their replay, {untrue} of the"
            f" {len(pairs) - failed} others hold but are untrue."
        )
    return told


def recovery_section(found: Sequence[Named]) -> Section:
    """What the search for a true way back finds, and at what price."""
    rows: list[list[Cell]] = []
    for name, number, seeds in found:
        tried = [pair for one in seeds for pair in one.pairs if pair.searched]
        if not tried:
            continue
        share = failure_share([(pair.task, pair.recovered) for pair in tried], seed=1)
        calls, tokens = sum(one.calls for one in seeds), sum(one.output_tokens for one in seeds)
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
        "Of the failed splices, those from whose state a continuation could be sampled. Where"
        " nothing is searched, no naive splice failed."
    ]
    return Section("What the recovery search finds", columns, rows, notes)
