"""linear_distillation without grad mode, with inputs of inference mode, under autocast, and on meta tensors."""

from typing import Any

import pytest
import seeds
import torch
from torch import Tensor

from jenga.kernels import TeacherTopk, linear_distillation, teacher_topk
from jenga.kernels.linear_distillation.reference import linear_distillation_reference

SETTINGS: dict[str, Any] = {"alpha": 0.5, "temperature": 2.0}


def inputs(n_rows: int = 9, vocabulary: int = 31) -> list[Tensor]:
    generator = seeds.generator(n_rows)
    shapes = ((n_rows, 19), (vocabulary, 19), (n_rows, 11), (vocabulary, 11))
    student, student_weight, teacher, teacher_weight = (torch.randn(shape, generator=generator) for shape in shapes)
    targets = torch.randint(0, vocabulary, (n_rows,), generator=generator)
    return [student.requires_grad_(), student_weight.requires_grad_(), teacher, teacher_weight, targets]


def test_compiled_code_runs_with_and_without_grad_mode() -> None:
    torch.compiler.reset()
    arguments = inputs()
    compiled = torch.compile(linear_distillation, fullgraph=True, backend="aot_eager")
    ours, expected = (function(*arguments, **SETTINGS) for function in (compiled, linear_distillation))
    torch.testing.assert_close(torch.autograd.grad(ours, arguments[:2]), torch.autograd.grad(expected, arguments[:2]))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(compiled(*arguments, **SETTINGS), expected.detach())


def test_the_op_called_alone_runs_in_grad_mode() -> None:
    arguments = inputs()
    student, weight, teacher, teacher_weight, targets = arguments
    direct = torch.ops.jenga.linear_distillation(
        student, weight, teacher, teacher_weight, None, None, targets, 0.5, 2.0, 0, -100, True, 2, [True, True]
    )
    torch.testing.assert_close(direct[0], linear_distillation(*arguments, **SETTINGS))


@pytest.mark.parametrize("cached", [False, True])
def test_a_teacher_made_in_inference_mode_is_taken(cached: bool) -> None:
    student, weight, teacher, teacher_weight, targets = inputs()

    def loss(teacher: Tensor, cache: TeacherTopk) -> Tensor:
        if cached:
            return linear_distillation(student, weight, None, None, targets, teacher_topk=cache, **SETTINGS)
        return linear_distillation(student, weight, teacher, teacher_weight, targets, **SETTINGS)

    with torch.inference_mode():
        made = loss(teacher.clone(), teacher_topk(teacher, teacher_weight, 4))
        inference_teacher, inference_cache = teacher.clone(), teacher_topk(teacher, teacher_weight, 4)
    expected = loss(teacher, teacher_topk(teacher, teacher_weight, 4))
    got = loss(inference_teacher, inference_cache)
    torch.testing.assert_close((made, got.detach()), (expected.detach(), expected.detach()))
    true_gradients = torch.autograd.grad(expected, (student, weight))
    for _ in range(2):  # handed out, then recomputed
        torch.testing.assert_close(torch.autograd.grad(got, (student, weight), retain_graph=True), true_gradients)


def test_a_gradient_penalty_is_refused_and_create_graph_alone_is_not() -> None:
    arguments = inputs()
    (expected,) = torch.autograd.grad(linear_distillation(*arguments, **SETTINGS), arguments[0])
    loss = linear_distillation(*arguments, **SETTINGS)
    (gradient,) = torch.autograd.grad(loss, arguments[0], create_graph=True)
    assert torch.equal(gradient, expected)
    with pytest.raises(RuntimeError, match="linear_distillation has no second derivative"):
        (loss + gradient.square().sum()).backward()


def test_func_grad_works() -> None:
    student, *rest = inputs()
    got = torch.func.grad(lambda student: linear_distillation(student, *rest, **SETTINGS))(student.detach())
    (expected,) = torch.autograd.grad(linear_distillation(student, *rest, **SETTINGS), student)
    torch.testing.assert_close(got, expected)


def test_a_batch_of_upstream_gradients_is_taken() -> None:
    arguments, upstream = inputs(), torch.tensor([1.0, 2.0, -4.0])
    (expected,) = torch.autograd.grad(linear_distillation(*arguments, **SETTINGS), arguments[1])
    loss = linear_distillation(*arguments, **SETTINGS)
    (batch,) = torch.autograd.grad(loss, arguments[1], upstream, is_grads_batched=True)
    assert torch.equal(batch, expected * upstream[:, None, None])


def test_a_loss_scale_lifts_float16_gradients_before_they_can_underflow() -> None:
    arguments, upstream = inputs(8192, 50), 2.0**16

    def gradients(function: Any, dtype: torch.dtype, scale: float) -> list[Tensor]:
        parts = [part.detach().to(dtype) if part.is_floating_point() else part for part in arguments]
        leaves = [part.requires_grad_() for part in parts[:2]]
        found = torch.autograd.grad(function(*leaves, *parts[2:], **SETTINGS) * scale, leaves)
        return [gradient.double() / scale for gradient in found]

    truth = gradients(linear_distillation_reference, torch.float64, 1.0)
    with torch.autocast("cpu", dtype=torch.float16):
        ours = gradients(linear_distillation, torch.float32, upstream)
        eager = gradients(linear_distillation_reference, torch.float32, upstream)
    for gradient, theirs, true_gradient in zip(ours, eager, truth, strict=True):
        assert (gradient - true_gradient).norm() <= 2 * (theirs - true_gradient).norm()


def test_meta_tensors_give_shapes_and_dtypes() -> None:
    student, weight, teacher, teacher_weight, targets = (part.detach().to("meta") for part in inputs())
    leaves = [student.requires_grad_(), weight.requires_grad_()]
    cache = teacher_topk(teacher, teacher_weight, 4)
    assert (cache.logits.shape, cache.indices.shape, cache.indices.is_meta) == ((9, 4), (9, 4), True)
    for loss in (
        linear_distillation(*leaves, teacher, teacher_weight, targets, **SETTINGS),
        linear_distillation(*leaves, None, None, targets, teacher_topk=cache, **SETTINGS),
    ):
        assert (loss.shape, loss.dtype, loss.device.type) == ((), torch.float32, "meta")
        shapes = [gradient.shape for gradient in torch.autograd.grad(loss, leaves)]
        assert shapes == [student.shape, weight.shape]


def test_teacher_topk_casts_mixed_dtypes_under_autocast() -> None:
    _, _, teacher, teacher_weight, _ = inputs()
    with pytest.raises(ValueError, match=r"got dtypes torch.bfloat16 and torch.float32"):
        teacher_topk(teacher.bfloat16(), teacher_weight, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = teacher_topk(teacher.bfloat16(), teacher_weight, 4)
    expected = teacher_topk(teacher.bfloat16(), teacher_weight.bfloat16(), 4)
    torch.testing.assert_close(got, expected)
