"""The operator that stands for an LSTM in traced graphs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jenga.inference.export.lstm import traceable, translations


class Read(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.layer = nn.LSTM(5, 4, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layer(x)[0]
        return hidden


@pytest.mark.parametrize("bias", [True, False])
def test_a_traced_lstm_takes_any_number_of_tokens_and_gives_what_torchs_does(bias: bool) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from jenga.inference.export.traced import hushed

    model = Read(bias=bias).eval()
    auto = torch.export.Dim.DYNAMIC
    with traceable(model), torch.no_grad(), hushed():
        program = torch.export.export(model, (torch.randn(2, 3, 5),), dynamic_shapes=({0: auto, 1: auto},))
        made = torch.onnx.export(
            program, dynamo=True, opset_version=20, input_names=["x"], custom_translation_table=translations()
        )
    assert made is not None
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    for rows, tokens in ((1, 1), (2, 9), (4, 2)):
        x = torch.randn(rows, tokens, 5)
        (found,) = session.run(None, {"x": x.numpy()})
        # Sums of eight products in float32, added up in another order.
        torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=0, atol=1e-6)


def test_the_model_is_as_before_once_it_is_traced() -> None:
    model = Read()
    layer = model.layer
    with traceable(model):
        assert model.layer is not layer
        with pytest.raises(TypeError, match="stands in traced graphs alone"):
            model(torch.randn(1, 2, 5))
    assert model.layer is layer


def test_an_lstm_of_both_directions_is_left_alone() -> None:
    model = Read(bidirectional=True)
    layer = model.layer
    with traceable(model):
        assert model.layer is layer
