import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from jenga.cli.init import template
from jenga.run.experiment import load_config
from jenga.samples import media
from jenga.samples.helpline import generate
from jenga.samples.network import generate_flows

Invoke = Callable[..., Result]
TYPES = ["classification", "multi_label_classification", "qa_scoring", "ner", "regression"]
EVENT_TYPES = ["anomaly_detection"]
AUDIO_TYPES = ["transcription", "sound_event_detection"]
AUDIO_WORDS = [part for kind in AUDIO_TYPES for part in ("--task", kind)]


def ratings(folder: Path) -> None:
    rows = [{"text": f"call {n}", "label": n % 5} for n in range(40)]
    (folder / "ratings.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_every_built_in_type_has_a_template() -> None:
    from jenga.cli.init import _AUDIO_TASKS, _EVENT_TASKS, _TASKS
    from jenga.tasks import TASK_REGISTRY

    assert {*_TASKS, *_EVENT_TASKS, *_AUDIO_TASKS, "causal_lm"} == set(TASK_REGISTRY)
    assert (list(_TASKS), list(_EVENT_TASKS), list(_AUDIO_TASKS)) == (TYPES, EVENT_TYPES, AUDIO_TYPES)


@pytest.mark.parametrize("words", [["audio", *AUDIO_WORDS], AUDIO_WORDS])
def test_the_template_of_moments_passes_check_on_its_samples(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("jenga.samples.media.generate_spelt", partial(media.generate_spelt, 24))
    monkeypatch.setattr("jenga.samples.media.generate_scenes", partial(media.generate_scenes, 24))
    path = tmp_path / "sound.yml"
    assert invoke("init", *words, "-o", path).exit_code == 0
    result = invoke("check", path, "--json", "--set", f"data.cache_dir={tmp_path}")
    assert result.exit_code == 0, result.stderr
    assert [head["task"] for head in json.loads(result.stdout)["heads"]] == ["spelt", "scene"]


@pytest.mark.parametrize("kind", [*TYPES, *EVENT_TYPES])
def test_template_of_each_type_loads(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "experiment.yml"
    path.write_text(template([kind], file="experiment.yml"))
    assert [task.type for task in load_config(path).tasks] == [kind]


def test_the_commented_block_of_adapters_loads_where_there_is_a_pretrained_encoder(
    tmp_path: Path, tiny_bert: Path
) -> None:
    text = template(["classification"], file="experiment.yml")
    block = re.search(r"(?:^# .*\n)+(?=\n# Tasks)", text, flags=re.MULTILINE)
    assert block is not None
    assert block[0].startswith("# peft:")
    path = tmp_path / "experiment.yml"
    path.write_text(text.replace(block[0], re.sub(r"^# ", "", block[0], flags=re.MULTILINE)))
    peft = load_config(path, [f"model.base_model={tiny_bert}"]).peft
    assert (peft.type, peft.rank, peft.target) == ("lora", 8, "all-linear")


def test_templates_of_all_types_are_one_experiment_that_passes_check(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jenga.samples.helpline.generate", lambda: generate(150))
    path = tmp_path / "all.yml"
    types = [part for kind in TYPES for part in ("--task", kind)]
    assert invoke("init", *types, "-o", path).exit_code == 0
    ratings(tmp_path)
    result = invoke("check", path, "--json")
    assert result.exit_code == 0, result.stderr
    tasks = {head["task"] for head in json.loads(result.stdout)["heads"]}
    assert tasks == {"sentiment", "service", "QA", "entities", "rating"}


@pytest.mark.parametrize("words", [["security"], ["--task", "anomaly_detection"]])
def test_the_template_of_events_passes_check_on_its_sample(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("jenga.samples.network.generate_flows", lambda: generate_flows(150))
    path = tmp_path / "security.yml"
    assert invoke("init", *words, "-o", path).exit_code == 0
    result = invoke("check", path, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(head["task"], head["head"]) for head in found["heads"]] == [("ThreatDetection", "threat")]


def test_every_line_of_the_template_of_events_can_be_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "security.yml"
    text = template(["anomaly_detection"], file="security.yml")
    path.write_text(
        text.replace("# refinery:", "refinery:").replace("#   preset", "  preset").replace("#   nan", "  nan")
    )
    refinery = load_config(path).model.refinery
    assert (refinery.preset, refinery.nan) == ("zeek", "quarantine")


@pytest.mark.parametrize("words", [["security", "--task", "ner"], ["--task", "ner", "--task", "anomaly_detection"]])
def test_tasks_on_texts_and_on_events_do_not_mix(invoke: Invoke, words: list[str]) -> None:
    result = invoke("init", *words, "-o", "-")
    assert result.exit_code == 2
    assert "no template of it on" in result.stderr


def test_plain_init_writes_the_commented_default_and_tells_what_next(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("init")
    assert result.stdout == "wrote experiment.yml; next: jenga check experiment.yml\n"
    text = (tmp_path / "experiment.yml").read_text()
    assert text.startswith("# jenga train experiment.yml\n")
    assert [task.type for task in load_config("experiment.yml").tasks] == ["qa_scoring", "classification", "ner"]


def test_file_that_is_there_is_never_replaced(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("mine")
    result = invoke("init", "-o", path)
    assert result.exit_code == 2
    assert f"{path} is there already" in result.stderr
    assert path.read_text() == "mine"


def test_dash_writes_to_standard_output(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "--task", "ner", "-o", "-").stdout == template(["ner"], file="-")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_told_in_words(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("init", "-o", tmp_path / "no" / "x.yml")
    assert result.exit_code == 4
    assert "No such file or directory" in result.stderr


def test_the_template_of_a_language_model_passes_check_and_each_line_can_be_switched_on(
    invoke: Invoke, tmp_path: Path, make_gpt2: Callable[..., Path]
) -> None:
    path, big = tmp_path / "llm.yml", make_gpt2(layers=4, positions=600)
    assert invoke("init", "llm", "-o", path).exit_code == 0
    rows = [{"question": f"is {n} even", "answer": f"#### {n % 2}"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    models = ["--set", f"model.name={big}", "--set", "tracking.enabled=false"]
    result = invoke("check", path, "--json", *models)
    assert result.exit_code == 0, result.stderr
    text = path.read_text()
    body = text[text.index("model:") :]
    switched = re.sub(r"^( *)# (?=[a-z_]+:|  +[a-z_]+:)", r"\1", body, flags=re.MULTILINE)
    switched = switched.replace("  name: HuggingFaceTB/SmolLM2-135M-Instruct\n", "")
    assert switched.count("#") < body.count("#")
    path.write_text(switched)
    config = load_config(path)
    teacher = config.model.teacher_student_config
    assert (teacher.top_k, teacher.student.from_teacher) == (64, "every_2nd")
    task = config.tasks[0]
    assert (task.template, task.packing, task.generation.exact_match) == ("chat", True, True)
    assert (config.peft.type, config.training.gradient_checkpointing, config.training.precision) == (
        "lora",
        True,
        "bf16",
    )


def test_the_template_of_a_language_model_takes_no_tasks(invoke: Invoke) -> None:
    result = invoke("init", "llm", "--task", "ner")
    assert result.exit_code == 2
    assert "leave --task out" in result.stderr


@pytest.mark.parametrize(("kind", "tasks"), [("audio", ["pitch", "sound"]), ("vision", ["shape", "colour"])])
def test_the_templates_of_sound_and_pictures_pass_check(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tasks: list[str]
) -> None:
    for name in ("generate_tones", "generate_shapes"):
        real = getattr(media, name)
        monkeypatch.setattr(media, name, lambda real=real: real(60))
    path = tmp_path / "mine.yml"
    assert invoke("init", kind, "-o", path).exit_code == 0
    result = invoke("check", path, "--json")
    assert result.exit_code == 0, result.output
    assert [step["task"] for step in json.loads(result.stdout)["steps"]] == tasks
    assert "tfidf" not in path.read_text()
    refused = invoke("init", kind, "--task", "ner", "-o", tmp_path / "other.yml")
    assert refused.exit_code == 2
    assert "leave --task out" in refused.output
