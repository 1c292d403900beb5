"""lora_linear against the frozen layer alone and against PEFT's layers: eager, both ways, and compiled.

pytest benchmarks/bench_lora_linear.py [--threads 1] [--paired-json ratios.json] [-k "ours_over or bf16"]

A step is forward and backward: gradients of x and, but for the frozen layer, of A and B. On CUDA, where they are
installed, Unsloth's and LoRAFusion's kernels stand beside ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from paired import SMOKE, PairedRatio, compare, held
from torch import Tensor, nn

from jenga.kernels import lora_linear, lora_linear_grouped
from jenga.kernels.lora_linear import Update, lora_linear_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Step = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class Shape:
    n_rows: int
    width: int
    rank: int
    dropout: float = 0.0
    dtype: torch.dtype = torch.float32
    n_layers: int = 1

    def __str__(self) -> str:
        name = f"M{self.n_rows}-H{self.width}-R{self.rank}-p{self.dropout}"
        name += "" if self.n_layers == 1 else f"-x{self.n_layers}"
        return f"{str(self.dtype).removeprefix('torch.')}-{name}"


LARGE = [Shape(m, 768, 16, p) for m in (512, 2048) for p in (0.0, 0.1)]
SMALL = [Shape(m, h, r) for h, r in ((384, 8), (768, 16)) for m in (1, 8, 32)]
HALF = [Shape(m, 768, 16, dtype=torch.bfloat16) for m in (32, 512)]
OTHERS = [
    Shape(2048, 384, 8),
    Shape(2048, 384, 8, 0.1),
    Shape(512, 768, 64),
    Shape(512, 2048, 16),
    Shape(512, 2048, 16, 0.1),
    Shape(2048, 384, 8, 0.0, n_layers=3),
    Shape(2048, 384, 8, 0.1, n_layers=3),
]
if SMOKE:
    LARGE = [Shape(48, 96, 8, p) for p in (0.0, 0.1)]
    SMALL, OTHERS = [Shape(1, 96, 8)], [Shape(48, 96, 8, 0.1, n_layers=3)]
    HALF = [Shape(48, 96, 8, dtype=torch.bfloat16)]
CUDA = [Shape(8192, 4096, 16, p, torch.bfloat16) for p in (0.0, 0.1)]
SHAPES = CUDA if DEVICE == "cuda" else [*LARGE, *SMALL, *OTHERS, *HALF]


@dataclass
class Problem:
    """Square layers of one x, a slope for each, and their adapters, which are float32 on any base."""

    shape: Shape
    x: Tensor
    slopes: list[Tensor]
    bases: list[nn.Linear]
    lora_as: list[Tensor]
    lora_bs: list[Tensor]
    scale: float = 0.5

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, *self.lora_as, *self.lora_bs]


def make_problem(shape: Shape) -> Problem:
    torch.manual_seed(0)
    x = torch.randn(shape.n_rows, shape.width, device=DEVICE, dtype=shape.dtype).requires_grad_()
    slopes = [torch.randn(shape.n_rows, shape.width, device=DEVICE, dtype=shape.dtype) for _ in range(shape.n_layers)]
    bases = [nn.Linear(shape.width, shape.width, device=DEVICE, dtype=shape.dtype) for _ in range(shape.n_layers)]
    for base in bases:
        base.requires_grad_(False)
    lora_as = [torch.randn(shape.rank, shape.width, device=DEVICE) / shape.width**0.5 for _ in bases]
    lora_bs = [torch.randn(shape.width, shape.rank, device=DEVICE) / shape.rank**0.5 for _ in bases]
    for leaf in (*lora_as, *lora_bs):
        leaf.requires_grad_()
    return Problem(shape, x, slopes, bases, lora_as, lora_bs)


def step_of(layers: Callable[[Tensor], list[Tensor]], problem: Problem, leaves: list[Tensor]) -> Step:
    return lambda: list(torch.autograd.grad(layers(problem.x), leaves, problem.slopes))


def frozen(problem: Problem) -> Step:
    """The base layers alone: what an update should cost nothing over."""
    return step_of(lambda x: [base(x) for base in problem.bases], problem, [problem.x])


def ours(problem: Problem) -> Step:
    if problem.shape.n_layers > 1:
        weights, biases = [base.weight for base in problem.bases], [base.bias for base in problem.bases]
        scales = [problem.scale] * len(weights)

        def grouped(x: Tensor) -> list[Tensor]:
            return lora_linear_grouped(
                x, weights, biases, problem.lora_as, problem.lora_bs, scales=scales, dropout=problem.shape.dropout
            )

        return step_of(grouped, problem, problem.leaves)
    [base], [lora_a], [lora_b] = problem.bases, problem.lora_as, problem.lora_bs

    def single(x: Tensor) -> list[Tensor]:
        return [
            lora_linear(x, base.weight, base.bias, lora_a, lora_b, scale=problem.scale, dropout=problem.shape.dropout)
        ]

    return step_of(single, problem, problem.leaves)


def peft_layers(problem: Problem, *, bare: bool = False) -> tuple[nn.Module, list[Tensor]]:
    """PEFT's model of the same layers, and the leaves in our order. `bare`: adapters in the base's dtype."""
    from peft import LoraConfig, get_peft_model

    shape = problem.shape
    names = [str(i) for i in range(shape.n_layers)]
    config = LoraConfig(
        r=shape.rank, lora_alpha=problem.scale * shape.rank, lora_dropout=shape.dropout, target_modules=names
    )
    model = get_peft_model(nn.ModuleList(problem.bases), config, autocast_adapter_dtype=not bare).train()
    layers = [model.base_model.model[i] for i in range(shape.n_layers)]
    for layer, lora_a, lora_b in zip(layers, problem.lora_as, problem.lora_bs, strict=True):
        layer.lora_A["default"].weight.data.copy_(lora_a)
        layer.lora_B["default"].weight.data.copy_(lora_b)
    lora_as = [layer.lora_A["default"].weight for layer in layers]
    lora_bs = [layer.lora_B["default"].weight for layer in layers]
    return nn.ModuleList(layers), [problem.x, *lora_as, *lora_bs]


def peft(problem: Problem) -> Step:
    layers, leaves = peft_layers(problem)
    return step_of(lambda x: [layer(x) for layer in layers], problem, leaves)


def peft_bare(problem: Problem) -> Step:
    layers, leaves = peft_layers(problem, bare=True)
    return step_of(lambda x: [layer(x) for layer in layers], problem, leaves)


def peft_compiled(problem: Problem) -> Step:
    layers, leaves = peft_layers(problem)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: [layer(x) for layer in layers], fullgraph=True, dynamic=False)
    return step_of(compiled, problem, leaves)


def accelerated(problem: Problem) -> Step:
    """PEFT's layers through `jenga.accelerate`: what users of PEFT get."""
    from jenga import accelerate

    layers, leaves = peft_layers(problem)
    accelerate(layers)
    return step_of(lambda x: [layer(x) for layer in layers], problem, leaves)


