"""Encoders and decoders of transformers as backbones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jenga.config.peft import BottleneckConfig, LoraConfig
from jenga.errors import ConfigError, SetupError
from jenga.modalities.text import windows
from jenga.modalities.text.backbone import TextBackbone
from jenga.modalities.text.pretrained import load_tokenizer
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.text.windows import Windows

IDS = torch.tensor([[7, 8, 9, 10], [11, 12, 13, 14], [15, 16, 17, 18]])
RIGHT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
LEFT = RIGHT.flip(1)
HOLES = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]])
LAST = {"right": (RIGHT, [3, 1, 0]), "left": (LEFT, [3, 3, 3]), "holes": (HOLES, [2, 2, 1])}


def backbone_of(folder: str, **options: Any) -> TextBackbone:
    return TextBackbone(folder, ModelConfig(base_model=folder, **options)).eval()


def altered(folder: str, to: Path, **config: Any) -> str:
    shutil.copytree(folder, to)
    content = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**content, **config}))
    return str(to)


@pytest.mark.parametrize("side", LAST)
@pytest.mark.parametrize(("kind", "pooling"), [("gpt2", "auto"), ("bert", "last")])
def test_a_causal_model_pools_its_last_real_token(
    checkpoint: Callable[[str], str], kind: str, pooling: str, side: str
) -> None:
    mask, last = LAST[side]
    with torch.inference_mode():
        output = backbone_of(checkpoint(kind), pooling=pooling)(input_ids=IDS, attention_mask=mask)
    assert torch.equal(output.pooler_output, output.last_hidden_state[torch.arange(3), last])


@pytest.mark.parametrize(("kind", "resolved"), [("bert", "pooler"), ("distilbert", "mean"), ("gpt2", "last")])
def test_auto_pooling_suits_the_model(checkpoint: Callable[[str], str], kind: str, resolved: str) -> None:
    assert backbone_of(checkpoint(kind)).pooling == resolved


def test_each_pooling_is_what_its_name_says(checkpoint: Callable[[str], str]) -> None:
    outputs = {}
    for pooling in ("pooler", "cls", "mean", "max", "last"):
        backbone = backbone_of(checkpoint("bert"), pooling=pooling)
        with torch.inference_mode():
            outputs[pooling] = backbone(input_ids=IDS, attention_mask=RIGHT)
            if pooling == "pooler":
                expected = backbone.encoder.pooler(outputs[pooling].last_hidden_state)
                assert torch.equal(outputs[pooling].pooler_output, expected)
    hidden = outputs["cls"].last_hidden_state
    real = [hidden[row, : RIGHT[row].sum()] for row in range(3)]
    assert torch.equal(outputs["cls"].pooler_output, hidden[:, 0])
    torch.testing.assert_close(outputs["mean"].pooler_output, torch.stack([each.mean(0) for each in real]))
    assert torch.equal(outputs["max"].pooler_output, torch.stack([each.amax(0) for each in real]))


@pytest.mark.parametrize("pooling", ["auto", "cls", "mean", "max", "last"])
def test_padding_does_not_change_what_is_pooled(checkpoint: Callable[[str], str], pooling: str) -> None:
    backbone = backbone_of(checkpoint("bert"), pooling=pooling)
    short, long = IDS[:, :2], torch.cat([IDS[:, :2], torch.full((3, 5), 3)], 1)
    mask = torch.cat([torch.ones(3, 2), torch.zeros(3, 5)], 1).long()
    with torch.inference_mode():
        one = backbone(input_ids=short, attention_mask=torch.ones(3, 2).long()).pooler_output
        other = backbone(input_ids=long, attention_mask=mask).pooler_output
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)  # attention over 2 and over 7 tokens sums otherwise


def test_a_published_pooling_that_is_not_known_is_told_with_what_is_taken_instead(
    checkpoint: Callable[[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = altered(checkpoint("bert"), tmp_path / "encoder")
    (tmp_path / "encoder" / "1_Pooling").mkdir()
    says = tmp_path / "encoder" / "1_Pooling" / "config.json"
    says.write_text('{"pooling_mode_weightedmean_tokens": true}')
    assert backbone_of(folder).pooling == "pooler"
    (told,) = [each.getMessage() for each in caplog.records]
    assert re.match(r"model.pooling: '.*' pools by weightedmean_tokens .*; 'pooler' is taken", told)
    says.write_text("[]")
    with pytest.raises(SetupError, match=r"1_Pooling/config.json: holds list, not an object; .*set model.pooling"):
        backbone_of(folder)
    assert backbone_of(folder, pooling="mean").pooling == "mean"


def test_a_preset_that_names_no_pooling_is_refused(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    folder = altered(checkpoint("bert"), tmp_path / "preset", default_pooling="median")
    with pytest.raises(SetupError, match=r"default_pooling in config.json of '.*preset' is 'median'; it is one of"):
        backbone_of(folder)


def test_an_unused_pooler_has_no_weights_that_would_never_train(checkpoint: Callable[[str], str]) -> None:
    assert any("pooler" in name for name, _ in backbone_of(checkpoint("bert")).named_parameters())
    assert not any("pooler" in name for name, _ in backbone_of(checkpoint("bert"), pooling="mean").named_parameters())


def test_a_pooler_that_the_checkpoint_lacks_is_not_made_up(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    folder = altered(checkpoint("bert"), tmp_path / "no-pooler")
    weights = {name: value for name, value in load_file(f"{folder}/model.safetensors").items() if "pooler" not in name}
    save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
    assert backbone_of(folder).pooling == "mean"
    with pytest.raises(ConfigError, match=r"model.pooling: this checkpoint has no trained pooler"):
        backbone_of(folder, pooling="pooler")


def test_missing_weights_are_refused_by_name(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    folder = altered(checkpoint("bert"), tmp_path / "harmed")
    weights = load_file(f"{folder}/model.safetensors")
    gone = next(name for name in weights if "query.weight" in name)
    del weights[gone]
    save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SetupError, match=rf"'{folder}' lacks 1 weights, such as .*{gone.removeprefix('bert.')}"):
        backbone_of(folder)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"is an encoder-decoder \(t5\); choose an encoder or a decoder"):
        backbone_of(str(tmp_path))


@pytest.mark.parametrize("harm", ["truncated", "other shape", "no weights"])
def test_a_harmed_checkpoint_is_a_setup_error(checkpoint: Callable[[str], str], tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "harmed"
    altered(checkpoint("bert"), folder, **({"intermediate_size": 96} if harm == "other shape" else {}))
    weights = folder / "model.safetensors"
    if harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:100])
    elif harm == "no weights":
        weights.unlink()
    with pytest.raises(SetupError, match=f"model.base_model: cannot load '{folder}'"):
        backbone_of(str(folder))


def test_a_model_that_cannot_be_reached_is_a_setup_error_with_its_name() -> None:
    config = ModelConfig(base_model="nobody/no-such-model")
    for load in (load_tokenizer, lambda config: TextBackbone(config.base_model, config)):
        with pytest.raises(SetupError, match=r"model.base_model: cannot load 'nobody/no-such-model'.*jenga/tiny-text"):
            load(config)


def test_dropout_reaches_every_layer(checkpoint: Callable[[str], str]) -> None:
    for kind in ("bert", "distilbert", "gpt2"):
        rates = {
            each.p
            for each in backbone_of(checkpoint(kind), dropout=0.37).modules()
            if isinstance(each, torch.nn.Dropout)
        }
        assert rates == {0.37}, kind


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_token_types_reach_only_a_model_that_has_embeddings_for_them(
    checkpoint: Callable[[str], str], kind: str
) -> None:
    backbone = backbone_of(checkpoint(kind))
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with torch.inference_mode():
        plain = backbone(**inputs).last_hidden_state
        paired = backbone(**inputs, token_type_ids=torch.tensor([[0, 0, 1, 1]] * 3)).last_hidden_state
    assert torch.equal(plain, paired) == (kind != "bert")


@pytest.mark.parametrize(
    ("kind", "pooling"), [("bert", "pooler"), ("bert", "mean"), ("distilbert", "cls"), ("gpt2", "last")]
)
def test_save_and_load_give_bit_equal_outputs_and_a_plain_checkpoint(
    checkpoint: Callable[[str], str], tmp_path: Path, kind: str, pooling: str
) -> None:
    from transformers import AutoModel

    backbone = backbone_of(checkpoint(kind), pooling=pooling)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01)
    backbone.save(tmp_path)
    config = ModelConfig(base_model=checkpoint(kind))
    again = TextBackbone.load(tmp_path, config.base_model, config).eval()
    assert again.pooling == pooling
    with torch.inference_mode():
        one, other = (each(input_ids=IDS, attention_mask=RIGHT) for each in (backbone, again))
        plain = AutoModel.from_pretrained(tmp_path).eval()(input_ids=IDS, attention_mask=RIGHT)
    assert torch.equal(one.pooler_output, other.pooler_output)
    assert torch.equal(one.last_hidden_state, plain.last_hidden_state)


def test_max_positions_leaves_out_what_roberta_keeps_for_padding(
    checkpoint: Callable[[str], str], tmp_path: Path
) -> None:
    from transformers import RobertaConfig, RobertaModel

    assert backbone_of(checkpoint("bert")).max_positions == 64
    config = RobertaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    backbone = backbone_of(str(tmp_path))
    limit = backbone.max_positions
    assert limit == 32
    ids = torch.full((1, limit), 5)
    assert backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape == (1, 32, 8)


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", '{"pooling": "median"}', '{"pooling": "auto"}', '{"pooling": []}']
)
def test_a_saved_pooling_that_is_none_is_refused_with_its_file(
    checkpoint: Callable[[str], str], tmp_path: Path, content: str
) -> None:
    folder = checkpoint("bert")
    backbone_of(folder, pooling="mean").save(tmp_path)
    (tmp_path / "jenga_backbone.json").write_text(content)
    with pytest.raises(SetupError, match=r"jenga_backbone.json: (holds|cannot be read|pooling is) .*estore the folder"):
        TextBackbone.load(tmp_path, folder, ModelConfig(base_model=folder))


def test_a_saved_pooling_that_the_weights_lack_is_a_setup_error(
    checkpoint: Callable[[str], str], tmp_path: Path
) -> None:
    folder = checkpoint("bert")
    backbone_of(folder, pooling="mean").save(tmp_path)
    (tmp_path / "jenga_backbone.json").write_text('{"pooling": "pooler"}')
    with pytest.raises(SetupError, match=r"has no trained pooler.*Restore the folder"):
        TextBackbone.load(tmp_path, folder, ModelConfig(base_model=folder))


# ------------------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("peft", [LoraConfig(type="lora"), BottleneckConfig(type="adapter")], ids=["lora", "adapter"])
def test_an_encoder_with_adapters_is_saved_without_its_base_and_found_again(
    checkpoint: Callable[[str], str], peft: Any, tmp_path: Path
) -> None:
    folder = checkpoint("bert")
    backbone = backbone_of(folder, pooling="mean")
    assert not backbone.adapted
    backbone.adapt(peft)
    assert backbone.adapted
    with torch.no_grad():
        for each in backbone.parameters():
            if each.requires_grad:
                each.add_(torch.randn_like(each))
    backbone.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    again = TextBackbone.load(tmp_path / "saved", folder, ModelConfig(base_model=folder)).eval()
    assert again.pooling == "mean"
    assert again.base == backbone.base
    with torch.inference_mode():
        one, other = (each.eval()(input_ids=IDS, attention_mask=RIGHT) for each in (backbone, again))
    assert torch.equal(one.pooler_output, other.pooler_output)
    trained = [{name for name, p in each.named_parameters() if p.requires_grad} for each in (backbone, again)]
    assert trained[0] == trained[1]


def test_a_missing_or_another_base_is_named_with_what_to_do(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    backbone = backbone_of(checkpoint("bert"), pooling="mean")
    backbone.adapt(LoraConfig(type="lora"))
    backbone.save(tmp_path / "saved")
    load = TextBackbone.load
    with pytest.raises(SetupError, match=r"their base '/nowhere' cannot be loaded: .* with --base-model; jenga export"):
        load(tmp_path / "saved", "/nowhere", ModelConfig(base_model="/nowhere"))
    other = checkpoint("distilbert")
    with pytest.raises(SetupError, match=f"the base '{other}' has parameters of other names or shapes"):
        load(tmp_path / "saved", other, ModelConfig(base_model=other))


def test_a_merged_backbone_is_a_plain_one(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    backbone = backbone_of(checkpoint("bert"))
    with pytest.raises(ConfigError, match="there are no adapters to merge"):
        backbone.merge()
    backbone.adapt(LoraConfig(type="lora"))
    backbone.merge()
    assert (backbone.adapted, backbone.base) == (False, None)
    backbone.save(tmp_path)
    assert TextBackbone.load(tmp_path, "", ModelConfig(base_model="x")).hidden_size == backbone.hidden_size


# -------------------------------------------------------------------------------------------------------------- windows

WINDOWS = Windows(8, 4, 1, 1)


def in_windows(folder: str, **options: Any) -> TextBackbone:
    config = ModelConfig(base_model=folder, window_tokens=WINDOWS.tokens, **options).with_windows(WINDOWS)
    return TextBackbone(folder, config).eval()


def long_rows(*lengths: int) -> dict[str, torch.Tensor]:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(5, 40, mask.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids * mask, "attention_mask": mask}


def test_a_batch_without_a_longer_row_is_read_as_ever(checkpoint: Callable[[str], str]) -> None:
    inputs = long_rows(8, 3)
    with torch.inference_mode():
        one, other = (make(checkpoint("bert"))(**inputs) for make in (backbone_of, in_windows))
    assert torch.equal(one.last_hidden_state, other.last_hidden_state)
    assert torch.equal(one.pooler_output, other.pooler_output)


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "max", "last"])
def test_tokens_and_pooled_vectors_are_those_of_windows_read_alone(
    checkpoint: Callable[[str], str], pooling: str
) -> None:
    inputs = long_rows(15, 5)
    with torch.inference_mode():
        output = in_windows(checkpoint("bert"), pooling=pooling)(**inputs)
        alone = backbone_of(checkpoint("bert"), pooling=pooling)
        ids = inputs["input_ids"][0]
        # Of 13 tokens of text, windows of 6 begin at 0, 4 and 7: they answer for 5, 3 and 5 of them.
        stretches = [torch.cat([ids[:1], ids[at : at + 6], ids[14:]])[None] for at in (1, 5, 8)]
        read = [alone(input_ids=each, attention_mask=torch.ones(1, 8).long()) for each in stretches]
        short = alone(input_ids=inputs["input_ids"][1:, :5], attention_mask=torch.ones(1, 5).long())
    kept = [read[0].last_hidden_state[0, :6], read[1].last_hidden_state[0, 2:5]]
    hidden = torch.cat([*kept, read[2].last_hidden_state[0, 2:]])
    torch.testing.assert_close(output.last_hidden_state[0], hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.last_hidden_state[1, :5], short.last_hidden_state[0], rtol=1e-4, atol=1e-5)
    assert not output.last_hidden_state[1, 5:].any()
    shares = torch.tensor([6, 3, 6]) / 15
    pooled = shares @ torch.cat([each.pooler_output for each in read])
    expected = {"mean": hidden.mean(0), "max": hidden.amax(0)}.get(pooling, pooled)
    torch.testing.assert_close(output.pooler_output[0], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.pooler_output[1], short.pooler_output[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(output.attention_mask, inputs["attention_mask"])


def test_gradients_are_the_same_however_many_windows_are_held_at_once(
    checkpoint: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for at_once in (64, 2):
        monkeypatch.setattr(windows, "WINDOWS_AT_ONCE", at_once)
        backbone = in_windows(checkpoint("bert"), dropout=0.0, pooling="mean").train()
        output = backbone(**long_rows(40, 20, 5))
        (output.pooler_output.square().sum() + output.last_hidden_state[:, 7].sum()).backward()
        found.append({name: each.grad for name, each in backbone.named_parameters()})
    assert len(found[0]) > 10
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_windows_hold_the_activations_of_some_at_a_time(
    checkpoint: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOWS_AT_ONCE", 4)
    backbone = in_windows(checkpoint("bert"), pooling="mean").train()
    held: list[int] = []

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.numel())
        return tensor

    sizes = []
    for length in (12, 60):  # 4 windows and 28
        held.clear()
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            backbone(**long_rows(*[length] * 2))
        sizes.append(sum(held))
    assert sizes[1] < sizes[0]


def test_windows_hand_on_no_states_and_no_embeddings_of_positions(checkpoint: Callable[[str], str]) -> None:
    backbone = in_windows(checkpoint("bert"))
    assert backbone.embeddings is None
    with pytest.raises(ConfigError, match=r"model\.window_tokens: windows hand on no inner states to match"):
        backbone.keep_states(hidden_states=True, attentions=False)


@pytest.mark.parametrize("from_nothing", [True, False])
def test_the_answers_pick_the_model_of_a_text_encoder_whatever_it_starts_from(from_nothing: bool) -> None:
    asked: Any = SimpleNamespace(
        config=SimpleNamespace(starts_from_nothing=from_nothing), hidden_size=32, _language=False
    )
    recipe = TextBackbone.recipe.fget  # type: ignore[attr-defined]
    assert recipe(asked).by_answers
