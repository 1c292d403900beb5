"""Several backbones in one run, from YAML to answers: each trains, is saved, judged and asked by its own rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from stops import StopAt

import jenga
from jenga.bundle import Bundle
from jenga.cli import main
from jenga.distillation import RunningTeacher
from jenga.errors import ConfigError, DataError, InterruptedRun
from jenga.inference.export import export
from jenga.inference.predictor import Predictor
from jenga.run.build import build
from jenga.run.experiment import load_config, train
from jenga.samples.network import generate_flows
from jenga.trainer.optim import parameter_groups
from jenga.trainer.recipe import trainings_of

WORDS: dict[str, Any] = {
    "backbone_type": "text", "peft": {"type": "lora", "rank": 2},
    "training": {"epochs": 4, "batch_size": 4, "learning_rate": {"adapters": 0.01, "heads": 0.02}},
}  # fmt: skip
FLOWS: dict[str, Any] = {
    "backbone_type": "sequential", "base_model": "mlp", "hidden_sizes": [8],
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.1},
}  # fmt: skip


class Mixed:
    """An experiment of 40 texts and 60 events: of them 32 and 48 are for training."""

    def __init__(self, folder: Path, base: str, texts: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
        self.folder, self.base, self.texts, self.events = folder, base, texts, events
        for name, rows in (("texts", texts), ("events", events)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def settings(self, name: str = "runs", **blocks: Any) -> dict[str, Any]:
        mood = {"name": "mood", "type": "classification", "data_path": "texts.jsonl", "backbone": "words"}
        find = {"name": "find", "type": "classification", "data_path": "events.jsonl", "backbone": "flows"}
        return {
            "project_name": "mixed",
            "model": {"backbones": {"words": {**WORDS, "base_model": self.base}, "flows": FLOWS}},
            "tasks": [{**mood, "heads": [{"name": "mood"}]}, {**find, "heads": [{"name": "threat"}]}],
            "data_root": str(self.folder),
            "data": {"max_length": 32},
            "training": {"scheduler": "constant", "warmup_steps": 0, "log_every_steps": 1},
            "evaluation": {"baselines": ["majority", "tfidf", "boosting"]},
            "tracking": {"enabled": False},
            "output_dir": str(self.folder / name),
            **blocks,
        }


@pytest.fixture(scope="module", autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What the command line sets up is its own."""
    logger = logging.getLogger("jenga")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers[:] = before


@pytest.fixture(scope="module")
def mixed(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], str],
    make_rows: Callable[..., list[dict[str, Any]]],
    flows: list[dict[str, Any]],
) -> Mixed:
    return Mixed(tmp_path_factory.mktemp("mixed"), checkpoint("bert"), make_rows(40), flows[:60])


@pytest.fixture(scope="module")
def run(mixed: Mixed) -> Path:
    """The folder of a finished run, from YAML."""
    path = mixed.folder / "mixed.yml"
    path.write_text(yaml.safe_dump(mixed.settings(), sort_keys=False))
    return jenga.train(str(path), device="cpu").run


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return jenga.load(run, device="cpu")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """New rows: a text, an event, one of nothing, and one with both."""
    event, other = generate_flows(2, seed=3)
    text = "help me at once"
    return [{"id": "a", "text": text}, {**event, "id": "b"}, {"id": "c", "colour": "red"},
            {**other, "id": "d", "text": text}]  # fmt: skip


def records(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in each.items() if key != "time_s"} for each in found]


def invoked(*arguments: object, stdin: str | None = None) -> Any:
    return CliRunner().invoke(main.jenga, [str(each) for each in arguments], input=stdin, prog_name="jenga")


# ------------------------------------------------------------------------------------------------------------- training


def test_each_backbone_has_its_own_rates_steps_and_epochs(run: Path) -> None:
    taken = [each for each in records(run) if each["event"] == "train"]
    rates = {"words.adapters": 0.01, "words.heads": 0.02, "flows.backbone": 0.1, "flows.heads": 0.1}
    assert all(each["learning_rate"] == rates for each in taken)
    tasks = [next(iter(each["task_loss"])) for each in taken]
    assert tasks.count("mood") == 4 * 32 / 4
    assert tasks.count("find") == 2 * 48 / 16
    assert taken[-1]["rows"] == 4 * 32 + 2 * 48
    assert {len(each["task_loss"]) for each in taken} == {1}, "a step is of one backbone's rows"
    longest = max(map(len, "".join("x" if task == "mood" else " " for task in tasks).split()))
    assert longest <= 6, "the rows of one are spread over those of the other"


