"""Memory and time of steps by rows and by tokens, each way in a process of its own, whose peak is that of its steps.

    python benchmarks/token_steps.py --base-model MINILM --data-root DATA

A budget has the tokens that 32 rows have on average. Of each way the step with the most places and the first ones of an
epoch are taken, forward, backward and AdamW, on one thread; tokens a second are of processor time.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np

import jenga  # noqa: F401 -- before torch, as the commands do: it sets how OpenMP's threads wait

# isort: split
import torch
from transformers import AutoTokenizer

from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.settings import ModelConfig
from jenga.rows.budget import batches_within
from jenga.rows.sampling import Sampler
from jenga.samples.helpline import generate

ROWS, LONGEST, STEPS = 32, 256, 10
SETS = ("clinc150", "wnut17", "clinc150 with calls")
WAYS = ("rows", "rows of like length", "tokens")


def main() -> None:
    """Print a line of JSON for each set of rows and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--one", nargs=2, metavar=("SET", "WAY"), help="measure it here, in this process")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.base_model, texts_of(given.one[0], given.data_root), given.one[1])))
        return
    for name in SETS:
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--one", name, way]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(json.dumps({"rows": name, "way": way, **found}), flush=True)


def texts_of(name: str, data: Path) -> list[str]:
    """The texts of a set; calls are one row in 21."""
    folder, _, calls = name.partition(" ")
    rows = [json.loads(line) for line in (data / folder / "train.jsonl").read_text().splitlines()]
    texts = [str(row.get("text") or " ".join(row["tokens"])) for row in rows]
    return [*texts[:3000], *(row["text"] for row in generate(150))] if calls else texts


def measured(model: Path, texts: list[str], way: str) -> dict[str, float]:
    """Take steps, and return what they cost."""
    torch.set_num_threads(1)
    tokens = AutoTokenizer.from_pretrained(model)(texts, truncation=True, max_length=LONGEST)["input_ids"]
    lengths = np.array([len(each) for each in tokens])
    budget = round(ROWS * float(lengths.mean()))
    sampler = Sampler(
        {"rows": lengths}, kind="round_robin", temperature=1.0, seed=0, halves=way == "rows", rows_per_turn=ROWS,
        tokens_per_turn={"rows": budget} if way == "tokens" else {},
    )  # fmt: skip
    turns = [
        batches_within(turn.rows, lengths, budget, padded=False) if way == "tokens" else [turn.rows]
        for turn in sampler.epoch(0)
    ]
    backbone = TextBackbone(str(model), ModelConfig(base_model=str(model), pooling="mean")).train()
    step = Step(backbone, lengths)
    step([[0]])
    before = peak_mib()
    step(max(turns, key=lambda turn: max(lengths[batch].max() * len(batch) for batch in turn)))
    begin, few = time.process_time(), list(islice(turns, STEPS))
    for turn in few:
        step(turn)
    seconds = time.process_time() - begin
    sums = [int(sum(lengths[batch].sum() for batch in turn)) for turn in turns]
    return {
        "steps": len(turns), "tokens": round(float(np.mean(sums))), "most_tokens": max(sums),
        "passes": round(float(np.mean([len(turn) for turn in turns])), 2), "peak_mib": round(peak_mib() - before),
        "tokens_per_s": round(sum(islice(sums, STEPS)) / seconds),
    }  # fmt: skip


class Step:
    """Takes steps on rows of these lengths, of random tokens: what they say does not matter to time."""

    def __init__(self, backbone: TextBackbone, lengths: np.ndarray) -> None:
        self.backbone, self.lengths = backbone, lengths
        self.optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-5, fused=True)

    def __call__(self, turn: list[list[int]]) -> None:
        self.optimizer.zero_grad(set_to_none=False)
        for inputs in map(self.inputs, turn):
            self.backbone(**inputs).pooler_output.square().sum().backward()
        self.optimizer.step()

    def inputs(self, rows: list[int]) -> dict[str, torch.Tensor]:
        own = torch.from_numpy(self.lengths[rows])
        mask = (torch.arange(int(own.max())) < own.unsqueeze(1)).long()
        return {"input_ids": torch.randint(1, 30_000, mask.shape) * mask, "attention_mask": mask}


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
