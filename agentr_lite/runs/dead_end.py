"""The end of a run that has found nothing to learn: it stops and says why."""

from __future__ import annotations

from agentr_lite.core.errors import AgentrError, NothingToLearn
from agentr_lite.metrics.learning import Diagnosis, round_diagnosis
from agentr_lite.store import Store
from agentr_lite.store.runs import list_stages
from agentr_lite.store.splices import list_adapters


def stop_at_dead_end(store: Store, run_id: str, number: int) -> None:
    """Stop a run whose round had nothing to train on and whose model has never learnt anything.

    A later round without data does not stop a run: it goes on with the adapter that is there. Nor
    is a run stopped that went on past such a round before this rule existed.

    Args:
        store: the database.
        run_id: the run.
        number: the round, from 1.

    Raises:
        NothingToLearn: the run stops here.
        AgentrError: it stops, because the environment broke in every task of the round.
    """
    if any(row.round <= number for row in list_adapters(store, run_id)):
        return
    if any(row.round > number or (row.round, row.stage) == (number, "eval")
           for row in list_stages(store, run_id)):  # fmt: skip
        return
    diagnosis = round_diagnosis(store, run_id, number)
    if diagnosis is not None and diagnosis.cause == "environment":
        raise AgentrError(
            f"all tasks failed ({diagnosis.finding})", hint=" ".join(diagnosis.advice)
        )
    if diagnosis is not None:
        raise dead_end(number, diagnosis)


def dead_end(number: int, diagnosis: Diagnosis) -> NothingToLearn:
    """The error of a round that gave nothing to train on."""
    return NothingToLearn(
        f"nothing to learn in round {number}: {diagnosis.finding}",
        hint=" ".join(diagnosis.advice),
    )
