"""The numbers that a training has, its own and those of one backbone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.config.training import LearningRates, OwnTraining, ResolvedTraining, TrainingConfig, own_training, resolved


def test_a_training_without_all_numbers_is_not_taken_for_one_that_has_them() -> None:
    with pytest.raises(ValidationError, match="epochs"):
        resolved(TrainingConfig())


def test_a_training_with_all_numbers_keeps_them() -> None:
    whole = ResolvedTraining(
        epochs=3, batch_size=8, learning_rate=LearningRates(heads=0.1), weight_decay=0.0, scheduler="cosine"
    )

    assert resolved(TrainingConfig(**dict(whole))) == whole
    assert resolved(whole) is whole


@pytest.mark.parametrize(
    ("common", "own", "wanted"),
    [
        (0.1, LearningRates(), 0.1),
        (0.1, 0.2, 0.2),
        (LearningRates(heads=0.1), LearningRates(backbone=0.2), LearningRates(heads=0.1, backbone=0.2)),
        (
            0.1,
            LearningRates(heads=0.2),
            LearningRates(backbone=0.1, rest=0.1, adapters=0.1, fusion=0.1, heads=0.2),
        ),
    ],
)
def test_what_a_backbone_has_of_its_own_wins_over_what_all_have(
    common: float | LearningRates, own: float | LearningRates, wanted: float | LearningRates
) -> None:
    made = own_training(TrainingConfig(epochs=3, learning_rate=common), OwnTraining(learning_rate=own))

    assert (made.epochs, made.learning_rate) == (3, wanted)


def test_a_backbone_has_a_decay_of_its_own_where_one_is_given() -> None:
    common = TrainingConfig(weight_decay=0.1)
    assert [own_training(common, OwnTraining(weight_decay=own)).weight_decay for own in (None, 0.0, 0.3)] == [
        0.1, 0.0, 0.3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("common", "own", "wanted"),
    [
        ({"tokens_per_step": 512}, {}, (None, 512)),
        ({"tokens_per_step": 512}, {"batch_size": 8}, (8, None)),
        ({"batch_size": 8}, {"tokens_per_step": 512}, (None, 512)),
    ],
)
def test_a_backbone_has_steps_by_rows_or_by_tokens_whatever_the_others_have(
    common: dict[str, int], own: dict[str, int], wanted: tuple[int | None, int | None]
) -> None:
    made = own_training(TrainingConfig(**common), OwnTraining(**own))

    assert (made.batch_size, made.tokens_per_step) == wanted
