"""The Triton kernel against the C++ one and float64: run by test_triton.py with TRITON_INTERPRET=1."""

import itertools

import pytest
import torch
from torch import Tensor

from jenga.kernels.linear_distillation import triton_kernel
from jenga.kernels.linear_distillation.chunk_losses import Distillation
from jenga.kernels.vocabulary.chunks import VocabularyLoss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter is NumPy, which warns of the infinities that torch computes in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def rounding(
    logits: Tensor, teacher: Tensor, label: Tensor, alpha: float, temperature: float, divergence: int
) -> tuple[Tensor, Tensor]:
    """What roundings of one unit may do to the losses (rows,) and slopes (rows, columns) of float64 arguments.

    Logarithms of probabilities lie up to `span` below 0. Each is a difference, times a rounded 1 / temperature, less
    the logarithm of a sum: 3 roundings of `span`, the same again within the sum, and some 40 for exponentials, the tree
    of a sum (12 levels and 2 blocks), logarithm and quotients. So many units may a logarithm be off, and a probability
    by so many units of itself. Terms that cancel leave the errors of both.
    """
    n_shared = min(logits.shape[1], teacher.shape[1])
    cold, said = logits[:, :n_shared] / temperature, teacher[:, :n_shared] / temperature
    finite = said.masked_fill(said == -torch.inf, torch.inf).amin(1, keepdim=True)
    span = torch.maximum(cold.amax(1, keepdim=True) - cold.amin(1, keepdim=True), said.amax(1, keepdim=True) - finite)
    units = 6 * torch.maximum(span, logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True)) + 40
    p, q = cold.softmax(1), said.softmax(1)
    apart = (cold.log_softmax(1) - said.log_softmax(1)).abs().masked_fill(said == -torch.inf, 0.0)
    weight = q if divergence == 0 else p if divergence == 1 else p + q
    value = (weight * (apart + 2)).sum(1, keepdim=True)
    soft = p + q if divergence == 0 else p * (apart + value + 2)
    slopes = torch.zeros_like(logits)
    slopes[:, :n_shared] = alpha * temperature * soft
    slopes += (1 - alpha) * (logits.softmax(1) + torch.nn.functional.one_hot(label, logits.shape[1]))
    losses = alpha * temperature**2 * value + (1 - alpha) * (logits.abs().amax(1, keepdim=True) + 1)
    return (units * losses).squeeze(1), units * slopes


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
        given = logits.double().cpu().clone()  # logits are overwritten
        slope_true = given.clone()
        losses_true = torch.ops.jenga.vocabulary_distillation_(
            slope_true, teacher.double().cpu(), targets.cpu(), alpha, temperature, divergence, -100, 0.5, True
        )
        losses = triton_kernel.distillation_(
            logits, teacher, targets,
            VocabularyLoss(-100, scale, with_slope=True), Distillation(alpha, temperature, divergence),
        )  # fmt: skip
        # Both round where both are float64. A slope is rounded once more as it is stored.
        unit = torch.finfo(torch.float32).eps / 2 if dtype != torch.float64 else torch.finfo(dtype).eps
        loss_units, slope_units = rounding(
            given, teacher.double().cpu(), targets.cpu().clamp(min=0), alpha, temperature, divergence
        )
        stored = torch.finfo(dtype).eps * slope_true.abs() + torch.finfo(dtype).tiny
        assert ((losses.double().cpu() - losses_true).abs() <= unit * loss_units).all()
        assert ((logits.double().cpu() - slope_true).abs() <= unit * scale.item() * slope_units + stored).all()


def test_labels_out_of_range_touch_nothing_but_their_row() -> None:
    logits, teacher = torch.randn(3, 9, device=DEVICE), torch.randn(3, 9, device=DEVICE)
    losses = triton_kernel.distillation_(
        logits, teacher, torch.tensor([9, -(2**62), 3], device=DEVICE),
        VocabularyLoss(-100, torch.ones((), dtype=torch.float64, device=DEVICE), with_slope=True),
        Distillation(alpha=0.5, temperature=1.0, divergence=0),
    )  # fmt: skip
    assert losses.isnan().tolist() == [True, True, False]
    assert not logits[:2].any()
    assert logits[2].any()