def test_lora_is_in_one_backbone_alone_whose_encoder_stays_as_it_was(run: Path, mixed: Mixed) -> None:
    model = Bundle.load(run / "best").model
    assert {name: model.encoders[name].adapted for name in model.encoders} == {"words": True, "flows": False}
    state = model.encoders["words"].state_dict()
    frozen = load_file(Path(mixed.base) / "model.safetensors")
    compared = 0
    for key, value in frozen.items():
        (same,) = (each for name, each in state.items() if name.replace(".base_layer", "").endswith(f".{key}"))
        assert torch.equal(same, value), key
        compared += 1
    assert compared > 10
    saved = load_file(run / "best" / "backbone" / "words" / "adapter_model.safetensors")
    assert all("lora" in key for key in saved)
    assert any(each.abs().max() > 0 for key, each in saved.items() if "lora_B" in key), "they have learnt"


def test_each_backbone_is_saved_in_a_folder_of_its_own(run: Path) -> None:
    folder = run / "best" / "backbone"
    assert sorted(each.name for each in folder.iterdir()) == ["flows", "words"]
    names = {name: {each.name for each in (folder / name).iterdir()} for name in ("flows", "words")}
    assert {"model.safetensors", "refinery.safetensors"} <= names["flows"]
    assert {"adapter_model.safetensors", "base.json", "tokenizer.json"} <= names["words"]
    assert "model.safetensors" not in names["words"]


def test_what_the_run_says_has_the_numbers_of_each_backbone(run: Path) -> None:
    made = yaml.safe_load((run / "config.yml").read_text())["model"]["backbones"]
    assert made["words"]["training"]["learning_rate"] == {
        "backbone": None, "rest": None, "adapters": 0.01, "fusion": None, "heads": 0.02,
    }  # fmt: skip
    assert (made["flows"]["training"]["epochs"], made["flows"]["training"]["batch_size"]) == (2, 16)
    assert json.loads((run / "run.json").read_text())["pretrained"] == ["words"]


def test_numbers_that_are_left_open_follow_from_the_rows_of_each_backbone(mixed: Mixed) -> None:
    settings = mixed.settings("open")
    blocks = {name: {key: each for key, each in block.items() if key != "training"}
              for name, block in settings["model"]["backbones"].items()}  # fmt: skip
    done = train({**settings, "model": {"backbones": blocks}, "training": {"max_steps": 2}}, device="cpu")
    made = yaml.safe_load((done.run / "config.yml").read_text())["model"]["backbones"]
    assert made["words"]["training"]["learning_rate"].keys() == made["flows"]["training"]["learning_rate"].keys()
    assert (
        made["words"]["training"]["learning_rate"]["adapters"] != made["flows"]["training"]["learning_rate"]["backbone"]
    )
    assert made["words"]["training"]["learning_rate"]["backbone"] is None
    assert all(made[name]["training"]["batch_size"] for name in made)


def test_a_baseline_stands_beside_the_heads_whose_rows_it_reads(run: Path) -> None:
    heads = json.loads((run / "evaluation.json").read_text())["splits"]["valid"]["heads"]
    assert {head["task"]: list(head["baselines"]) for head in heads} == {
        "mood": ["majority", "tfidf"], "find": ["majority", "boosting"],
    }  # fmt: skip


def test_each_backbone_has_a_fusion_of_its_own_tasks(mixed: Mixed) -> None:
    done = train(
        {**mixed.settings("fused"), "fusion": {"type": "attention"}, "training": {"max_steps": 3}}, device="cpu"
    )
    loaded = Bundle.load(done.run / "best").model
    assert {name: list(loaded.fusion[name].index) for name in loaded.fusion} == {"words": ["mood"], "flows": ["find"]}
    assert {key.split(".")[1] for key in loaded.state_dict() if key.startswith("fusion.")} == {"words", "flows"}


def test_a_run_that_was_interrupted_between_both_ends_as_the_unbroken_one(mixed: Mixed, run: Path) -> None:
    settings = mixed.settings("broken")
    for step in (7, 20):
        with pytest.raises(InterruptedRun):
            train(settings, device="cpu", resume="auto", callbacks=[StopAt(step)])
    resumed = train(settings, device="cpu", resume="auto").run
    assert len(list((mixed.folder / "broken").glob("*/*/run.json"))) == 1
    assert records(resumed) == records(run)
    assert (resumed / "evaluation.json").read_bytes() == (run / "evaluation.json").read_bytes()
    weights = sorted(path.relative_to(run) for path in (run / "best").rglob("*.safetensors"))
    assert len(weights) == 4
    for path in weights:
        one, other = load_file(run / path), load_file(resumed / path)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), path


