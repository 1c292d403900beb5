"""What flows from data to trainer."""

from __future__ import annotations

import pytest
import torch

from jenga.errors import ConfigError
from jenga.types import BackboneOutput, Batch

HIDDEN, POOLED = torch.randn(2, 3, 4), torch.randn(2, 4)


def test_a_mapping_takes_the_mask_of_its_inputs() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    output = BackboneOutput.of({"last_hidden_state": HIDDEN, "pooler_output": POOLED}, {"attention_mask": mask})
    assert output.attention_mask is mask
    assert output.last_hidden_state is HIDDEN
    assert output.pooler_output is POOLED


def test_a_mask_of_the_mapping_wins_over_that_of_the_inputs() -> None:
    own = torch.tensor([[1, 0, 0], [1, 1, 1]])
    output = BackboneOutput.of(
        {"last_hidden_state": HIDDEN, "pooler_output": POOLED, "attention_mask": own},
        {"attention_mask": torch.ones(2, 3)},
    )
    assert output.attention_mask is own


def test_where_nobody_gives_a_mask_all_tokens_are_real() -> None:
    output = BackboneOutput.of({"last_hidden_state": HIDDEN, "pooler_output": POOLED, "attention_mask": None}, {})
    assert output.attention_mask.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert output.attention_mask.dtype == torch.int64


@pytest.mark.parametrize("shape", [(2, 30), (2, 2), (3, 3), (1, 3), (2, 3, 1), (3,)])
def test_a_mask_of_another_shape_is_an_error_whoever_gave_it(shape: tuple[int, ...]) -> None:
    """Replaced by ones, it would make padding into tokens, with no word."""
    mask = torch.ones(shape)
    output = {"last_hidden_state": HIDDEN, "pooler_output": POOLED}
    makers = (
        lambda: BackboneOutput.of(output, {"attention_mask": mask}),
        lambda: BackboneOutput.of({**output, "attention_mask": mask}, {"attention_mask": torch.ones(2, 3)}),
        lambda: BackboneOutput(HIDDEN, POOLED, mask),
    )
    for make in makers:
        with pytest.raises(ConfigError, match=r"attention_mask of its output: \(2, 3\)") as caught:
            make()
        assert str(shape) in str(caught.value)


def test_a_backbone_that_shortens_gives_its_own_mask() -> None:
    own = torch.tensor([[1, 1, 0], [1, 1, 1]])
    output = BackboneOutput.of(
        {"last_hidden_state": HIDDEN, "pooler_output": POOLED, "attention_mask": own},
        {"attention_mask": torch.ones(2, 30)},
    )
    assert output.attention_mask is own


def test_features_are_taken_from_a_mapping_that_has_them() -> None:
    features = torch.randn(2, 7)
    mapping = {"last_hidden_state": HIDDEN, "pooler_output": POOLED}
    assert BackboneOutput.of(mapping, {"features": features}).features is None
    assert BackboneOutput.of({**mapping, "features": features}, {}).features is features


def test_a_backbone_output_passes_as_it_is() -> None:
    output = BackboneOutput(HIDDEN, POOLED, torch.ones(2, 3))
    assert BackboneOutput.of(output, {}) is output


def test_a_batch_moves_inputs_and_labels_together() -> None:
    batch = Batch({"input_ids": torch.ones(2, 3)}, {"task": {"head": torch.ones(2)}}, ["a", "b"], "source", [4, 5])
    moved = batch.to(torch.device("meta"))
    assert moved.inputs["input_ids"].device.type == "meta"
    assert moved.labels["task"]["head"].device.type == "meta"
    assert (moved.sample_ids, moved.source, moved.rows) == (["a", "b"], "source", [4, 5])
    assert batch.to(torch.device("cpu")) is batch
