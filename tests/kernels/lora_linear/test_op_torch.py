"""`lora_linear` among torch's own machinery: autograd, autocast, transforms, grad modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jenga.kernels import lora_linear_updates

MakeCase = Callable[..., Any]
Layers = Callable[..., list[Tensor]]
# As in test_op.py.
FLOAT32 = {"rtol": 2e-5, "atol": 1e-4}


def equal(ours: Any, theirs: Any) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours.outputs, theirs.outputs, strict=True))
    assert ours.gradients.keys() == theirs.gradients.keys()
    assert all(torch.equal(ours.gradients[name], theirs.gradients[name]) for name in theirs.gradients)


# ------------------------------------------------------------------------------------------------------- autograd


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("routed", [False, True])
def test_gradcheck_passes_in_float64(make_case: MakeCase, routed: bool, dropout: float) -> None:
    case = make_case(
        5, n_inputs=4, n_outputs=(3, 2), ranks=(2, 1, 3), adapters=(0, 0, 1), routed=routed, dropout=dropout,
        dtype=torch.float64,
    )  # fmt: skip
    leaves = {name: leaf.requires_grad_() for name, leaf in case.leaves().items()}

    def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(leaves, inputs, strict=True))
        return tuple(case.mapped(lambda name, _: given[name]).call())

    assert torch.autograd.gradcheck(outputs, list(leaves.values()))


def test_a_graph_that_is_kept_gives_the_same_gradients_again(make_case: MakeCase) -> None:
    case = make_case(9, ranks=(4, 2), dropout=0.3).learning()
    leaves = [leaf for leaf in case.leaves().values() if leaf.requires_grad]
    (output,) = case.call()
    first = torch.autograd.grad(output.sum(), leaves, retain_graph=True)
    # Other memory in between, so that nothing can be right by what was left in it.
    case.call()[0].sum().backward()
    with_graph = torch.autograd.grad(output.sum(), leaves, create_graph=True)
    again = torch.autograd.grad(output.sum(), leaves)
    for one, two, three in zip(first, with_graph, again, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_a_backward_pass_through_its_gradients_is_refused_by_name(make_case: MakeCase) -> None:
    case = make_case(9, dropout=0.3)
    case.wanted = set(case.leaves())
    case = case.learning()
    (output,) = case.call()
    for leaf in case.leaves().values():
        (gradient,) = torch.autograd.grad(output.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="lora_linear has no second derivative"):
            torch.autograd.grad(gradient.square().sum(), case.x, retain_graph=True)


def test_x_may_be_used_again_beside_and_after_the_layer(make_case: MakeCase, reference_layers: Layers) -> None:
    case = make_case(9, n_outputs=(19,), dropout=0.3).learning()

    def total(layers: Layers) -> Tensor:
        (once,) = case.call(layers)
        (twice,) = layers(once, case.weights, case.biases, case.updates, dropout=0.3, seed=4)
        return (twice * case.x + once + case.x.square()).sum()

    leaves = [leaf for leaf in case.leaves().values() if leaf.requires_grad]
    ours = torch.autograd.grad(total(lora_linear_updates), leaves)
    torch.testing.assert_close(ours, torch.autograd.grad(total(reference_layers), leaves), **FLOAT32)


def test_gradients_of_several_calls_add_up(make_case: MakeCase) -> None:
    case = make_case(9).learning()
    once = case.run().gradients["a 0"]
    upstream = case.upstream()[0]
    for _ in range(3):
        case.call()[0].backward(upstream)
    torch.testing.assert_close(case.updates[0].lora_a.grad, 3 * once, **FLOAT32)


def test_an_output_that_nobody_uses_adds_nothing_and_its_update_gets_no_gradient(make_case: MakeCase) -> None:
    case = make_case(9, n_outputs=(11, 6), ranks=(4, 2)).learning()
    one, _ = case.call()
    one.sum().backward()
    assert case.updates[0].lora_a.grad.any()
    # Zeros would decay it in AdamW, and hide it from DDP's search for what is unused.
    assert case.updates[1].lora_a.grad is None
    assert case.updates[1].lora_b.grad is None
    (alone,) = lora_linear_updates(case.x, case.weights[:1], case.biases[:1], case.updates[:1])
    expected = torch.autograd.grad(alone.sum(), case.updates[0].lora_a)[0]
    torch.testing.assert_close(case.updates[0].lora_a.grad, expected, **FLOAT32)


def test_only_what_is_trained_gets_a_gradient_and_nothing_else_a_graph(make_case: MakeCase) -> None:
    case = make_case(9)
    assert not case.call()[0].requires_grad
    case.wanted = {"a 0", "b 0"}
    learning = case.learning()
    learning.call()[0].sum().backward()
    assert {name for name, leaf in learning.leaves().items() if leaf.grad is not None} == {"a 0", "b 0"}
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            (output,) = learning.call()
        assert not output.requires_grad
        assert torch.equal(output, case.call()[0])


def test_inference_tensors_are_taken_where_nothing_is_learnt(make_case: MakeCase) -> None:
    with torch.inference_mode():
        case = make_case(9, dropout=0.3)
    assert case.call()[0].isfinite().all()


@pytest.mark.parametrize("changed", ["x", "weight 0", "a 0", "b 0"])
def test_what_changed_before_the_backward_pass_is_an_error_and_not_a_wrong_gradient(
    make_case: MakeCase, changed: str
) -> None:
    case = make_case(9).learning()
    (output,) = case.call()
    with torch.no_grad():
        case.leaves()[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_outputs_may_be_written_to(make_case: MakeCase) -> None:
    case = make_case(9, n_outputs=(11, 6), ranks=(4, 2)).learning()
    with torch.no_grad():
        one, two = case.call()
        before = two.clone()
        one.zero_()
    assert torch.equal(two, before)


def test_meta_tensors_give_shapes(make_case: MakeCase) -> None:
    case = make_case(2, 3, n_outputs=(11, 6), ranks=(4, 2), dropout=0.3)
    case.seed = None
    outputs = case.mapped(lambda _, leaf: leaf.to("meta")).call()
    assert [(output.shape, output.device.type) for output in outputs] == [((2, 3, 11), "meta"), ((2, 3, 6), "meta")]


# ------------------------------------------------------------------------------------------------------ transforms


@pytest.mark.parametrize("wants_gradient", [False, True])
def test_vmap_is_refused_by_name(make_case: MakeCase, wants_gradient: bool) -> None:
    case = make_case(5)
    case.updates[0].lora_a.requires_grad_(wants_gradient)

    def layer(x: Tensor) -> Tensor:
        return lora_linear_updates(x, case.weights, case.biases, case.updates)[0]

    with pytest.raises(NotImplementedError, match=r"lora_linear: .*in place of vmap, fold the mapped dimension"):
        torch.func.vmap(layer)(torch.stack([case.x, case.x]))


def test_the_ops_themselves_refuse_vmap_by_name(make_case: MakeCase) -> None:
    arguments = make_case(5).op_arguments()
    with pytest.raises(NotImplementedError, match="lora_linear has no batching rule"):
        torch.func.vmap(lambda x: torch.ops.jenga.lora_linear(x, *arguments[1:])[0])(torch.stack([arguments[0]] * 2))


def test_derivatives_by_torch_func_are_refused_and_not_zero(make_case: MakeCase) -> None:
    case = make_case(40)

    def layer(x: Tensor) -> Tensor:
        return lora_linear_updates(x, case.weights, case.biases, case.updates)[0]

    with pytest.raises(NotImplementedError, match=r"lora_linear: transforms of torch.func"):
        torch.func.jvp(layer, (case.x,), (case.x,))
    with pytest.raises(NotImplementedError, match=r"lora_linear: transforms of torch.func"):
        torch.func.grad(lambda x: layer(x).sum())(case.x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(case.x, case.x)
        with pytest.raises(Exception, match=r"forward mode AD|jvp"):
            layer(dual)
        # no_grad leaves derivatives in forward mode on.
        with torch.no_grad(), pytest.raises(Exception, match=r"forward mode AD|jvp"):
            layer(dual)


# ---------------------------------------------------------------------------------------------------------- autocast


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("functions", [set(), {0}])
def test_under_autocast_it_errs_at_most_twice_as_much_as_eager(
    make_case: MakeCase, eager_layers: Layers, dtype: torch.dtype, functions: set[int]
) -> None:
    case = make_case(100, n_inputs=80, n_outputs=(60,), ranks=(8,), dropout=0.2)
    truth, case.functions = case.truth(), functions
    with torch.autocast("cpu", dtype=dtype):
        ours, theirs = case.run(), case.run(eager_layers)
    (output,) = ours.outputs
    assert output.dtype == dtype
    assert (output - truth.outputs[0]).norm() <= 2 * (theirs.outputs[0] - truth.outputs[0]).norm()
    for name, gradient in ours.gradients.items():
        assert gradient.dtype == torch.float32
        assert (gradient - truth.gradients[name]).norm() <= 2 * (theirs.gradients[name] - truth.gradients[name]).norm()


def test_autocast_leaves_float64_alone(make_case: MakeCase) -> None:
    case = make_case(40, dtype=torch.float64)
    expected = case.run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        equal(case.run(), expected)


def test_autocast_takes_operands_of_different_dtypes(make_case: MakeCase) -> None:
    case = make_case(9)
    case.x = case.x.bfloat16()  # as a layer norm under autocast may leave it
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = case.run()
    assert ours.outputs[0].dtype == torch.bfloat16
    assert ours.gradients["x"].dtype == torch.bfloat16
    assert ours.gradients["a 0"].dtype == torch.float32


def test_a_backward_pass_inside_autocast_is_the_one_outside(make_case: MakeCase) -> None:
    case = make_case(9)
    case.wanted = set(case.leaves())
    case = case.learning()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (output,) = case.call()
        inside = torch.autograd.grad(output.float().sum(), list(case.leaves().values()), retain_graph=True)
    outside = torch.autograd.grad(output.float().sum(), list(case.leaves().values()))
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))