# -------------------------------------------------------------------------------------------------------------- answers


def test_a_row_goes_to_the_backbones_that_find_something_in_it(predictor: Predictor, rows: Sequence[Any]) -> None:
    text, event, nothing, both = predictor.predict(list(rows))
    assert text.keys() == {"id", "mood"}
    assert event.keys() == {"id", "find"}
    assert both.keys() == {"id", "mood", "find"}
    assert nothing["id"] == "c"
    assert nothing["error"].startswith("the row has nothing that the model reads: words: 'text'; flows: 'timestamp', ")
    assert both["mood"] == text["mood"], "the same text, whatever stands beside it"


def test_answers_are_those_that_each_backbone_gives_alone(predictor: Predictor, mixed: Mixed) -> None:
    bundle = predictor.bundle
    given = [row for pair in zip(mixed.texts[:9], mixed.events[:9], strict=True) for row in pair]
    found = predictor.predict(given, probabilities=True)
    texts = Predictor(bundle.part("words"), device="cpu").predict(given[::2], probabilities=True)
    events = Predictor(bundle.part("flows"), device="cpu").predict(given[1::2], probabilities=True)
    assert found == [row for pair in zip(texts, events, strict=True) for row in pair]


def test_rows_of_none_of_them_are_an_error_that_says_what_is_read(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"no row has anything that the model reads: words: 'text'; flows: 'timestamp'"):
        predictor.predict([{"colour": "red"}])


def test_a_bare_text_is_for_the_backbone_of_texts(predictor: Predictor) -> None:
    (answer,) = predictor.predict("help me")
    assert answer.keys() == {"id", "mood"}


def test_a_row_that_its_backbone_cannot_use_says_which_one(predictor: Predictor, rows: Sequence[Any]) -> None:
    _, answer = predictor.predict([rows[0], {"id": "x", "text": [1]}])
    assert answer["id"] == "x"
    assert answer["error"].startswith("words: ")


def test_files_and_standard_input_are_answered_alike(
    predictor: Predictor, run: Path, rows: Sequence[Any], tmp_path: Path
) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = predictor.predict(list(rows))
    told = [invoked("predict", run, path), invoked("predict", run, "-", stdin=path.read_text()),
            invoked("predict", run, "-", stdin=json.dumps(list(rows)))]  # fmt: skip
    for each in told:
        assert each.exit_code == 0, each.stderr
        assert [json.loads(line) for line in each.stdout.splitlines()] == wanted


def test_columns_are_carried_over_whichever_backbone_answers(run: Path, rows: Sequence[Any], tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({**row, "host": f"h{at}"}) + "\n" for at, row in enumerate(rows)))
    for source, stdin in ((path, None), ("-", path.read_text())):
        told = invoked("predict", run, source, "--keep", "host", stdin=stdin)
        assert told.exit_code == 0, told.stderr
        assert [json.loads(line)["host"] for line in told.stdout.splitlines()] == ["h0", "h1", "h2", "h3"]


def test_logits_are_of_rows_that_each_backbone_reads(predictor: Predictor, rows: Sequence[Any]) -> None:
    found = predictor.logits([rows[3]])
    assert {key: len(each) for key, each in found.items()} == {("mood", "mood"): 1, ("find", "threat"): 1}
    with pytest.raises(DataError, match="words reads 1 of 2 rows; give those alone"):
        predictor.logits([rows[0], rows[1]])


# -------------------------------------------------------------------------------------------------------------- judging


def test_the_configured_split_is_judged_as_the_run_judged_it(predictor: Predictor, run: Path) -> None:
    wanted = json.loads((run / "evaluation.json").read_text())["splits"]["test"]["metrics"]
    assert predictor.evaluate(split="test")["metrics"] == wanted
    assert {"mood_mood_accuracy", "find_threat_accuracy"} <= wanted.keys()


