"""GGUF: a language model and its tokenizer in one file, as llama.cpp reads it.

Names, metadata and the order of the rows of queries and keys are those of llama.cpp's ``convert_hf_to_gguf.py``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jenga.bundle import Bundle
from jenga.errors import ConfigError
from jenga.extras import required
from jenga.files import atomic_folder
from jenga.inference.export import Options
from jenga.inference.export.transformers import adapted_parts, merge_adapters

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

logger = logging.getLogger(__name__)
FILE = "model.gguf"
DTYPES = ("fp16", "fp32", "q8_0")
_BLOCK = 32
"""Values of a row that have one scale in q8_0."""
_PERMUTED = {"llama": True, "qwen2": False}
"""By architecture whether llama.cpp wants the rows of queries and keys in pairs that it turns together."""
_README = """# A language model for llama.cpp

Exported by `jenga export --format gguf`: weights in {dtype}, the tokenizer, and its chat template where it has one.

    llama-cli -m {file} -p "..."
"""


def write(source: Path, target: Path, options: Options) -> None:
    """Write the language model in `source`, its adapters merged, to the new folder `target`.

    dtype: fp16 (default), fp32, or q8_0, 8 bits with a scale for 32 values; vectors stay in float32. Raises ConfigError
    for a model that is no causal language model, an architecture other than Llama's and Qwen2's, what these may have
    and is not written here, and a tokenizer that llama.cpp knows by no name; SetupError where gguf is not installed.
    """
    dtype = options.dtype or DTYPES[0]
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: got {dtype}; allowed with --format gguf: {', '.join(DTYPES)}")
    gguf = required("gguf", extra="gguf", need="--format gguf needs gguf")
    bundle = Bundle.load(source, base_model=options.base_model, trust_remote_code=options.trust_remote_code)
    task = _language_task(bundle)
    if adapted := adapted_parts(source):
        merge_adapters(bundle, adapted)
    model = bundle.model.encoder_of(task).transformer
    assert model is not None
    tokenizer = bundle.inputs[bundle.model.reads[task]].tokenizer
    kind = check_architecture(model.config)
    pre = pre_tokenizer(tokenizer)
    with atomic_folder(target) as staging:
        writer = gguf.GGUFWriter(staging / FILE, kind)
        _describe(writer, model.config, dtype)
        _add_tokenizer(writer, tokenizer, pre, size=model.get_input_embeddings().weight.shape[0])
        for name, values, form in tensors(model, dtype):
            writer.add_tensor(name, gguf.quants.quantize(values, form), raw_dtype=form)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        (staging / "README.md").write_text(_README.format(dtype=dtype, file=FILE), encoding="utf-8")


def _language_task(bundle: Bundle) -> str:
    generate = [name for name in bundle.model.tasks if bundle.model.tasks[name].generates]
    if not generate:
        raise ConfigError(
            "--format gguf: llama.cpp runs language models, and this model has no language task; use --format onnx"
        )
    if others := [name for name in bundle.model.tasks if name not in generate]:
        logger.warning("--format gguf: holds no heads; left out: %s", ", ".join(others))
    return generate[0]


def check_architecture(config: Any) -> str:
    """Return llama.cpp's name of a model's architecture. Raises ConfigError for one that is not written here."""
    kind = str(config.model_type)
    if kind not in _PERMUTED:
        raise ConfigError(
            f"--format gguf: a {kind} model is not written here; known: {', '.join(_PERMUTED)} (SmolLM2 is a llama). "
            "Use --format transformers --merge, and llama.cpp's own converter"
        )
    rope = _rope(config)
    asked = {
        "hidden_act": (config.hidden_act, "silu"),
        "rope_type": (rope.get("rope_type", "default"), "default"),
        "use_sliding_window": (bool(getattr(config, "use_sliding_window", False)), False),
    }
    for name, (found, wanted) in asked.items():
        if found != wanted:
            raise ConfigError(
                f"--format gguf: {name} is {found!r}, and only {wanted!r} is written here; use --format transformers "
                "--merge, and llama.cpp's own converter"
            )
    return kind


def _rope(config: Any) -> dict[str, Any]:
    return dict(getattr(config, "rope_parameters", None) or {"rope_theta": getattr(config, "rope_theta", 10_000.0)})


def pre_tokenizer(tokenizer: Any) -> str:
    """Return llama.cpp's name of how a tokenizer cuts texts into words. Raises ConfigError where it has none."""
    said = json.loads(tokenizer.backend_tokenizer.to_str())
    steps = said.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = [str(step.get("pattern", {}).get("Regex", "")) for step in steps if step.get("type") == "Split"]
    types = [step.get("type") for step in steps]
    # A space before the first word is not llama.cpp's either.
    is_plain = all(not step.get("add_prefix_space") for step in steps)
    if said["model"]["type"] == "BPE" and types[-1:] == ["ByteLevel"] and is_plain:
        if types == ["ByteLevel"]:
            return "gpt-2"
        if types == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return "smollm"
        if types == ["Split", "ByteLevel"] and r"\p{N}{1,3}" in patterns[0]:
            return "llama-bpe"
        if types == ["Split", "ByteLevel"] and r"|\p{N}|" in patterns[0]:
            return "qwen2"
    raise ConfigError(
        f"--format gguf: a tokenizer of {said['model']['type']} behind {' and '.join(map(str, types)) or 'nothing'} is "
        "not written here; known: byte-level BPE as GPT-2, SmolLM2, Llama 3 and Qwen2 have it. Use --format "
        "transformers --merge, and llama.cpp's own converter"
    )