def unsloth(problem: Problem) -> Step:
    """Unsloth's autograd function around cuBLAS. It takes three dimensions, and neither bias nor dropout."""
    kernels = _rival("unsloth.kernels.fast_lora")
    [base], [lora_a], [lora_b] = problem.bases, problem.lora_as, problem.lora_bs

    def layer(x: Tensor) -> list[Tensor]:
        a, b = lora_a.to(x.dtype), lora_b.to(x.dtype)
        return [kernels.LoRA_W.apply(x[None], base.weight, None, a, b, problem.scale)[0] + base.bias]

    return step_of(layer, problem, problem.leaves)


def lorafusion(problem: Problem) -> Step:
    """LoRAFusion's kernels, which keep the mask and the dropped x."""
    kernels = _rival("lorafusion.ops.lora_v1")
    [base], [lora_a], [lora_b] = problem.bases, problem.lora_as, problem.lora_bs
    dropout = problem.shape.dropout

    def layer(x: Tensor) -> list[Tensor]:
        a, b = lora_a.to(x.dtype), lora_b.to(x.dtype)
        y = kernels.fused_linear_lora(
            x[None], base.weight, a, b, problem.scale, dropout_p=dropout, linear_bias=base.bias
        )
        return [y[0]]

    return step_of(layer, problem, problem.leaves)


