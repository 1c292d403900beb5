"""What a model of texts must beat: TF-IDF with linear models."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.labels import kind_named
from jenga.labels.judge import head_metrics
from jenga.modalities.baseline import Baseline
from jenga.modalities.text.columns import Texts
from jenga.rows.batches import EncodedSplit
from jenga.rows.content import Content
from jenga.types import IGNORE_INDEX, HeadSpace

MAX_FEATURES = 50_000
MAX_ITERATIONS = 100


class Tfidf(Baseline):
    """TF-IDF of words and word pairs with linear models, for all heads that read the same rows.

    The texts are vectorised once, at the first head that needs it. class: multinomial logistic regression; items: one
    logistic regression an item, on its labelled rows (both with balanced classes); number: ridge regression; tags:
    logistic regression over the word, its affixes and shape, and its two neighbours, each word on its own.
    """

    words = "TF-IDF with linear models"

    def __init__(self, train: EncodedSplit, test: EncodedSplit) -> None:
        super().__init__(train, test)
        self._texts: tuple[Any, Any] | None = None

    def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
        answers = self.predict(space)
        if answers is None:
            return {}
        return head_metrics(space, answers, self.test.rows.labels[space.task, space.head])

    def predict(self, space: HeadSpace) -> Any:
        """Return predictions for the test rows, shaped as targets; None where the kind of label has no such baseline.

        Some training row must be labelled.
        """
        gold = self.train.rows.labels[space.task, space.head]
        kind = kind_named(space.kind)
        return self._tags(gold) if kind.per_word else kind.learnt(space, self._vectors(), gold, _Linear())

    def _vectors(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        if self._texts is None:
            vectoriser = TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_FEATURES, token_pattern=r"\w+|[^\w\s]"
            )
            train = vectoriser.fit_transform(_full_texts(self.train.rows.content))
            self._texts = train, vectoriser.transform(_full_texts(self.test.rows.content))
        return self._texts

    def _tags(self, gold: Sequence[Any]) -> list[NDArray[np.int64]]:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        train_words, test_words = _row_words(self.train.rows.content), _row_words(self.test.rows.content)
        vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["", *_flat(train_words), *_flat(test_words)]))}
        known_words = sorted({"", *_flat(train_words)})
        tables = []
        for features in (_word_features, _neighbour_features):
            vectoriser = CountVectorizer(analyzer=features, binary=True, dtype=np.float32).fit(known_words)
            tables.append(vectoriser.transform(vocabulary))

        tags = np.concatenate([np.asarray(row, dtype=np.int64) for row in gold])
        cases = np.column_stack([_triples(train_words, vocabulary), tags])[tags != IGNORE_INDEX]
        # Equal cases are learnt once, with their number as weight: the same optimum, several times sooner.
        cases, counts = np.unique(cases, axis=0, return_counts=True)
        if np.ptp(cases[:, 3]) == 0:
            return [np.full(len(words), cases[0, 3]) for words in test_words]
        model = LogisticRegression(C=1.0, tol=1e-3, max_iter=MAX_ITERATIONS)
        _fit(model, _joined(tables, cases[:, :3]), cases[:, 3], counts)
        predicted = model.predict(_joined(tables, _triples(test_words, vocabulary)))
        return np.split(predicted, np.cumsum([len(words) for words in test_words])[:-1])


def _full_texts(content: Content) -> list[str]:
    if not isinstance(content, Texts) or content.pairs is None:
        return list(content.texts)
    return [f"{text}\n{pair}" for text, pair in zip(content.texts, content.pairs, strict=True)]


def _fit(model: Any, features: Any, gold: NDArray[Any], weight: NDArray[Any] | None = None) -> None:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A baseline may stop a little short of its optimum; the iterations are what keeps it cheap.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, gold, sample_weight=weight)


class _Linear:
    """Linear models: logistic regression with balanced classes, and ridge regression."""

    def classes(self, train: Any, targets: NDArray[np.int64], test: Any) -> NDArray[np.int64]:
        from sklearn.linear_model import LogisticRegression

        # Heads are compared by macro F1; without balance a rare class is never answered, and the baseline is a straw
        # man.
        model = LogisticRegression(C=10.0, class_weight="balanced", tol=1e-3, max_iter=MAX_ITERATIONS)
        _fit(model, train, targets)
        return np.asarray(model.predict(test), dtype=np.int64)

    def numbers(self, train: Any, targets: NDArray[np.float64], test: Any) -> NDArray[np.float64]:
        from sklearn.linear_model import Ridge

        return np.asarray(Ridge(alpha=1.0).fit(train, targets).predict(test), dtype=float)


def _row_words(content: Content) -> list[list[str]]:
    assert content.words is not None, "rows with tags have words"
    return [[text[start:end] for start, end in words] for text, words in zip(content.texts, content.words, strict=True)]


def _flat(rows: Iterable[Sequence[str]]) -> Iterable[str]:
    return (word for row in rows for word in row)


def _triples(rows: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> NDArray[np.int64]:
    """Return (word, word before, word after) as ids for every word, ``(words, 3)``; the empty word marks the edges."""
    cases = []
    for row in rows:
        ids = [vocabulary[word] for word in ("", *row, "")]
        cases += [(ids[i], ids[i - 1], ids[i + 1]) for i in range(1, len(ids) - 1)]
    return np.array(cases, dtype=np.int64).reshape(-1, 3)


def _joined(tables: Sequence[Any], cases: NDArray[np.int64]) -> Any:
    from scipy.sparse import hstack

    words, neighbours = tables
    return hstack([words[cases[:, 0]], neighbours[cases[:, 1]], neighbours[cases[:, 2]]], format="csr")


def _word_features(word: str) -> list[str]:
    lower = word.lower()
    prefixes = [f"prefix={lower[:n]}" for n in (1, 2, 3)]
    suffixes = [f"suffix={lower[-n:]}" for n in (1, 2, 3)]
    return [f"word={lower}", f"as_written={word}", f"shape={_shape(word)}", *prefixes, *suffixes]


def _neighbour_features(word: str) -> list[str]:
    return [f"word={word.lower()}", f"shape={_shape(word)}"]


def _shape(word: str) -> str:
    """Return the word's kinds of characters, runs as one: ``Covid-19`` is ``Xx-9``."""
    shape = ""
    for character in word:
        kind = "9" if character.isdigit() else character if not character.isalpha() else "Xx"[character.islower()]
        if not shape.endswith(kind):
            shape += kind
    return shape
