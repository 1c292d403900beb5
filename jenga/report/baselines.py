"""What a model must beat: the majority answer, and of texts TF-IDF with linear models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jenga.labels import kind_named
from jenga.labels.judge import head_metrics, labelled_rows
from jenga.types import IGNORE_INDEX, HeadSpace

if TYPE_CHECKING:
    from jenga.data.rows import Rows

Baseline = Literal["majority", "tfidf"]
BaselineMetrics = dict[tuple[str, str], dict[str, float]]

WORDS: Mapping[str, str] = {
    "majority": "the majority answer",
    "tfidf": "TF-IDF with linear models",
    "boosting": "gradient-boosted trees on the same features",
}
"""What each baseline is called in sentences; `boosting` has a module of its own."""
MAX_FEATURES = 50_000
MAX_ITERATIONS = 100


def compare(
    spaces: Sequence[HeadSpace], train: Rows, test: Rows, *, which: Sequence[Baseline]
) -> dict[Baseline, BaselineMetrics]:
    """Return each baseline's metrics on `test` after fitting on `train`, by (task, head).

    `spaces` are the heads of one source: the heads that read these rows. A head without a labelled row in either
    split has {}, and so has one of a kind of label without such a baseline.
    """
    usable = [
        space
        for space in spaces
        if labelled_rows(space, train.labels[space.task, space.head])
        and labelled_rows(space, test.labels[space.task, space.head])
    ]
    compared: dict[Baseline, BaselineMetrics] = {}
    for name in which:
        predict = Tfidf(train, test).predict if name == "tfidf" else _majority_of(train, test)
        compared[name] = {(space.task, space.head): {} for space in spaces}
        for space in usable:
            key = space.task, space.head
            answers = predict(space)
            if answers is not None:
                compared[name][key] = head_metrics(space, answers, test.labels[key])
    return compared


def majority(space: HeadSpace, train_targets: Any, test_targets: Any) -> Any:
    """Return, for every row of `test_targets`, what is most frequent in `train_targets`, as the kind of label has it.

    Raises ValueError when no training row is labelled.
    """
    if labelled_rows(space, train_targets) == 0:
        raise ValueError(f"{space.task}.{space.head}: no labelled training row, so there is no majority")
    return kind_named(space.kind).majority(space, train_targets, test_targets)


class Tfidf:
    """TF-IDF of words and word pairs with linear models, for all heads that read the same rows.

    The texts are vectorised once, at the first head that needs it. class: multinomial logistic regression; items: one
    logistic regression an item, on its labelled rows (both with balanced classes); number: ridge regression; tags:
    logistic regression over the word, its affixes and shape, and its two neighbours, each word on its own. The same
    rows give the same answers.
    """

    def __init__(self, train: Rows, test: Rows) -> None:
        self.train = train
        self.test = test
        self._texts: tuple[Any, Any] | None = None

    def predict(self, space: HeadSpace) -> Any:
        """Return the predictions for the test rows, shaped as by `majority`; None where the kind has no such baseline.

        Raises ValueError when no training row is labelled.
        """
        gold = self.train.labels[space.task, space.head]
        if labelled_rows(space, gold) == 0:
            raise ValueError(f"{space.task}.{space.head}: no labelled training row to learn from")
        kind = kind_named(space.kind)
        return self._tags(gold) if kind.per_word else kind.learnt(space, self._vectors(), gold, _Linear())

    def _vectors(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        if self._texts is None:
            vectoriser = TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, max_features=MAX_FEATURES, token_pattern=r"\w+|[^\w\s]"
            )
            train = vectoriser.fit_transform(_full_texts(self.train))
            self._texts = train, vectoriser.transform(_full_texts(self.test))
        return self._texts

    def _tags(self, gold: Sequence[Any]) -> list[NDArray[np.int64]]:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        train_words, test_words = _row_words(self.train), _row_words(self.test)
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


def _majority_of(train: Rows, test: Rows) -> Callable[[HeadSpace], Any]:
    def predict(space: HeadSpace) -> Any:
        key = space.task, space.head
        return majority(space, train.labels[key], test.labels[key])

    return predict


def _full_texts(rows: Rows) -> list[str]:
    if rows.pairs is None:
        return list(rows.texts)
    return [f"{text}\n{pair}" for text, pair in zip(rows.texts, rows.pairs, strict=True)]


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


def _row_words(rows: Rows) -> list[list[str]]:
    if rows.words is None:
        raise ValueError("rows with tags need words")
    return [[text[start:end] for start, end in words] for text, words in zip(rows.texts, rows.words, strict=True)]


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