def test_a_file_judges_the_tasks_whose_rows_it_holds(predictor: Predictor, mixed: Mixed, tmp_path: Path) -> None:
    def tasks(path: Path) -> dict[str, int]:
        return {head["task"]: head["rows"] for head in predictor.evaluate(str(path))["heads"]}

    both = tmp_path / "both.jsonl"
    both.write_text("".join(json.dumps(row) + "\n" for row in [*mixed.texts[:7], *mixed.events[:5]]))
    assert tasks(mixed.folder / "texts.jsonl") == {"mood": 40}
    assert tasks(mixed.folder / "events.jsonl") == {"find": 60}
    assert tasks(both) == {"mood": 7, "find": 5}
    both.write_text('{"colour": "red"}\n')
    with pytest.raises(DataError, match="no row has anything that the model reads"):
        predictor.evaluate(str(both))


def test_rows_that_no_backbone_reads_count_as_unusable(predictor: Predictor, mixed: Mixed, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*mixed.texts, {"colour": "red"}]))
    with pytest.raises(DataError, match=r"1 of 41 rows cannot be used"):
        predictor.evaluate(str(path))


# ------------------------------------------------------------------------------------------------------------- written


def test_the_card_tells_of_each_backbone_and_the_report_of_each_task(run: Path) -> None:
    card = (run / "README.md").read_text()
    assert "2 tasks over 2 encoders" in card
    assert "words (`bert`), frozen but for its adapters (lora)" in card
    assert "flows (`mlp`)" in card
    report = (run / "report.html").read_text()
    assert "mood" in report
    assert "threat" in report


@pytest.mark.parametrize("merge", [False, True])
def test_an_exported_model_answers_alike(
    run: Path, predictor: Predictor, rows: Sequence[Any], tmp_path: Path, merge: bool
) -> None:
    target = tmp_path / "out"
    export(run, target, merge=merge)
    assert (target / "backbone" / "words" / "model.safetensors").exists() == merge
    again = jenga.load(target, device="cpu")
    for found, wanted in zip(again.predict(list(rows)), predictor.predict(list(rows)), strict=True):
        assert found.keys() == wanted.keys()
        for task, head in (("mood", "mood"), ("find", "threat")):
            if task in wanted:
                assert found[task][head]["label"] == wanted[task][head]["label"]
                assert found[task][head]["probability"] == pytest.approx(wanted[task][head]["probability"], abs=1e-5)


def test_a_base_is_given_where_one_backbone_alone_has_adapters(run: Path, mixed: Mixed) -> None:
    assert Bundle.load(run / "best", base_model=mixed.base).model.adapted
    plain = {"backbones": {"words": {"backbone_type": "text", "base_model": mixed.base}, "flows": FLOWS}}
    other = train({**mixed.settings("plain"), "model": plain, "training": {"max_steps": 1}}, device="cpu").run
    with pytest.raises(ConfigError, match="holds its whole encoder and needs no base"):
        Bundle.load(other / "best", base_model=mixed.base)


def test_check_tries_a_step_of_each_backbone(mixed: Mixed) -> None:
    path = mixed.folder / "check.yml"
    path.write_text(yaml.safe_dump(mixed.settings("never")))
    told = invoked("check", path, "--json", "--device", "cpu")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert {each["task"] for each in found["steps"]} == {"mood", "find"}
    assert {"backbone words", "backbone flows"} <= {each["part"] for each in found["parts"]}
    assert not (mixed.folder / "never").exists()


# --------------------------------------------------------------------------------------------------------------- taught


