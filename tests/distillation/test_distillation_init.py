"""Which teacher an experiment gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.distillation.running import RunningTeacher
from jenga.errors import ConfigError, SetupError
from jenga.run import experiment

pytestmark = pytest.mark.usefixtures("without_report")

Make = Callable[..., Any]


def test_without_the_block_or_switched_off_there_is_none(language: Make, built: Make) -> None:
    assert built(language()).teacher is None
    assert built(language(teacher={"enabled": False})).teacher is None


def test_a_student_of_the_teachers_layers_is_the_same_with_and_without_it(language: Make, built: Make) -> None:
    def student(enabled: bool) -> dict[str, torch.Tensor]:
        settings = language(student="big", teacher={"enabled": enabled, "student": {"from_teacher": "every_2nd"}})
        made = built(settings)
        assert made.bundle.model.encoders["shared"].encoder.config.n_layer == 2
        assert isinstance(made.teacher, RunningTeacher) == enabled
        if made.teacher is not None:
            assert made.teacher.encoder.config.n_layer == 4
        return made.bundle.model.state_dict()

    first, second = student(True), student(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_of_a_language_model_can_be_the_teacher(language: Make, built: Make, models: dict[str, str]) -> None:
    run = experiment.train(language(student="big"), device="cpu").run
    made = built(language(teacher={"teacher_model": str(run)}))
    assert isinstance(made.teacher, RunningTeacher)
    assert made.teacher.encoder.config.n_layer == 4
    student = language(teacher={"teacher_model": str(run), "student": {"from_teacher": [0, 3]}})
    student["model"]["base_model"] = str(run)
    assert built(student).bundle.model.encoders["shared"].encoder.config.n_layer == 2


@pytest.mark.parametrize("adapted", [False, True])
def test_logits_of_a_run_are_kept_on_disk_and_the_run_is_not_loaded_again(
    language: Make, built: Make, monkeypatch: pytest.MonkeyPatch, adapted: bool
) -> None:
    from jenga.bundle import Bundle

    trained = language(student="big") | ({"peft": {"type": "lora", "rank": 2}} if adapted else {})
    first, second = (
        experiment.train({**trained, "training": {**trained["training"], "seed": seed}}, device="cpu").run
        for seed in (0, 1)
    )
    cached = language(teacher={"teacher_model": str(first), "top_k": 4})
    assert built(cached).teacher is None
    loaded: list[str] = []
    real = Bundle.load
    monkeypatch.setattr(Bundle, "load", lambda folder, **options: loaded.append(str(folder)) or real(folder, **options))
    assert built(cached).teacher is None
    assert loaded == []
    built(language(teacher={"teacher_model": str(second), "top_k": 4}))
    assert loaded == [str(second / "best")]


def test_a_teacher_with_other_tokens_is_refused(
    language: Make, built: Make, make_tokenizer: Callable[[str], Any], make_gpt2: Callable[..., Path]
) -> None:
    folder = make_gpt2(width=24)
    strange = make_tokenizer("byte_level")
    strange.add_tokens(["<|strange|>"])
    strange.save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"teacher_model: the tokenizer of .* the student's lacks '<\|strange\|>'"):
        built(language(teacher={"teacher_model": str(folder)}))


def test_a_teacher_that_is_no_language_model_is_refused_by_its_own_key(
    language: Make, built: Make, checkpoint: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=r"^model.teacher_student_config.teacher_model: .* predicts no next token"):
        built(language(teacher={"teacher_model": checkpoint("distilbert")}))
    with pytest.raises(SetupError, match=r"^model.teacher_student_config.teacher_model: cannot load 'nobody/none'"):
        built(language(teacher={"teacher_model": "nobody/none"}))


def test_layers_that_a_model_does_not_have_cannot_be_matched(language: Make, built: Make) -> None:
    with pytest.raises(ConfigError, match="the teacher has no layer 9"):
        built(language(teacher={"hidden_states": {"layers": [[0, 9]]}}))


def test_check_tries_a_step_beside_the_teacher_and_keeps_no_logits(language: Make, tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner

    from jenga.cli.main import jenga

    settings = language(teacher={"top_k": 4, "top_k_dir": str(tmp_path / "kept")})
    (tmp_path / "check.yml").write_text(json.dumps(settings))
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(jenga, ["check", str(tmp_path / "check.yml"), "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"][0]["loss"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_adapters_in_a_student_of_the_teachers_layers_find_it_again(language: Make, models: dict[str, str]) -> None:
    import jenga

    student = {"student": {"from_teacher": "every_2nd"}}
    settings = language(student="big", teacher=student) | {"peft": {"type": "lora", "rank": 2}}
    run = experiment.train(settings, device="cpu").run
    again = jenga.load(run, device="cpu").model.encoders["shared"]
    assert again.encoder.config.n_layer == 2
    assert again.adapted


def test_a_teacher_of_events_cannot_teach_texts(
    language: Make, settings: Make, built: Make, event_settings: Callable[..., dict[str, Any]]
) -> None:
    run = experiment.train(event_settings(training={"epochs": 1}), device="cpu").run
    with pytest.raises(ConfigError, match=r"has none of the heads: lm.text"):
        built(language(teacher={"teacher_model": str(run)}))
    labelled = settings("mood")
    labelled["model"]["teacher_student_config"] = {"teacher_model": str(run)}
    with pytest.raises(ConfigError, match="reads events, and the student texts"):
        built(labelled)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_packed_texts_are_tried_on_the_teacher_before_it_loses_bits(language: Make, built: Make, dtype: str) -> None:
    settings = language(teacher={"teacher_dtype": dtype})
    settings["tasks"][0]["packing"] = True
    made = built(settings)
    assert made.teacher.weight.dtype == (torch.float32 if dtype == "fp32" else torch.bfloat16)
