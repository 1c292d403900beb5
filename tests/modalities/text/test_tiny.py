"""The preset that needs no download."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import seeds
import torch

from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.pretrained import load_tokenizer
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.text.tiny import TinyTextConfig, TinyTextModel, make_tiny_text

MAKE = """
import json, sys
from pathlib import Path
from jenga.modalities.text.tiny import make_tiny_text
make_tiny_text(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), seed=3)
"""


def test_the_preset_is_the_same_to_the_byte_in_every_process(tmp_path: Path) -> None:
    """Ties between pieces are many here; a trainer that breaks them by the order of a hash map fails."""
    rng = np.random.default_rng(seeds.derived(0))
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyzé中"), rng.integers(1, 9))) for _ in range(300)]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(300)]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    make_tiny_text(tmp_path / "here", texts, seed=3)
    command = [sys.executable, "-c", MAKE, str(tmp_path / "there"), str(tmp_path / "texts.json")]
    subprocess.run(command, check=True, timeout=120)
    digests = []
    for name in ("here", "there"):
        files = sorted((tmp_path / name).iterdir())
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {each.name for each in files}
        digests.append({each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files})
    assert digests[0] == digests[1]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset")
    texts = ["Habari ya asubuhi, nahitaji msaada", "the café's line ## dropped [SEP] again"] * 3
    make_tiny_text(folder, texts, seed=0)
    return folder


def test_the_preset_loads_as_any_checkpoint_does(preset: Path) -> None:
    config = ModelConfig(base_model=str(preset))
    backbone, tokenizer = TextBackbone(str(preset), config), load_tokenizer(config)
    assert (backbone.pooling, backbone.hidden_size, backbone.max_positions) == ("max", 128, None)
    assert len(tokenizer) == backbone.encoder.config.vocab_size
    assert tokenizer.pad_token_id == 0


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone(preset: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    make_tiny_text(tmp_path, ["a b c"], seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    make_tiny_text(tmp_path / "again", ["a b c"], seed=2)
    read = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "again")]
    assert read[0] != read[1]


def test_every_character_of_the_rows_has_a_token_in_any_place(preset: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(base_model=str(preset)))
    tokens = tokenizer.tokenize("daba' é'H,y# ##")
    assert tokenizer.unk_token not in tokens
    assert tokenizer.convert_tokens_to_string(tokenizer.tokenize("Habari asubuhi")) == "Habari asubuhi"
    assert "##" not in tokenizer.all_special_tokens
    assert set(tokenizer.all_special_tokens) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def test_padding_on_the_right_changes_nothing() -> None:
    torch.manual_seed(seeds.derived(0))
    model = TinyTextModel(TinyTextConfig(vocab_size=30, embedding_size=8, hidden_size=8)).eval()
    ids = torch.from_numpy(np.random.default_rng(seeds.derived(0)).integers(1, 30, (4, 6)))
    lengths = torch.tensor([6, 3, 1, 5])
    mask = (torch.arange(6) < lengths.unsqueeze(1)).long()
    padded = model(input_ids=ids, attention_mask=mask).last_hidden_state
    for row, length in enumerate(lengths.tolist()):
        alone = model(
            input_ids=ids[row : row + 1, :length], attention_mask=mask[row : row + 1, :length]
        ).last_hidden_state
        torch.testing.assert_close(padded[row, :length], alone[0], rtol=1e-5, atol=1e-5)  # other GEMM sizes


def test_a_token_sees_what_stands_before_and_after_it() -> None:
    torch.manual_seed(seeds.derived(0))
    model = TinyTextModel(TinyTextConfig(vocab_size=30, embedding_size=8, hidden_size=8)).eval()
    ids, mask = torch.tensor([[4, 5, 6, 7]]), torch.ones(1, 4).long()
    middle = model(input_ids=ids, attention_mask=mask).last_hidden_state[0, 1]
    for at in (0, 3):
        other = ids.clone()
        other[0, at] = 20
        assert not torch.allclose(model(input_ids=other, attention_mask=mask).last_hidden_state[0, 1], middle)
