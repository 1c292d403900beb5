"""A model with all that belongs to it, on disk and back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from jenga import bundle as module
from jenga.bundle import Bundle
from jenga.certainty.calibration import Calibration
from jenga.certainty.conformal import Conformal
from jenga.certainty.head import Certainty
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_folder
from jenga.modalities.events.encoder import EventEncoder
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config
from jenga.tasks import TASK_REGISTRY
from jenga.tasks.regression import RegressionTask
from jenga.trainer.evaluate import Runner

ALL = ("mood", "flags", "names", "price")


@pytest.fixture
def built(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Experiment]:
    def make(*tasks: str, **blocks: Any) -> Experiment:
        return build(load_config(settings(*tasks, **blocks)), tmp_path / "work")

    return make


def logits_of(bundle: Bundle, experiment: Experiment) -> dict[Any, list[torch.Tensor]]:
    source = experiment.sources[0]
    runner = Runner(bundle.model, torch.device("cpu"), contextlib.nullcontext, {"shared": 8}, bundle.thresholds)
    return runner.logits(source.splits["train"], source.tasks)


@pytest.mark.parametrize("model", ["bert", "distilbert", "gpt2", "jenga/tiny-text"])
def test_a_reloaded_bundle_gives_bit_equal_logits(
    built: Callable[..., Experiment], checkpoint: Callable[[str], str], tmp_path: Path, model: str
) -> None:
    experiment = built(
        *ALL, model={"base_model": model if "/" in model else checkpoint(model)}, fusion={"type": "attention"}
    )
    bundle = experiment.bundle
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    bundle.thresholds = {("flags", "flags"): np.array([0.1, 0.25, 1 / 3])}
    cells = bundle.specs[0].heads[0].cells
    assert isinstance(cells.missing, tuple), "training decides how cells are read"
    bundle.save(tmp_path / "best")
    again = Bundle.load(tmp_path / "best")
    wanted, found = logits_of(bundle, experiment), logits_of(again, experiment)
    assert wanted.keys() == found.keys()
    for key, rows in wanted.items():
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(rows, found[key], strict=True)), key
    assert again.spaces == bundle.spaces
    assert again.specs == bundle.specs
    kept = set(type(bundle.config).model_fields) - {"tracking", "output_dir"}
    assert again.config.model_dump(include=kept) == bundle.config.model_dump(include=kept)
    assert again.thresholds["flags", "flags"].tolist() == [0.1, 0.25, 1 / 3]
    tokenizers = again.inputs["shared"].tokenizer, bundle.inputs["shared"].tokenizer
    assert tokenizers[0]("the agent, café")["input_ids"] == tokenizers[1]("the agent, café")["input_ids"]
    assert tokenizers[0].pad_token_id == tokenizers[1].pad_token_id
    assert not again.model.training
    # a tracking address may hold a password, and the folder is given away as a model
    saved = json.loads((tmp_path / "best" / "jenga.json").read_text())["config"]
    assert not {"tracking", "output_dir"} & saved.keys()
    price = again.model.tasks["price"]
    assert isinstance(price, RegressionTask)
    assert float(price.mean_0) > 100


def test_a_model_of_the_format_before_is_read_with_its_fusion(built: Callable[..., Experiment], tmp_path: Path) -> None:
    """It knew one encoder, and named it nowhere."""
    experiment = built(*ALL, fusion={"type": "attention"})
    with torch.no_grad():
        for parameter in experiment.bundle.model.fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    experiment.bundle.save(tmp_path / "new")
    with atomic_folder(tmp_path / "old") as old:
        shutil.copytree(tmp_path / "new", old, dirs_exist_ok=True)
        said = json.loads((old / "jenga.json").read_text())
        for each in said["sources"]:
            del each["encoder"]
        for each in said["config"]["tasks"]:
            del each["backbone"], each["inputs"]
        (old / "jenga.json").write_text(json.dumps(said | {"format": 2, "inputs": said["inputs"]["shared"]}))
        state = load_file(old / "heads.safetensors")
        assert "fusion.shared.query" in state
        save_file({key.replace(".shared.", "."): each for key, each in state.items()}, old / "heads.safetensors")
    found, wanted = (logits_of(Bundle.load(tmp_path / name), experiment) for name in ("old", "new"))
    for key, rows in wanted.items():
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(rows, found[key], strict=True)), key


def test_a_bundle_holds_safetensors_and_json_with_readable_keys(
    built: Callable[..., Experiment], tmp_path: Path
) -> None:
    built(*ALL).bundle.save(tmp_path / "best")
    kinds = {each.suffix for each in (tmp_path / "best").rglob("*") if each.is_file()}
    assert kinds <= {".safetensors", ".json", ".txt"}
    with safe_open(tmp_path / "best" / "heads.safetensors", "pt") as file:
        keys = set(file.keys())
    assert {f"tasks.mood.heads.{head}.{part}" for head in ("mood", "topic") for part in ("weight", "bias")} <= keys
    assert not [key for key in keys if key.startswith("encoders.")]


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize(
    "peft", [{"type": each} for each in ("lora", "dora", "adapter")], ids=lambda each: each["type"]
)
def test_a_bundle_of_adapters_holds_no_base_and_gives_bit_equal_logits(
    built: Callable[..., Experiment], checkpoint: Callable[[str], str], tmp_path: Path, kind: str, peft: dict[str, Any]
) -> None:
    experiment = built(*ALL, model={"base_model": checkpoint(kind)}, peft=peft, fusion={"type": "attention"})
    bundle = experiment.bundle
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    bundle.save(tmp_path / "best")
    names = {path.name for path in (tmp_path / "best" / "backbone").iterdir()}
    assert "model.safetensors" not in names
    assert "base.json" in names
    frozen = [each for each in bundle.model.parameters() if not each.requires_grad]
    assert frozen
    shutil.copytree(checkpoint(kind), tmp_path / "moved")
    for base in (None, str(tmp_path / "moved")):
        again = Bundle.load(tmp_path / "best", base_model=base)
        wanted, found = logits_of(bundle, experiment), logits_of(again, experiment)
        for key, rows in wanted.items():
            assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(rows, found[key], strict=True)), key


def test_a_base_for_a_model_without_adapters_is_refused(built: Callable[..., Experiment], tmp_path: Path) -> None:
    built("mood").bundle.save(tmp_path / "best")
    with pytest.raises(ConfigError, match=r"--base-model: .*best holds its whole encoder and needs no base"):
        Bundle.load(tmp_path / "best", base_model="x")


def test_what_is_no_bundle_or_is_harmed_is_refused(built: Callable[..., Experiment], tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no trained model here"):
        Bundle.load(tmp_path)
    best = tmp_path / "best"
    built("mood").bundle.save(best)
    description = json.loads((best / "jenga.json").read_text())
    weights = best / "backbone" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SetupError, match=r"model.safetensors has another checksum; restore the folder"):
        Bundle.load(best)
    weights.write_bytes(content)
    manifest = json.loads((best / "manifest.json").read_text())
    (best / "jenga.json").write_text(json.dumps({**description, "format": 99, "jenga": "9.0"}))
    manifest["jenga.json"] = hashlib.sha256((best / "jenga.json").read_bytes()).hexdigest()
    (best / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SetupError, match=r"written by Jenga 9.0, a later version; upgrade Jenga"):
        Bundle.load(best)


def renewed(best: Path) -> Path:
    """Vouch for whatever is in a bundle's folder."""
    (best / "manifest.json").unlink()
    with atomic_folder(best) as staging:
        shutil.copytree(best, staging, dirs_exist_ok=True)
    return best


