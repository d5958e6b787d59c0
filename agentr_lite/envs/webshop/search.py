"""BM25 over a catalogue: a small inverted index in numpy.

Source: Lucene's ``BM25Similarity`` with Anserini's k1 = 0.9 and b = 0.4, as WebShop uses it,
including the rounding of a document's length to one byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from agentr_lite.envs.webshop.analysis import terms

K1 = 0.9
B = 0.4
_FREE = 24
"""Lengths up to this are exact; the part above it keeps only its four highest bits."""


class SearchIndex:
    """An immutable index of documents.

    Args:
        documents: the texts; a document's number is its index in this list.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        counted = [Counter(terms(text)) for text in documents]
        lengths = np.array([counts.total() for counts in counted], dtype=np.int64)
        vocabulary: dict[str, int] = {}
        rows = [
            [vocabulary.setdefault(term, len(vocabulary)) for term in counts] for counts in counted
        ]
        sizes = [len(row) for row in rows]
        postings = sum(sizes)
        term_of = np.fromiter(chain.from_iterable(rows), np.int64, postings)
        count = np.fromiter(
            chain.from_iterable(counts.values() for counts in counted), np.float64, postings
        )
        document = np.repeat(np.arange(len(documents)), sizes)
        # Grouped by term; the sort is stable, so documents stay in order within a term.
        order = np.argsort(term_of, kind="stable")
        frequency = np.bincount(term_of, minlength=len(vocabulary))
        idf = np.log1p((len(documents) - frequency + 0.5) / (frequency + 0.5))
        # The average is over the documents with at least one term.
        filled = max(1, int(np.count_nonzero(lengths)))
        average = max(float(lengths.sum()) / filled, 1e-9)
        norms = K1 * (1 - B + B * _stored(lengths) / average)
        count, document = count[order], document[order]
        self._size = len(documents)
        self._vocabulary = vocabulary
        self._starts = np.concatenate([[0], np.cumsum(frequency)])
        self._documents = document
        # float32 as in Lucene, so that ties are the same.
        self._weights: NDArray[np.float32] = (
            idf[term_of[order]] * count / (count + norms[document])
        ).astype(np.float32)

    def __len__(self) -> int:
        return self._size

    def scores(self, query: str) -> NDArray[np.float32]:
        """Every document's score for a query; shape (documents,)."""
        scores = np.zeros(self._size, dtype=np.float32)
        for term, times in Counter(terms(query)).items():
            number = self._vocabulary.get(term)
            if number is not None:
                here = slice(self._starts[number], self._starts[number + 1])
                scores[self._documents[here]] += times * self._weights[here]
        return scores

    def search(self, query: str, limit: int) -> list[int]:
        """Numbers of the best documents, best first; equal documents in their order.

        Args:
            query: any text.
            limit: most documents; those that share no term with the query are left out.
        """
        scores = self.scores(query)
        matching = np.flatnonzero(scores)
        if len(matching) > limit:
            least = np.partition(scores[matching], -limit)[-limit]
            matching = matching[scores[matching] >= least]
        best = matching[np.argsort(-scores[matching], kind="stable")][:limit]
        return [int(number) for number in best]


def _stored(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Document lengths after Lucene's rounding to one byte (exact below 40).

    Source: Lucene's ``SmallFloat.intToByte4`` and ``byte4ToInt``.
    """
    beyond = np.maximum(lengths - _FREE, 0)
    _, bits = np.frexp(beyond.astype(np.float64))
    drop = np.maximum(bits - 4, 0)
    kept = np.minimum(lengths, _FREE) + ((beyond >> drop) << drop)
    return kept.astype(np.float64)
