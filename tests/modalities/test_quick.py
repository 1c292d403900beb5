import numpy as np

from jenga.detectors.out_of_sample import Linear
from jenga.modalities import MODALITIES
from jenga.modalities.base import Modality
from jenga.modalities.quick import Quick


def test_rows_have_neither_names_nor_tokens_unless_their_modality_says_so() -> None:
    quick = Quick(np.zeros((2, 3)), Linear(), "numbers")
    assert (quick.names, quick.tokens, quick.predictor) == ((), None, None)


def test_texts_and_events_bring_features_of_their_own_and_others_are_encoded() -> None:
    own = {name for name, each in MODALITIES.items() if each.quick is not Modality.quick}
    assert own == {"text", "events"}
