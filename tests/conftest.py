"""Tiny checkpoints, rows and experiments, so that a test trains in milliseconds and touches no network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
# Python started by a test must find the installed package, not the clone's jenga/ in the working directory.
os.environ["PYTHONSAFEPATH"] = "1"

import numpy as np
import pytest

# How tests draw numbers and share the machine, and a hub of their own: tests/plugins.
pytest_plugins = ("hub_server", "seeds", "workers")

_TEXT = """
the agent was kind and quick but line dropped after two minutes of music Amina called from Nairobi about her bill which
nobody could explain good bad refund please thank you never again café
"""
WORDS = _TEXT.split()
TOKENS = "a and are call good great hello help is it late no not play right song thanks the to wrong yes you"
WIDTH = 32
POSITIONS = 64


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("JENGA_DATA_ROOT", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Keep what is written from being forced to the disk, over a hundred times a run: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process end without report.html: drawing it takes longer than what these tests look at."""
    monkeypatch.setattr("jenga.run.experiment.write_report", lambda run: None)


@pytest.fixture
def registries_as_before() -> Iterator[None]:
    """Take back what a test registers."""
    from jenga.callbacks import CALLBACK_REGISTRY
    from jenga.labels import LABEL_KINDS
    from jenga.modalities import MODALITIES, BackboneManager
    from jenga.optimizers import OPTIMIZER_REGISTRY, SCHEDULER_REGISTRY
    from jenga.tasks import TASK_REGISTRY

    registries: list[Any] = [
        BackboneManager._REGISTRY, CALLBACK_REGISTRY, LABEL_KINDS, OPTIMIZER_REGISTRY, SCHEDULER_REGISTRY,
        TASK_REGISTRY, MODALITIES,
    ]  # fmt: skip
    parts = ("_parts", "_configs", "_aliases")
    before = [[dict(getattr(registry, name)) for name in parts] for registry in registries]
    yield
    for registry, kept in zip(registries, before, strict=True):
        for name, content in zip(parts, kept, strict=True):
            setattr(registry, name, content)


def sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Return `count` lists of 2 to 12 words."""
    rng = np.random.default_rng(seed)
    return [rng.choice(WORDS, int(rng.integers(2, 13))).tolist() for _ in range(count)]


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    """Return a function that makes rows labelled for every kind of head; each label follows from the words."""

    def make(count: int, seed: int = 0) -> list[dict[str, Any]]:
        return [
            {
                "id": f"r{i}",
                "text": " ".join(words),
                "other": " ".join(reversed(words)),
                "tokens": words,
                "ner_tags": ["B-NAME" if word in ("Amina", "Nairobi") else "O" for word in words],
                "mood": ("bad", "good")[len(words) % 2],
                "topic": "abc"[sum(map(len, words)) % 3],
                "flags": [int("the" in words), int(len(words) > 7), int(words[0] < "m")],
                "price": 100.0 + 10.0 * len(words),
            }
            for i, words in enumerate(sentences(count, seed))
        ]

    return make


@pytest.fixture(scope="session")
def write_rows() -> Callable[[Path, Iterable[Mapping[str, Any]]], str]:
    def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


# ---------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="session")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a random BERT and its tokenizer, a token a word, and returns their folder.

    Words that do not stand in `words` become one unknown token each.
    """

    def make(*, words: str = TOKENS, hidden_size: int = 16) -> Path:
        import torch
        from tokenizers import BertWordPieceTokenizer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        folder = tmp_path_factory.mktemp("bert")
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()]
        tokenizer = BertWordPieceTokenizer(vocab={piece: at for at, piece in enumerate(pieces)})
        BertTokenizerFast(tokenizer_object=tokenizer._tokenizer).save_pretrained(folder)
        config = BertConfig(
            vocab_size=len(pieces), hidden_size=hidden_size, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=hidden_size, max_position_embeddings=300, pad_token_id=0,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            BertModel(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_bert(make_bert: Callable[..., Path]) -> Path:
    """The folder of a random BERT of one layer and width 16."""
    return make_bert()


def _wordpiece() -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    letters = sorted(set("".join(WORDS)))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters), *WORDS[:20]]
    made = BertWordPieceTokenizer({piece: at for at, piece in enumerate(pieces)}, lowercase=False, strip_accents=False)
    return BertTokenizerFast(tokenizer_object=made._tokenizer, do_lower_case=False)


