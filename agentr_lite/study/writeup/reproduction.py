"""The beginning of a page that compares a study with the paper: question, claims, table, costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from agentr_lite.console.text import format_duration
from agentr_lite.core.rounds import START
from agentr_lite.envs.names import env_slug
from agentr_lite.metrics.measures import Measure
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.splices import failure_sentences
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_phrase,
    interval_cell,
    value_cell,
)
from agentr_lite.report.words import Cell, count
from agentr_lite.study.jobs.peak_memory import PEAK
from agentr_lite.study.methods import NAIVE, VERIFIED
from agentr_lite.study.outcomes.results import CellResult, EnvResults, StudyResults
from agentr_lite.study.writeup.ablations import named_splices, trained_tokens
from agentr_lite.study.writeup.document import Chapter, Figure
from agentr_lite.study.writeup.paper import (
    PAPER,
    PAPER_GAME,
    Claim,
    Comparison,
    PaperFigures,
    claims,
    judge,
)
from agentr_lite.study.writeup.plots import outcome_plot

_QUESTION = (
    "Does self-training with spliced revisions help a small pretrained language model, on one"
    " computer? The paper, Agent-R (arXiv 2501.11425), answers it for a model of 8 billion"
    " parameters whose weights are all trained. This study asks it of {models}, with adapters."
)
_START = (
    "Every method but the base starts from the same imitation of {tasks} demonstrations. All"
    " methods of one seed learn in round 1 from the same trees."
)
_JUDGED = (
    "A verdict is computed from the outcomes by a rule that was fixed before the study ran. The"
    " whole 95 % interval of the difference in round {rounds}, over all seeds, must lie on the"
    " claim's side (confirmed) or on the other side (refuted); otherwise the claim is not decided."
    " For a claim that includes equality, an interval that begins at 0 is on the claim's side."
)


def reproduction_chapters(study: StudyResults) -> list[Chapter]:
    """The chapters that come before a study's tables."""
    environments = study.environments
    chapters = [Chapter("The question", (), text=_question(study))]
    stated = [(results, claim) for results in environments for claim in claims(study, results)]
    chapters.append(
        Chapter(
            "The claims",
            [_claims_section(stated)],
            text=[_verdict(results, claim) for results, claim in stated]
            + [_JUDGED.format(rounds=study.rounds)],
            figure=_figure(environments),
            has_notes=True,
        )
    )
    paper = [
        section
        for results in environments
        if results.recipe.environment.name == PAPER_GAME
        for section in (_paper_section(study, results), _order_section(study, results))
    ]
    further: list[tuple[str, Sequence[Section], Sequence[str]]] = [
        ("Beside the paper", paper, ()),
        ("What verification changes", *_verification(environments)),
        ("What it cost", [_cost_section(environments)], ()),
        ("Limits", (), _limits(study)),
    ]
    for title, sections, sentences in further:
        shown = [section for section in sections if section.rows]
        if shown or sentences:
            chapters.append(Chapter(title, shown, facts=sentences))
    return chapters


def _question(study: StudyResults) -> list[str]:
    cells = [cell for results in study.environments for cell in results.runs]
    models = " and ".join(sorted({str(cell.run.recipe["model"]) for cell in cells}))
    texts = [_QUESTION.format(models=models)]
    tasks = sorted({r.recipe.imitation.tasks for r in study.environments} - {0})
    if any(cell.run.imitates for cell in cells) and tasks:
        texts.append(_START.format(tasks=" or ".join(map(str, tasks))))
    return texts


def _verdict(results: EnvResults, claim: Claim) -> str:
    """A claim, its verdict, and the differences that it rests on."""
    parts = []
    for each in claim.comparisons:
        other = results.label(each.other)
        if each.difference is None:
            parts.append(f"{other}: not measured yet")
            continue
        phrase = difference_phrase(each.measure, each.difference, f"against {other}")
        parts.append(f"{each.measure.column} {phrase}")
    return (
        f"{results.env}, {claim.name}: {claim.verdict}. {claim.text} After round"
        f" {claim.comparisons[0].round}: {'; '.join(parts)}."
    )