@pytest.fixture(scope="module")
def taught(mixed: Mixed, make_gpt2: Callable[..., Path]) -> dict[str, Any]:
    """An experiment in which a language model is taught beside a model of events."""
    answers = [{"prompt": f"is {n} good", "completion": "yes it is" if n % 3 else "no"} for n in range(40)]
    (mixed.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    settings = mixed.settings("taught")
    student = {
        "backbone_type": "text", "base_model": str(make_gpt2(width=16)), "training": {"batch_size": 8, "epochs": 1},
        "teacher_student_config": {"teacher_model": str(make_gpt2(layers=4, width=24, seed=1))},
    }  # fmt: skip
    lm = {
        "name": "lm",
        "type": "causal_lm",
        "data_path": "answers.jsonl",
        "backbone": "words",
        "generation": {"rows": 0},
    }
    return {
        **settings,
        "model": {"backbones": {"words": student, "flows": FLOWS}},
        "tasks": [lm, settings["tasks"][1]],
        "data": {"max_length": 64},
        "evaluation": {"baselines": []},
    }


def test_a_teacher_of_one_backbone_reads_its_rows_alone(
    taught: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[set[str], int]] = []
    real = RunningTeacher.run

    def spy(teacher: RunningTeacher, inputs: Any) -> Any:
        read.append((set(inputs), len(inputs["attention_mask"])))
        return real(teacher, inputs)

    monkeypatch.setattr(RunningTeacher, "run", spy)
    done = train(taught, device="cpu")
    steps = [each["task_loss"].keys() for each in records(done.run) if each["event"] == "train"]
    assert sum("find" in each for each in steps) > 0
    assert sum(count for _, count in read) == 32, "each training row of its backbone once"
    assert all(names == {"input_ids", "attention_mask"} for names, _ in read)


def test_what_the_teacher_says_is_learnt(taught: dict[str, Any]) -> None:
    plain = {**taught, "output_dir": taught["output_dir"] + "-not"}
    words = {
        key: each for key, each in taught["model"]["backbones"]["words"].items() if key != "teacher_student_config"
    }
    plain["model"] = {"backbones": {**taught["model"]["backbones"], "words": words}}
    both = [train(each, device="cpu").run / "best" / "backbone" for each in (taught, plain)]
    one, other = (load_file(folder / "words" / "model.safetensors") for folder in both)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_two_teachers_that_run_at_each_step_are_refused(taught: dict[str, Any]) -> None:
    words = taught["model"]["backbones"]["words"]
    other = {**taught["tasks"][0], "name": "lm2", "backbone": "more"}
    settings = {**taught, "model": {"backbones": {"words": words, "more": words}}, "tasks": [taught["tasks"][0], other]}
    with pytest.raises(ConfigError, match="words and more both have a teacher that runs at each step, and one can"):
        train(settings, device="cpu")


# ----------------------------------------------------------------------------------------------- rates of each backbone


def groups_of(mixed: Mixed, folder: Path, training: dict[str, Any], **words: Any) -> dict[tuple[str, float], int]:
    """Return how many parameters each group of a name and a rate has. words: training of that backbone's own."""
    own = {"backbone_type": "text", "base_model": mixed.base, "training": words}
    given = mixed.settings(training=training, model={"backbones": {"words": own, "flows": FLOWS}})
    config = (experiment := build(load_config(given), folder)).bundle.config
    found: dict[tuple[str, float], int] = {}
    for group in parameter_groups(experiment.bundle.model, trainings_of(config)):
        key = group["name"], round(group["lr"], 9)
        found[key] = found.get(key, 0) + len(group["params"])
    return found


def test_muons_rates_and_those_of_layers_are_each_backbones_own(mixed: Mixed, tmp_path: Path) -> None:
    """The one layer of `flows` reads its features, and so is no hidden one."""
    rates = {"backbone": 0.02, "rest": 0.001, "heads": 0.1}
    found = groups_of(mixed, tmp_path, {"optimizer": "muon"}, learning_rate=rates, layer_decay=0.5)
    matrices, of_layer, embeddings = found["words.backbone", 0.02], found["words.rest", 0.001], 5
    assert found == {
        ("words.backbone", 0.02): matrices, ("words.rest", 0.001): of_layer, ("words.rest", 0.0005): embeddings,
        ("words.heads", 0.1): 2, ("flows.rest", 0.1): 2, ("flows.heads", 0.1): 2,
    }  # fmt: skip
    assert (matrices, of_layer) == (7, 11), "six of the layer, and the pooler; biases, and two norms"


def test_a_common_layer_decay_is_for_the_backbones_that_have_layers(mixed: Mixed, tmp_path: Path) -> None:
    found = groups_of(mixed, tmp_path, {"layer_decay": 0.5}, learning_rate=0.1)
    assert found["words.backbone", 0.05] == 5
    assert found["flows.backbone", 0.1] == 2
    assert (
        groups_of(mixed, tmp_path, {"layer_decay": 0.5}, learning_rate=0.1, layer_decay=1)["words.backbone", 0.1] == 23
    )


def test_a_layer_decay_of_a_backbones_own_without_layers_is_refused(mixed: Mixed, tmp_path: Path) -> None:
    own = {**FLOWS, "training": {"layer_decay": 0.5}}
    given = mixed.settings(model={"backbones": {"words": {**WORDS, "base_model": mixed.base}, "flows": own}})
    with pytest.raises(ConfigError, match=r"model.backbones.flows.training.layer_decay: SequentialBackbone"):
        build(load_config(given), tmp_path)
    common = mixed.settings(training={"layer_decay": 0.5})
    with pytest.raises(ConfigError, match=r"training\.layer_decay: peft freezes the layers of the encoder"):
        build(load_config(common), tmp_path)
