"""`lora_linear` in gradient checkpoints, and in several processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seeds
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jenga.kernels import lora_linear_updates

MakeCase = Callable[..., Any]


# ------------------------------------------------------------------------------------------------------ checkpoints


class Block(nn.Module):
    """Two layers with dropout before their updates, and torch's own dropout between them."""

    def __init__(self, case: Any) -> None:
        super().__init__()
        self.case = case.learning()
        self.leaves = nn.ParameterList([leaf for name, leaf in self.case.leaves().items() if name != "x"])
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(2):
            (x,) = lora_linear_updates(x, self.case.weights, self.case.biases, self.case.updates, dropout=0.3)
            x = F.dropout(torch.tanh(x), 0.2)
        return x


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_drops_the_same_elements_when_it_computes_again(make_case: MakeCase, use_reentrant: bool) -> None:
    case = make_case(9, n_outputs=(19,))
    case.wanted = {"a 0", "b 0", "bias 0"}

    def run(through: Callable[[Block, Tensor], Tensor]) -> list[Tensor]:
        torch.manual_seed(seeds.derived(6))
        block, x = Block(case), case.x.clone().requires_grad_()
        output = through(block, x)
        output.square().sum().backward()
        assert block.calls == (1 if through is plain else 2)
        named = block.case.leaves()
        return [output.detach(), x.grad, *(named[name].grad for name in sorted(case.wanted))]

    def plain(block: Block, x: Tensor) -> Tensor:
        return block(x)

    def checkpointed(block: Block, x: Tensor) -> Tensor:
        return checkpoint(block, x, use_reentrant=use_reentrant)

    for ours, expected in zip(run(checkpointed), run(plain), strict=True):
        assert torch.equal(ours, expected)


# ------------------------------------------------------------------------------------------------- several processes

WORKER = """
import sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from jenga.kernels import lora_linear

torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)

class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(11, 19), requires_grad=False)
        self.lora_a = torch.nn.Parameter(torch.randn(4, 19))
        self.lora_b = torch.nn.Parameter(torch.randn(11, 4))

    def forward(self, x, seed):
        return lora_linear(x, self.weight, None, self.lora_a, self.lora_b, scale=0.5, dropout=0.3, seed=seed)

def gradients(layer, rank):
    x = torch.randn(6, 19, generator=torch.Generator().manual_seed(rank))
    layer(x, rank).square().sum().backward()
    named = [(name.removeprefix("module."), each) for name, each in layer.named_parameters()]
    return {name: each.grad.clone() for name, each in named if each.requires_grad}

alone = [gradients(Layer(), each) for each in range(2)]
shared = gradients(DistributedDataParallel(Layer()), rank)
assert shared.keys() == {"lora_a", "lora_b"}
for name, gradient in shared.items():
    mean = (alone[0][name] + alone[1][name]) / 2
    torch.testing.assert_close(gradient, mean)
    assert not torch.allclose(gradient, alone[rank][name])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_gradients_of_two_processes_are_their_mean(tmp_path: Path) -> None:
    # -P: the clone in the working directory would shadow the installed package.
    command = [sys.executable, "-P", "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=300)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