def _claims_section(stated: Sequence[tuple[EnvResults, Claim]]) -> Section:
    rows: list[list[Cell]] = []
    for results, claim in stated:
        for each in claim.comparisons:
            rows.append(
                [
                    f"{results.env}, {claim.name}: {_sides(results, each)}",
                    each.round,
                    len(each.difference.seeds) if each.difference else None,
                    each.difference.n if each.difference else None,
                    difference_cell(each.measure, each.difference),
                    difference_interval(each.measure, each.difference),
                    each.verdict,
                ]
            )
    columns = ["", "round", "seeds", "n", "difference", "95 % interval", "verdict"]
    return Section("The differences behind the verdicts", columns, rows, ())


def _sides(results: EnvResults, each: Comparison) -> str:
    return f"{results.label(each.method)} − {results.label(each.other)}"


def _figure(environments: Sequence[EnvResults]) -> Figure | None:
    """Outcome and recovery by round of the first environment that has been trained in."""
    for results in environments:
        svg = outcome_plot(results)
        if svg is not None:
            return Figure(f"{env_slug(results.env)}-outcomes", svg)
    return None


def _paper_section(study: StudyResults, results: EnvResults) -> Section:
    rows: list[list[Cell]] = []
    for method in [each.key for each in study.methods]:
        figures = PAPER.get(method, PaperFigures())
        number = START if method in (BASE, IMITATION) else results.last_round(method)
        outcome = results.value(results.main, method, number)
        if outcome is None and method not in PAPER:
            continue
        row: list[Cell] = [results.label(method)]
        row += [_percent(figures.average), _percent(figures.success)]
        row += [number or None, value_cell(results.main, outcome)]
        row.append(interval_cell(results.main, outcome))
        row += [_percent(figures.recovery_first)]
        row += _cells(results, results.recovery, method, 1)
        row += [_percent(figures.recovery_last)]
        row += _cells(results, results.recovery, method, number)
        rows.append(row)
    columns = ["", "paper, 3 games", "paper", "round", "here", "95 % interval"]
    columns += ["recovery: paper, round 1", "here, round 1", "95 % interval"]
    columns += ["recovery: paper, round 3", "here, last round", "95 % interval"]
    notes = [
        "The paper's figures are percentages of success with Llama-3.1-8B: the mean of its three"
        " games, and TextCraft. It gives no intervals. Its tasks, prompts and budgets differ from"
        " these, so levels cannot be compared, only the order of the methods. The paper's Agent-R"
        " joins texts without executing them, as Agent-R, naive does here.",
    ]
    return Section(f"The paper's figures and {results.env}", columns, rows, notes)


def _order_section(study: StudyResults, results: EnvResults) -> Section:
    """Every two methods that the paper ranks, and whether their order is the same here."""
    rows: list[list[Cell]] = []
    for measure, figure in ((results.main, "success"), (results.recovery, "recovery_last")):
        ranked = {
            each.key: getattr(PAPER[each.key], figure)
            for each in study.methods
            if each.key in PAPER and getattr(PAPER[each.key], figure) is not None
        }
        for method, other in itertools.permutations(ranked, 2):
            if ranked[method] <= ranked[other]:
                continue
            number = results.last_round(*({method, other} - {BASE}))
            difference = (
                results.versus_base(measure, method, number)
                if other == BASE
                else results.between(measure, method, other, number)
            )
            if difference is None:
                continue
            rows.append(
                [
                    f"{measure.column}: {results.label(method)} − {results.label(other)}",
                    number,
                    f"+{ranked[method] - ranked[other]:.2f}",
                    difference_cell(measure, difference),
                    difference_interval(measure, difference),
                    _ORDER[judge(difference, ties=False)],
                ]
            )
    columns = ["", "round", "paper", "here", "95 % interval", "the paper's order"]
    notes = ["Differences in points. The order holds, or is reversed, if the interval excludes 0."]
    return Section(f"The paper's order in {results.env}", columns, rows, notes)


_ORDER = {"confirmed": "holds", "refuted": "is reversed", "not decided": "is not decided"}
"""A verdict on the claim that the first method is ahead, as a word about the order."""


def _cells(results: EnvResults, measure: Measure, method: str, number: int) -> list[Cell]:
    if method in (BASE, IMITATION):
        return [None, None]
    value = results.value(measure, method, number)
    return [value_cell(measure, value), interval_cell(measure, value)]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} %"