@pytest.fixture
def saved(built: Callable[..., Experiment], tmp_path: Path) -> Path:
    built("mood").bundle.save(tmp_path / "best")
    return tmp_path / "best"


def rewritten(best: Path, folder: Path, said: Any, weights: dict[str, torch.Tensor]) -> Path:
    """Write a bundle with other content and checksums that agree with it."""
    with atomic_folder(folder) as staging:
        shutil.copytree(best, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        (staging / "jenga.json").write_text(json.dumps(said))
        save_file(weights, staging / "heads.safetensors")
    return folder


def with_head(said: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (source,) = said["sources"]
    return {**said, "sources": [{**source, "heads": [{**source["heads"][0], **fields}, *source["heads"][1:]]}]}


def with_content(said: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (source,) = said["sources"]
    return {**said, "sources": [{**source, "content": {**source["content"], **fields}}]}


def with_labels(said: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    """Say the same labels wherever they stand."""
    said = with_space(said, labels=labels)
    said["config"]["tasks"][0]["heads"][0]["labels"] = labels
    return said


def with_space(said: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**said, "spaces": [{**said["spaces"][0], **fields}, *said["spaces"][1:]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: ["no", "mapping"], r"jenga.json: its content does not fit together \(TypeError"),
        (lambda said: {**said, "format": None}, r"jenga.json: its content .* \(TypeError"),
        (lambda said: {**said, "spaces": [{}]}, r"jenga.json: its content .*: spaces.0.task: Field required"),
        (lambda said: {**said, "sources": 1}, r"jenga.json: its content .*: sources: Input should be a valid array"),
        (lambda said: {**said, "spaces": said["spaces"][1:]}, r"jenga.json: .*spaces: given for mood.topic, but"),
        (
            lambda said: {**said, "spaces": said["spaces"] * 2},
            r"jenga.json: .*spaces: given for mood.mood, mood.mood, ",
        ),
        (lambda said: {**said, "sources": []}, r"heads of sources: given for none, but wanted for mood.m"),
        (lambda said: {**said, "config": 5}, r"jenga.json: its content .*: config: Input should be an object"),
        (lambda said: {**said, "thresholds": [["mood", "mood", [0.5, 0.5]]]}, r"thresholds: given for mood.mood, but"),
        (lambda said: with_space(said, kind="items"), r"head mood.mood is for labels of the kind 'class', not 'items'"),
        (lambda said: with_space(said, kind="none"), r"mood.mood is for labels of the kind 'class', not 'none'"),
        (lambda said: with_space(said, labels=["a", "a"]), r"labels are \['bad', 'good'\] in config and \['a', 'a'\]"),
        (lambda said: with_space(said, size=3), r"head mood.mood: its size is 3, but its labels are \["),
        (lambda said: with_labels(said, ["a", "a"]), r"labels: a name is given twice"),
        (lambda said: with_space(said, labels=[1, 2]), r"spaces.0.labels.0: Input should be a valid string"),
        (lambda said: with_space(said, labels=["x", "y"]), r"labels are \['bad', 'good'\] in config and \['x', 'y'\]"),
        (lambda said: with_content(said, text=[5]), r"text.0: Input should be a valid string"),
        (lambda said: with_content(said, text=[]), r"source mood: no column of texts is named"),
        (lambda said: with_content(said, max_length=0), r"source mood: max_length is 0"),
        (lambda said: with_content(said, max_length="9"), r"max_length: Input should be a valid integer"),
        (lambda said: with_content(said, form="event"), r"source mood: rows of texts have no form 'event'"),
        (lambda said: with_head(said, cells={"missing": 5}), r"heads.0.cells.missing: Input should be a valid array"),
        (lambda said: with_head(said, cells={"mising": [""]}), r"heads.0.cells.mising: Unexpected keyword argument"),
        (lambda said: with_head(said, kind="tags"), r"mood.mood is for labels of the kind 'class', not 'tags'"),
        (lambda said: with_head(said, candidates="mood"), r"heads.0.candidates: Input should be a valid array"),
        (lambda said: with_space(said, labels=list("abcdefghij")), r"mood.mood is for 2 labels and 10 are named"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_though_its_checksum_agrees(
    built: Callable[..., Experiment], tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    built("mood").bundle.save(tmp_path / "whole")
    said, weights = json.loads((tmp_path / "whole" / "jenga.json").read_text()), tmp_path / "whole/heads.safetensors"
    folder = rewritten(tmp_path / "whole", tmp_path / "best", change(said), load_file(weights))
    with pytest.raises(SetupError, match=message):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([["flags", "flags", [0.5] * 5]], "head flags.flags has 3 labels and 5 thresholds"),
        ([["flags", "flags", []]], "head flags.flags has 3 labels and 0 thresholds"),
        ([["flags", "flags", [math.nan] * 3]], "thresholds.0.2.0: Input should be a finite number"),
        ([["flags", "flags", [0.5, 2.0, 0.5]]], "thresholds.0.2.1: Input should be less than or equal to 1"),
        ([["flags", "flags", [0.5] * 3]] * 2, "thresholds: given for flags.flags, flags.flags, but"),
        ([["flags", "other", [0.5] * 3]], "thresholds: given for flags.other, but"),
        ([], "thresholds: given for none, but wanted for flags.flags"),
        ("no", "thresholds: Input should be a valid array"),
    ],
)
def test_thresholds_that_are_not_one_probability_a_label_are_refused(
    built: Callable[..., Experiment], tmp_path: Path, thresholds: Any, message: str
) -> None:
    whole = tmp_path / "whole"
    built("flags").bundle.save(whole)
    said, weights = json.loads((whole / "jenga.json").read_text()), load_file(whole / "heads.safetensors")
    with pytest.raises(SetupError, match=rf"best/jenga.json: its content does not fit together .*{message}"):
        Bundle.load(rewritten(whole, tmp_path / "best", {**said, "thresholds": thresholds}, weights))


@pytest.mark.parametrize(
    ("certainty", "message"),
    [
        (("none", Certainty(Calibration("temperature", False, [1.0]))), "certainty: given for flags.none, which is no"),
        (("flags", Certainty(Calibration("vector", True, [1.0] * 2, [0.0] * 2))), "is for no head of 3 labels"),
        (("flags", Certainty(conformal=Conformal(0.9, [0.5] * 2))), "head flags.flags has 3 labels and 2 limits"),
    ],
)
def test_a_calibration_of_another_head_is_refused(
    built: Callable[..., Experiment], tmp_path: Path, certainty: tuple[str, Certainty], message: str
) -> None:
    bundle = built("flags").bundle
    bundle.certainty = {("flags", certainty[0]): certainty[1]}
    bundle.save(tmp_path / "best")
    with pytest.raises(SetupError, match=message):
        Bundle.load(tmp_path / "best")


def test_a_model_whose_thresholds_are_not_decided_yet_can_be_loaded(
    built: Callable[..., Experiment], tmp_path: Path
) -> None:
    """As that of a run which has not ended."""
    bundle = built("flags").bundle
    assert not bundle.thresholds
    bundle.save(tmp_path / "best")
    assert json.loads((tmp_path / "best" / "jenga.json").read_text())["thresholds"] is None
    assert Bundle.load(tmp_path / "best").thresholds == {}


BROKEN = ["[]", "{", "null", "5", ""]


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("name", ["jenga_backbone.json", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_of_the_encoder_that_holds_no_object_is_named(saved: Path, name: str, content: str) -> None:
    (saved / "backbone" / name).write_text(content)
    with pytest.raises(SetupError, match=rf"backbone.*{name}.*(no JSON|cannot be read|holds).*estore"):
        Bundle.load(renewed(saved))


@pytest.mark.parametrize("content", [*BROKEN, "{}"])
@pytest.mark.parametrize(
    ("kind", "name"), [("lora", "adapter_config.json"), ("adapter", "bottleneck_config.json"), ("lora", "base.json")]
)
def test_a_file_of_adapters_that_does_not_say_what_they_are_is_named(
    built: Callable[..., Experiment], tmp_path: Path, kind: str, name: str, content: str
) -> None:
    built("mood", peft={"type": kind}).bundle.save(tmp_path / "best")
    (tmp_path / "best" / "backbone" / name).write_text(content)
    with pytest.raises(SetupError, match=rf"{name}: (cannot be read|holds|says no).*estore the folder"):
        Bundle.load(renewed(tmp_path / "best"))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "jenga_backbone.json",
            {"pooling": "median"},
            r"jenga_backbone.json: pooling is 'median'.* one of pooler",
        ),
        ("jenga_backbone.json", {"pooling": ["cls"]}, r"jenga_backbone.json: pooling is \['cls'\]"),
        ("jenga_backbone.json", {"pooling": "auto"}, r"jenga_backbone.json: pooling is 'auto'"),
        ("tokenizer_config.json", {"tokenizer_class": 5}, r"the model's tokenizer: cannot load"),
        ("tokenizer_config.json", {"pad_token": None}, r"backbone: the model's tokenizer has no padding token"),
        ("config.json", {"num_hidden_layers": 0}, r"config.json: makes a model of \d+ values, but \d+ are stored"),
        ("config.json", {"num_hidden_layers": -1}, r"config.json: makes a model of \d+ values, but \d+ are stored"),
        (
            "tokenizer.json",
            {
                "model": {
                    "type": "WordPiece",
                    "vocab": {},
                    "unk_token": "?",
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 9,
                }
            },
            r"cannot load .*Missing \[UNK\] token",
        ),
        ("config.json", {"is_encoder_decoder": True}, r"backbone: .* is an encoder-decoder .*Restore the folder"),
    ],
)
def test_a_file_of_the_encoder_that_says_what_training_never_leaves_is_refused(
    saved: Path, name: str, fields: dict[str, Any], message: str
) -> None:
    path = saved / "backbone" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(SetupError, match=message):
        Bundle.load(renewed(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, weight: {name: torch.full_like(weight, torch.nan)}, "best: .* holds values that are no numbers"),
        (lambda name, weight: {name: torch.ones(3)}, r"heads.safetensors: its content .* \("),
        (lambda name, weight: {"other": weight.clone()}, r"heads.safetensors: its content .* \(RuntimeError"),
    ],
)
def test_weights_that_do_not_fit_are_refused_though_their_checksum_agrees(
    built: Callable[..., Experiment],
    tmp_path: Path,
    change: Callable[[str, torch.Tensor], dict[str, torch.Tensor]],
    message: str,
) -> None:
    built("mood").bundle.save(tmp_path / "whole")
    said = json.loads((tmp_path / "whole" / "jenga.json").read_text())
    weights = load_file(tmp_path / "whole" / "heads.safetensors")
    changed = change("tasks.mood.heads.mood.weight", weights["tasks.mood.heads.mood.weight"])
    folder = rewritten(tmp_path / "whole", tmp_path / "best", said, {**weights, **changed})
    with pytest.raises(SetupError, match=message):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["heads.safetensors", "backbone/model.safetensors"])
def test_weights_whose_header_says_that_it_has_no_end_are_refused(saved: Path, name: str) -> None:
    (saved / name).write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(SetupError, match=rf"{name.split('/')[0]}.*(too large|Header).*estore"):
        Bundle.load(renewed(saved))


def test_a_reloaded_model_of_events_gives_bit_equal_logits_and_brings_its_refinery(
    event_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    experiment = build(load_config(event_settings(fusion={"type": "attention"})), tmp_path / "work")
    bundle = experiment.bundle
    bundle.save(tmp_path / "best")
    assert (tmp_path / "best" / "backbone" / "refinery.safetensors").is_file()
    again = Bundle.load(tmp_path / "best")
    wanted, found = logits_of(bundle, experiment), logits_of(again, experiment)
    for key, rows in wanted.items():
        assert all(torch.equal(a, b) for a, b in zip(rows, found[key], strict=True)), key
    assert again.specs == bundle.specs
    inputs = again.inputs["shared"], bundle.inputs["shared"]
    assert isinstance(inputs[0], EventEncoder)
    assert isinstance(inputs[1], EventEncoder)
    assert inputs[0].refinery.plan_ == inputs[1].refinery.plan_
    again.save(tmp_path / "twice")
    files = [tmp_path / name / "backbone" / "refinery.safetensors" for name in ("best", "twice")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_refinery_of_another_width_than_the_model_is_refused(
    event_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    bundle = build(load_config(event_settings()), tmp_path / "work").bundle
    bundle.save(tmp_path / "best")
    inputs = bundle.inputs["shared"]
    assert isinstance(inputs, EventEncoder)
    narrow = inputs.refinery.schema_.to_dict()
    narrow["fields"] = narrow["fields"][:1]
    refinery = type(inputs.refinery)(schema=narrow).fit([{narrow["fields"][0]["path"]: 1}])
    refinery.save(tmp_path / "best" / "backbone" / "refinery.safetensors")
    (tmp_path / "best" / "manifest.json").unlink()
    with atomic_folder(tmp_path / "mixed") as staging:  # parts that do not belong together, vouched for
        shutil.copytree(tmp_path / "best", staging, dirs_exist_ok=True)
    with pytest.raises(SetupError, match=r"reads \d+ features, but the refinery beside it makes \d+; restore"):
        Bundle.load(tmp_path / "mixed")


def test_the_schema_is_made_once_for_what_is_registered(registries_as_before: None) -> None:
    first = module.schema()
    assert module.schema() is first
    TASK_REGISTRY.register("another")(TASK_REGISTRY["classification"])
    second = module.schema()
    assert second is not first
    assert module.schema() is second
    tasks = [{"name": "a", "type": "another", "data_path": "rows.jsonl", "heads": [{"name": "b"}]}]
    block: Any = {"project_name": "c", "model": {"base_model": "d"}, "tasks": tasks}
    assert second.model_validate(block).tasks[0].type == "another"
    del TASK_REGISTRY["another"]
    with pytest.raises(ValidationError):
        module.schema().model_validate(block)
