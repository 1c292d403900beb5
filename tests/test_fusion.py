"""Task-specific attention over shared hidden states."""

from __future__ import annotations

from dataclasses import replace

import pytest
import seeds
import torch

from jenga.fusion import AttentionFusion, JointBackbone
from jenga.modalities import BaseBackbone
from jenga.types import BackboneOutput

WIDTH = 8


@pytest.fixture
def trained() -> AttentionFusion:
    """A fusion that is no longer the identity."""
    torch.manual_seed(seeds.derived(0))
    fusion = AttentionFusion(WIDTH, ["a", "b"], dropout=0.5).eval()
    torch.nn.init.normal_(fusion.update_weight)
    torch.nn.init.normal_(fusion.query)
    return fusion


def encoded(rows: int = 3, tokens: int = 5) -> BackboneOutput:
    generator = seeds.generator(1)
    hidden = torch.randn(rows, tokens, WIDTH, generator=generator)
    return BackboneOutput(hidden, hidden[:, 0].clone(), torch.ones(rows, tokens, dtype=torch.int64))


def test_training_starts_from_the_backbones_own_output() -> None:
    fusion, given = AttentionFusion(WIDTH, ["a", "b"], dropout=0.1), encoded()
    for view in fusion(given, ["a", "b"]).values():
        assert torch.equal(view.last_hidden_state, given.last_hidden_state)
        assert torch.equal(view.pooler_output, given.pooler_output)


def test_what_the_encoder_read_passes_through(trained: AttentionFusion) -> None:
    given = replace(encoded(), features=torch.ones(3, 2))
    views = trained(given, ["a", "b"])
    assert all(view.features is given.features for view in views.values())
    assert trained(encoded(), ["a"])["a"].features is None


def test_each_of_an_ensemble_sees_what_its_mean_sees(trained: AttentionFusion) -> None:
    members = torch.randn(3, 4, WIDTH, generator=seeds.generator(2))
    mean = members.mean(1)
    given = BackboneOutput(mean.unsqueeze(1), mean, torch.ones(3, 1, dtype=torch.int64), members=members)
    view = trained(given, ["a"])["a"]
    assert view.members is not None
    assert not torch.equal(view.members, members)
    torch.testing.assert_close(view.members.mean(1), view.pooler_output)


def test_the_identity_is_left_by_the_first_gradient() -> None:
    fusion = AttentionFusion(WIDTH, ["a"], dropout=0.0)
    fusion(encoded(), ["a"])["a"].pooler_output.square().sum().backward()
    assert fusion.update_weight.grad is not None
    assert fusion.update_weight.grad.abs().sum() > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(trained: AttentionFusion, side: str) -> None:
    given = encoded()
    noise = torch.full((3, 4, WIDTH), 100.0)
    zeros = torch.zeros(3, 4, dtype=torch.int64)
    parts = ((noise, given.last_hidden_state), (zeros, given.attention_mask))
    hidden, mask = (torch.cat(pair if side == "left" else pair[::-1], 1) for pair in parts)
    view = trained(given, ["a"])["a"]
    padded = trained(BackboneOutput(hidden, given.pooler_output, mask), ["a"])["a"]
    real = padded.last_hidden_state[:, 4:] if side == "left" else padded.last_hidden_state[:, :5]
    # Sums over 5 and over 9 terms (4 of them zero) may be added in another order.
    torch.testing.assert_close(padded.pooler_output, view.pooler_output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(real, view.last_hidden_state, rtol=1e-5, atol=1e-5)
    assert padded.attention_mask is mask


def test_each_task_sees_its_own_view(trained: AttentionFusion) -> None:
    views = trained(encoded(), ["a", "b"])
    assert not torch.allclose(views["a"].pooler_output, views["b"].pooler_output)
    alone = trained(encoded(), ["b"])
    assert torch.equal(alone["b"].pooler_output, views["b"].pooler_output), "a view does not depend on the other tasks"
    assert list(alone) == ["b"]


def test_a_task_trains_only_its_own_query_and_update(trained: AttentionFusion) -> None:
    trained(encoded(), ["b"])["b"].pooler_output.sum().backward()
    for parameter in (trained.query, trained.update_weight, trained.update_bias):
        assert parameter.grad is not None
        assert parameter.grad[0].abs().sum() == 0
        assert parameter.grad[1].abs().sum() > 0


def test_a_row_without_a_real_token_stays_finite(trained: AttentionFusion) -> None:
    given = encoded()
    given.attention_mask[1] = 0
    view = trained(given, ["a"])["a"]
    assert view.pooler_output.isfinite().all()
    view.pooler_output.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained.parameters())


