"""The extension points: the three snippets of the architecture page as they stand, in real use; and entry points."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F

import jenga
from jenga.bundle import schema
from jenga.callbacks import CALLBACK_REGISTRY, BaseCallback
from jenga.cli.evaluate import evaluate
from jenga.errors import ConfigError, InterruptedRun
from jenga.modalities import BackboneManager, BaseBackbone, modality_of
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZER_REGISTRY
from jenga.run import experiment
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.tasks.base import ClassificationConfig
from jenga.types import BackboneOutput

pytestmark = pytest.mark.usefixtures("registries_as_before", "without_report")

# Verbatim, but for the package name.
SNIPPETS = {
    "backbone": """\
# In jenga/core/backbones.py
class VisionBackbone(BaseBackbone):
    def __init__(self, model_name: str, config):
        super().__init__(model_name, config)
        import timm
        self.encoder = timm.create_model(model_name, pretrained=True)
    
    def forward(self, pixel_values, **kwargs):
        features = self.encoder(pixel_values)
        return {
            "last_hidden_state": features,
            "pooler_output": features.mean(dim=1)
        }

# Register it
BackboneManager._REGISTRY["vision"] = VisionBackbone
""",  # noqa: W293
    "task": """\
# In jenga/tasks/my_task.py
class MyCustomTask(BaseTask):
    def get_forward_output(self, encoder_outputs, labels=None):
        logits = self.head(encoder_outputs.pooler_output)
        loss = F.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits}

# Register in tasks/__init__.py
TASK_REGISTRY["my_custom_task"] = MyCustomTask
""",
    "callback": """\
# In jenga/training/callbacks.py
class MyCallback(BaseCallback):
    def on_epoch_end(self, trainer, epoch, metrics, **kwargs):
        if metrics['eval_loss'] < 0.5:
            print("🎉 Target achieved!")
""",
}
TARGET = "🎉 Target achieved!"


def run_snippet(name: str) -> dict[str, Any]:
    """Execute a snippet beside the names that its place in the package would give it, and return its names."""
    names = {
        "BaseBackbone": BaseBackbone, "BackboneManager": BackboneManager, "BaseTask": BaseTask, "F": F,
        "TASK_REGISTRY": TASK_REGISTRY, "BaseCallback": BaseCallback,
    }  # fmt: skip
    exec(SNIPPETS[name], names)
    return names


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    lines = [{"text": f"call number {at} is {'good' if at % 2 else 'wrong'}", "label": at % 2} for at in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def config(tiny_bert: Path, rows: str, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an experiment of two steps, with lines added to its task and at its end."""

    def write(*, type: str = "classification", task: str = "", more: str = "") -> Path:
        path = tmp_path / "experiment.yml"
        path.write_text(
            f"model: {{base_model: {tiny_bert}}}\n"
            f"tasks:\n- name: verdict\n  type: {type}\n  data_path: {rows}\n{task}"
            "data: {max_length: 16}\n"
            "training: {epochs: 1, batch_size: 8, log_every_steps: 1}\n"
            f"tracking: {{enabled: false}}\noutput_dir: {tmp_path / 'runs'}\n{more}",
            encoding="utf-8",
        )
        return path

    return write


# ------------------------------------------------------------------------------------------------------------ backbone


class Patches(nn.Module):
    """Stands in for a network of timm: pictures ``(B, 3, 8, 8)`` to ``(B, T=4, H=6)``."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, self.num_features, kernel_size=4, stride=4)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.patch(pixel_values)
        return features.flatten(2).transpose(1, 2)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Stand in for timm; the list fills with what it was asked for."""
    asked: list[tuple[str, bool]] = []
    stub = ModuleType("timm")

    def create_model(name: str, pretrained: bool = False) -> nn.Module:
        asked.append((name, pretrained))
        return Patches()

    stub.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", stub)
    return asked


def classification(n_classes: int = 3) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {
            "name": "digit", "type": "classification", "data_path": "digits.jsonl",
            "heads": [{"name": "label", "num_labels": n_classes}],
        }
    )  # fmt: skip


