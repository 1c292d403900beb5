"""What a saved model says of itself, and where it is looked for. (What does not fit a model: test_bundle.py.)"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jenga import saved
from jenga.certainty.calibration import Calibration
from jenga.certainty.conformal import Conformal
from jenga.certainty.head import Certainty
from jenga.certainty.scope import Scope
from jenga.errors import SetupError
from jenga.files import atomic_folder
from jenga.labels.cells import CellReading
from jenga.labels.column import HeadColumn
from jenga.modalities.events.modality import EventFields
from jenga.modalities.text.columns import TextColumns
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.rows.content import ContentSpec
from jenga.rows.parse import SourceSpec
from jenga.types import HeadSpace

FIELDS = {"shared": {"fields": [["n", "numeric"]]}}
MOOD = HeadColumn("mood", "mood", "class", ("mood",), 2, ("bad", "good"), cells=CellReading(missing=("", "n/a")))
ITEMS = HeadColumn("flags", "flags", "items", ("labels.flags", "flags"), None, None)
TOKENS = HeadColumn("lm", "text", "text", (), None, None)
TEXTS = TextColumns(("text",), "other", 32)
PROMPTS = LanguageSpec((), ("prompt",), ("completion",), (), separator=" -> ", packing=True, max_length=48)


def source(name: str, content: ContentSpec, *heads: HeadColumn, encoder: str = "shared") -> SourceSpec:
    return SourceSpec(name, ("a.jsonl", "b.jsonl"), (), ("c.jsonl",), "id", heads, content, encoder=encoder)


def description(*sources: SourceSpec, backbone: str = "text", **fields: Any) -> saved.Description:
    spaces = [
        HeadSpace("mood", "mood", "class", 2, ("bad", "good")), HeadSpace("flags", "flags", "items", 1, ("the",)),
        HeadSpace("lm", "text", "text", 0, ()),
    ]  # fmt: skip
    made = saved.Description(
        config={"model": {"backbone_type": backbone}, "tasks": []}, sources=list(sources), inputs={"shared": {}},
        spaces=spaces,
        thresholds=[("flags", "flags", [1 / 3])],
    )  # fmt: skip
    return replace(made, **fields)


def several(*sources: SourceSpec) -> saved.Description:
    """A model that reads texts with one backbone and events with another."""
    blocks = {"words": {"backbone_type": "text"}, "flows": {"backbone_type": "sequential"}}
    inputs = {"words": {}, "flows": FIELDS["shared"]}
    return description(*sources, config={"model": {"backbones": blocks}, "tasks": []}, inputs=inputs)


def written(folder: Path, said: saved.Description, **changes: Any) -> Path:
    """Write a description as a saved model, with other values of its keys."""
    with atomic_folder(folder) as staging:
        saved.write(staging, said)
        content = json.loads((staging / saved.FILE).read_text())
        (staging / saved.FILE).write_text(json.dumps(content | changes))
    return folder


@pytest.mark.parametrize(
    "said",
    [
        description(source("mood+flags", TEXTS, MOOD, ITEMS), source("lm", PROMPTS, TOKENS)),
        description(source("mood", EventFields(), MOOD), backbone="sequential", inputs=FIELDS),
        description(written_by="1.2.3", thresholds=None),
        description(certainty={("mood", "mood"): Certainty(Calibration("temperature", False, [1 / 3]))}),
        description(certainty={("mood", "mood"): Certainty(scope=Scope("energy", -3.25))}),
        description(
            certainty={
                ("mood", "mood"): Certainty(
                    Calibration("isotonic", True, knots=[([0.0, 1.0], [0.1, 0.9])] * 2), Conformal(0.9, [0.25])
                )
            }
        ),
        several(source("mood", TEXTS, MOOD, encoder="words"), source("odd", EventFields(), ITEMS, encoder="flows")),
    ],
    ids=["texts", "events", "unfinished", "calibrated", "scope", "isotonic", "several"],
)
def test_what_was_written_is_read_back_equal(tmp_path: Path, said: saved.Description) -> None:
    assert saved.read(written(tmp_path / "best", said)) == said


def test_a_model_of_the_format_before_which_knew_one_encoder_is_read(tmp_path: Path) -> None:
    said = description(source("mood", EventFields(), MOOD), backbone="sequential", inputs=FIELDS)
    content = json.loads((written(tmp_path / "best", said) / saved.FILE).read_text())
    assert content["format"] == 4
    for each in content["sources"]:
        del each["encoder"]
    old = written(tmp_path / "old", said, format=2, sources=content["sources"], inputs=FIELDS["shared"])
    assert saved.read(old) == said


def test_a_model_of_the_format_before_which_knew_no_calibration_is_read(tmp_path: Path) -> None:
    said = description(source("mood+flags", TEXTS, MOOD, ITEMS))
    folder = written(tmp_path / "best", said, format=3)
    content = json.loads((folder / saved.FILE).read_text())
    del content["certainty"]
    with atomic_folder(tmp_path / "old") as staging:
        (staging / saved.FILE).write_text(json.dumps(content))
    assert saved.read(tmp_path / "old") == said


def test_rows_of_an_encoder_that_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "best", several(source("mood", TEXTS, MOOD, encoder="sounds")))
    with pytest.raises(SetupError, match=r"jenga\.json: its content does not fit together \(.*sounds"):
        saved.read(folder)


def test_no_thresholds_are_those_not_decided_yet(tmp_path: Path) -> None:
    assert saved.read(written(tmp_path / "best", description(thresholds=[]))).thresholds is None


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, "written by Jenga 0.9, in a form that is no longer read; train again"),
        (99, "written by Jenga 0.9, a later version; upgrade Jenga"),
    ],
)
def test_another_format_is_refused_before_its_content_is_judged(tmp_path: Path, version: int, words: str) -> None:
    folder = written(tmp_path / "best", description(), format=version, jenga="0.9", sources="other", spaces=5)
    with pytest.raises(SetupError, match=words):
        saved.read(folder)


def test_a_folder_without_a_description_or_its_checksums_holds_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bare = written(tmp_path / "bare", description())
    (bare / "manifest.json").unlink()
    for folder in (tmp_path / "empty", bare, tmp_path / "none"):
        with pytest.raises(SetupError, match="no trained model here; give a run folder or its best/ folder"):
            saved.read(folder)


def test_a_description_that_was_changed_later_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "best", description())
    (folder / saved.FILE).write_text((folder / saved.FILE).read_text() + "\n")
    with pytest.raises(SetupError, match=r"jenga\.json has another checksum; restore the folder from a copy"):
        saved.read(folder)


@pytest.mark.parametrize(
    ("backbone", "content", "head", "words"),
    [
        ("text", EventFields(), MOOD, "source mood: rows of texts have no form 'event'"),
        ("sequential", TEXTS, MOOD, "source mood: rows of events have no form 'text'"),
        ("text", TEXTS, TOKENS, "source mood: a head learns texts, but its rows are not texts to learn"),
        ("text", PROMPTS, MOOD, "source mood: its rows are texts to learn, but its heads have labels of their own"),
        ("text", replace(TEXTS, text=()), MOOD, "source mood: no column of texts is named"),
        ("text", replace(PROMPTS, max_length=0), TOKENS, "source mood: max_length is 0"),
    ],
)
def test_rows_that_the_model_cannot_read_are_refused(
    tmp_path: Path, backbone: str, content: ContentSpec, head: HeadColumn, words: str
) -> None:
    folder = written(tmp_path / "best", description(source("mood", content, head), backbone=backbone))
    with pytest.raises(SetupError, match=rf"jenga\.json: its content does not fit together \(ValueError: {words}"):
        saved.read(folder)


def test_a_model_of_a_backbone_that_is_not_here_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "best", description(backbone="own", written_by="1.2.3"))
    with pytest.raises(SetupError, match=r"made by Jenga 1\.2\.3 with parts or settings that are not here: .*'own'"):
        saved.read(folder)


def test_an_unknown_key_of_a_source_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "best", description(source("mood", TEXTS, MOOD)))
    said = json.loads((folder / saved.FILE).read_text())
    said["sources"][0]["language"] = None
    with pytest.raises(SetupError, match=r"sources\.0\.language: Extra inputs are not permitted"):
        saved.read(written(tmp_path / "other", description(), sources=said["sources"]))


def test_an_example_has_the_columns_of_the_content_alone() -> None:
    said = description(source("mood", TEXTS, MOOD), source("lm", PROMPTS, TOKENS))
    assert said.example().keys() == {"text", "other", "prompt"}
    flows = description(source("mood", EventFields(), MOOD), backbone="sequential", inputs=FIELDS)
    assert flows.example() == {"n": 0}


def test_an_example_has_what_each_of_several_backbones_reads() -> None:
    said = several(source("mood", TEXTS, MOOD, encoder="words"), source("odd", EventFields(), ITEMS, encoder="flows"))
    assert {name: type(each).__name__ for name, each in said.modalities.items()} == {
        "words": "TextModality", "flows": "EventModality",
    }  # fmt: skip
    assert said.example() == {"text": "An example of a text.", "other": "An example of a text.", "n": 0}


def test_code_of_its_own_is_trusted_where_training_did() -> None:
    assert description().trusting == []
    trusted = {"backbone_type": "text", "trust_remote_code": True}
    assert description(config={"model": trusted}).trusting == ["shared"]
    blocks = {"words": {"backbone_type": "text"}, "own": trusted}
    assert description(config={"model": {"backbones": blocks}}).trusting == ["own"]


def test_a_backbone_has_a_folder_of_its_own_where_there_are_several(tmp_path: Path) -> None:
    assert saved.encoder_folder(tmp_path, "shared") == tmp_path / "backbone"
    assert saved.encoder_folder(tmp_path, "words") == tmp_path / "backbone" / "words"


# ------------------------------------------------------------------------------------------------- where a model stands


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of a project's runs, each with its best model."""
    for name in ("2026-01-01_10-00-00", "2026-01-02_10-00-00"):
        written(tmp_path / "project" / name / "best", description())
    return tmp_path / "project"


