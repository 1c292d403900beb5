import numpy as np
import pytest
from audit_rows import TOPICS, topical

from jenga.modalities.text.columns import Texts
from jenga.modalities.text.quick import latent_topics, words_of

NAMES = list(TOPICS)


def test_topics_tell_labels_and_answer_rows_of_which_a_token_is_taken_away() -> None:
    rows = [topical(number) for number in range(120)]
    labels = np.array([NAMES.index(row["topic"]) for row in rows])
    quick = latent_topics([Texts([row["text"] for row in rows[:100]]), Texts([row["text"] for row in rows[100:]])])
    assert quick.features.shape[0] == 120
    assert (quick.model.probabilities(quick.features, labels, 3).argmax(axis=1) == labels).mean() > 0.95
    assert quick.tokens is not None
    assert quick.predictor is not None
    predict = quick.predictor(labels, 3)
    assert predict([["rain", "storm"], ["soup", "rice"], ["song", "band", "rain"]]).tolist() == [0, 2, 1]


def test_second_texts_are_read_too() -> None:
    quick = latent_topics([Texts(["same", "same"], pairs=["one thing", "another thing"])])
    assert quick.tokens == [["same", "one", "thing"], ["same", "another", "thing"]]


@pytest.mark.parametrize("texts", [["a", "b", "c", "d"], ["", "", ""]])
def test_texts_that_share_no_word_have_no_topic_and_do_no_harm(texts: list[str]) -> None:
    quick = latent_topics([Texts(texts)])
    assert quick.features.shape == (len(texts), 1)
    assert quick.predictor is not None
    assert quick.predictor(np.array([0] * len(texts)), 2)([["a"]]).tolist() == [0]


def test_the_same_texts_give_the_same_features() -> None:
    texts = [topical(number)["text"] for number in range(60)]
    one, other = (latent_topics([Texts(list(texts))]).features for _ in range(2))
    assert (one == other).all()


def test_words_are_lower_case_and_marks_stand_alone() -> None:
    assert words_of("Isn't it?") == ["isn", "'", "t", "it", "?"]