def _rival(module: str) -> Any:
    if DEVICE != "cuda":
        pytest.skip("runs on CUDA only")
    return pytest.importorskip(module)


PROVIDERS = {
    "frozen": frozen,
    "peft": peft,
    "peft_bare": peft_bare,
    "peft_compiled": peft_compiled,
    "accelerated": accelerated,
    "ours": ours,
    "unsloth": unsloth,
    "lorafusion": lorafusion,
}
RIVALS = ("unsloth", "lorafusion")


def check_against_float64(step: Step, problem: Problem) -> None:
    """Gradients against float64. Dropout differs between providers, and is not compared."""
    if problem.shape.dropout:
        return
    leaves = [leaf.detach().double().requires_grad_() for leaf in problem.leaves]
    n = problem.shape.n_layers
    x, lora_as, lora_bs = leaves[0], leaves[1 : 1 + n], leaves[1 + n :]
    updates = [Update(lora_as[i], lora_bs[i], problem.scale, i) for i in range(n)]
    weights = [base.weight.double() for base in problem.bases]
    outputs = lora_linear_reference(x, weights, [None] * n, updates)
    expected = torch.autograd.grad(outputs, leaves, [slope.double() for slope in problem.slopes])
    # Sums of up to 2,048 products of numbers of order 1, rounded in the type of the base.
    allowed = 2e-5 if problem.shape.dtype == torch.float32 else 3e-2
    for gradient, true_gradient in zip(step(), expected, strict=False):
        assert (gradient.double() - true_gradient).abs().max() <= allowed * true_gradient.abs().max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name not in ("peft_compiled", *RIVALS)])
def test_forward_and_backward(benchmark: Any, shape: Shape, provider: str) -> None:
    benchmark.group = f"lora_linear-{shape}-fwdbwd"
    problem = make_problem(shape)
    if provider != "frozen":
        check_against_float64(PROVIDERS[provider](problem), problem)
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark(PROVIDERS[provider](problem))


def compare_with(
    shape: Shape, candidate: str, baseline: str, report: Callable[[str, PairedRatio], None]
) -> PairedRatio:
    problem = make_problem(shape)
    step = PROVIDERS[candidate](problem)
    check_against_float64(step, problem)
    ratio = compare(step, PROVIDERS[baseline](make_problem(shape)), min_round_s=5e-3)
    report(f"lora_linear-{shape}-fwdbwd: {candidate} / {baseline}", ratio)
    return ratio


@pytest.mark.parametrize("baseline", ["frozen", "peft"])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s.dtype == torch.float32 or DEVICE == "cuda"], ids=str)
def test_ours_over(shape: Shape, baseline: str, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    ratio = compare_with(shape, "ours", baseline, report_ratio)
    # The frozen layer does a third of the calls, which is what one row costs.
    held(ratio, below=1.5 if baseline == "peft" else 1.6 if shape.n_rows >= 512 else 4.0)


@pytest.mark.parametrize("shape", HALF, ids=str)
@pytest.mark.parametrize("baseline", ["peft", "peft_bare"])
def test_ours_over_in_bf16(shape: Shape, baseline: str, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    held(compare_with(shape, "ours", baseline, report_ratio), below=1.5)


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_accelerated_peft_over_peft(shape: Shape, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    held(compare_with(shape, "accelerated", "peft", report_ratio), below=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [LARGE[0], LARGE[1], SMALL[-1]], ids=str)
def test_ours_over_compiled_peft(shape: Shape, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    held(compare_with(shape, "ours", "peft_compiled", report_ratio), below=1.5)


@pytest.mark.parametrize("shape", CUDA, ids=str)
@pytest.mark.parametrize("rival", RIVALS)
def test_ours_over_rivals_on_cuda(shape: Shape, rival: str, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    if rival == "unsloth" and shape.dropout:
        pytest.skip("Unsloth's kernel has no dropout")
    _rival("torch")
    assert compare_with(shape, "ours", rival, report_ratio).ratio > 0


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_peft_over_frozen(shape: Shape, report_ratio: Callable[[str, PairedRatio], None]) -> None:
    """What PEFT costs over the frozen layer on this machine; ours is held to no less."""
    assert compare_with(shape, "peft", "frozen", report_ratio).ratio > 0
