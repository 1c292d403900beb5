"""What `multi_head_loss` and `HeadSpec` refuse, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jenga.kernels import HeadSpec, MultiHeadLoss, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

MakeCase = Callable[..., Any]
IMPLEMENTATIONS = [multi_head_loss, multi_head_loss_reference]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("wants_gradient", [False, True])
@pytest.mark.parametrize("kind", ["ce", "focal"])
@pytest.mark.parametrize("label", [3, -1, -101, 2**40, -(2**63), 2**63 - 1])
def test_a_label_out_of_range_is_named_with_head_row_value_and_range(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss], kind: Any, label: int, wants_gradient: bool
) -> None:
    case = make_case(200, heads=[HeadSpec("mse", 1), HeadSpec(kind, 3)])
    case.weight.requires_grad_(wants_gradient)
    case.targets[1][150] = label
    case.targets[1][190] = label
    message = rf"targets\[1\]: row 150 holds label {label}; heads\[1\] allows 0 to 2, or -100 for no label"
    with pytest.raises(ValueError, match=message):
        case.call(implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_label_out_of_range_is_found_in_the_rows_of_its_own_task_only(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(200, heads=[HeadSpec("ce", 3), HeadSpec("focal", 3)], routed=True)
    case.targets[1][case.rows != 1] = 9
    case.call(implementation)
    row = int((case.rows == 1).nonzero()[-1])
    case.targets[1][row] = 7
    with pytest.raises(ValueError, match=rf"targets\[1\]: row {row} holds label 7; heads\[1\] allows 0 to 2"):
        case.call(implementation)


def test_a_label_out_of_range_is_named_inside_a_compiled_function(make_case: MakeCase) -> None:
    torch.compiler.reset()
    case = make_case(9, heads=[HeadSpec("ce", 3)])
    case.targets[0][5] = 3
    with pytest.raises(ValueError, match=r"targets\[0\]: row 5 holds label 3"):
        case.run(torch.compile(multi_head_loss, fullgraph=True, backend="aot_eager"))


def test_a_call_after_a_refused_one_is_right(make_case: MakeCase) -> None:
    case = make_case(200)
    expected = case.call(multi_head_loss).loss_sum
    label = int(case.targets[0][150])
    case.targets[0][150] = 99
    with pytest.raises(ValueError, match=r"targets\[0\]: row 150 holds label 99"):
        case.call(multi_head_loss)
    case.targets[0][150] = label
    assert torch.equal(case.call(multi_head_loss).loss_sum, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("ce", torch.zeros(4, dtype=torch.int32), r"targets\[1\]: got dtype .*a ce head takes int64 class indices"),
        ("focal", torch.zeros(4), r"targets\[1\]: got dtype .*a focal head takes int64 class indices"),
        ("ce", torch.zeros(3, dtype=torch.int64), r"targets\[1\]: a ce head takes shape \(4,\)"),
        ("focal", torch.zeros(4, 2, dtype=torch.int64), r"targets\[1\]: a focal head takes shape \(4,\)"),
        (
            "bce",
            torch.zeros(4, 2, dtype=torch.int64),
            r"targets\[1\]: got dtype .*a bce, mse or soft head takes floats",
        ),
        ("soft", torch.zeros(4, dtype=torch.int64), r"targets\[1\]: got dtype .*a bce, mse or soft head takes floats"),
        ("bce", torch.zeros(4, 3), r"targets\[1\]: this head takes shape \(4, 2\)"),
        ("mse", torch.zeros(4), r"targets\[1\]: this head takes shape \(4, 2\)"),
        ("soft", torch.zeros(2, 4), r"targets\[1\]: this head takes shape \(4, 2\)"),
    ],
)
def test_wrong_targets_are_refused_by_name(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss], kind: Any, target: Tensor, message: str
) -> None:
    case = make_case(4, heads=[HeadSpec("ce", 3), HeadSpec(kind, 2)])
    case.targets[1] = target
    with pytest.raises(ValueError, match=message):
        case.call(implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_disagreeing_numbers_of_heads_targets_and_outputs_are_refused(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(4)
    hidden, weight, bias, targets, heads = case.hidden, case.weight, case.bias, case.targets, case.heads
    with pytest.raises(ValueError, match="targets: got 12 for 13 heads"):
        implementation(hidden, weight, bias, targets[:-1], heads=heads)
    with pytest.raises(ValueError, match="the heads have 76 outputs in all, but weight has 75 rows"):
        implementation(hidden, weight[:-1], bias[:-1], targets, heads=heads)
    with pytest.raises(ValueError, match="heads: got none"):
        implementation(hidden, weight, bias, [], heads=[])
    with pytest.raises(ValueError, match="hidden: got 3 dimensions"):
        implementation(hidden.unsqueeze(0), weight, bias, targets, heads=heads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "hinge", "size": 2}, "HeadSpec.kind: got 'hinge'; allowed: ce, bce, mse, focal, soft"),
        ({"kind": "ce", "size": 0}, "HeadSpec.size: got 0"),
        ({"kind": "ce", "size": 2, "class_weight": torch.ones(3)}, "HeadSpec.class_weight: got shape"),
        ({"kind": "soft", "size": 2, "class_weight": torch.ones(2).long()}, r"allowed: \(2,\), floating"),
        ({"kind": "mse", "size": 2, "class_weight": torch.ones(2)}, "only a ce or focal or soft head takes it"),
        ({"kind": "ce", "size": 2, "pos_weight": torch.ones(2)}, "only a bce head takes it; this head is ce"),
        ({"kind": "mse", "size": 2, "label_smoothing": 0.1}, "only a ce or soft head takes it; this head is mse"),
        ({"kind": "focal", "size": 2, "label_smoothing": 0.1}, "only a ce or soft head takes it; this head is focal"),
        ({"kind": "ce", "size": 2, "label_smoothing": 1.5}, "HeadSpec.label_smoothing: got 1.5"),
        ({"kind": "ce", "size": 2, "gamma": 2.0}, "HeadSpec.gamma: only a focal head takes it; this head is ce"),
        ({"kind": "focal", "size": 2, "gamma": -1.0}, "HeadSpec.gamma: got -1.0; allowed: 0 or more, finite"),
        ({"kind": "focal", "size": 2, "gamma": float("nan")}, "HeadSpec.gamma: got nan"),
        ({"kind": "focal", "size": 2, "gamma": float("inf")}, "HeadSpec.gamma: got inf"),
        ({"kind": "ce", "size": 2, "task": "first"}, "HeadSpec.task: got 'first'; allowed: an integer, or None"),
        ({"kind": "ce", "size": 2, "task": True}, "HeadSpec.task: got True"),
    ],
)
def test_head_spec_refuses_what_its_loss_cannot_use(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadSpec(**arguments)


# ------------------------------------------------------------------------------------------------- the dispatcher's ops


def forward(**changed: Any) -> tuple[Tensor, ...]:
    given = {
        "logits": torch.zeros(6, 3), "targets": [torch.zeros(6).long()], "kinds": [0], "sizes": [3],
        "label_weights": [torch.ones(3)], "weighted": [0], "parameters": [], "rows": None, "tasks": [],
        "with_slope": True, **changed,
    }  # fmt: skip
    return torch.ops.jenga.multi_head_loss(*given.values())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"sizes": [2**62] * 4 + [3], "kinds": [0] * 5, "targets": [torch.zeros(6).long()] * 5},
            rf"heads\[0\].size: got {2**62}; allowed: 1 to 2147483647",
        ),
        ({"sizes": [2**31]}, r"heads\[0\].size: got 2147483648; allowed: 1 to 2147483647"),
        ({"sizes": [0]}, r"heads\[0\].size: got 0; allowed: 1"),
        ({"sizes": [-(2**63)]}, r"heads\[0\].size: got -9223372036854775808; allowed: 1"),
        ({"sizes": [2], "label_weights": [], "weighted": []}, "the heads have 2 outputs in all, but weight has 3 rows"),
        ({"kinds": [5]}, r"kinds\[0\]: got 5; allowed: 0 \(ce\)"),
        ({"weighted": [-1]}, r"weighted\[0\]: got -1; allowed: 0 to 0"),
        ({"weighted": [2**62]}, r"weighted\[0\]: got 4611686018427387904; allowed: 0 to 0"),
        ({"label_weights": [torch.ones(2)]}, r"class_weight or pos_weight: got shape \(2,\); allowed: \(3,\)"),
        ({"label_weights": [torch.ones(3).cfloat()]}, "class_weight or pos_weight: got dtype ComplexFloat; allowed: "),
        ({"parameters": [0.0, 0.0]}, "kinds, sizes, parameters and tasks differ in length"),
        ({"rows": torch.zeros(6).long()}, "kinds, sizes, parameters and tasks differ in length"),
        ({"rows": torch.zeros(6), "tasks": [0]}, "rows: got dtype Float; allowed: Long"),
        ({"rows": torch.zeros(5).long(), "tasks": [0]}, r"rows: got shape \(5,\); allowed: \(6,\)"),
        ({"logits": torch.zeros(6, 3).long()}, "hidden: got dtype Long; allowed: float32"),
    ],
)
def test_the_op_itself_refuses_what_would_read_beyond_its_inputs(changed: dict[str, Any], message: str) -> None:
    forward()
    with pytest.raises(ValueError, match=message):
        forward(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [-1, 4]}, r"heads\[0\].size: got -1; allowed: 1 to 2147483647"),
        ({"sizes": [3, 0]}, r"heads\[1\].size: got 0; allowed: 1"),
        ({"sizes": [2**62] * 4 + [3]}, r"heads\[0\].size: got 4611686018427387904"),
        ({"sizes": []}, "heads: got none; allowed: 1 or more"),
        ({"sizes": [1, 1]}, r"slope: got shape \(6, 3\); allowed: \(6, 2\)"),
        ({"slope": torch.ones(6, 3).cfloat()}, "slope: got dtype ComplexFloat; allowed: float32"),
        ({"grad_loss_sum": torch.ones(3)}, r"grad_loss_sum: got shape \(3,\); allowed: \(2,\)"),
        ({"grad_loss_sum": torch.ones(2).long()}, "grad_loss_sum: got dtype Long; allowed: float32"),
        ({"like": torch.ones(2).long()}, "like: got dtype Long; allowed: float32"),
    ],
)
def test_the_backward_op_refuses_sizes_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    given = {"grad_loss_sum": torch.ones(2), "slope": torch.ones(6, 3), "sizes": [1, 2], "like": torch.ones(0)}
    torch.ops.jenga.multi_head_loss_backward(*given.values())
    with pytest.raises(ValueError, match=message):
        torch.ops.jenga.multi_head_loss_backward(*(given | changed).values())


def test_sizes_that_cannot_be_are_refused_where_there_are_shapes_only() -> None:
    logits = torch.zeros(6, 3, device="meta")
    assert forward(logits=logits)[2].shape == (6, 3)
    with pytest.raises(ValueError, match=rf"heads\[0\].size: got {2**62}; allowed: 1 to 2147483647"):
        forward(logits=logits, kinds=[1] * 4, sizes=[2**62] * 4)
    with pytest.raises(ValueError, match=r"heads\[1\].size: got -1; allowed: 1 to 2147483647"):
        torch.ops.jenga.multi_head_loss_backward(torch.ones(2), logits, [4, -1], logits)


def test_a_head_as_wide_as_can_be_takes_no_memory_without_rows() -> None:
    size = 2**31 - 1
    loss_sum, _, slope, *_ = forward(
        logits=torch.zeros(0, size), targets=[torch.zeros(0).long()], sizes=[size], label_weights=[], weighted=[]
    )
    assert loss_sum.tolist() == [0.0]
    gradient = torch.ops.jenga.multi_head_loss_backward(torch.ones(1), slope, [size], torch.ones(0))
    assert gradient.shape == (0, size)
