"""jenga.kernels.multi_head_loss against its reference in float64, and against PyTorch's own losses."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels import HeadSpec, MultiHeadLoss, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

Case = tuple[Tensor, Tensor, Tensor, list[Tensor], list[HeadSpec]]
NAN = float("nan")

# float32: a loss term carries a few roundings of 6e-8 and a sum of up to 10^4 terms of one sign keeps that relative
# error; a gradient passes one more GEMM of up to 1000 rows, whose terms cancel, hence the absolute part.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}
# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-11, "atol": 1e-11}


def mixed_heads(dtype: torch.dtype = torch.float32) -> list[HeadSpec]:
    generator = torch.Generator().manual_seed(7)
    return [
        HeadSpec("ce", 5, class_weight=torch.rand(5, generator=generator, dtype=dtype) + 0.5, label_smoothing=0.1),
        HeadSpec("bce", 3, pos_weight=torch.rand(3, generator=generator, dtype=dtype) * 3 + 0.1),
        HeadSpec("mse", 2),
        HeadSpec("ce", 2),
        HeadSpec("bce", 1),
        HeadSpec("ce", 1),
        HeadSpec("ce", 37, label_smoothing=1.0),
        HeadSpec("mse", 1),
    ]


def make_target(head: HeadSpec, n_rows: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    if head.kind == "ce":
        labels = torch.randint(0, head.size, (n_rows,), generator=generator)
        return labels.masked_fill(torch.rand(n_rows, generator=generator) < 0.3, -100)
    values = torch.rand(n_rows, head.size, generator=generator, dtype=dtype)
    return values.masked_fill(torch.rand(n_rows, head.size, generator=generator) < 0.3, NAN)


def make_case(
    n_rows: int, hidden_size: int = 19, dtype: torch.dtype = torch.float32, heads: list[HeadSpec] | None = None
) -> Case:
    heads = mixed_heads(dtype) if heads is None else heads
    generator = torch.Generator().manual_seed(n_rows)
    n_outputs = sum(head.size for head in heads)
    hidden = torch.randn(n_rows, hidden_size, generator=generator, dtype=dtype)
    weight = torch.randn(n_outputs, hidden_size, generator=generator, dtype=dtype) / hidden_size**0.5
    bias = torch.randn(n_outputs, generator=generator, dtype=dtype)
    return hidden, weight, bias, [make_target(head, n_rows, generator, dtype) for head in heads], heads


def run(
    function: Callable[..., MultiHeadLoss], case: Case, dtype: torch.dtype | None = None
) -> tuple[MultiHeadLoss, list[Tensor]]:
    """The result, and the gradients of hidden, weight and bias under a different upstream gradient for each head."""
    hidden, weight, bias, targets, heads = case
    leaves = [tensor.detach().to(dtype or tensor.dtype).requires_grad_() for tensor in (hidden, weight, bias)]
    result = function(*leaves, targets, heads=heads)
    upstream = torch.linspace(-1.0, 2.0, len(heads), dtype=result.loss_sum.dtype)
    return result, list(torch.autograd.grad((result.loss_sum * upstream).sum(), leaves))


def assert_matches_float64(case: Case, **tolerance: float) -> None:
    result, gradients = run(multi_head_loss, case)
    truth, true_gradients = run(multi_head_loss_reference, case, torch.float64)
    torch.testing.assert_close(result.loss_sum.double(), truth.loss_sum, **tolerance)
    assert torch.equal(result.count, truth.count)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), true_gradient, **tolerance)


@pytest.mark.parametrize("n_rows", [0, 1, 7, 128, 129, 1000])
def test_float32_losses_and_every_gradient_match_float64(n_rows: int) -> None:
    assert_matches_float64(make_case(n_rows), **FLOAT32)


@pytest.mark.parametrize("n_rows", [0, 1, 300])
def test_float64_losses_and_gradients_are_computed_in_float64(n_rows: int) -> None:
    case = make_case(n_rows, dtype=torch.float64)
    assert run(multi_head_loss, case)[0].loss_sum.dtype == torch.float64
    assert_matches_float64(case, **FLOAT64)


def test_a_large_batch_matches_float64() -> None:
    assert_matches_float64(make_case(20_000, hidden_size=64), rtol=1e-4, atol=1e-3)  # 20 times the rows of FLOAT32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_lose_only_the_rounding_of_the_stored_gradient(dtype: torch.dtype) -> None:
    _, _, _, targets, heads = make_case(65)
    n_outputs = sum(head.size for head in heads)
    logits = (torch.randn(65, n_outputs, generator=torch.Generator().manual_seed(1)) * 4).to(dtype)
    # The identity as weight hands `hidden` through unchanged: its gradient is the gradient of the logits.
    case = (logits, torch.eye(n_outputs).to(dtype), torch.zeros(n_outputs, dtype=dtype), targets, heads)
    result, gradients = run(multi_head_loss, case)
    truth, true_gradients = run(multi_head_loss_reference, case, torch.float64)
    assert result.loss_sum.dtype == torch.float32
    torch.testing.assert_close(result.loss_sum.double(), truth.loss_sum, **FLOAT32)
    # One rounding to nearest is half an eps; atol covers float16 subnormals.
    torch.testing.assert_close(gradients[0].double(), true_gradients[0], rtol=torch.finfo(dtype).eps * 0.51, atol=6e-8)


def test_predictions_equal_those_of_the_reference() -> None:
    hidden, weight, bias, targets, heads = make_case(257)
    ours = multi_head_loss(hidden, weight, bias, targets, heads=heads).predictions
    theirs = multi_head_loss_reference(hidden, weight, bias, targets, heads=heads).predictions
    assert len(ours) == len(heads)
    for prediction, expected in zip(ours, theirs, strict=True):
        assert prediction.dtype == expected.dtype
        assert torch.equal(prediction, expected)
        assert not prediction.requires_grad


def test_argmax_of_tied_logits_is_the_first() -> None:
    result = multi_head_loss(
        torch.zeros(3, 2), torch.zeros(4, 2), None, [torch.zeros(3).long()], heads=[HeadSpec("ce", 4)]
    )
    assert result.predictions[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ce_equals_torch_cross_entropy(smoothing: float, weighted: bool) -> None:
    class_weight = torch.tensor([0.2, 3.0, 1.0, 0.0]) if weighted else None
    head = HeadSpec("ce", 4, class_weight=class_weight, label_smoothing=smoothing)
    hidden, weight, bias, targets, _ = make_case(50, heads=[head])
    loss_sum = multi_head_loss(hidden, weight, bias, targets, heads=[head]).loss_sum[0]
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits, targets[0], class_weight, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(loss_sum, expected, **FLOAT32)


def test_bce_equals_torch_on_the_unmasked_elements() -> None:
    head = HeadSpec("bce", 4, pos_weight=torch.tensor([0.5, 1.0, 2.0, 9.0]))
    hidden, weight, bias, targets, _ = make_case(50, heads=[head])
    loss_sum = multi_head_loss(hidden, weight, bias, targets, heads=[head]).loss_sum[0]
    unmasked = ~targets[0].isnan()
    losses = F.binary_cross_entropy_with_logits(
        F.linear(hidden, weight, bias), targets[0].nan_to_num(), pos_weight=head.pos_weight, reduction="none"
    )
    torch.testing.assert_close(loss_sum, losses[unmasked].sum(), **FLOAT32)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    heads = [HeadSpec("ce", 2), HeadSpec("bce", 2)]
    hidden = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    result = multi_head_loss(hidden, torch.eye(4), None, [torch.tensor([1]), torch.tensor([[0.0, 1.0]])], heads=heads)
    result.loss_sum.sum().backward()
    assert result.loss_sum.tolist() == [2e4, 2e4]
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[1.0, -1.0, 1.0, -1.0]]


def test_gradcheck_passes_in_float64() -> None:
    hidden, weight, bias, targets, heads = make_case(4, hidden_size=3, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(lambda *inputs: multi_head_loss(*inputs, targets, heads=heads).loss_sum, leaves)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_wanted_gradients_are_computed(wanted: tuple[bool, bool, bool]) -> None:
    *inputs, targets, heads = make_case(9)
    leaves = [tensor.requires_grad_(want) for tensor, want in zip(inputs, wanted, strict=True)]
    multi_head_loss(*leaves, targets, heads=heads).loss_sum.sum().backward()
    assert [leaf.grad is not None for leaf in leaves] == list(wanted)


def test_no_graph_is_kept_when_no_gradient_is_wanted() -> None:
    hidden, weight, bias, targets, heads = make_case(9)
    assert not multi_head_loss(hidden, weight, bias, targets, heads=heads).loss_sum.requires_grad


def test_a_missing_bias_is_a_zero_bias() -> None:
    hidden, weight, bias, targets, heads = make_case(9)
    without = multi_head_loss(hidden, weight, None, targets, heads=heads).loss_sum
    # Adding a zero bias may take another GEMM path, hence a tolerance and not equality.
    torch.testing.assert_close(without, multi_head_loss(hidden, weight, bias * 0, targets, heads=heads).loss_sum)


def test_an_all_masked_head_has_zero_loss_and_zero_gradient_even_under_its_nan_mean() -> None:
    heads = [HeadSpec("ce", 3, label_smoothing=0.1), HeadSpec("bce", 2), HeadSpec("mse", 1), HeadSpec("ce", 2)]
    hidden, weight, bias, targets, _ = make_case(6, heads=heads)
    targets[0].fill_(-100), targets[1].fill_(NAN), targets[2].fill_(NAN)
    weight.requires_grad_()
    result = multi_head_loss(hidden, weight, bias, targets, heads=heads)
    assert result.loss_sum[:3].tolist() == result.count[:3].tolist() == [0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad((result.loss_sum / result.count).sum(), weight)
    assert torch.equal(gradient[:6], torch.zeros_like(gradient[:6]))
    assert gradient[6:].isfinite().all()
    assert gradient[6:].any()


def test_ignored_labels_get_zero_gradient() -> None:
    hidden, weight, bias, targets, heads = make_case(40)
    hidden.requires_grad_()
    for target in targets:
        target[11] = -100 if target.dtype == torch.int64 else NAN
    multi_head_loss(hidden, weight, bias, targets, heads=heads).loss_sum.sum().backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad[11], torch.zeros_like(hidden.grad[11]))


def test_non_contiguous_inputs_match_contiguous_ones() -> None:
    hidden, weight, bias, targets, heads = make_case(33)

    def strided(tensor: Tensor) -> Tensor:
        return torch.stack([tensor, tensor], dim=-1)[..., 0]

    plain, plain_gradients = run(multi_head_loss, (hidden, weight, bias, targets, heads))
    inputs = [strided(tensor) for tensor in (hidden, weight, bias)]
    strided_targets = [strided(target) for target in targets]
    assert not any(tensor.is_contiguous() for tensor in [*inputs, *strided_targets])
    odd, odd_gradients = run(multi_head_loss, (inputs[0], inputs[1], inputs[2], strided_targets, heads))
    # The GEMM may take another path for strided inputs.
    torch.testing.assert_close(odd.loss_sum, plain.loss_sum, **FLOAT32)
    torch.testing.assert_close(odd_gradients, plain_gradients, **FLOAT32)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    _, _, _, targets, heads = make_case(3000)
    logits = torch.randn(3000, sum(head.size for head in heads), generator=torch.Generator().manual_seed(2))
    arguments = op_arguments(logits, targets, heads)
    n_threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 2):
            torch.set_num_threads(n)
            forward = torch.ops.jenga.multi_head_loss(*arguments)
            results.append((forward[0], torch.ops.jenga.multi_head_loss_backward(torch.ones(len(heads)), *arguments)))
    finally:
        torch.set_num_threads(n_threads)
    for loss_sum, gradient in results[1:]:
        assert torch.equal(loss_sum, results[0][0])
        assert torch.equal(gradient, results[0][1])


def op_arguments(logits: Tensor, targets: Sequence[Tensor], heads: Sequence[HeadSpec]) -> tuple[object, ...]:
    kinds = [("ce", "bce", "mse").index(head.kind) for head in heads]
    weights = [head.label_weight for head in heads]
    return logits, targets, kinds, [head.size for head in heads], weights, [head.label_smoothing for head in heads]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck_passes_for_both_ops(dtype: torch.dtype) -> None:
    _, _, _, targets, heads = make_case(5)
    logits = torch.randn(5, sum(head.size for head in heads)).to(dtype)
    arguments = op_arguments(logits, targets, heads)
    torch.library.opcheck(torch.ops.jenga.multi_head_loss.default, arguments)
    torch.library.opcheck(torch.ops.jenga.multi_head_loss_backward.default, (torch.rand(len(heads)), *arguments))


def test_compile_has_no_graph_break_and_equal_results() -> None:
    torch.compiler.reset()
    # aot_eager traces forward and backward as inductor does, without its minutes of C++ compilation.
    compiled = torch.compile(multi_head_loss, fullgraph=True, backend="aot_eager")
    for n_rows in (9, 31):
        case = make_case(n_rows)
        result, gradients = run(compiled, case)
        expected, expected_gradients = run(multi_head_loss, case)
        torch.testing.assert_close(result, expected)
        torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.slow
def test_inductor_compiles_the_full_graph() -> None:
    torch.compiler.reset()
    case = make_case(31)
    result, gradients = run(torch.compile(multi_head_loss, fullgraph=True), case)
    expected, expected_gradients = run(multi_head_loss, case)
    torch.testing.assert_close(result, expected, **FLOAT32)
    torch.testing.assert_close(gradients, expected_gradients, **FLOAT32)


def test_autocast_runs_the_gemm_in_bfloat16_and_the_loss_in_float32() -> None:
    hidden, weight, bias, targets, heads = make_case(21)
    hidden.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = multi_head_loss(hidden, weight, bias, targets, heads=heads)
        expected = multi_head_loss_reference(hidden, weight, bias, targets, heads=heads)
    assert result.predictions[2].dtype == torch.bfloat16
    assert result.loss_sum.dtype == torch.float32
    # Both read the same bfloat16 logits.
    torch.testing.assert_close(result.loss_sum, expected.loss_sum, **FLOAT32)
    result.loss_sum.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.float32


@pytest.mark.parametrize("implementation", [multi_head_loss, multi_head_loss_reference])
@pytest.mark.parametrize("label", [3, -1, -101, 2**40])
def test_a_label_out_of_range_is_named_with_head_row_value_and_range(
    implementation: Callable[..., MultiHeadLoss], label: int
) -> None:
    heads = [HeadSpec("mse", 1), HeadSpec("ce", 3)]
    hidden, weight, bias, targets, _ = make_case(200, heads=heads)
    targets[1][150] = label
    targets[1][190] = label
    message = rf"targets\[1\]: row 150 holds label {label}; heads\[1\] allows 0 to 2, or -100 for no label"
    with pytest.raises(ValueError, match=message):
        implementation(hidden, weight, bias, targets, heads=heads)


@pytest.mark.parametrize("implementation", [multi_head_loss, multi_head_loss_reference])
@pytest.mark.parametrize(
    ("head_index", "target", "message"),
    [
        (0, torch.zeros(4, dtype=torch.int32), r"targets\[0\]: got dtype .*int64 class indices"),
        (0, torch.zeros(3, dtype=torch.int64), r"targets\[0\]: a ce head takes shape \(4,\)"),
        (1, torch.zeros(4, 2, dtype=torch.int64), r"targets\[1\]: got dtype .*NaN where masked"),
        (1, torch.zeros(4, 3), r"targets\[1\]: this head takes shape \(4, 2\)"),
    ],
)
def test_wrong_targets_are_refused_by_name(
    implementation: Callable[..., MultiHeadLoss], head_index: int, target: Tensor, message: str
) -> None:
    heads = [HeadSpec("ce", 3), HeadSpec("bce", 2)]
    hidden, weight, bias, targets, _ = make_case(4, heads=heads)
    targets[head_index] = target
    with pytest.raises(ValueError, match=message):
        implementation(hidden, weight, bias, targets, heads=heads)


def test_disagreeing_numbers_of_heads_targets_and_outputs_are_refused() -> None:
    hidden, weight, bias, targets, heads = make_case(4)
    with pytest.raises(ValueError, match="targets: got 7 for 8 heads"):
        multi_head_loss(hidden, weight, bias, targets[:-1], heads=heads)
    with pytest.raises(ValueError, match="the heads have 52 outputs in all, but weight has 51 rows"):
        multi_head_loss(hidden, weight[:-1], bias[:-1], targets, heads=heads)
    with pytest.raises(ValueError, match="heads: got none"):
        multi_head_loss(hidden, weight, bias, [], heads=[])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "hinge", "size": 2}, "HeadSpec.kind: got 'hinge'; allowed: ce, bce, mse"),
        ({"kind": "ce", "size": 0}, "HeadSpec.size: got 0"),
        ({"kind": "ce", "size": 2, "class_weight": torch.ones(3)}, "HeadSpec.class_weight: got shape"),
        ({"kind": "ce", "size": 2, "pos_weight": torch.ones(2)}, "only a bce head takes it; this head is ce"),
        ({"kind": "mse", "size": 2, "label_smoothing": 0.1}, "only a ce head takes it; this head is mse"),
        ({"kind": "ce", "size": 2, "label_smoothing": 1.5}, "HeadSpec.label_smoothing: got 1.5"),
    ],
)
def test_head_spec_refuses_what_its_loss_cannot_use(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadSpec(**arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_matches_the_cpu(dtype: torch.dtype) -> None:
    *inputs, targets, heads = make_case(1000, dtype=dtype)
    weights = {"class_weight": heads[0].class_weight, "pos_weight": heads[1].pos_weight}
    assert all(weight is not None for weight in weights.values())
    cuda_heads = [
        HeadSpec("ce", 5, class_weight=heads[0].class_weight.cuda(), label_smoothing=0.1),
        HeadSpec("bce", 3, pos_weight=heads[1].pos_weight.cuda()),
        *heads[2:],
    ]
    cuda_case = (*(tensor.cuda() for tensor in inputs), [target.cuda() for target in targets], cuda_heads)
    result = multi_head_loss(*cuda_case[:4], heads=cuda_heads)
    expected = multi_head_loss(*inputs, targets, heads=heads)
    torch.testing.assert_close(result.loss_sum.cpu(), expected.loss_sum, **FLOAT32)
    assert torch.equal(result.count.cpu(), expected.count)
