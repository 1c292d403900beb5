"""A teacher beside its student, in whole trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from jenga.run import build, experiment
from jenga.tasks.distillation import TokenTeacher
from jenga.types import IGNORE_INDEX

pytestmark = pytest.mark.usefixtures("without_report")

Make = Callable[..., Any]


def loss_of(made: build.Experiment, rows: Any = range(8)) -> torch.Tensor:
    batch = made.sources[0].splits["train"].batch(rows)
    assert made.teacher is not None
    made.teacher.teach(batch)
    output = made.bundle.model.eval()(batch.inputs, ["lm"], batch.labels, batch.teacher)["lm"]
    assert output.loss_sum is not None
    return output.loss_sum


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("student", ["small", "padded"])
def test_the_loss_is_hintons_over_the_learnt_tokens(language: Make, built: Make, kind: str, student: str) -> None:
    made = built(language(student=student, teacher={"divergence": kind, "distillation_alpha": 0.3, "temperature": 3.0}))
    batch = made.sources[0].splits["train"].batch(range(8))
    found = loss_of(made)
    ids, targets = batch.inputs["input_ids"], batch.labels["lm"]["text"]
    learnt = targets != IGNORE_INDEX
    with torch.no_grad():
        ours = (
            made.bundle.model.encoders["shared"]
            .language_model(ids, attention_mask=batch.inputs["attention_mask"])
            .logits[learnt]
        )
        theirs = made.teacher.model(ids, attention_mask=batch.inputs["attention_mask"]).logits[learnt]
    # Numbers that only pad one model's embeddings are no tokens.
    common = min(ours.shape[1], theirs.shape[1])
    p, q = (F.softmax(each[:, :common].double() / 3.0, -1) for each in (theirs, ours))
    middle = (p + q) / 2
    divergence = {
        "forward_kl": (p * (p / q).log()).sum(),
        "reverse_kl": (q * (q / p).log()).sum(),
        "jsd": ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2,
    }[kind]
    expected = 0.7 * F.cross_entropy(ours.double(), targets[learnt], reduction="sum") + 0.3 * 9 * divergence
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_loss_knows_no_padding_and_no_shape_of_batches(language: Make, built: Make) -> None:
    made = built(language(teacher={"distillation_alpha": 1.0}))
    with torch.no_grad():
        together = loss_of(made)
        alone = torch.stack([loss_of(made, [row]) for row in range(8)]).sum(0)
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


def test_packed_rows_are_taught_as_they_are_alone(language: Make, built: Make) -> None:
    settings = language(teacher={})
    plain = built(settings)
    settings["tasks"][0]["packing"] = True
    packed = built(settings)
    size = len(packed.sources[0].splits["train"])
    assert size < len(plain.sources[0].splits["train"])
    with torch.no_grad():
        torch.testing.assert_close(
            loss_of(packed, range(size)), loss_of(plain, range(len(plain.sources[0].splits["train"]))),
            rtol=1e-5, atol=1e-5,
        )  # fmt: skip


def test_a_teacher_is_frozen_has_no_dropout_and_is_in_no_checkpoint(language: Make, models: dict[str, str]) -> None:
    seen: list[Any] = []
    real = build.make_teacher

    def spy(*arguments: Any) -> Any:
        teacher, warnings = real(*arguments)
        seen.append((teacher, {name: value.clone() for name, value in teacher.model.state_dict().items()}))
        return teacher, warnings

    files = {path: path.read_bytes() for path in Path(models["big"]).iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_teacher", spy)
        result = experiment.train(language(teacher={}), device="cpu")
    ((teacher, before),) = seen
    assert any(isinstance(each, torch.nn.Dropout) and each.p for each in teacher.model.modules())
    assert not any(each.training for each in teacher.model.modules())
    assert not any(each.requires_grad for each in teacher.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert {path: path.read_bytes() for path in Path(models["big"]).iterdir()} == files
    (checkpoint,) = (result.run / "checkpoints").iterdir()
    with safe_open(checkpoint / "model.safetensors", "pt") as saved:
        names = set(saved.keys())
        width = saved.get_tensor("encoders.shared.encoder.wte.weight").shape[1]
    assert width == 16
    assert all(name.startswith("encoders.shared.encoder.") for name in names)
    student = sum(1 for _ in experiment.build(experiment.load_config(language()), result.run).bundle.model.parameters())
    with safe_open(checkpoint / "optimizer.safetensors", "pt") as saved:
        assert sum(key.endswith(".exp_avg") for key in saved.keys()) == student  # noqa: SIM118 -- no mapping
    with safe_open(result.run / "best" / "backbone" / "model.safetensors", "pt") as saved:
        assert all("wte" not in name or saved.get_tensor(name).shape[1] == 16 for name in saved.keys())  # noqa: SIM118


def test_what_a_teacher_says_has_no_gradient(language: Make, built: Make) -> None:
    made = built(language(teacher={}))
    batch = made.sources[0].splits["train"].batch(range(4))
    made.teacher.teach(batch)
    said = batch.teacher["lm"]["text"]
    assert isinstance(said, TokenTeacher)
    assert said.hidden is not None
    assert not said.hidden.requires_grad
    assert said.hidden.shape == (int((batch.labels["lm"]["text"] != IGNORE_INDEX).sum()), 24)


def test_matching_falls_while_it_is_trained_and_its_projections_stay_behind(language: Make) -> None:
    settings = language(
        teacher={"distillation_alpha": 0.0, "hidden_states": {"weight": 5.0}, "attentions": {"layers": "auto"}},
        max_steps=12, learning_rate=3e-3,
    )  # fmt: skip
    result = experiment.train(settings, device="cpu")
    import json

    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["teacher_loss"]["lm"] for record in records if record["event"] == "train"]
    assert losses[-1] < 0.9 * losses[0]
    (checkpoint,) = (result.run / "checkpoints").iterdir()
    with safe_open(checkpoint / "model.safetensors", "pt") as saved:
        assert any(name.startswith("matching.projections") for name in saved.keys())  # noqa: SIM118
    with safe_open(result.run / "best" / "heads.safetensors", "pt") as saved:
        assert not list(saved.keys())


def test_matching_under_gradient_accumulation_is_that_of_one_batch(language: Make) -> None:
    from safetensors.torch import load_file

    found = []
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        settings = language(
            teacher={"hidden_states": {}, "attentions": {}}, max_steps=1, batch_size=size,
            gradient_accumulation_steps=steps, learning_rate=1e-3, warmup_steps=0,
        )  # fmt: skip
        settings["model"]["dropout"] = 0.0
        result = experiment.train(settings, device="cpu")
        (checkpoint,) = (result.run / "checkpoints").iterdir()
        found.append(
            {k: v for k, v in load_file(checkpoint / "optimizer.safetensors").items() if k.endswith("exp_avg")}
        )
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("extra", [{"gradient_checkpointing": True}, {"precision": "bf16"}])
def test_a_teacher_goes_with_less_memory(language: Make, extra: dict[str, Any]) -> None:
    settings = language(teacher={"hidden_states": {}}, **extra)
    settings["peft"] = {"type": "lora", "rank": 2}
    result = experiment.train(settings, device="cpu")
    assert result.metrics["eval_lm_text_perplexity"] > 1
