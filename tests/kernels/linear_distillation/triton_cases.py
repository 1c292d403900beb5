"""The Triton kernel against the C++ one and float64: run by test_triton.py with TRITON_INTERPRET=1."""

import itertools

import pytest
import torch

from jenga.kernels.linear_distillation import triton_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter is NumPy, which warns of the infinities that torch computes in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize(("n_student", "n_teacher"), [(1, 1), (37, 37), (5001, 5001), (5001, 4100), (37, 5001)])
@pytest.mark.parametrize("divergence", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_losses_and_slopes_match_the_cpu_kernel_in_float64(
    n_student: int, n_teacher: int, divergence: int, dtype: torch.dtype
) -> None:
    scale = torch.tensor(0.5, dtype=torch.float64, device=DEVICE)
    targets = torch.tensor([0, -100, n_student - 1], device=DEVICE)
    for alpha, temperature in itertools.product((0.0, 0.3, 1.0), (1.0, 1.7)):
        logits = (3 * torch.randn(3, n_student, device=DEVICE)).to(dtype)
        teacher = (3 * torch.randn(3, n_teacher, device=DEVICE)).to(dtype)
        if divergence != 1:  # the reverse divergence is infinite where the teacher has no probability
            teacher[0, 1 : n_teacher // 2] = -torch.inf
        slope_true = logits.double().cpu().clone()
        losses_true = torch.ops.jenga.vocabulary_distillation_(
            slope_true, teacher.double().cpu(), targets.cpu(), alpha, temperature, divergence, -100, 0.5, True
        )
        losses = triton_kernel.distillation_(
            logits, teacher, targets,
            alpha=alpha, temperature=temperature, divergence=divergence,
            ignore_index=-100, scale=scale, with_slope=True,
        )  # fmt: skip
        wide = dtype == torch.float64
        tolerance = {"rtol": 1e-11, "atol": 1e-12} if wide else {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(losses.double().cpu(), losses_true, **tolerance)
        # One rounding as it is stored, after float32 arithmetic on logarithms of size 20.
        rtol = 1e-11 if wide else torch.finfo(dtype).eps + 2e-5
        torch.testing.assert_close(logits.double().cpu(), slope_true, rtol=rtol, atol=1e-13 if wide else 1e-7)


def test_labels_out_of_range_touch_nothing_but_their_row() -> None:
    logits, teacher = torch.randn(3, 9, device=DEVICE), torch.randn(3, 9, device=DEVICE)
    losses = triton_kernel.distillation_(
        logits, teacher, torch.tensor([9, -(2**62), 3], device=DEVICE),
        alpha=0.5, temperature=1.0, divergence=0, ignore_index=-100,
        scale=torch.ones((), dtype=torch.float64, device=DEVICE), with_slope=True,
    )  # fmt: skip
    assert losses.isnan().tolist() == [True, True, False]
    assert not logits[:2].any()
    assert logits[2].any()
