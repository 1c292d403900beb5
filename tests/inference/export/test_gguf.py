"""GGUF: tensors, metadata and tokens as llama.cpp has them, and as an independent reader understands them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.bundle import Bundle
from jenga.errors import ConfigError
from jenga.inference.export import export

gguf = pytest.importorskip("gguf")

WORDS = "please thank you never again the agent was kind and quick but line dropped after two minutes of music"
Make = Callable[..., Path]
SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.fixture
def make_run(saved_model: Callable[..., Path], settings: Callable[..., Any], tmp_path: Path) -> Make:
    """Return a function that saves a language model of random weights of an architecture; gives its folder."""

    def make(
        kind: str, *, tied: bool = True, add_prefix_space: bool = False, blocks: Any = None, **config: Any
    ) -> Path:
        from tokenizers import ByteLevelBPETokenizer
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        trained = ByteLevelBPETokenizer(add_prefix_space=add_prefix_space)
        trained.train_from_iterator([WORDS], vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=trained._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>",
            chat_template="{{ messages[0]['content'] }}",
        )  # fmt: skip
        base = {
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 96, "max_position_embeddings": 128, "tie_word_embeddings": tied,
            "vocab_size": len(tokenizer) + 5, "bos_token_id": 0, "eos_token_id": 1,
        }  # fmt: skip
        if kind == "gpt2":
            base = {"n_embd": 64, "n_layer": 1, "n_head": 2, "vocab_size": len(tokenizer)}
        place = tmp_path / "base"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **base | config)).save_pretrained(place)
        tokenizer.save_pretrained(place)
        experiment = settings(rows=[{"text": WORDS[at:]} for at in range(40)])
        task = {"name": "say", "type": "causal_lm", "data_path": experiment["tasks"][0]["data_path"]}
        return saved_model({**experiment, "model": {"base_model": str(place)}, "tasks": [task], **(blocks or {})})

    return make


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return rows in the order that llama.cpp has them in: of each head, one of each half in turn."""
    size = len(rows) // heads
    order = [head * size + half * size // 2 + at for head in range(heads) for at in range(size // 2) for half in (0, 1)]
    return rows[order]


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("qwen2", False)])
def test_every_weight_and_word_is_there_and_another_reader_gives_the_same_logits(
    make_run: Make, tmp_path: Path, kind: str, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    run = make_run(kind, tied=tied)
    made = export(run, tmp_path / "gguf", format="gguf", dtype="fp32")
    bundle = Bundle.load(run)
    model: Any = bundle.model.encoders["shared"].transformer
    state = {name: each.detach().numpy() for name, each in model.state_dict().items()}
    reader = gguf.GGUFReader(made / "model.gguf")
    tensors = {each.name: np.asarray(each.data).reshape(each.shape[::-1]) for each in reader.tensors}
    assert len(tensors) == len(state) - tied
    query, key = (state[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qk")
    if kind == "llama":
        query, key = paired(query, 4), paired(key, 2)
    np.testing.assert_array_equal(tensors["blk.1.attn_q.weight"], query)
    np.testing.assert_array_equal(tensors["blk.1.attn_k.weight"], key)
    np.testing.assert_array_equal(tensors["token_embd.weight"], state["model.embed_tokens.weight"])
    np.testing.assert_array_equal(tensors["blk.0.ffn_down.weight"], state["model.layers.0.mlp.down_proj.weight"])
    assert ("output.weight" in tensors) is not tied
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert said["general.architecture"] == kind
    assert said[f"{kind}.block_count"] == 2
    assert said[f"{kind}.attention.head_count_kv"] == 2
    assert said[f"{kind}.attention.layer_norm_rms_epsilon"] == pytest.approx(model.config.rms_norm_eps)
    # What transformers reads as Qwen2's tokenizer cuts as Qwen2 does.
    assert said["tokenizer.ggml.pre"] == {"llama": "gpt-2", "qwen2": "qwen2"}[kind]
    tokenizer = bundle.inputs["shared"].tokenizer
    assert said["tokenizer.ggml.tokens"][: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert said["tokenizer.ggml.tokens"][-1] == f"[PAD{model.config.vocab_size - 1}]"
    assert said["tokenizer.ggml.token_type"][:3] == [3, 3, 1], "special tokens are of llama.cpp's kind 3"
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert said["tokenizer.chat_template"] == tokenizer.chat_template

    other = AutoModelForCausalLM.from_pretrained(made, gguf_file="model.gguf", trust_remote_code=False)
    ids = torch.tensor([tokenizer("thank you the agent was kind").input_ids])
    with torch.no_grad():
        wanted, found = (each.eval()(input_ids=ids).logits for each in (model, other))
    # The same weights in the same graph; the other reader may choose another kernel of attention.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(("dtype", "form", "share"), [(None, "F16", 2**-11), ("q8_0", "Q8_0", 1 / 254 + 2**-11)])
def test_smaller_types_are_off_by_no_more_than_their_rounding(
    make_run: Make, tmp_path: Path, dtype: str | None, form: str, share: float
) -> None:
    run = make_run("llama", blocks={"peft": {"type": "lora"}})
    made = export(run, tmp_path / "gguf", format="gguf", dtype=dtype)
    backbone = Bundle.load(run).model.encoders["shared"]
    backbone.merge()
    state: Any = backbone.transformer.state_dict()  # type: ignore[union-attr]
    by_name = {each.name: each for each in gguf.GGUFReader(made / "model.gguf").tensors}
    down = by_name["blk.0.ffn_down.weight"]
    assert down.tensor_type.name == form
    assert by_name["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    wanted = state["model.layers.0.mlp.down_proj.weight"].numpy()
    found = gguf.quants.dequantize(np.asarray(down.data), down.tensor_type).reshape(wanted.shape)
    # fp16 is off by 2^-11 of a value; q8_0 by half a step of 1/127 of the largest of 32, and by its scale's, in fp16.
    blocks = np.abs(wanted).reshape(-1, 32).max(1, keepdims=True)
    assert (np.abs(found - wanted).reshape(-1, 32) <= share * blocks + 1e-7).all()


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("gpt2", {}, "a gpt2 model is not written here; known: llama, qwen2"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu', and only 'silu' is written here"),
        ("llama", {"add_prefix_space": True}, "a tokenizer of BPE behind ByteLevel is not written here"),
        ("llama", {"rope_parameters": SCALED}, "rope_type is 'linear', and only 'default' is written here"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_run_otherwise_is_refused(
    make_run: Make, tmp_path: Path, kind: str, options: dict[str, Any], says: str
) -> None:
    run = make_run(kind, **options)
    with pytest.raises(ConfigError, match=f"--format gguf: {says}"):
        export(run, tmp_path / "gguf", format="gguf")
    with pytest.raises(ConfigError, match=r"--dtype: got bf16; allowed with --format gguf: fp16, fp32, q8_0"):
        export(run, tmp_path / "gguf", format="gguf", dtype="bf16")
    assert not (tmp_path / "gguf").exists()


def test_a_model_that_generates_nothing_is_refused(event_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this model has no language task; use --format onnx"):
        export(event_run, tmp_path / "gguf", format="gguf")