# ---------------------------------------------------------------------------------------------------- several inputs


class Lookup(BaseBackbone):
    """A part of a joint input: hidden states are what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__("lookup", None)
        self.width = width

    @property
    def hidden_size(self) -> int:
        return self.width

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput:
        hidden = inputs["hidden"]
        return BackboneOutput(hidden, hidden[:, 0], inputs["mask"])


def joint(dropout: float = 0.0) -> JointBackbone:
    torch.manual_seed(seeds.derived(3))
    made = JointBackbone({"one": Lookup(4), "other": Lookup(WIDTH)}, dropout=dropout)
    torch.nn.init.normal_(made.update.weight)
    return made


def given(one: list[int], other: list[int]) -> dict[str, torch.Tensor]:
    """Inputs of rows, each by where it stands in a part."""
    generator = seeds.generator(4)
    found = {}
    for name, width, tokens, places in (("one", 4, 3, one), ("other", WIDTH, 5, other)):
        rows = max(places) + 1
        found[f"{name}/place"] = torch.tensor(places)
        hidden = torch.randn(4, tokens, width, generator=generator)
        if rows:
            found[f"{name}/hidden"] = hidden[:rows]
            found[f"{name}/mask"] = torch.ones(rows, tokens, dtype=torch.int64)
    return found


def test_joined_tokens_stand_behind_one_another_and_missing_parts_are_masked() -> None:
    output = joint().eval()(**given([0, -1, 1], [0, 1, -1]))
    assert output.last_hidden_state.shape == (3, 8, WIDTH)
    assert output.pooler_output.shape == (3, WIDTH)
    assert output.attention_mask.tolist() == [[1] * 8, [0] * 3 + [1] * 5, [1] * 3 + [0] * 5]


@pytest.mark.parametrize("alone", ["one", "other"])
def test_a_row_that_lacks_a_part_is_answered_as_in_a_batch_without_that_part(alone: str) -> None:
    both, model = given([0, 1], [0, -1]) if alone == "one" else given([0, -1], [0, 1]), joint().eval()
    own = {key: each[1:] if each.ndim > 1 else each[:1] * 0 for key, each in both.items() if key.startswith(alone)}
    expected = model(**own).pooler_output[0]
    assert torch.allclose(model(**both).pooler_output[1], expected, atol=1e-6)


def test_each_part_changes_the_answer() -> None:
    model, inputs = joint().eval(), given([0, 1], [0, 1])
    whole = model(**inputs).pooler_output
    for name in ("one", "other"):
        changed = {**inputs, f"{name}/hidden": -inputs[f"{name}/hidden"]}
        assert not torch.allclose(model(**changed).pooler_output, whole, atol=1e-3)


def test_training_leaves_out_parts_but_never_all_of_a_row() -> None:
    rows = 400
    model = joint(dropout=0.5).train()
    torch.manual_seed(seeds.derived(5))
    kept = model._kept(torch.ones(rows, 2, dtype=torch.bool))
    assert kept.any(1).all()
    # Each is left out of half the rows, but for the quarter where both would be.
    assert 0.15 < 1 - kept[:, 0].float().mean() < 0.35
    lacking = torch.tensor([[True, False]] * rows)
    assert torch.equal(model._kept(lacking), lacking)
    assert model.eval()._kept(kept[:1] | True).all()


def test_every_weight_of_a_joint_input_gets_a_gradient_and_none_is_shared() -> None:
    model = joint()
    model(**given([0, 1], [0, 1])).pooler_output.square().sum().backward()
    # Tokens beside the query's find: nothing reads them here.
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(name.startswith("parts") for name in model.state_dict())


def test_a_part_that_is_left_out_changes_nothing_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = joint(), given([0, 1], [0, 1])
    monkeypatch.setattr(model, "_kept", lambda there: torch.tensor([[True, True], [False, True]]))
    output = model(**inputs)
    assert output.attention_mask.tolist() == [[1] * 8, [0] * 3 + [1] * 5]
    changed = model(**{**inputs, "one/hidden": -inputs["one/hidden"]}).pooler_output
    assert torch.equal(changed[1], output.pooler_output[1])
    assert not torch.allclose(changed[0], output.pooler_output[0], atol=1e-3)


def test_a_joint_input_runs_in_bf16_near_float32() -> None:
    model, inputs = joint().eval(), given([0, -1, 1], [0, 1, -1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(**inputs).pooler_output
    assert torch.allclose(low.float(), model(**inputs).pooler_output, atol=0.1)
