"""Texts for quick models: latent semantic analysis (Deerwester et al. 1990) of words and word pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.out_of_sample import Linear
from jenga.modalities.quick import Predict, Quick, Row
from jenga.modalities.text.columns import Texts
from jenga.rows.content import Content

N_TOPICS, N_TOPICS_OF_MANY, MANY_ROWS = 1_000, 300, 60_000
"""Memory is 4 bytes a row and topic: 240 MB at most below `MANY_ROWS`."""
MIN_ROWS = 2
_WORD = re.compile(r"\w+|[^\w\s]")


def latent_topics(contents: Sequence[Content]) -> Quick:
    """Return TF-IDF of words and word pairs that two rows share, in their strongest directions, for linear models."""
    tokens = [words_of(text) for content in contents for text in _whole(content)]
    topics = _Topics(tokens)
    model = Linear()

    def predictor(labels: NDArray[np.int64], n_classes: int) -> Predict:
        answer = model.fitted(topics.features, labels, n_classes)
        return lambda rows: answer(topics.of(rows))

    words = "TF-IDF of words and word pairs"
    return Quick(topics.features, model, words, tokens=tokens, predictor=predictor)


def words_of(text: str) -> list[str]:
    """Return the words and marks of a text, in lower case."""
    return _WORD.findall(text.casefold())


def _whole(content: Content) -> list[str]:
    if not isinstance(content, Texts) or content.pairs is None:
        return list(content.texts)
    return [f"{text}\n{pair}" for text, pair in zip(content.texts, content.pairs, strict=True)]


class _Topics:
    """Directions of texts. `features`: float32 ``(M, F)`` of the rows that they are made of."""

    def __init__(self, rows: Sequence[Row]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.utils.extmath import randomized_svd

        least = MIN_ROWS if len(rows) > MIN_ROWS else 1
        self._vectoriser = TfidfVectorizer(analyzer=_terms, sublinear_tf=True, min_df=least, dtype=np.float32)
        try:
            table = self._vectoriser.fit_transform(rows)
        except ValueError:  # no two rows share a word
            self._directions: NDArray[Any] | None = None
            self.features = np.zeros((len(rows), 1), np.float32)
            return
        wanted = N_TOPICS if len(rows) <= MANY_ROWS else N_TOPICS_OF_MANY
        if wanted < min(table.shape):
            self._directions = randomized_svd(table, wanted, n_iter=2, random_state=0)[2].T.astype(np.float32)
        else:
            self._directions = np.eye(table.shape[1], dtype=np.float32)
        self.features = np.asarray(table @ self._directions)

    def of(self, rows: Sequence[Row]) -> NDArray[Any]:
        """Return the features of other rows."""
        if self._directions is None:
            return np.zeros((len(rows), 1), np.float32)
        return np.asarray(self._vectoriser.transform(rows) @ self._directions)


def _terms(row: Row) -> list[str]:
    words = list(map(str, row))
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]