def _byte_level() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer(add_prefix_space=True)
    trained.train_from_iterator(
        [" ".join(WORDS)], vocab_size=320, min_frequency=1, special_tokens=["<|end|>"], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="<|end|>")


def _metaspace() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "<pad>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([" ".join(words) for words in sentences(200)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[str], Any]:
    """Return a function that makes a new tokenizer of a family; they differ in what offsets say of spaces."""
    families = {"wordpiece": _wordpiece, "byte_level": _byte_level, "metaspace": _metaspace}
    return lambda family: families[family]()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a checkpoint of width 32: bert (with its pooler), distilbert (none), gpt2 (causal)."""
    import torch
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model

    made: dict[str, str] = {}

    def bert(size: int) -> Any:
        return BertModel(
            BertConfig(
                vocab_size=size,
                hidden_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=POSITIONS,
            )
        )

    def distilbert(size: int) -> Any:
        return DistilBertModel(
            DistilBertConfig(
                vocab_size=size, dim=WIDTH, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=POSITIONS
            )
        )

    def gpt2(size: int) -> Any:
        return GPT2Model(
            GPT2Config(
                vocab_size=size,
                n_embd=WIDTH,
                n_layer=1,
                n_head=2,
                n_positions=POSITIONS,
                bos_token_id=0,
                eos_token_id=0,
            )
        )

    kinds: dict[str, tuple[Callable[[int], Any], Callable[[], Any]]] = {
        "bert": (bert, _wordpiece),
        "distilbert": (distilbert, _wordpiece),
        "gpt2": (gpt2, _byte_level),
    }

    def make(kind: str) -> str:
        if kind not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / kind
            build, tokenizer = kinds[kind][0], kinds[kind][1]()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                build(len(tokenizer)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[kind] = str(folder)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def make_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a random GPT-2 with its output layer and a byte-level tokenizer; gives the folder.

    The tokenizer is the same for all; `padding` embeddings stand behind its tokens.
    """

    def make(*, layers: int = 2, width: int = WIDTH, positions: int = 128, padding: int = 0, seed: int = 0) -> Path:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        folder = tmp_path_factory.mktemp("gpt2")
        tokenizer = _byte_level()
        tokenizer.save_pretrained(folder)
        config = GPT2Config(
            vocab_size=len(tokenizer) + padding, n_embd=width, n_layer=layers, n_head=2, n_positions=positions,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            GPT2LMHeadModel(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_whisper(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a random Whisper with its extractor; gives the folder."""

    def make(*, layers: int = 2) -> Path:
        import torch
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

        folder = tmp_path_factory.mktemp("whisper")
        config = WhisperConfig(
            vocab_size=64, num_mel_bins=20, d_model=16, encoder_layers=layers, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            max_source_positions=250, max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(layers)
            WhisperModel(config).save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=20, chunk_length=5).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_vit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a random vision transformer, and how it reads pictures; gives the folder."""

    def make() -> Path:
        import torch
        from transformers import ViTConfig, ViTModel

        folder = tmp_path_factory.mktemp("vit")
        config = ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16,
            patch_size=4,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            ViTModel(config).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(
            '{"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
        )
        return folder

    return make


# ---------------------------------------------------------------------------------------------------------- experiments

TASKS: dict[str, dict[str, Any]] = {
    "mood": {"type": "classification", "heads": [{"name": "mood"}, {"name": "topic"}]},
    "flags": {"type": "multi_label_classification", "heads": [{"name": "flags"}]},
    "names": {"type": "ner", "heads": [{"name": "names"}]},
    "price": {"type": "regression", "heads": [{"name": "price"}]},
}


@pytest.fixture
def settings(
    tmp_path: Path,
    checkpoint: Callable[[str], str],
    make_rows: Callable[..., list[dict[str, Any]]],
    write_rows: Callable[..., str],
) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an experiment as a mapping.

    It takes names of `TASKS`, which read one file of `rows`, and blocks that are merged into the defaults.
    """

    def make(*tasks: str, rows: list[dict[str, Any]] | None = None, **blocks: Any) -> dict[str, Any]:
        path = write_rows(tmp_path / "rows.jsonl", make_rows(40) if rows is None else rows)
        content: dict[str, Any] = {
            "project_name": "test",
            "model": {"base_model": checkpoint("bert")},
            "tasks": [{"name": name, "data_path": path, **TASKS[name]} for name in tasks or ("mood",)],
            "data": {"max_length": 32},
            "training": {"epochs": 2, "batch_size": 8, "log_every_steps": 1},
            "evaluation": {"baselines": []},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }
        for name, block in blocks.items():
            content[name] = {**content[name], **block} if isinstance(content.get(name), dict) else block
        return content

    return make


@pytest.fixture(scope="session")
def flows() -> list[dict[str, Any]]:
    """200 network flows, of which about one in six is an attack (`threat`)."""
    from jenga.samples.network import generate_flows

    return generate_flows(200, label_noise=0.0)


@pytest.fixture
def event_settings(tmp_path: Path, flows: list[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an experiment on events, a file of `rows`, as a mapping.

    It takes settings of its one task (default: a classification of `threat`), and blocks merged into the defaults.
    """

    def make(rows: list[Any] | None = None, task: dict[str, Any] | None = None, **blocks: Any) -> dict[str, Any]:
        path = tmp_path / "flows.json"
        path.write_text(json.dumps(flows if rows is None else rows), encoding="utf-8")
        given = {"name": "find", "type": "classification", "data_path": str(path), "heads": [{"name": "threat"}]}
        content: dict[str, Any] = {
            "project_name": "test",
            "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
            "tasks": [given | (task or {})],
            "training": {"epochs": 2, "batch_size": 16, "log_every_steps": 1},
            "evaluation": {"baselines": []},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }
        for name, block in blocks.items():
            content[name] = {**content[name], **block} if isinstance(content.get(name), dict) else block
        return content

    return make


@pytest.fixture
def make_trainer(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that builds an experiment and its trainer, on the CPU.

    It takes what `settings` takes, and `callbacks`, and `run`, a folder to go on with. The trainer's attribute
    `experiment` is what `build` gave.
    """
    from jenga.run.build import build
    from jenga.run.experiment import load_config, make_accelerator
    from jenga.run.resume import record
    from jenga.trainer import Trainer
    from jenga.trainer.checkpoint import newest_checkpoint
    from jenga.trainer.run import RunFolder

    held: list[RunFolder] = []

    def make(*tasks: str, callbacks: Sequence[Any] = (), run: Path | None = None, **options: Any) -> Any:
        config = load_config(settings(*tasks, **options))
        experiment = build(config, tmp_path)
        if run is None:
            folder = RunFolder.create(Path(config.output_dir), "test", record(config))
            held.append(folder)
        else:
            folder = RunFolder(run)
        trainer: Any = Trainer(
            experiment.bundle.model, experiment.sources, experiment.bundle.config,
            run=folder, accelerator=make_accelerator(config.training.precision, "cpu"), callbacks=callbacks,
            write_best=experiment.bundle.save, workers=experiment.workers,
        )  # fmt: skip
        trainer.load(newest_checkpoint(folder.checkpoints))
        trainer.experiment = experiment
        return trainer

    yield make
    for folder in held:
        folder.release()
