"""One training with parted encoders (training.fsdp) against the same in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from launches import NO_DROPOUT, Make, compared, processes_of, records, run_of, start, until, without_dropout

from jenga.run.experiment import train

PARTED = ("--set", "training.fsdp=true")


PROGRAM = """
import json, os, sys
import torch, torch.distributed as dist
from torch import nn
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.trainer.checkpoint import load_optimizer
from jenga.trainer.shards import Shards

class Net(BaseBackbone):
    hidden_size = 6
    def __init__(self):
        super().__init__("net", None)
        self.embed = nn.Linear(5, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])
        self.idle = nn.Linear(6, 3)
        self.blocks[1].weight.requires_grad_(False)
    def parted_layers(self):
        return list(self.blocks)
    def forward(self, x):
        hidden = self.embed(x)
        for block in self.blocks:
            hidden = block(hidden).tanh()
        return hidden

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 6))
    def attach(self, backbone):
        self.read = (backbone,)

def made():
    torch.manual_seed(0)
    return MultiTaskModel({"net": Net()}, {}, {"head": Head()}, {"head": "net"})

def loss_of(model, rows):
    hidden = model.encoders["net"](rows)
    head = model.tasks["head"]
    # The embedding is read once more outside of the backbone, as an output layer is.
    said = hidden @ head.weight.T
    return said.square().sum() + (hidden @ head.read[0].embed.weight).sin().sum()

rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
here = Processes.of_run(torch.device("cpu"))
rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
whole, parted = made(), made()
if rank:
    with torch.no_grad():
        parted.encoders["net"].embed.weight.add_(1)  # the first one's are those of all
shards = Shards(parted, here, parted=True)
reference = [p for p in whole.parameters() if p.requires_grad]
names = [name for name, p in whole.named_parameters() if p.requires_grad]
own = [shards.own(p) for p in parted.parameters() if p.requires_grad]
optimizers = [torch.optim.AdamW(each, lr=0.01) for each in (reference, own)]
norms = []
for step in range(3):
    with torch.no_grad():
        loss_of(parted, rows)  # evaluated in between, which leaves weights gathered
    for part in (rows[:4], rows[4:]):
        loss_of(whole, part).backward()
        loss_of(parted, part[rank::2]).backward()
    shards.take_gradients()
    here.sum_gradients(shards.whole_ones(own))
    none = [n for n, p, q in zip(names, reference, own) if (p.grad is None, q.grad is None) != ("idle" in n,) * 2]
    norms.append([float(torch.nn.utils.clip_grad_norm_(reference, 1.0)), float(shards.clip(own, 1.0))])
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
found = {"none": none, "norms": norms, "parts": len(shards)}
found["held"] = sum(p.numel() for p in own) / sum(p.numel() for p in reference)
full = shards.whole(parted.state_dict())
state = shards.whole_state(optimizers[1])
if rank == 0:
    wanted = whole.state_dict()
    found["weights"] = max(float((full[n] - wanted[n]).abs().max()) for n in wanted)
    kept = optimizers[0].state_dict()["state"]
    found["state"] = max(float((state["state"][k][n] - kept[k][n]).abs().max()) for k in kept for n in kept[k])
with shards.whole_model():
    if rank == 0:
        plain = parted.state_dict()
        found["plain"] = all(torch.equal(plain[n], full[n]) and type(plain[n]) is torch.Tensor for n in full)
with torch.no_grad():
    before = [p.clone() for p in own]
    own[0].zero_()
