"""An encoder that computes tokens alone, against the same one that computes the padding of its batches too.

The rows are as long as those of CLINC150, GoEmotions and WNUT17 where their folders are given (``--data-root``), and as
the calls of jenga/helpline, in the tokens of ``--base-model``; else as made-up ones. Without that option the model is a
random one of MiniLM's shape.
"""

import gzip
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paired import SMOKE, PairedRatio, compare, held
from transformers import AutoTokenizer, BertConfig, BertModel

from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.settings import ModelConfig
from jenga.rows.sampling import BUCKET_TURNS
from jenga.samples.helpline import generate

BATCH_SIZE, N_BATCHES, N_WORDS = (8, 1, 500) if SMOKE else (32, 2, 30_000)
FILES = {"clinc150": "train.jsonl", "goemotions": "train.jsonl.gz", "wnut17": "train.jsonl"}
MADE_UP = {"clinc150": (9.0, 1.2), "goemotions": (3.2, 5.9), "wnut17": (3.6, 7.3), "helpline": (14.5, 14.3)}
"""Shape and scale of gamma distributions about as long as the rows."""
MAX_LENGTH = 256
Inputs = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> TextBackbone:
    """The encoder, with the mean of its tokens."""
    folder = pytestconfig.getoption("--base-model") or tmp_path_factory.mktemp("model")
    if not (folder / "config.json").exists():
        layers, width = (1, 96) if SMOKE else (6, 384)
        shape = {"hidden_size": width, "num_attention_heads": 12, "intermediate_size": 4 * width}
        BertModel(BertConfig(num_hidden_layers=layers, vocab_size=N_WORDS, **shape)).save_pretrained(folder)
    return TextBackbone(str(folder), ModelConfig(base_model=str(folder), pooling="mean"))


def lengths_of(name: str, config: pytest.Config) -> np.ndarray:
    """Tokens of as many rows of `name` as there are in a group that is sorted by length, in random order."""
    count, rng = BATCH_SIZE * BUCKET_TURNS, np.random.default_rng(0)
    model = config.getoption("--base-model")
    texts = [] if SMOKE or model is None else all_texts(name, config.getoption("--data-root"))
    if not texts:
        made_up: np.ndarray = np.clip(rng.gamma(*MADE_UP[name], count).astype(int), 3, MAX_LENGTH)
        return made_up
    chosen = [texts[row] for row in rng.permutation(len(texts))[:count]]
    tokens = AutoTokenizer.from_pretrained(model)(chosen, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return np.array([len(each) for each in tokens])


def all_texts(name: str, root: Path) -> list[str]:
    """The texts of a set; none where its folder is not there."""
    if name == "helpline":
        return [row["text"] for row in generate()]
    file = root / name / FILES[name]
    if not file.exists():
        return []
    content = file.read_bytes()
    lines = (gzip.decompress(content) if file.suffix == ".gz" else content).decode().splitlines()
    return [texts_of(json.loads(line)) for line in lines]


def texts_of(row: dict[str, Any]) -> str:
    """The text of a row, or its words."""
    return str(row.get("text") or " ".join(row["tokens"]))


def batch_of(lengths: np.ndarray) -> Inputs:
    """A batch of rows of these lengths, of random tokens: what they say does not matter to time."""
    mask = (torch.arange(int(lengths.max())) < torch.from_numpy(lengths).unsqueeze(1)).long()
    return {"input_ids": torch.randint(1, N_WORDS, mask.shape) * mask, "attention_mask": mask}


def dealt(lengths: np.ndarray, how: str) -> list[Inputs]:
    """Batches of rows at random, of those in two halves by length as a CPU trains, or of rows of like length."""
    rows = np.sort(lengths) if how == "by length" else lengths
    parts = rows.reshape(-1, BATCH_SIZE)
    if how == "by length":
        parts = parts[:: max(1, len(parts) // N_BATCHES)]
    parts = parts[:N_BATCHES]
    if how == "halves":
        parts = np.sort(parts, 1).reshape(-1, BATCH_SIZE // 2)
    return [batch_of(each) for each in parts]


def trains(backbone: TextBackbone, batches: Sequence[Inputs], attention: str) -> Callable[[], None]:
    """A forward and a backward pass over each batch."""

    def run() -> None:
        backbone.encoder.set_attn_implementation(attention)
        for batch in batches:
            backbone.train().zero_grad()
            backbone(**batch).pooler_output.square().sum().backward()

    return run


def predicts(backbone: TextBackbone, batches: Sequence[Inputs], attention: str) -> Callable[[], None]:
    """A forward pass over each batch."""

    def run() -> None:
        backbone.encoder.set_attn_implementation(attention)
        with torch.inference_mode():
            for batch in batches:
                backbone.eval()(**batch)

    return run


@pytest.mark.parametrize("name", MADE_UP)
@pytest.mark.parametrize(("how", "bar"), [("random", 0.85), ("halves", 0.95), ("by length", 1.05)])
@pytest.mark.parametrize("passes", [trains, predicts])
def test_tokens_alone_cost_less_than_padded_rows(
    backbone: TextBackbone, name: str, how: str, bar: float, passes: Callable[..., Callable[[], None]],
    pytestconfig: pytest.Config, report_ratio: Callable[[str, PairedRatio], None],
) -> None:  # fmt: skip
    """Tokens alone over padded rows, processor time of one thread, else seconds.

    Rows of like length have little padding, and lose nothing.
    """
    usual = backbone.encoder.config._attn_implementation
    batches = dealt(lengths_of(name, pytestconfig), how)
    tokens_alone, padded = passes(backbone, batches, usual), passes(backbone, batches, "sdpa")
    threads = torch.get_num_threads()
    clock = time.process_time if threads == 1 else time.perf_counter
    ratio = compare(tokens_alone, padded, rounds=9, warmup=1, min_round_s=0.0, clock=clock)
    backbone.encoder.set_attn_implementation(usual)
    masks = torch.cat([each["attention_mask"].flatten() for each in batches])
    name = f"{name}-{how}" + (f"-{threads}_threads" if threads > 1 else "")
    report_ratio(f"unpadded_{passes.__name__}-{name} ({masks.float().mean():.0%} tokens): tokens alone / padded", ratio)
    held(ratio, below=bar)
