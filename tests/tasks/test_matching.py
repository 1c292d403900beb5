"""Inner states of a student and its teacher, compared."""

from __future__ import annotations

from typing import Any

import pytest
import seeds
import torch
from torch.nn import functional as F

from jenga.config.distillation import TeacherStudentConfig
from jenga.errors import ConfigError
from jenga.tasks.matching import Matching, Shape, layer_pairs
from jenga.types import BackboneOutput, States

B, T, HEADS = 2, 4, 2
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def settings(**options: Any) -> TeacherStudentConfig:
    return TeacherStudentConfig(teacher_model="t", **options)


def states(n_layers: int, width: int, *, heads: int = HEADS, seed: int = 0) -> States:
    random = seeds.generator(seed)
    hidden = tuple(torch.randn(B, T, width, generator=random) for _ in range(n_layers + 1))
    attention = tuple(torch.randn(B, heads, T, T, generator=random).softmax(-1) for _ in range(n_layers))
    return States(hidden, attention)


def output(given: States) -> BackboneOutput:
    assert given.hidden_states is not None
    return BackboneOutput(given.hidden_states[-1], given.hidden_states[-1][:, 0], MASK, states=given)


def rows_mean(each: torch.Tensor) -> torch.Tensor:
    return (each[0].mean() + each[1, :2].mean()) / 2


@pytest.mark.parametrize(
    ("config", "kept", "n_student", "n_teacher", "pairs"),
    [
        ({"layers": "auto"}, [0, 4, 8], 3, 12, [(0, 0), (1, 4), (2, 11)]),
        ({"layers": "auto"}, None, 3, 12, [(0, 3), (1, 7), (2, 11)]),
        ({"layers": "auto"}, None, 4, 4, [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ({"layers": "last"}, None, 3, 12, [(2, 11)]),
        ({"layers": [[0, 5], [2, 11]]}, None, 3, 12, [(0, 5), (2, 11)]),
        (None, None, 3, 12, []),
    ],
)
def test_which_layers_are_matched(config: Any, kept: Any, n_student: int, n_teacher: int, pairs: Any) -> None:
    block = settings(hidden_states=config).hidden_states
    assert layer_pairs(block, kept, Shape(n_student, 8), Shape(n_teacher, 8), key="hidden_states") == pairs


@pytest.mark.parametrize(
    ("pair", "words"), [([3, 0], "the student has no layer 3"), ([0, 9], "the teacher has no layer 9")]
)
def test_a_layer_that_is_not_there_is_named(pair: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"attentions.layers: {words}"):
        Matching(settings(attentions={"layers": [pair]}), Shape(3, 8), Shape(9, 8))


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_hidden_states_are_compared_over_real_tokens_and_then_rows(kind: str) -> None:
    ours, theirs = states(2, 8), states(4, 8, seed=1)
    matching = Matching(settings(hidden_states={"loss": kind, "weight": 3.0}), Shape(2, 8), Shape(4, 8))
    assert not list(matching.parameters())
    losses = []
    for first, second in ((1, 2), (2, 4)):  # behind layers (0, 1) and (1, 3)
        a, b = ours.hidden_states[first], theirs.hidden_states[second]  # type: ignore[index]
        each = (a - b).square().mean(-1) if kind == "mse" else 1 - F.cosine_similarity(a, b, dim=-1)
        losses.append(rows_mean(each))
    torch.testing.assert_close(matching(output(ours), theirs), 3 * torch.stack(losses).mean())


def test_attention_is_compared_by_its_divergence() -> None:
    ours, theirs = states(2, 8), states(4, 8, seed=1)
    matching = Matching(settings(attentions={}), Shape(2, 8), Shape(4, 8))
    p, q = theirs.attentions[3].double(), ours.attentions[1].double()  # type: ignore[index]
    expected = rows_mean((p * (p / q).log()).sum(-1).mean(1))
    torch.testing.assert_close(matching(output(ours), theirs).double(), expected, rtol=1e-5, atol=1e-6)


def test_other_numbers_of_heads_are_compared_by_their_means() -> None:
    ours, theirs = states(2, 8, heads=2), states(2, 8, heads=4, seed=1)
    found = Matching(settings(attentions={}), Shape(2, 8), Shape(2, 8))(output(ours), theirs)
    p, q = theirs.attentions[1].mean(1), ours.attentions[1].mean(1)  # type: ignore[index]
    torch.testing.assert_close(found, rows_mean((p * (p / q).log()).sum(-1)), rtol=1e-5, atol=1e-6)


def test_attention_that_is_masked_in_both_stays_finite() -> None:
    causal = torch.ones(T, T).tril()
    one = (torch.rand(B, HEADS, T, T) * causal).requires_grad_()
    ours = States((torch.zeros(B, T, 8),) * 2, (one / one.sum(-1, keepdim=True),))
    theirs = States(None, (causal / causal.sum(-1, keepdim=True)).expand(B, HEADS, T, T)[None])
    loss = Matching(settings(attentions={}), Shape(1, 8), Shape(1, 8))(output(ours), theirs)
    loss.backward()
    assert loss.isfinite()
    assert one.grad is not None
    assert one.grad.isfinite().all()


def test_a_student_equal_to_its_teacher_has_no_loss() -> None:
    same = states(3, 8)
    matching = Matching(settings(hidden_states={}, attentions={"layers": "auto"}), Shape(3, 8), Shape(3, 8))
    assert float(matching(output(same), same)) == pytest.approx(0.0, abs=1e-6)


def test_other_widths_meet_through_trained_projections() -> None:
    torch.manual_seed(seeds.derived(0))
    ours, theirs = states(2, 8), states(4, 12, seed=1)
    matching = Matching(settings(hidden_states={}), Shape(2, 8), Shape(4, 12))
    assert [tuple(each.shape) for each in matching.parameters()] == [(12, 8), (12, 8)]
    optimizer = torch.optim.Adam(matching.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = matching(output(ours), theirs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_under_autocast_the_losses_are_float32() -> None:
    ours, theirs = states(2, 8), states(2, 12, seed=1)
    matching = Matching(settings(hidden_states={}), Shape(2, 8), Shape(2, 12))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = matching(output(ours), theirs)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, matching(output(ours), theirs))
