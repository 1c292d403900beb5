"""linear_cross_entropy and linear_distillation against PyTorch: time, memory, and error against float64.

pytest benchmarks/bench_linear_cross_entropy.py [--threads 1] [--paired-json ratios.json] [-k "time or memory or error"]

A step takes seconds, so a paired ratio is of 9 rounds of one call each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from paired import SMOKE, PairedRatio, compare, held
from peak_memory import peak_bytes
from torch import Tensor

from jenga.kernels import linear_cross_entropy, linear_distillation
from jenga.kernels.linear_distillation.reference import linear_distillation_reference

Step = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class Shape:
    n_rows: int
    vocabulary: int
    hidden_size: int

    def __str__(self) -> str:
        return f"M{self.n_rows}-V{self.vocabulary}-H{self.hidden_size}"


BAR = Shape(128, 2048, 96) if SMOKE else Shape(2048, 49_152, 576)
WARMUP = Shape(64, 512, 96) if SMOKE else Shape(512, 1024, 576)


@dataclass
class Problem:
    """A student's head and a teacher's of the same shape; a tenth of the labels masked."""

    hidden: Tensor
    weight: Tensor
    teacher: Tensor
    teacher_weight: Tensor
    targets: Tensor

    @property
    def leaves(self) -> list[Tensor]:
        return [self.hidden, self.weight]


def make_problem(shape: Shape) -> Problem:
    generator = torch.Generator().manual_seed(0)
    hidden, teacher = (torch.randn(shape.n_rows, shape.hidden_size, generator=generator) for _ in range(2))
    weight, teacher_weight = (
        torch.randn(shape.vocabulary, shape.hidden_size, generator=generator).div_(shape.hidden_size**0.5)
        for _ in range(2)
    )
    targets = torch.randint(0, shape.vocabulary, (shape.n_rows,), generator=generator)
    targets[torch.rand(shape.n_rows, generator=generator) < 0.1] = -100
    return Problem(hidden.requires_grad_(), weight.requires_grad_(), teacher, teacher_weight, targets)


def memory_problem(*, warmup: bool) -> Problem:
    return make_problem(WARMUP if warmup else BAR)


def gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def step_of(loss: Callable[[Problem], Tensor]) -> Callable[[Problem], Step]:
    return lambda problem: lambda: gradients(loss(problem), problem.leaves)


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets)


def compiled(problem: Problem) -> Step:
    torch.compiler.reset()
    loss = torch.compile(plain_loss, fullgraph=True, dynamic=False)
    return step_of(lambda problem: loss(problem.hidden, problem.weight, problem.targets))(problem)


def torch_chunked_loss(problem: Problem) -> Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(problem.hidden, problem.weight, problem.targets, options=options)


def distilled(function: Callable[..., Tensor], kind: str) -> Callable[[Problem], Step]:
    def loss(problem: Problem) -> Tensor:
        return function(
            problem.hidden, problem.weight, problem.teacher, problem.teacher_weight, problem.targets,
            alpha=0.5, temperature=2.0, kind=kind,
        )  # fmt: skip

    return step_of(loss)


def cuda_only(module: str) -> Callable[[Problem], Step]:
    """Providers whose kernels are Triton for CUDA: they have no CPU path to time."""

    def provider(problem: Problem) -> Step:
        pytest.importorskip(module, reason=f"{module} is not installed")
        if not torch.cuda.is_available():
            pytest.skip(f"{module} has CUDA kernels only, and there is no CUDA device")
        hidden, weight = (leaf.detach().cuda().requires_grad_() for leaf in problem.leaves)
        targets = problem.targets.cuda()
        if module == "cut_cross_entropy":
            from cut_cross_entropy import linear_cross_entropy as cut

            return lambda: gradients(cut(hidden, weight, targets, ignore_index=-100), [hidden, weight])
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss()
        return lambda: gradients(liger(weight, hidden, targets), [hidden, weight])

    return provider


PROVIDERS: dict[str, Callable[[Problem], Step]] = {
    "eager": step_of(lambda problem: plain_loss(problem.hidden, problem.weight, problem.targets)),
    "compiled": compiled,
    "torch_default": step_of(lambda problem: F.linear_cross_entropy(problem.hidden, problem.weight, problem.targets)),
    "torch_chunked": step_of(torch_chunked_loss),
    "liger": cuda_only("liger_kernel"),
    "cut_cross_entropy": cuda_only("cut_cross_entropy"),
    "ours": step_of(lambda problem: linear_cross_entropy(problem.hidden, problem.weight, problem.targets)),
    **{f"distillation_eager_{kind}": distilled(linear_distillation_reference, kind) for kind in ("forward_kl", "jsd")},
    **{f"distillation_ours_{kind}": distilled(linear_distillation, kind) for kind in ("forward_kl", "jsd")},
}
LOSSES = [name for name in PROVIDERS if not name.startswith("distillation")]
PAIRS = [
    *[("ours", name) for name in (["eager"] if SMOKE else LOSSES) if name != "ours"],
    *[(f"distillation_ours_{kind}", f"distillation_eager_{kind}") for kind in ("forward_kl", "jsd")],
]


ON_CPU = [pair for pair in PAIRS if pair[1] not in ("liger", "cut_cross_entropy")]


def share_of_error(got: Tensor, truth: Tensor) -> float:
    """The norm of the error over that of the truth."""
    return float((got.double() - truth).norm() / truth.norm())


def errors(name: str, shape: Shape) -> list[float]:
    """The errors of the gradients of hidden states and weight against eager float64."""
    problem = make_problem(shape)
    wide = Problem(*(part.detach().double() if part.is_floating_point() else part for part in vars(problem).values()))
    for leaf in wide.leaves:
        leaf.requires_grad_()
    truth = PROVIDERS[name.replace("ours", "eager") if "distillation" in name else "eager"](wide)()
    got = PROVIDERS[name](problem)()
    return [share_of_error(*pair) for pair in zip(got, truth, strict=True)]


@pytest.mark.parametrize("provider", LOSSES)
def test_forward_and_backward(benchmark: Any, provider: str) -> None:
    benchmark.group = f"linear_cross_entropy-float32-{BAR}-fwdbwd"
    # Correctness first, at a size whose float64 is quick; gradients of a mean, in float32.
    assert max(errors(provider, WARMUP)) < 1e-5
    step = PROVIDERS[provider](make_problem(BAR))
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize(("candidate", "baseline"), PAIRS)
def test_time_of(candidate: str, baseline: str, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    assert max(errors(candidate, WARMUP)) < 1e-5
    problem = make_problem(BAR)
    ratio = compare(PROVIDERS[candidate](problem), PROVIDERS[baseline](problem), rounds=9, warmup=1)
    report_ratio(f"linear_cross_entropy-float32-{BAR}-fwdbwd: {candidate} / {baseline}", ratio)
    held(ratio, below=1.33)  # a third slower than a plain baseline


@pytest.mark.parametrize(("candidate", "baseline"), ON_CPU[: 1 if SMOKE else None])
def test_peak_memory_of(candidate: str, baseline: str, record_property: Callable[[str, object], None]) -> None:
    ours, theirs = peak_bytes(Path(__file__).stem, candidate, baseline).values()
    record_property("memory", (ours, theirs))
    print(
        f"\n{BAR}: beyond inputs and gradients {candidate} {ours / 2**20:.0f} MiB, {baseline} {theirs / 2**20:.0f} MiB"
    )
    if not SMOKE and baseline in ("eager", "distillation_eager_forward_kl", "distillation_eager_jsd"):
        assert ours <= 0.15 * theirs


@pytest.mark.parametrize(("candidate", "baseline"), [("ours", "eager"), *[pair for pair in PAIRS if pair[0] != "ours"]])
def test_error_of(candidate: str, baseline: str) -> None:
    shape = Shape(BAR.n_rows // 4, BAR.vocabulary, BAR.hidden_size)
    ours, theirs = errors(candidate, shape), errors(baseline, shape)
    print(f"\n{shape}: error of dhidden and dweight {candidate} {ours}, {baseline} {theirs}")
    assert all(mine <= 2 * other for mine, other in zip(ours, theirs, strict=True))
