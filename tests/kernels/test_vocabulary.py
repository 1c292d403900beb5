"""kernels/vocabulary: logits in chunks of rows, and the gradients of their losses, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels.vocabulary.chunked_linear import ChunkedLinear
from jenga.kernels.vocabulary.chunks import VocabularyLoss, auto_chunk_rows, loss_over_chunks

# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("hidden_size", [1, 576, 4096, 100_000])
def test_a_chunk_is_between_256_and_2048_rows(hidden_size: int) -> None:
    assert 256 <= auto_chunk_rows(hidden_size) <= 2048
    assert auto_chunk_rows(576) == 288


def squares(rows: slice, logits: Tensor, loss: VocabularyLoss) -> Tensor:
    """Half the squared norm of each row, whose slope is the row."""
    losses = logits.square().sum(1) / 2
    if loss.with_slope:
        logits *= loss.slope_scale.to(logits.dtype)
    return losses


@pytest.mark.parametrize("chunk_rows", [1, 3, 4, 7, 100])
@pytest.mark.parametrize("mean", [True, False])
def test_a_loss_and_its_gradients_do_not_depend_on_the_chunks(chunk_rows: int, mean: bool) -> None:
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((7, 4), (9, 4), (9,)))
    targets = torch.tensor([1, -100, 0, 0, -100, 2, 8])
    found = loss_over_chunks(
        ChunkedLinear(hidden, weight, bias, (True, True, True)), targets, squares,
        ignore_index=-100, mean=mean, chunk_rows=chunk_rows,
    )  # fmt: skip
    leaves = [each.requires_grad_() for each in (hidden, weight, bias)]
    expected = F.linear(*leaves).square().sum() / 2 / (5 if mean else 1)
    for got, wanted in zip(found, (expected, *torch.autograd.grad(expected, leaves)), strict=True):
        torch.testing.assert_close(got, wanted.detach(), **FLOAT64)


def test_without_a_wanted_gradient_logits_stay_and_nothing_is_summed() -> None:
    hidden, weight = torch.randn(5, 4), torch.randn(9, 4)
    seen = []

    def loss_of_chunk(rows: slice, logits: Tensor, loss: VocabularyLoss) -> Tensor:
        seen.append((rows.start, rows.stop, loss.with_slope))
        return squares(rows, logits, loss)

    head = ChunkedLinear(hidden, weight)
    _, *gradients = loss_over_chunks(
        head, torch.zeros(5).long(), loss_of_chunk, ignore_index=-100, mean=False, chunk_rows=2
    )
    assert seen == [(0, 2, False), (2, 4, False), (4, 5, False)]
    assert [each.numel() for each in gradients] == [0, 0, 0]


def test_no_rows_give_a_loss_and_gradients_of_zero() -> None:
    head = ChunkedLinear(torch.randn(0, 4), torch.randn(9, 4), wanted=(True, True, False))
    loss, dhidden, dweight, _ = loss_over_chunks(
        head, torch.zeros(0).long(), squares, ignore_index=-100, mean=True, chunk_rows=3
    )
    assert loss.tolist() == 0.0
    assert dhidden.shape == (0, 4)
    assert not dweight.any()


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 1.0), (torch.float32, 0.25)])
def test_slopes_in_float16_are_not_divided_by_the_rows_of_a_mean(dtype: torch.dtype, scale: float) -> None:
    # They would underflow; the finished sums are divided instead.
    seen = []

    def loss_of_chunk(rows: slice, logits: Tensor, loss: VocabularyLoss) -> Tensor:
        seen.append(loss.slope_scale.item())
        return squares(rows, logits, loss)

    head = ChunkedLinear(torch.ones(4, 2, dtype=dtype), torch.ones(3, 2, dtype=dtype), dtype=dtype)
    loss, *_ = loss_over_chunks(head, torch.zeros(4).long(), loss_of_chunk, ignore_index=-100, mean=True, chunk_rows=4)
    assert seen == [scale]
    assert loss.item() == 6.0
