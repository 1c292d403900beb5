"""multi_head_loss against a loop over heads and against one concatenated GEMM that is split, eager and compiled.

pytest benchmarks/bench_multi_head_loss.py [--threads 1] [--paired-json ratios.json]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from paired import SMOKE, PairedRatio, compare, held
from torch import Tensor

from jenga.kernels import HeadSpec, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

HIDDEN_SIZE = 768
Step = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class Shape:
    n_rows: int
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"M{self.n_rows}-N{len(self.sizes)}-L{sum(self.sizes)}"


SHAPES = [
    Shape(32, (2, 3, 4, 5, 6, 8, 10, 16)),
    Shape(32, (2,) * 32),
    Shape(4096, (9, 9, 7, 9)),
    Shape(2048, (2, 3, 4, 5, 6, 8, 10, 16)),
][: 1 if SMOKE else None]


@dataclass
class Problem:
    """Inputs of one step: `heads` cross-entropy heads on (M, H) hidden states, a tenth of the labels masked."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    targets: list[Tensor]
    heads: list[HeadSpec]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.hidden, self.weight, self.bias]


def make_problem(shape: Shape, dtype: torch.dtype) -> Problem:
    generator = torch.Generator().manual_seed(0)
    n_outputs = sum(shape.sizes)
    hidden = torch.randn(shape.n_rows, HIDDEN_SIZE, generator=generator).to(dtype)
    weight = (torch.randn(n_outputs, HIDDEN_SIZE, generator=generator) / HIDDEN_SIZE**0.5).to(dtype)
    targets = []
    for size in shape.sizes:
        labels = torch.randint(0, size, (shape.n_rows,), generator=generator)
        targets.append(labels.masked_fill(torch.rand(shape.n_rows, generator=generator) < 0.1, -100))
    heads = [HeadSpec("ce", size) for size in shape.sizes]
    problem = Problem(hidden, weight, torch.zeros(n_outputs, dtype=dtype), targets, heads)
    for leaf in problem.leaves:
        leaf.requires_grad_()
    return problem


def mean_loss_of_split_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Sequence[Tensor], heads: Sequence[HeadSpec]
) -> Tensor:
    parts = F.linear(hidden, weight, bias).split([head.size for head in heads], dim=1)
    losses = [F.cross_entropy(part.float(), target) for part, target in zip(parts, targets, strict=True)]
    return torch.stack(losses).sum()


def concat(problem: Problem) -> Step:
    return lambda: gradients(mean_loss_of_split_logits(*problem.leaves, problem.targets, problem.heads), problem.leaves)


def compiled_concat(problem: Problem) -> Step:
    torch.compiler.reset()
    compiled = torch.compile(mean_loss_of_split_logits, fullgraph=True, dynamic=False)
    return lambda: gradients(compiled(*problem.leaves, problem.targets, problem.heads), problem.leaves)


def loop(problem: Problem) -> Step:
    """Every head with a weight and a bias of its own, as models with one `nn.Linear` a head have them."""
    sizes = [head.size for head in problem.heads]
    weights = [part.detach().clone().requires_grad_() for part in problem.weight.split(sizes)]
    biases = [part.detach().clone().requires_grad_() for part in problem.bias.split(sizes)]

    def step() -> list[Tensor]:
        losses = [
            F.cross_entropy(F.linear(problem.hidden, weight, bias).float(), target)
            for weight, bias, target in zip(weights, biases, problem.targets, strict=True)
        ]
        return gradients(torch.stack(losses).sum(), [problem.hidden, *weights, *biases])

    return step


def ours(problem: Problem) -> Step:
    def step() -> list[Tensor]:
        result = multi_head_loss(*problem.leaves, problem.targets, heads=problem.heads)
        return gradients(result.mean(), problem.leaves)

    return step


def gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


PROVIDERS = {"loop": loop, "concat": concat, "compiled_concat": compiled_concat, "ours": ours}


def check_against_float64(step: Step, problem: Problem) -> None:
    leaves = [leaf.detach().double().requires_grad_() for leaf in problem.leaves]
    result = multi_head_loss_reference(*leaves, problem.targets, heads=problem.heads)
    expected = gradients((result.loss_sum / result.count).sum(), leaves)
    got = step()
    n_heads = len(problem.heads)
    if len(got) > len(leaves):
        got = [got[0], torch.cat(got[1 : 1 + n_heads]), torch.cat(got[1 + n_heads :])]
    # A mean over M rows has gradients of order 1 / M; each is a GEMM of float32 roundings.
    for gradient, true_gradient in zip(got, expected, strict=True):
        torch.testing.assert_close(gradient.double(), true_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_forward_and_backward(benchmark: Any, shape: Shape, provider: str) -> None:
    benchmark.group = f"multi_head_loss-float32-{shape}-fwdbwd"
    problem = make_problem(shape, torch.float32)
    step = PROVIDERS[provider](problem)
    check_against_float64(step, problem)
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark(step)


@pytest.mark.parametrize("baseline", ["loop", "concat"] if SMOKE else ["loop", "concat", "compiled_concat"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ours_is_not_slower_than(shape: Shape, baseline: str, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    problem = make_problem(shape, torch.float32)
    candidate, reference = ours(problem), PROVIDERS[baseline](problem)
    check_against_float64(candidate, problem)
    ratio = compare(candidate, reference)
    report_ratio(f"multi_head_loss-float32-{shape}-fwdbwd: ours / {baseline}", ratio)
    held(ratio, below=1.33)  # a third slower than a plain baseline