def test_the_backbone_snippet_trains_a_classification_through_the_model(timm: list[tuple[str, bool]]) -> None:
    run_snippet("backbone")
    backbone = BackboneManager.create("vision", "tf_efficientnet_lite0", None)
    assert timm == [("tf_efficientnet_lite0", True)]
    assert backbone.hidden_size == 6
    task = TASK_REGISTRY["classification"](classification(), backbone.hidden_size)
    model = MultiTaskModel({"shared": backbone}, {}, {"digit": task})
    pictures, labels = torch.randn(2, 3, 8, 8), {"digit": {"label": torch.tensor([2, 0])}}

    loss = model({"pixel_values": pictures}, ["digit"], labels)["digit"].loss
    loss.backward()
    before = loss.item()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.eval()
    output = model({"pixel_values": pictures}, ["digit"], labels)["digit"]
    assert output.loss.item() < before
    assert output.logits["label"].shape == (2, 3)
    assert set(model.state_dict()) == {
        "encoders.shared.encoder.patch.weight", "encoders.shared.encoder.patch.bias",
        "tasks.digit.heads.label.weight", "tasks.digit.heads.label.bias",
    }  # fmt: skip


def test_the_backbone_snippet_comes_back_from_disk_as_it_was(timm: list[tuple[str, bool]], tmp_path: Path) -> None:
    run_snippet("backbone")
    backbone = BackboneManager.create("vision", "tiny", None).eval()
    backbone.save(tmp_path / "backbone")
    again = BackboneManager.load("vision", tmp_path / "backbone", "tiny", None).eval()
    pictures = torch.randn(2, 3, 8, 8)
    first = BackboneOutput.of(backbone(pixel_values=pictures), {"pixel_values": pictures})
    second = BackboneOutput.of(again(pixel_values=pictures), {"pixel_values": pictures})
    assert torch.equal(first.last_hidden_state, second.last_hidden_state)
    assert first.attention_mask.tolist() == [[1] * 4] * 2


def test_a_registered_backbone_becomes_a_backbone_type_of_the_schema(timm: list[tuple[str, bool]]) -> None:
    run_snippet("backbone")
    content = {
        "model": {"base_model": "x", "backbone_type": "vision"},
        "tasks": [{"name": "t", "type": "classification", "data_path": "x.jsonl"}],
    }
    assert experiment.load_config(content).model.backbone_type == "vision"


def test_a_backbone_whose_input_no_modality_gives_is_refused_with_those_that_are_given() -> None:
    @BackboneManager.register("radar")
    class Radar(BaseBackbone):
        def forward(self, echoes: torch.Tensor) -> Any: ...

    content = {
        "model": {"base_model": "x", "backbone_type": "radar"},
        "tasks": [{"name": "t", "type": "classification", "data_path": "x.jsonl"}],
    }
    with pytest.raises(
        ConfigError, match=r"Radar takes echoes, which no modality gives; known: .*pixel_values \(vision\)"
    ):
        experiment.load_config(content)


def test_a_backbone_whose_inputs_two_modalities_give_has_to_say_which_it_reads() -> None:
    @BackboneManager.register("both")
    class Both(BaseBackbone):
        def forward(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> Any: ...

    with pytest.raises(ConfigError, match=r"takes inputs of text and vision; set the class attribute `modality`"):
        modality_of("both")
    Both.modality = "vision"
    assert modality_of("both").noun == "pictures"


def test_the_backbone_snippet_trains_from_yaml_on_what_its_forward_takes(
    timm: list[tuple[str, bool]], tmp_path: Path
) -> None:
    run_snippet("backbone")
    bright = [at % 2 for at in range(60)]
    rows = [{"image": (torch.rand(8, 8, 3) * 0.2 + each * 0.7).tolist(), "label": each} for each in bright]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "vision.yml").write_text(
        "model: {base_model: tf_efficientnet_lite0, backbone_type: vision, image_size: 8}\n"
        "tasks: [{name: light, type: classification, data_path: rows.jsonl}]\n"
        "training: {epochs: 10, batch_size: 8, learning_rate: 0.05}\n"
        f"tracking: {{enabled: false}}\noutput_dir: {tmp_path / 'runs'}\n",
        encoding="utf-8",
    )
    result = experiment.train(tmp_path / "vision.yml", device="cpu")
    assert timm[0] == ("tf_efficientnet_lite0", True)
    assert result.metrics["test_light_label_accuracy"] == 1
    (answer,) = jenga.load(result.run, device="cpu").predict([{"image": torch.ones(8, 8, 3).tolist()}])
    assert answer["light"]["label"]["label"] == "1"