def _verification(environments: Sequence[EnvResults]) -> tuple[list[Section], list[str]]:
    """Verified less naive splices by round, and how many naive ones fail."""
    rows: list[list[Cell]] = []
    for results in environments:
        for number in range(1, results.last_round(VERIFIED, NAIVE) + 1):
            row: list[Cell] = [results.env, number]
            for measure in (results.main, results.recovery):
                difference = results.between(measure, VERIFIED, NAIVE, number)
                row += [difference_cell(measure, difference)]
                row += [difference_interval(measure, difference)]
            rows.append(row)
    columns = ["", "round", "outcome", "95 % interval", "recovery", "95 % interval"]
    notes = ["Agent-R with verified splices less Agent-R with naive ones."]
    section = Section("Verified less naive", columns, rows, notes)
    return [section], failure_sentences(named_splices(environments))


def _cost_section(environments: Sequence[EnvResults]) -> Section:
    rows: list[list[Cell]] = []
    for results in environments:
        methods = [method for method in results.labels if results.of(method)]
        for method in methods:
            cells = results.of(method)
            costs = list(zip(*(_costs(cell) for cell in cells), strict=True))
            peak = max(row.summary.get(PEAK) or 0 for cell in cells for row in cell.stages)
            generated, examples, trained, wall = (sum(of) / len(cells) for of in costs)
            rows.append(
                [
                    f"{results.env}: {results.label(method)}",
                    len(cells),
                    count(round(generated)) if generated else None,
                    count(round(examples)) if examples else None,
                    count(round(trained)) if trained else None,
                    format_duration(wall),
                    f"{peak / 1e9:.2f} GB" if peak else None,
                ]
            )
    columns = ["", "runs", "tokens searched", "examples", "tokens trained", "wall", "peak memory"]
    notes = [
        "Means per run, over all its rounds. Tokens searched: generated by search and splicing."
        " Examples and tokens trained: of the rounds, without the imitation before them. Wall:"
        " what the run would have taken alone; stages that runs share ran only once. Peak memory:"
        " the most that the process held in any stage of any of these runs."
    ]
    return Section("Costs by method", columns, rows, notes)


def _costs(cell: CellResult) -> tuple[float, float, float, float]:
    """(tokens searched, examples, tokens trained, seconds) of a run."""
    searched = sum(r.output_tokens for r in cell.stages if r.stage in ("search", "splice"))
    trained = sum(tokens for number, tokens in trained_tokens(cell).items() if number > START)
    wall = sum(row.wall_s for row in cell.stages)
    return searched, sum(cell.examples.values()), trained, wall


def _limits(study: StudyResults) -> list[str]:
    return list(_limit_sentences(study))


def _limit_sentences(study: StudyResults) -> Iterator[str]:
    cells = [cell for results in study.environments for cell in results.runs]
    models = len({(c.run.recipe["model"], c.run.model_sha256) for c in cells})
    games = len(study.environments)
    yield (
        f"{_number(models, 'model')} and {_number(games, 'game').lower()}: other models and games"
        " may differ."
    )
    yield (
        f"{_number(len(study.seeds), 'training seed')}: the intervals include the spread between"
        " seeds only as far as so few can show it."
    )
    ranks = sorted({results.recipe.train.rank for results in study.environments})
    yield (
        f"Adapters of rank {' and '.join(map(str, ranks))} are trained; the paper trains all"
        f" weights. Rounds here: {study.rounds}; in the paper: three."
    )
    yield "ETO's two losses are minimised in one training here, and in two in a row in the paper."
    if any(cell.run.imitates for cell in cells):
        sources = sorted({results.recipe.imitation.source for results in study.environments})
        yield (
            "Every method but the base has learnt from demonstrations first (imitation.source:"
            f" {', '.join(sources)}), so this is no measure of what self-training does without any."
        )
    finished = sum(cell.run.status == "finished" for cell in cells)
    if finished < study.cell_count:
        yield f"The study is not complete: {finished} of {study.cell_count} cells are finished."


def _number(value: int, noun: str) -> str:
    words = {1: "One", 2: "Two", 3: "Three"}
    return f"{words.get(value, str(value))} {noun}{'' if value == 1 else 's'}"
