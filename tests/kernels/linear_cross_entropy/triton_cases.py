"""The Triton kernel against float64, on a CPU: run by test_triton.py with TRITON_INTERPRET=1, or on CUDA without it."""

import pytest
import torch
from torch import Tensor

from jenga.kernels.linear_cross_entropy import triton_kernel
from jenga.kernels.vocabulary.chunks import VocabularyLoss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter is NumPy, which warns of the infinities that torch computes in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def truth(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    leaf = logits.double().requires_grad_()
    losses = torch.nn.functional.cross_entropy(leaf, targets, reduction="none", label_smoothing=label_smoothing)
    return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]


@pytest.mark.parametrize("n_columns", [1, 37, 4096, 9001])  # below one block, one block, several
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_losses_and_slopes_match_float64(n_columns: int, label_smoothing: float, dtype: torch.dtype) -> None:
    logits = (3 * torch.randn(4, n_columns, device=DEVICE)).to(dtype)
    targets = torch.tensor([0, -100, n_columns - 1, n_columns // 2], device=DEVICE)
    losses_true, slope_true = truth(logits, targets, label_smoothing)
    scale = torch.tensor(0.5, dtype=torch.float64, device=DEVICE)
    loss = VocabularyLoss(ignore_index=-100, slope_scale=scale, with_slope=True)
    before = logits.clone()
    without = triton_kernel.cross_entropy_(logits, targets, loss._replace(with_slope=False), label_smoothing)
    assert torch.equal(logits, before)
    losses = triton_kernel.cross_entropy_(logits, targets, loss, label_smoothing)
    assert torch.equal(losses, without)
    wide = dtype == torch.float64
    # Sums of up to 9001 terms of one sign in float32; a loss of about 10.
    torch.testing.assert_close(losses.double(), losses_true, rtol=1e-12 if wide else 2e-6, atol=1e-12 if wide else 2e-6)
    # One rounding as it is stored (float16: to a multiple of 6e-8), after arithmetic in float32.
    rtol = 1e-12 if wide else torch.finfo(dtype).eps + 2e-6
    torch.testing.assert_close(logits.double(), 0.5 * slope_true, rtol=rtol, atol=1e-14 if wide else 1e-7)


def test_labels_out_of_range_touch_nothing_but_their_row() -> None:
    logits = torch.randn(5, 9, device=DEVICE)
    targets = torch.tensor([9, -1, 2**40, -(2**62), 3], device=DEVICE)
    scale = torch.ones((), dtype=torch.float64, device=DEVICE)
    losses = triton_kernel.cross_entropy_(logits, targets, VocabularyLoss(-100, scale, with_slope=True), 0.0)
    assert losses.isnan().tolist() == [True] * 4 + [False]
    assert not logits[:4].any()
    assert logits[4].any()


def test_no_rows_are_no_launch() -> None:
    losses = triton_kernel.cross_entropy_(
        torch.empty(0, 9, device=DEVICE), torch.empty(0, dtype=torch.int64, device=DEVICE),
        VocabularyLoss(-100, torch.ones(()), with_slope=True), 0.0,
    )  # fmt: skip
    assert losses.shape == (0,)
