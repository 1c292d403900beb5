"""What a teacher adds to the loss of labelled heads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from jenga.config.distillation import TeacherStudentConfig
from jenga.kernels import TeacherTopk
from jenga.tasks.distillation import HeadTeacher, TokenTeacher, divergence, head_loss, taught
from jenga.trainer.window import Window
from jenga.types import TaskOutput


def settings(**options: Any) -> TeacherStudentConfig:
    return TeacherStudentConfig(teacher_model="t", **options)


def said(kind: Any, logits: torch.Tensor, **options: Any) -> HeadTeacher:
    return HeadTeacher(settings(**options), kind, logits)


STUDENT = torch.tensor([[0.2, -1.0, 0.5], [2.0, 0.1, -0.3]])
TEACHER = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 3.0]])


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_divergences_are_those_of_the_definitions(kind: Any) -> None:
    temperature = 2.5
    p, q = ((each / temperature).double().softmax(-1) for each in (TEACHER, STUDENT))
    middle = (p + q) / 2
    expected = {
        "forward_kl": (p * (p / q).log()).sum(-1),
        "reverse_kl": (q * (q / p).log()).sum(-1),
        "jsd": ((p * (p / middle).log()).sum(-1) + (q * (q / middle).log()).sum(-1)) / 2,
    }[kind]
    found = divergence(STUDENT, TEACHER, settings(temperature=temperature, divergence=kind))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_a_student_equal_to_its_teacher_has_no_loss_and_extremes_stay_finite(kind: Any) -> None:
    own = settings(divergence=kind)
    torch.testing.assert_close(divergence(TEACHER, TEACHER, own), torch.zeros(2), atol=1e-6, rtol=0)
    wild = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    found = divergence(wild, -wild.detach(), own).sum()
    found.backward()
    assert found.isfinite()
    assert wild.grad is not None
    assert wild.grad.isfinite().all()


def test_classes_are_scaled_by_the_squared_temperature() -> None:
    own = settings(temperature=3.0)
    expected = 9 * divergence(STUDENT, TEACHER, own).mean()
    torch.testing.assert_close(head_loss(STUDENT, HeadTeacher(own, "class", TEACHER)), expected)


def test_items_are_choices_of_two_averaged_as_their_labels_are() -> None:
    # With labels for a teacher that is sure, the loss is the binary cross-entropy.
    sure = torch.tensor([[60.0, -60.0, 60.0], [-60.0, 60.0, 60.0]])
    found = head_loss(STUDENT, said("items", sure, temperature=1.0))
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(STUDENT, (sure > 0).float()))


def test_a_sure_teacher_of_classes_is_the_cross_entropy() -> None:
    sure = torch.tensor([[60.0, 0.0, 0.0], [0.0, 0.0, 60.0]])
    found = head_loss(STUDENT, said("class", sure, temperature=1.0))
    torch.testing.assert_close(found, F.cross_entropy(STUDENT, torch.tensor([0, 2])))


def test_numbers_are_drawn_by_the_squared_difference() -> None:
    torch.testing.assert_close(head_loss(STUDENT, said("number", TEACHER)), (STUDENT - TEACHER).square().mean())


def test_tags_count_the_words_of_a_row_alike_and_then_the_rows() -> None:
    student = torch.randn(2, 4, 3)
    teacher = torch.randn(2, 4, 3)
    teacher[0, 2:] = torch.nan  # two words
    teacher[1, 1:] = torch.nan  # one
    own = settings(temperature=1.0)
    each = divergence(student, teacher.nan_to_num(), own)
    expected = (each[0, :2].mean() + each[1, 0]) / 2
    torch.testing.assert_close(head_loss(student, HeadTeacher(own, "tags", teacher)), expected)


def test_a_row_of_tags_without_a_word_adds_nothing_and_breaks_nothing() -> None:
    student = torch.randn(1, 3, 3, requires_grad=True)
    loss = head_loss(student, said("tags", torch.full((1, 3, 3), torch.nan)))
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad is not None
    assert not student.grad.any()


def task_of(*heads: str) -> Any:
    weights = torch.arange(1.0, len(heads) + 1)
    config = SimpleNamespace(heads=[SimpleNamespace(weight=float(w)) for w in weights], weight=1.0)
    return SimpleNamespace(heads=SimpleNamespace(sizes=dict.fromkeys(heads, 3)), head_weight=weights, config=config)


def test_a_taught_head_weighs_labels_and_teacher_and_another_its_labels_alone() -> None:
    task = task_of("a", "b")
    output = TaskOutput(None, {"a": STUDENT, "b": STUDENT}, torch.tensor([4.0, 6.0]), torch.tensor([2.0, 3.0]))
    teacher = said("class", TEACHER, distillation_alpha=0.25)
    found = taught(task, output, {"b": teacher})
    assert isinstance(found.label_share, torch.Tensor)
    assert found.label_share.tolist() == [1.0, 0.75]
    torch.testing.assert_close(found.teacher_loss, 2 * 0.25 * head_loss(STUDENT, teacher))
    window = Window(torch.device("cpu"))
    total = window.add({"t": found}, {"t": task}, None, 1.0)["t"].loss
    assert found.teacher_loss is not None
    torch.testing.assert_close(total, 1 * 2.0 + 2 * 0.75 * 2.0 + found.teacher_loss)
    window.steps = 1
    told = window.take()
    assert told["head_loss"]["t"] == {"a": 2.0, "b": 2.0}
    assert told["teacher_loss"]["t"] == pytest.approx(float(found.teacher_loss))


def test_micro_batches_of_unequal_size_add_up_to_one_batch() -> None:
    task = task_of("a")
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)

    def output(part: slice) -> TaskOutput:
        rows = len(student[part])
        made = TaskOutput(None, {"a": student[part]}, torch.tensor([float(rows)]), torch.tensor([float(rows)]))
        return taught(task, made, {"a": said("class", teacher[part])})

    whole = Window(torch.device("cpu")).add({"t": output(slice(0, 5))}, {"t": task}, None, 1.0)["t"].loss
    counts = {"t": torch.tensor([5.0])}
    parts = [
        Window(torch.device("cpu")).add({"t": output(part)}, {"t": task}, counts, share)["t"].loss
        for part, share in ((slice(0, 2), 0.4), (slice(2, 5), 0.6))
    ]
    torch.testing.assert_close(whole, sum(parts[1:], parts[0]))


def test_cached_logits_move_to_another_device_and_running_ones_are_there() -> None:
    cached = TokenTeacher(settings(), top_k=TeacherTopk(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)))
    moved = cached.to(torch.device("meta"))
    assert moved.top_k is not None
    assert moved.top_k.logits.device.type == "meta"
    running = TokenTeacher(settings(), torch.zeros(2, 3), torch.zeros(4, 3))
    assert running.to(torch.device("meta")) is running
