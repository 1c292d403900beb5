"""jenga.kernels.linear_distillation against its reference in float64, and against PyTorch's own divergences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import seeds
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.utils import counters

from jenga.kernels import TeacherTopk, linear_cross_entropy, linear_distillation, teacher_topk
from jenga.kernels.linear_distillation.reference import linear_distillation_reference

EPS = torch.finfo(torch.float32).eps
KINDS = ["forward_kl", "reverse_kl", "jsd"]
# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-11, "atol": 1e-12}
# Logarithms of probabilities are of size 10 with roundings of 1e-6; divergences are differences of them.
FLOAT32 = {"rtol": 2e-5, "atol": 5e-6}


class Case(NamedTuple):
    student: Tensor
    student_weight: Tensor
    teacher: Tensor | None
    teacher_weight: Tensor | None
    targets: Tensor
    teacher_topk: TeacherTopk | None = None

    def to(self, dtype: torch.dtype) -> "Case":
        parts = [part.to(dtype) if isinstance(part, Tensor) and part.is_floating_point() else part for part in self]
        return Case(*parts)  # type: ignore[arg-type]


def make_case(
    n_rows: int,
    vocabulary: int,
    teacher_vocabulary: int | None = None,
    *,
    k: int = 0,
    ignored: float = 0.2,
    seed: int = 0,
) -> Case:
    generator = seeds.generator(seed)
    student, teacher = (torch.randn(n_rows, size, generator=generator) for size in (19, 11))
    student_weight = torch.randn(vocabulary, 19, generator=generator) / 2
    teacher_weight = torch.randn(teacher_vocabulary or vocabulary, 11, generator=generator)
    targets = torch.randint(0, vocabulary, (n_rows,), generator=generator)
    targets[torch.rand(n_rows, generator=generator) < ignored] = -100
    if k:
        return Case(student, student_weight, None, None, targets, teacher_topk(teacher, teacher_weight, k))
    return Case(student, student_weight, teacher, teacher_weight, targets)


def run(function: Callable[..., Tensor], case: Case, **options: Any) -> tuple[Tensor, list[Tensor]]:
    """The loss, and the student's gradients under an upstream gradient of 3."""
    leaves = [part.detach().requires_grad_() for part in case[:2]]
    loss = function(*leaves, *case[2:5], teacher_topk=case.teacher_topk, **options)
    return loss.detach(), list(torch.autograd.grad(loss * 3, leaves))


def error(gradient: Tensor, truth: Tensor) -> float:
    """The largest difference, as a share of the largest true element."""
    return (
        float((gradient.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-300)) if truth.numel() else 0.0
    )


@settings(max_examples=100, deadline=None)
@given(
    n_rows=st.integers(0, 40),
    vocabulary=st.integers(1, 300),
    teacher_vocabulary=st.integers(1, 300),
    k=st.sampled_from([0, 0, 1, 8]),
    kind=st.sampled_from(KINDS),
    alpha=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.sampled_from([0.7, 1.0, 4.0]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    chunk_size=st.sampled_from(["auto", 1, 7]),
    seed=st.integers(0, 1000),
)
def test_errors_stay_within_twice_those_of_eager_for_any_shape(
    n_rows: int, vocabulary: int, teacher_vocabulary: int, k: int, kind: str, alpha: float, temperature: float,
    ignored: float, chunk_size: int | str, seed: int,
) -> None:  # fmt: skip
    if k:
        k, teacher_vocabulary = min(k, vocabulary), vocabulary
        kind = "jsd" if kind == "reverse_kl" else kind
    case = make_case(n_rows, vocabulary, teacher_vocabulary, k=k, ignored=ignored, seed=seed)
    options = {"kind": kind, "alpha": alpha, "temperature": temperature}
    loss, gradients = run(linear_distillation, case, chunk_size=chunk_size, **options)
    _, eager = run(linear_distillation_reference, case, **options)
    truth, true_gradients = run(linear_distillation_reference, case.to(torch.float64), **options)
    torch.testing.assert_close(loss.double(), truth, rtol=2e-5, atol=5e-6 * temperature**2)
    # A gradient is a difference of two models' probabilities, which may all but cancel (one token: entirely), while the
    # roundings stay those of its parts: 32 eps of what an uncancelled difference could be are always allowed.
    for ours, theirs, true_gradient, factor in zip(
        gradients, eager, true_gradients, (case.student_weight, case.student), strict=True
    ):
        if true_gradient.numel():
            floor = 32 * EPS * temperature * 3 * max(factor.abs().flatten().tolist(), default=0.0)
            allowed = 2 * float((theirs.double() - true_gradient).abs().max()) + floor
            assert float((ours.double() - true_gradient).abs().max()) <= allowed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("vocabulary", "teacher_vocabulary"), [(301, 301), (301, 280), (280, 301)])