def _describe(writer: GGUFWriter, config: Any, dtype: str) -> None:
    from gguf import LlamaFileType

    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(_rope(config)["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    writer.add_vocab_size(config.vocab_size)
    kinds = {"fp32": LlamaFileType.ALL_F32, "fp16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
    writer.add_file_type(kinds[dtype])


def _add_tokenizer(writer: GGUFWriter, tokenizer: Any, pre: str, *, size: int) -> None:
    """Write the tokens of a byte-level BPE; size: rows of the embeddings, of which some may be no token's."""
    from gguf import TokenType

    by_id = {at: token for token, at in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for at in range(size):
        tokens.append(by_id.get(at, f"[PAD{at}]"))
        known = TokenType.NORMAL if at in by_id else TokenType.UNUSED
        if at in added:
            known = TokenType.CONTROL if added[at].special else TokenType.USER_DEFINED
        types.append(known)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_unk_token_id: tokenizer.unk_token_id,
        writer.add_pad_token_id: tokenizer.pad_token_id,
    }
    for add, token_id in ids.items():
        if token_id is not None:
            add(token_id)
    first = tokenizer("a").input_ids[:1]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def tensors(model: Any, dtype: str) -> Iterator[tuple[str, np.ndarray, GGMLQuantizationType]]:
    """Yield each weight of a language model by llama.cpp's name, float32, and the form in which it is to be kept."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map

    config = model.config
    arch = next(each for each in MODEL_ARCH if MODEL_ARCH_NAMES[each] == config.model_type)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    forms = {"fp32": GGMLQuantizationType.F32, "fp16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0}
    for key, tensor in model.state_dict().items():
        if tied and key == "lm_head.weight":
            continue  # llama.cpp takes the embeddings
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ConfigError(f"--format gguf: llama.cpp's {config.model_type} has no weight such as {key}")
        values = tensor.detach().to(torch.float32).cpu().numpy()
        if _PERMUTED[config.model_type] and ".q_proj." in key:
            values = _in_pairs(values, config.num_attention_heads)
        elif _PERMUTED[config.model_type] and ".k_proj." in key:
            values = _in_pairs(values, config.num_key_value_heads)
        form = forms[dtype] if values.ndim > 1 else GGMLQuantizationType.F32
        if form is GGMLQuantizationType.Q8_0 and values.shape[-1] % _BLOCK:
            form = GGMLQuantizationType.F16
        yield name, np.ascontiguousarray(values), form


def _in_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return rows with the two halves of each head interleaved."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)