def test_a_run_and_its_best_folder_are_the_same_model(runs: Path) -> None:
    best = runs / "2026-01-01_10-00-00" / "best"
    assert saved.find_model(best.parent) == best == saved.find_model(str(best))
    assert saved.model_in(best.parent) == best
    assert saved.model_in(runs) is None


def test_missing_folder_is_answered_with_the_nearest_name(runs: Path) -> None:
    with pytest.raises(SetupError, match="no such folder; did you mean '2026-01-02_10-00-00'"):
        saved.find_model(runs / "2026-01-02_10-00-0x")
    with pytest.raises(SetupError, match="no such folder; give a run folder"):
        saved.find_model(runs / "none" / "at all")


@pytest.mark.parametrize("levels", [0, 1])
def test_folder_above_runs_is_answered_with_the_newest_run(runs: Path, levels: int) -> None:
    above = [runs, runs.parent][levels]
    with pytest.raises(SetupError, match=f"did you mean {runs / '2026-01-02_10-00-00'}"):
        saved.find_model(above)


def test_run_without_a_model_says_that_it_ended_too_early(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SetupError, match=r"before its first evaluation; go on with --resume"):
        saved.find_model(tmp_path)


def test_a_fingerprint_is_of_every_file_of_the_model(tmp_path: Path) -> None:
    said = description(source("mood", TEXTS, MOOD))
    one, same = written(tmp_path / "a", said), written(tmp_path / "b", said)
    other = written(tmp_path / "c", said, jenga="another")
    assert saved.fingerprint(one) == saved.fingerprint(same) != saved.fingerprint(other)
