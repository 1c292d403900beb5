from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from jenga.fusion import AttentionFusion
from jenga.model import MultiTaskModel, Named
from jenga.trainer.mattered import mattered
from jenga.types import BackboneOutput, HeadSpace, TaskOutput

SPACE = HeadSpace("t", "h", "class", 2, ("no", "yes"))
TELLING = 3


class Model(nn.Module):
    """Says yes by the number of one token among others that say nothing; its attention is that of a fusion."""

    def __init__(self, *, fused: bool, embedded: bool = True, by_position: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        with torch.no_grad():
            self.words.weight.fill_(1.0)
        self.fusion = Named({"shared": AttentionFusion(4, ["t"], dropout=0.0)} if fused else {})
        self.reads = {"t": "shared"}
        self.embedded = embedded
        self.tasks = {"t": SimpleNamespace(by_position=by_position)}

    def encoder_of(self, task: str) -> Any:
        return SimpleNamespace(embeddings=self.words if self.embedded else None)

    def forward(self, inputs: dict[str, torch.Tensor], tasks: Any) -> dict[str, TaskOutput]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        hidden = self.words(ids)
        telling = ((ids == TELLING) * 5.0 + 0.1).unsqueeze(-1) * mask.unsqueeze(-1)
        pooled = (hidden * telling).sum(1)
        for fusion in self.fusion.values():
            fusion(BackboneOutput(hidden, pooled, mask), ["t"])
        yes = pooled.sum(-1)
        return {"t": TaskOutput(None, {"h": torch.stack([-yes, yes], -1)})}


class Part:
    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def batch(self, rows: list[int]) -> Any:
        self.asked.append(rows)
        ids = torch.tensor([[1, 2, TELLING, 4], [TELLING, 1, 0, 0]])[rows]
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])[rows]
        batch = SimpleNamespace(inputs={"input_ids": ids, "attention_mask": mask})
        batch.to = lambda device: batch
        return batch


def found(model: Model, rows: list[int], part: Part | None = None, batch_size: int = 8) -> Any:
    return mattered(
        cast(MultiTaskModel, model), cast(Any, part or Part()), SPACE, rows, batch_size=batch_size,
        device=torch.device("cpu"), autocast=nullcontext,
    )  # fmt: skip


def test_the_token_that_an_answer_rests_on_has_the_greatest_share_and_padding_has_none() -> None:
    with torch.inference_mode(False):
        why = found(Model(fused=False), [0, 1])
    assert [row.argmax() for row in why.shares] == [2, 0]
    assert [len(row) for row in why.shares] == [4, 2]
    assert [row.sum() for row in why.shares] == pytest.approx([1.0, 1.0])
    assert why.shares[0][2] > 0.9
    assert why.attention is None


def test_the_attention_of_a_fusion_is_told_beside_it_and_nothing_stays_behind() -> None:
    model = Model(fused=True)
    why = found(model, [0, 1])
    assert why.attention is not None
    assert [row.sum() for row in why.attention] == pytest.approx([1.0, 1.0])
    assert not model.words._forward_hooks
    assert not model.fusion["shared"]._forward_hooks
    assert all(each.grad is None for each in model.parameters())


def test_no_pass_is_over_more_rows_than_a_batch_and_each_row_has_its_own() -> None:
    model, part = Model(fused=True), Part()
    why, whole = found(model, [0, 1, 0], part, batch_size=2), found(model, [0, 1, 0])
    assert part.asked == [[0, 1], [0]]
    for parts, together in zip(why, whole, strict=True):
        assert [row.tolist() for row in parts] == [pytest.approx(row.tolist()) for row in together]


@pytest.mark.parametrize(("options", "rows"), [({"embedded": False}, [0]), ({"by_position": True}, [0]), ({}, [])])
def test_where_no_position_can_be_told_nothing_is(options: dict[str, bool], rows: list[int]) -> None:
    assert found(Model(fused=False, **options), rows) is None


def test_the_attention_of_a_fusion_is_what_its_views_are_made_of() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion(4, ["a", "b"], dropout=0.0).eval()
    with torch.no_grad():
        fusion.update_weight.normal_()
    encoded = BackboneOutput(torch.randn(2, 3, 4), torch.randn(2, 4), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    weights = fusion.attention(encoded, "b")
    assert weights[1, 2] == 0
    context = (weights.unsqueeze(-1) * encoded.last_hidden_state).sum(1)
    expected = encoded.pooler_output + context @ fusion.update_weight[1].T
    np.testing.assert_allclose(
        fusion(encoded, ["b"])["b"].pooler_output.detach().numpy(), expected.detach().numpy(), atol=1e-5
    )
