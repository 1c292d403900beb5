"""One LoRA training step of a whole model: frozen, PEFT's, PEFT's compiled, and PEFT's through jenga.accelerate.

bench_train_step.py times them; `python benchmarks/peak_memory.py lora_steps PROVIDER` measures one's memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from paired import SMOKE
from torch import Tensor, nn

RANK = 8
Step = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class Shape:
    """A model's kind, its batch (rows, tokens) and the dropout before A. Every linear layer has an adapter."""

    kind: str  # minilm: 6 layers of 384, BERT; llama: 4 layers of 576, as SmolLM2's
    batch: tuple[int, int]
    dropout: float

    def __str__(self) -> str:
        return f"{self.kind}-{self.batch[0]}x{self.batch[1]}-r{RANK}-p{self.dropout}"


SHAPES = [Shape("minilm", (32, 64), 0.1), Shape("minilm", (32, 64), 0.0)] + [
    Shape("llama", (4, 256), dropout) for dropout in (0.1, 0.0)
]
if SMOKE:
    SHAPES = [Shape("minilm", (2, 8), 0.1), Shape("llama", (2, 8), 0.0)]


@dataclass
class Problem:
    shape: Shape
    ids: Tensor
    slope: Tensor


def make_problem(shape: Shape) -> Problem:
    torch.manual_seed(0)
    width = 384 if shape.kind == "minilm" else 576
    return Problem(shape, torch.randint(1000, shape.batch), torch.randn(*shape.batch, width) / shape.batch[0])


def memory_problem(*, warmup: bool) -> Problem:
    return make_problem(Shape("minilm", (2, 8) if warmup or SMOKE else (32, 64), 0.1))


def make_model(shape: Shape) -> nn.Module:
    """A model with random weights, which cost what trained ones do; small vocabulary, no pooler, training mode."""
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    if shape.kind == "minilm":
        config = BertConfig(
            vocab_size=1000, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        return BertModel(config, add_pooling_layer=False).train()
    config = LlamaConfig(
        vocab_size=1000, hidden_size=576, intermediate_size=1536, num_hidden_layers=4, num_attention_heads=9,
        num_key_value_heads=3, use_cache=False,
    )  # fmt: skip
    return LlamaModel(config).train()


def peft_model(shape: Shape) -> Any:
    from peft import LoraConfig, get_peft_model

    names = r".*\.(query|key|value|dense)" if shape.kind == "minilm" else r".*_proj"
    config = LoraConfig(r=RANK, lora_alpha=16, lora_dropout=shape.dropout, target_modules=names)
    return get_peft_model(make_model(shape), config).train()


def step_of(model: Callable[..., Any], trained: list[Tensor], problem: Problem) -> Step:
    """Forward, backward and AdamW; the gradients are returned, for memory_problem's account."""
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True) if trained else None

    def step() -> list[Tensor]:
        hidden = model(input_ids=problem.ids).last_hidden_state
        (hidden * problem.slope).sum().backward()
        gradients = [parameter.grad for parameter in trained]
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        return gradients

    return step


def frozen(problem: Problem) -> Step:
    """Nothing is trained, but a gradient is wanted at the embeddings, so that the whole model is passed back."""
    model = make_model(problem.shape).requires_grad_(False)
    model.enable_input_require_grads()
    return step_of(model, [], problem)


def peft(problem: Problem) -> Step:
    model = peft_model(problem.shape)
    return step_of(model, [p for p in model.parameters() if p.requires_grad], problem)


def peft_compiled(problem: Problem) -> Step:
    model = peft_model(problem.shape)
    torch.compiler.reset()
    return step_of(torch.compile(model), [p for p in model.parameters() if p.requires_grad], problem)


def accelerated(problem: Problem) -> Step:
    from jenga import accelerate

    model = accelerate(peft_model(problem.shape))
    return step_of(model, [p for p in model.parameters() if p.requires_grad], problem)


PROVIDERS = {"frozen": frozen, "peft": peft, "peft_compiled": peft_compiled, "accelerated": accelerated}
