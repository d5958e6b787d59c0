"""Labels of a comparison: what differs stays different when it is cut."""

from __future__ import annotations

import pytest

from agentr_lite.console.text import display_width
from agentr_lite.report.charts.labels import fitted
from agentr_lite.report.model.comparison import distinct_labels


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["verified", "naive"], ["verified", "naive"]),
        (["textcraft-20261127-7c44", "textcraft-20261127-7c91"], ["…7c44", "…7c91"]),
        (["round 1", "round 1", "base"], ["round 1", "round 1", "base"]),
        (
            ["smoke, width 4, temperature 1.0, seed 1", "smoke, width 4, temperature 1.0, seed 2"],
            ["…seed 1", "…seed 2"],
        ),
        (["a long name of a run, first", "b long name of a run, second"],) * 2,
    ],
)
def test_different_labels_stay_different(labels: list[str], shown: list[str]) -> None:
    cut = fitted(labels, 20)
    assert max(map(display_width, cut)) <= 20
    assert len(set(cut)) == len(set(labels))
    if shown != labels or all(len(label) <= 20 for label in labels):
        assert cut == shown


def test_labels_that_differ_in_the_middle_are_numbered_at_last() -> None:
    labels = [f"{'a' * 30}{letter}{'z' * 30}" for letter in "xy"]
    assert [label[:3] for label in fitted(labels, 12)] == ["1: ", "2: "]


def test_wide_characters_count_twice() -> None:
    labels = [f"{'木' * 20}{letter}{'水' * 20}" for letter in "xy"]
    assert max(map(display_width, fitted(labels, 15))) <= 15
    ends = fitted([f"{'木' * 20}{letter}" for letter in "水火"], 11)
    assert max(map(display_width, ends)) <= 11 and len(set(ends)) == 2


def test_runs_of_one_name_or_one_id_have_different_labels() -> None:
    # One name in two databases, and one run in two.
    assert distinct_labels(["mine", "mine", ""], ["a", "b", "c"]) == ["a", "b", "c"]
    assert distinct_labels(["", "wide", ""], ["a", "a", "a"]) == ["a (1)", "wide", "a (2)"]