given, kept = whole.state_dict(), optimizers[0].state_dict()
parted.load_state_dict(shards.loadable(given))
load_optimizer(optimizers[1], shards.part_state(optimizers[1], kept))
found["loaded"] = max(float((p - q).abs().max()) if p.numel() else 0.0 for p, q in zip(own, before))
found["rank"] = rank
print(json.dumps(found), flush=True)
"""


def test_two_processes_hold_half_each_and_learn_as_one(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "store")],
            env={**os.environ, "RANK": str(rank), "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    found = [json.loads(each.communicate(timeout=120)[0]) for each in started]
    for each in found:
        assert each["none"] == []
        assert each["parts"] == 8
        assert each["held"] == pytest.approx(0.5, abs=0.1)  # of 6 rows 3; the head is whole, of 3 rows the first has 2
        assert each["loaded"] < 1e-6
        for whole, parted in each["norms"]:
            assert parted == pytest.approx(whole, rel=1e-6)
    assert found[0]["weights"] < 1e-6
    assert found[0]["state"] < 1e-6
    assert found[0]["plain"]


def told(folder: Path) -> str:
    return (folder / "told").read_text()


@pytest.mark.slow
def test_parted_encoders_make_the_run_of_one_process(settings: Make, tmp_path: Path) -> None:
    """Classes and tags, batches with fewer rows than processes, and a pooler that tags do not reach."""
    training = {"max_steps": 30, "batch_size": 7, "gradient_accumulation_steps": 2, "log_every_steps": 1}
    content = without_dropout(settings("mood", "names", training=training, **NO_DROPOUT))
    alone = train(content, device="cpu").run
    folder = tmp_path / "several"
    assert start(content, folder, "--processes", "4", *PARTED).wait(timeout=600) == 0, told(folder)
    compared(alone, run_of(folder))


@pytest.mark.slow
def test_parted_language_models_with_adapters_make_the_run_of_one_process(
    settings: Make, make_gpt2: Callable[..., Path], tmp_path: Path
) -> None:
    """Prompts with completions; the output layer, tied to the embeddings, is read outside of the encoder."""
    rows = [{"prompt": f"the {word} is", "completion": f" {word} and {word} again"} for word in "abcdefghijklmnopqrst"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        **settings("mood", **NO_DROPOUT),
        "model": {"base_model": str(make_gpt2()), "dropout": 0.0},
        "tasks": [{"name": "lm", "type": "causal_lm", "data_path": str(path), "dropout": 0.0}],
        "peft": {"type": "lora", "rank": 4, "dropout": 0.0},
        "training": {"max_steps": 30, "batch_size": 5, "log_every_steps": 1},
    }
    alone = train(content, device="cpu").run
    folder = tmp_path / "several"
    assert start(content, folder, "--processes", "2", *PARTED).wait(timeout=600) == 0, told(folder)
    compared(alone, run_of(folder))


@pytest.mark.slow
def test_a_parted_run_goes_on_with_other_numbers_of_processes_and_whole(settings: Make, tmp_path: Path) -> None:
    training = {"epochs": 400, "log_every_steps": 1, "scheduler": "constant", "warmup_steps": 0, "ema": 0.9}
    content = without_dropout(settings("mood", "names", training=training, **NO_DROPOUT))
    folder = tmp_path / "runs"
    begun = start(content, folder, "--processes", "2", *PARTED)
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    os.kill(processes_of(folder)[1], signal.SIGKILL)
    assert begun.wait(timeout=120) == 4, told(folder)
    assert "process 1 of 2 was ended by SIGKILL" in told(folder)
    for more in (("--processes", "1"), ("--processes", "3", *PARTED), ("--processes", "2")):
        steps = records(run_of(folder))[-1]["step"]
        begun = start(content, folder, *more, "--resume", "auto")
        until(lambda before=steps: records(run_of(folder))[-1]["step"] > before + 8, folder)  # type: ignore[misc]
        begun.send_signal(signal.SIGINT)
        assert begun.wait(timeout=120) == 130, told(folder)
    straight = {**content, "training": {**content["training"], "max_steps": records(run_of(folder))[-1]["step"]}}
    alone = records(train(straight, device="cpu").run)
    seen = {each["step"]: each["loss"] for each in records(run_of(folder)) if each["event"] == "train"}
    for each in alone:
        if each["event"] == "train":
            # The last bits of float32 grow over some hundred steps of a small model.
            assert seen[each["step"]] == pytest.approx(each["loss"], rel=1e-4 if each["step"] <= 40 else 1e-2)