# ---------------------------------------------------------------------------------------------------------------- task


def test_the_task_snippet_trains_from_yaml_and_predicts(config: Callable[..., Path]) -> None:
    run_snippet("task")
    heads = "  heads: [{name: label, num_labels: 2}]\n"
    result = experiment.train(config(type="my_custom_task", task=heads), device="cpu")
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["event"] == "train"]
    assert [record["step"] for record in steps] == [1, 2]
    assert all(0 < record["task_loss"]["verdict"] < 2 for record in steps)
    assert 0 <= result.metrics["test_verdict_label_accuracy"] <= 1
    answers = jenga.load(result.run, device="cpu").predict(["this call is good", "hello"])
    assert len(answers) == 2


def test_the_task_snippet_changes_the_weights_that_are_saved(config: Callable[..., Path]) -> None:
    run_snippet("task")

    class Keep(BaseCallback):
        def on_train_begin(self, trainer: Any, **kwargs: Any) -> None:
            self.before = trainer.model.tasks["verdict"].heads.weight.detach().clone()

    keep = Keep()
    result = experiment.train(config(type="my_custom_task"), device="cpu", callbacks=[keep])
    after = jenga.load(result.run, device="cpu").bundle.model.tasks["verdict"].heads.weight
    assert not torch.equal(keep.before, after)


def test_without_the_task_snippet_its_type_is_unknown(config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="unknown 'my_custom_task'"):
        experiment.load_config(config(type="my_custom_task"))


# ------------------------------------------------------------------------------------------------------------ callback


@pytest.mark.parametrize(("weight", "times"), [(0.01, 1), (100.0, 0)])
def test_the_callback_snippet_prints_where_the_loss_is_below_its_target(
    config: Callable[..., Path], capsys: pytest.CaptureFixture[str], weight: float, times: int
) -> None:
    callback = run_snippet("callback")["MyCallback"]()
    path = config(task=f"  weight: {weight}\n")
    experiment.train(path, device="cpu", callbacks=[callback])
    assert capsys.readouterr().out.count(TARGET) == times


