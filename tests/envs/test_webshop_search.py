"""BM25 as Lucene computes it, and the terms that go into it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentr_lite.envs.webshop.analysis import terms
from agentr_lite.envs.webshop.search import SearchIndex, _stored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Running SHOES are for women", ["run", "shoe", "women"]),
        ("women's men’s kids'", ["women", "men", "kid"]),
        ("4.5 inch, 1,000 ml 12.", ["4.5", "inch", "1,000", "ml", "12"]),
        ("non-slip usb-c 3m/10ft", ["non", "slip", "usb", "c", "3m", "10ft"]),
        ("color: red", ["color", "red"]),
        ("relational flies dying agreed", ["relat", "fli", "dy", "agre"]),
        ("as is", []),
        ("is_a under_score", ["is_a", "under_scor"]),
        ("Café crème", ["café", "crème"]),
        ("", []),
        ("[] () $$ \x1b[2J", ["2j"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_scores_are_lucenes() -> None:
    index = SearchIndex(["red mug", "red red cup of tea", "blue rug"])
    average = (2 + 4 + 2) / 3
    # idf = ln(1 + (N - n + 0.5) / (n + 0.5)); tf = f / (f + k1 (1 - b + b length / average)).
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    first = idf * 1 / (1 + 0.9 * (1 - 0.4 + 0.4 * 2 / average))
    second = idf * 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 4 / average))
    assert index.scores("reds") == pytest.approx([first, second, 0.0])
    assert index.scores("red red") == pytest.approx([2 * first, 2 * second, 0.0])
    assert index.search("red", 10) == [1, 0]


def test_equal_scores_come_in_the_order_of_the_documents() -> None:
    index = SearchIndex(["mug", "cup", "mug", "mug"])
    assert index.search("mug", 10) == [0, 2, 3]
    assert index.search("mug", 2) == [0, 2]


def test_the_limit_keeps_the_best() -> None:
    index = SearchIndex([" ".join(["mug"] * count) for count in range(1, 9)])
    everything = index.search("mug", 100)
    assert sorted(everything) == list(range(8))
    for limit in range(1, 9):
        assert index.search("mug", limit) == everything[:limit]


def test_what_no_document_has_is_not_found() -> None:
    index = SearchIndex(["mug", "", "cup"])
    assert index.search("teapot", 5) == index.search("", 5) == []
    assert SearchIndex(["", ""]).search("mug", 5) == []
    assert len(index) == 3


def test_lengths_are_kept_in_one_byte() -> None:
    lengths = np.array([0, 1, 24, 39, 40, 41, 42, 56, 57, 59, 60, 1000])
    # Above 40 in steps of 2, above 56 of 4, ...: 24 and four significant bits.
    assert _stored(lengths).tolist() == [0, 1, 24, 39, 40, 40, 42, 56, 56, 56, 60, 984]
