"""Labelled heads taught by a run of Jenga."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.errors import ConfigError
from jenga.inference.loading import load
from jenga.run import build, experiment
from jenga.tasks.distillation import HeadTeacher
from jenga.types import IGNORE_INDEX

pytestmark = pytest.mark.usefixtures("without_report")

Settings = Callable[..., dict[str, Any]]
TASKS = ("mood", "flags", "names", "price")


@pytest.fixture
def run_of(settings: Settings, tmp_path: Path, make_bert: Callable[..., Path]) -> Callable[..., str]:
    """Return a function that trains a teacher of tasks and returns its run folder."""

    def make(*tasks: str, **blocks: Any) -> str:
        content = settings(*tasks, **blocks)
        content["output_dir"] = str(tmp_path / "teachers")
        return str(experiment.train(content, device="cpu").run)

    return make


def taught(settings: Settings, teacher: str, *tasks: str, **blocks: Any) -> dict[str, Any]:
    content = settings(*tasks, **blocks)
    content["model"]["teacher_student_config"] = {"teacher_model": teacher, "temperature": 1.5}
    return content


def built(content: dict[str, Any], folder: Path) -> build.Experiment:
    return build.build(experiment.load_config(content), folder)


def test_a_batch_brings_what_the_teacher_predicts_for_its_rows(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path
) -> None:
    teacher = run_of(*TASKS)
    made = built(taught(settings, teacher, *TASKS), tmp_path)
    assert made.teacher is None
    assert not made.warnings or not any("teacher" in each for each in made.warnings)
    part = made.sources[0].splits["train"]
    index = [3, 0, 7]
    said = part.batch(index).teacher
    assert {(task, head) for task, heads in said.items() for head in heads} == set(part.spaces)
    predictor = load(teacher, device="cpu")
    plain = predictor.logits([{"text": part.rows.content.texts[at]} for at in index])
    for head in ("mood", "topic"):
        torch.testing.assert_close(said["mood"][head].logits, torch.stack(plain["mood", head]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        said["flags"]["flags"].logits, torch.stack(plain["flags", "flags"]), rtol=1e-4, atol=1e-5
    )
    tags = said["names"]["names"].logits
    labels = part.batch(index).labels["names"]["names"]
    assert tags.shape[:2] == labels.shape
    # A word's logits stand where its label does.
    assert torch.equal(~tags.isnan().any(-1), labels != IGNORE_INDEX)


def test_numbers_are_taught_in_the_students_own_scale(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, make_rows: Any
) -> None:
    teacher = run_of("price")
    rows = [{**row, "price": row["price"] / 10 - 3} for row in make_rows(40)]
    made = built(taught(settings, teacher, "price", rows=rows), tmp_path)
    part = made.sources[0].splits["train"]
    said = part.batch([0, 1, 2]).teacher["price"]["price"].logits
    task = made.bundle.model.tasks["price"]
    texts = [{"text": part.rows.content.texts[at]} for at in (0, 1, 2)]
    expected = [row["price"]["price"]["value"] for row in load(teacher, device="cpu").predict(texts)]
    np.testing.assert_allclose(task.predict("price", said)[:, 0], expected, rtol=1e-3)


def test_labels_in_another_order_are_matched_by_name(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path
) -> None:
    teacher = run_of("mood")
    content = taught(settings, teacher, "mood")
    plain = built(content, tmp_path).sources[0].splits["train"].batch([0, 1]).teacher["mood"]["topic"].logits
    content["tasks"][0]["heads"] = [{"name": "mood"}, {"name": "topic", "labels": ["c", "a", "b"]}]
    moved = built(content, tmp_path).sources[0].splits["train"].batch([0, 1]).teacher["mood"]["topic"].logits
    assert torch.equal(moved, plain[:, [2, 0, 1]])


def test_numbers_in_another_order_keep_their_own_scales(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, make_rows: Any
) -> None:
    def priced(*columns: str) -> dict[str, Any]:
        """Rows whose `price` holds two numbers of very different scales, in the order of `columns`."""
        found = []
        for row in make_rows(40):
            numbers = {"cents": 1e6 + row["price"] * 1e3, "share": row["price"] / 1e4}
            found.append({**row, "price": [numbers[column] for column in columns]})
        heads = [{"name": "price", "num_labels": 2, "labels": list(columns)}]
        return {"rows": found, "tasks": [{"name": "price", "type": "regression", "heads": heads}]}

    def of(make: Callable[..., dict[str, Any]], columns: tuple[str, str], *args: Any) -> dict[str, Any]:
        asked = priced(*columns)
        content = make(*args, "price", rows=asked["rows"])
        content["tasks"][0] |= asked["tasks"][0]
        return content

    content = of(settings, ("cents", "share"))
    content["output_dir"] = str(tmp_path / "teachers")
    teacher = str(experiment.train(content, device="cpu").run)
    made = built(of(taught, ("share", "cents"), settings, teacher), tmp_path)
    part = made.sources[0].splits["train"]
    said = part.batch([0, 1, 2]).teacher["price"]["price"].logits
    found = made.bundle.model.tasks["price"].predict("price", said)
    texts = [{"text": part.rows.content.texts[at]} for at in (0, 1, 2)]
    answers = [row["price"]["price"]["values"] for row in load(teacher, device="cpu").predict(texts)]
    expected = [[answer["share"], answer["cents"]] for answer in answers]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_other_labels_are_refused_with_the_difference(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, make_rows: Any
) -> None:
    teacher = run_of("mood")
    rows = [{**row, "topic": row["topic"].replace("c", "d")} for row in make_rows(40)]
    with pytest.raises(ConfigError, match=r"head 'mood.topic': .*the teacher lacks d; the student lacks c"):
        built(taught(settings, teacher, "mood", rows=rows), tmp_path)


def test_heads_that_the_teacher_lacks_learn_from_labels_alone_and_are_named(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path
) -> None:
    teacher = run_of("mood")
    made = built(taught(settings, teacher, "mood", "flags"), tmp_path)
    assert any("labels alone teach: flags.flags" in each for each in made.warnings)
    assert "flags" not in made.sources[0].splits["train"].batch([0]).teacher


def test_a_teacher_of_none_of_the_heads_is_refused(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, checkpoint: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=r"has none of the heads: flags.flags"):
        built(taught(settings, run_of("mood"), "flags"), tmp_path)
    with pytest.raises(ConfigError, match=r"is no run of Jenga, which alone can teach labelled heads: mood.mood"):
        built(taught(settings, checkpoint("bert"), "mood"), tmp_path)


def test_a_teacher_with_another_tokenizer_teaches_words_all_the_same(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, make_bert: Callable[..., Path]
) -> None:
    words = "the agent was kind and quick but line dropped after two minutes Amina Nairobi"
    other = {"base_model": str(make_bert(words=words))}
    made = built(taught(settings, run_of("names", "mood", model=other), "names", "mood"), tmp_path)
    batch = made.sources[0].splits["train"].batch([0, 1])
    said = batch.teacher["names"]["names"]
    assert isinstance(said, HeadTeacher)
    assert torch.equal(~said.logits.isnan().any(-1), batch.labels["names"]["names"] != IGNORE_INDEX)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_all_kinds_of_heads_are_taught_to_the_end_and_the_teacher_stays_as_it_was(
    settings: Settings, run_of: Callable[..., str], accumulation: int
) -> None:
    teacher = run_of(*TASKS)
    before = {path: path.read_bytes() for path in Path(teacher, "best").rglob("*") if path.is_file()}
    content = taught(
        settings, teacher, *TASKS,
        training={"batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation, "epochs": 2},
    )  # fmt: skip
    result = experiment.train(content, device="cpu")
    assert {path: path.read_bytes() for path in Path(teacher, "best").rglob("*") if path.is_file()} == before
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["event"] == "train"]
    assert set(train[-1]["teacher_loss"]) == set(TASKS)
    assert train[-1]["loss"] == pytest.approx(
        sum(
            0.5 * train[-1]["task_loss"][task] + train[-1]["teacher_loss"][task]
            for task in TASKS
        ),
        rel=1e-4,
    )  # fmt: skip


def test_rows_without_a_label_learn_from_the_teacher(
    settings: Settings, run_of: Callable[..., str], tmp_path: Path, make_rows: Any
) -> None:
    teacher = run_of("mood")
    rows = [{**row, "mood": row["mood"] if at < 8 else None} for at, row in enumerate(make_rows(40))]
    content = taught(settings, teacher, "mood", rows=rows)
    content["tasks"][0]["heads"] = [{"name": "mood"}]
    made = built(content, tmp_path)
    part = made.sources[0].splits["train"]
    unlabelled = np.flatnonzero(part.rows.labels["mood", "mood"] == IGNORE_INDEX)[:4].tolist()
    assert unlabelled
    batch = part.batch(unlabelled)
    output = made.bundle.model.train()(batch.inputs, ["mood"], batch.labels, batch.teacher)["mood"]
    assert output.teacher_loss is not None
    assert output.teacher_loss.item() > 0
    assert output.count is not None
    assert output.count.tolist() == [0.0]


def test_inner_states_of_an_encoder_are_matched_too(
    settings: Settings, run_of: Callable[..., str], checkpoint: Callable[[str], str]
) -> None:
    # The teacher is what the student begins as, so that they part only with the first step.
    content = taught(settings, checkpoint("bert"), "mood", training={"epochs": 1, "learning_rate": 1e-3})
    content["model"]["dropout"] = 0.0
    content["model"]["teacher_student_config"] |= {"distillation_alpha": 0, "hidden_states": {}, "attentions": {}}
    result = experiment.train(content, device="cpu")
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["teacher_loss"]["mood"] for record in records if record["event"] == "train"]
    assert losses[0] == pytest.approx(0.0, abs=1e-9)
    assert losses[-1] > 1e-6
    content["model"]["teacher_student_config"]["teacher_model"] = run_of("mood")
    assert "eval_mood_mood_accuracy" in experiment.train(content, device="cpu").metrics