def test_the_callback_snippet_can_be_switched_on_in_yaml(
    config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    CALLBACK_REGISTRY["my_callback"] = run_snippet("callback")["MyCallback"]
    path = config(task="  weight: 0.01\n", more="callbacks: {my_callback: {}}\n")
    experiment.train(path, overrides=["training.epochs=2"], device="cpu")
    assert capsys.readouterr().out.count(TARGET) == 2


def test_each_of_the_three_snippets_is_run_here() -> None:
    run = re.findall(r'run_snippet\("(\w+)"\)', Path(__file__).read_text(encoding="utf-8"))
    assert set(run) == SNIPPETS.keys()


# ------------------------------------------------------------------------------------- optimizers, schedules, callbacks

OPTIMIZER = """\
import torch
from jenga import OPTIMIZER_REGISTRY

@OPTIMIZER_REGISTRY.register("heavy_ball")
class HeavyBall(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay=0.0, friction=0.1):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "friction": friction})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (each for each in group["params"] if each.grad is not None):
                speed = self.state[p].setdefault("speed", torch.zeros_like(p)).mul_(1 - group["friction"]).add_(p.grad)
                p.sub_(speed, alpha=group["lr"])
"""


class StopAt(BaseCallback):
    """Interrupts after a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == self.step


def imported(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_an_optimizer_in_ten_lines_trains_resumes_and_is_judged_from_yaml(
    config: Callable[..., Path], tmp_path: Path, rows: str
) -> None:
    body = OPTIMIZER.partition("\n\n")[2]
    assert len(body.splitlines()) <= 10
    imported(tmp_path, "heavy", OPTIMIZER)
    block = "{epochs: 2, batch_size: 8, log_every_steps: 1, optimizer: {name: heavy_ball, friction: 0.2}}"
    path = config()
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"training: .*", f"training: {block}", text), encoding="utf-8")

    straight = experiment.train(path, device="cpu", overrides=[f"output_dir={tmp_path / 'straight'}"])
    with pytest.raises(InterruptedRun):
        experiment.train(path, device="cpu", callbacks=[StopAt(3)])
    resumed = experiment.train(path, device="cpu", resume="auto")
    for name in ("heads.safetensors", "backbone/model.safetensors"):
        assert (resumed.run / "best" / name).read_bytes() == (straight.run / "best" / name).read_bytes()
    other = experiment.train(path, device="cpu", overrides=["training.optimizer.friction=0.9"])
    assert json.loads((other.run / "metrics.jsonl").read_text().splitlines()[-1]) != json.loads(
        (straight.run / "metrics.jsonl").read_text().splitlines()[-1]
    )

    # A saved model needs the optimizer no more.
    del OPTIMIZER_REGISTRY["heavy_ball"]
    done = CliRunner().invoke(evaluate, [str(resumed.run), "--data", rows, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    with pytest.raises(ConfigError, match="unknown optimizer 'heavy_ball'"):
        experiment.load_config(path)


def blocks_of_the_page() -> list[str]:
    page = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def test_the_parts_of_the_page_train_together_from_yaml(config: Callable[..., Path]) -> None:
    for block in blocks_of_the_page():
        exec(block, {"__name__": "__page__"})
    path = config(more="callbacks: {average: {decay: 0.5}, spike_guard: {}, mine: {}, slow_embeddings: {}}\n")
    overrides = ["training.optimizer={name: sign, momentum: 0.8}", "training.scheduler={name: stairs, stairs: 2}"]
    result = experiment.train(path, device="cpu", overrides=[*overrides, "training.epochs=3"])
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    trained = [record["learning_rate"] for record in records if record["event"] == "train"]
    rates = [each["heads"] for each in trained]
    assert len(rates) >= 2
    assert trained[0]["backbone.embeddings"] == pytest.approx(trained[0]["backbone"] / 10)
    assert set(rates) <= {rates[0], rates[0] / 2, 0.0}
    state = json.loads(next((result.run / "checkpoints").glob("step-*/state.json")).read_text())
    kept = dict(state["callbacks"])
    assert kept["SpikeGuard"]["usual"] > 0
    assert len(kept["Average"]["weights"]["$items"]) > 3


# -------------------------------------------------------------------------------------------------------- entry points

PLUGIN = """
from pydantic import Field

from jenga.callbacks import CALLBACK_REGISTRY, BaseCallback
from jenga.cli.evaluate import evaluate
from jenga.config.schema import Strict


class ShoutConfig(Strict):
    word: str = "hey"
    times: int = Field(1, ge=1)


@CALLBACK_REGISTRY.register("shout", config=ShoutConfig)
class Shout(BaseCallback):
    def __init__(self, *, word: str, times: int) -> None:
        self.word, self.times = word, times

    def on_train_end(self, trainer, **kwargs):
        print("shout:", self.word * self.times)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install, for one test, a package that offers a callback."""
    folder = tmp_path / "site"
    (folder / "jenga_shout-1.0.dist-info").mkdir(parents=True)
    (folder / "jenga_shout.py").write_text(PLUGIN, encoding="utf-8")
    metadata = folder / "jenga_shout-1.0.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: jenga-shout\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[jenga.callbacks]\nshout = jenga_shout:Shout\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    # A process asks for entry points once; this one has asked before the package came.
    monkeypatch.setattr(CALLBACK_REGISTRY, "_entry_points_loaded", False)
    yield
    sys.modules.pop("jenga_shout", None)


@pytest.mark.usefixtures("plugin")
def test_parameters_in_yaml_reach_a_callback_of_an_installed_package(
    config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(more="callbacks: {shout: {word: ho, times: 3}}\n")
    experiment.train(path, device="cpu")
    assert "shout: hohoho\n" in capsys.readouterr().out


@pytest.mark.usefixtures("plugin")
def test_mistakes_in_a_plugins_parameters_have_their_place(config: Callable[..., Path]) -> None:
    path = config(more="callbacks: {shout: {wird: ho, times: 0}}\n")
    with pytest.raises(ConfigError) as caught:
        experiment.load_config(path)
    assert "callbacks.shout.wird: unknown key; did you mean 'word'?" in str(caught.value)
    assert "callbacks.shout.times: must be at least 1" in str(caught.value)
    assert str(caught.value).count(f"{path}:") == 2


def test_without_the_plugin_its_callback_is_unknown(config: Callable[..., Path]) -> None:
    assert "shout" not in schema().model_fields["callbacks"].annotation.model_fields  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"callbacks\.shout: unknown key"):
        experiment.load_config(config(more="callbacks: {shout: {word: ho}}\n"))