def test_float64_is_computed_in_float64(kind: str, vocabulary: int, teacher_vocabulary: int) -> None:
    case = make_case(33, vocabulary, teacher_vocabulary).to(torch.float64)
    options = {"kind": kind, "alpha": 0.4, "temperature": 2.0}
    ours = run(linear_distillation, case, chunk_size=16, **options)
    assert ours[0].dtype == torch.float64
    torch.testing.assert_close(ours, run(linear_distillation_reference, case, **options), **FLOAT64)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_inputs_lose_only_the_rounding_of_their_gradients(kind: str) -> None:
    case = make_case(33, 9001).to(torch.bfloat16)
    options = {"kind": kind, "alpha": 0.4, "temperature": 2.0}
    loss, gradients = run(linear_distillation, case, chunk_size=16, **options)
    truth, true_gradients = run(linear_distillation_reference, case.to(torch.float64), **options)
    torch.testing.assert_close(loss.double(), truth, **FLOAT32)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        assert gradient.dtype == torch.bfloat16
        # Rounded as it is stored and as it is multiplied by 3.
        torch.testing.assert_close(gradient.double(), true_gradient, rtol=1.1 * 2**-7, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_divergences_equal_those_of_torch(temperature: float) -> None:
    case = make_case(20, 50, ignored=0.0)
    assert case.teacher is not None
    assert case.teacher_weight is not None
    student, teacher = (
        torch.log_softmax(F.linear(hidden, weight) / temperature, dim=1)
        for hidden, weight in ((case.student, case.student_weight), (case.teacher, case.teacher_weight))
    )
    mean = ((student.exp() + teacher.exp()) / 2).log()
    expected = {
        "forward_kl": F.kl_div(student, teacher, reduction="batchmean", log_target=True),
        "reverse_kl": F.kl_div(teacher, student, reduction="batchmean", log_target=True),
        "jsd": (F.kl_div(mean, student, reduction="batchmean", log_target=True)
                + F.kl_div(mean, teacher, reduction="batchmean", log_target=True)) / 2,
    }  # fmt: skip
    for kind, value in expected.items():
        loss, _ = run(linear_distillation, case, kind=kind, alpha=1.0, temperature=temperature)
        torch.testing.assert_close(loss, temperature**2 * value, **FLOAT32)


def test_alpha_0_is_cross_entropy() -> None:
    case = make_case(20, 50)
    loss, _ = run(linear_distillation, case, alpha=0.0, temperature=2.0)
    torch.testing.assert_close(loss, linear_cross_entropy(case.student, case.student_weight, case.targets), **FLOAT32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_equal_to_its_teacher_learns_nothing(kind: str) -> None:
    case = make_case(20, 50)
    case = case._replace(teacher=case.student, teacher_weight=case.student_weight)
    loss, gradients = run(linear_distillation, case, kind=kind, alpha=1.0, temperature=2.0)
    assert loss.abs() < 1e-6  # roundings of float32
    assert all(gradient.abs().max() < 1e-6 for gradient in gradients)


def test_padding_of_either_vocabulary_takes_no_probability() -> None:
    case = make_case(20, 50, 50)
    assert case.teacher_weight is not None
    options = {"alpha": 1.0, "temperature": 2.0}
    loss, gradients = run(linear_distillation, case, **options)
    padding = torch.zeros(14, 11)  # logits of 0, which a softmax would give probability
    padded = case._replace(teacher_weight=torch.cat([case.teacher_weight, padding]))
    torch.testing.assert_close(run(linear_distillation, padded, **options), (loss, gradients))
    wider = case._replace(student_weight=torch.cat([case.student_weight, torch.zeros(14, 19)]))
    wider_loss, (_, wider_gradient) = run(linear_distillation, wider, **options)
    torch.testing.assert_close(wider_loss, loss)
    torch.testing.assert_close(wider_gradient[:50], gradients[1])
    assert not wider_gradient[50:].any()


@pytest.mark.parametrize("kind", ["forward_kl", "jsd"])
def test_a_cache_of_every_token_is_the_teacher(kind: str) -> None:
    case = make_case(20, 50)
    assert case.teacher is not None
    assert case.teacher_weight is not None
    cache = teacher_topk(case.teacher, case.teacher_weight, 50, chunk_size=7)
    cached = case._replace(teacher=None, teacher_weight=None, teacher_topk=cache)
    options = {"kind": kind, "alpha": 0.6, "temperature": 2.0}
    torch.testing.assert_close(
        run(linear_distillation, cached, **options), run(linear_distillation, case, **options), **FLOAT32
    )


def test_teacher_topk_holds_the_largest_logits_of_each_row() -> None:
    teacher, weight = torch.randn(20, 11), torch.randn(50, 11)
    cache = teacher_topk(teacher, weight, 5, chunk_size=7)
    expected = F.linear(teacher, weight).topk(5)
    torch.testing.assert_close(cache.logits, expected.values)
    assert torch.equal(cache.indices, expected.indices)


def test_the_teacher_gets_no_gradient() -> None:
    case = make_case(9, 31)
    leaves = [part.requires_grad_() for part in case[:4] if part is not None]
    linear_distillation(*leaves, case.targets, alpha=0.5, temperature=2.0).backward()
    assert [leaf.grad is not None for leaf in leaves] == [True, True, False, False]


def test_all_rows_ignored_give_zero_loss_and_zero_gradients() -> None:
    loss, gradients = run(linear_distillation, make_case(9, 50, ignored=1.0), alpha=0.5, temperature=2.0)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_give_finite_losses_and_gradients(kind: str) -> None:
    student, teacher = (torch.tensor([[scale, 0.0]]) for scale in (1e4, -1e4))
    case = Case(student, torch.eye(2), teacher, torch.eye(2), torch.tensor([0]))
    loss, gradients = run(linear_distillation, case, kind=kind, alpha=1.0, temperature=1.0)
    torch.testing.assert_close(loss, torch.tensor(0.69314718 if kind == "jsd" else 1e4))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_inputs_reach_the_loss(kind: str) -> None:
    for which in (0, 2):
        case = make_case(5, 30, ignored=0.0)
        part = case[which]
        assert isinstance(part, Tensor)
        part[2, 3] = torch.nan
        assert run(linear_distillation, case, kind=kind, alpha=1.0, temperature=1.0)[0].isnan()


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_passes(kind: str) -> None:
    case = make_case(5, 11).to(torch.float64)

    def loss(*leaves: Tensor) -> Tensor:
        return linear_distillation(*leaves, *case[2:5], kind=kind, alpha=0.4, temperature=1.5, chunk_size=2)

    assert torch.autograd.gradcheck(loss, [part.requires_grad_() for part in case[:2]])


def test_non_contiguous_inputs_match_contiguous_ones() -> None:
    case = make_case(33, 101)
    strided = Case(*(torch.stack([part, part], dim=-1)[..., 0] for part in case[:5] if isinstance(part, Tensor)))
    options = {"alpha": 0.5, "temperature": 2.0, "chunk_size": 16}
    # The GEMM may take another path for strided inputs.
    torch.testing.assert_close(
        run(linear_distillation, strided, **options), run(linear_distillation, case, **options), **FLOAT32
    )


@pytest.mark.parametrize("with_cache", [False, True])
def test_opcheck_passes_for_the_whole_op(with_cache: bool) -> None:
    case = make_case(5, 31, k=4 if with_cache else 0)
    cache = case.teacher_topk or (None, None)
    arguments = (*case[:4], *cache, case.targets, 0.4, 2.0, 0, -100, True, 2, [True, True])
    torch.library.opcheck(torch.ops.jenga.linear_distillation.default, arguments)


@pytest.mark.parametrize("divergence", [0, 1, 2])
def test_opcheck_passes_for_the_chunk_op(divergence: int) -> None:
    tensors = (torch.randn(3, 9), torch.randn(3, 7), torch.tensor([0, -100, 8]))
    arguments = (*tensors, 0.4, 2.0, divergence, -100, 0.5, True)
    torch.library.opcheck(torch.ops.jenga.vocabulary_distillation_.default, arguments)


# aot_eager traces forward and backward as inductor does, without its minutes of C++ compilation.
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compile_has_one_graph_and_recompiles_once_to_become_dynamic(backend: str) -> None:
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(linear_distillation, fullgraph=True, backend=backend)
    options = {"kind": "jsd", "alpha": 0.4, "temperature": 2.0}
    for n_rows in (9, 31, 300, 33):
        case = make_case(n_rows, 101)
        torch.testing.assert_close(run(compiled, case, **options), run(linear_distillation, case, **options))
    assert counters["stats"]["unique_graphs"] == 2


def test_autocast_rounds_the_operands_and_keeps_gradients_of_their_own_dtype() -> None:
    case = make_case(21, 101)
    options = {"kind": "forward_kl", "alpha": 0.4, "temperature": 2.0}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, gradients = run(linear_distillation, case, **options)
    rounded = case.to(torch.bfloat16).to(torch.float64)
    truth, true_gradients = run(linear_distillation_reference, rounded, **options)
    torch.testing.assert_close(loss.double(), truth, **FLOAT32)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        assert gradient.dtype == torch.float32
        # Rounded to bfloat16 as it is stored, as it is multiplied by 3, and on its way through the cast.
        torch.testing.assert_close(gradient.double(), true_gradient, rtol=1.6 * 2**-7, atol=1e-6)
