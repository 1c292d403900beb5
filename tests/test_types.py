"""What flows from data to trainer."""

from __future__ import annotations

import torch

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


def test_without_a_mask_of_the_hidden_states_length_all_tokens_are_real() -> None:
    """A backbone that shortens its input (patches, strides) cannot use the mask of the inputs."""
    for inputs in ({}, {"attention_mask": torch.ones(2, 30)}):
        output = BackboneOutput.of({"last_hidden_state": HIDDEN, "pooler_output": POOLED}, inputs)
        assert output.attention_mask.tolist() == [[1, 1, 1], [1, 1, 1]]
        assert output.attention_mask.dtype == torch.int64


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
