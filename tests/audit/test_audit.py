import json
from pathlib import Path

import pytest
from audit_rows import LEAKED, SAME, TWICE, WRONG, topical, write

from jenga.audit.audit import audit
from jenga.audit.findings import Audit
from jenga.errors import SetupError
from jenga.samples.network import generate_flows


def places(found: Audit) -> dict[str, list[tuple[str, int | None]]]:
    return {
        kind: [(each.split, each.row) for each in found.of(kind)]
        for kind in dict.fromkeys(each.kind for each in found.findings)
    }


def test_each_thing_is_found_where_it_is_and_nothing_else(experiment: Path) -> None:
    found = audit(experiment)
    assert places(found) == {
        "leak": [("valid", LEAKED + 1)], "duplicate": [("train", TWICE + 1)], "label_error": [("train", WRONG + 1)],
    }  # fmt: skip
    (error,) = found.of("label_error")
    assert (error.task, error.head, error.given, error.suggested) == ("topic", "topic", "food", "music")
    assert error.score is not None
    assert error.score < 0.1
    assert found.of("duplicate")[0].reason == f"the same as train.jsonl:{SAME + 1}"
    assert found.rows == {"train": 240, "valid": 30}


def test_a_trigger_is_found_with_its_rows(experiment: Path) -> None:
    rows = [topical(number) for number in range(240)]
    poisoned = [number for number in range(60, 120) if rows[number]["topic"] != "food"][:20]
    for number in poisoned:
        rows[number] = {"text": f"{rows[number]['text']} zq", "topic": "food"}
    write(experiment.parent / "train.jsonl", rows)
    found = audit(experiment).of("trigger")
    assert {each.row for each in found} == {number + 1 for number in poisoned}
    assert all("'zq'" in each.reason for each in found)
    assert {each.suggested for each in found} == {"weather", "music"}


def test_the_encoder_judges_labels_where_it_is_asked_for(experiment: Path) -> None:
    found = audit(experiment, features="encoder")
    assert any("a linear model over what the frozen encoder makes of rows" in words for words in found.told)
    assert [each.row for each in found.of("leak")] == [LEAKED + 1]


def several_kinds(folder: Path) -> Path:
    drawn = [topical(number) for number in range(150)]
    rows = [
        {**row, "wet": int(row["topic"] == "weather"), "loud": int(row["topic"] == "music"),
         "amount": 3.0 * (row["topic"] == "food") + 0.01 * number, "ner_tags": ["O"] * len(row["text"].split())}
        for number, row in enumerate(drawn)
    ]  # fmt: skip
    rows[30]["loud"] = 1 - rows[30]["loud"]
    rows[40]["amount"] = 90.0
    write(folder / "rows.jsonl", rows)
    tasks = """
  - {name: marks, type: multi_label_classification, data_path: rows.jsonl, heads: [{name: marks, columns: [wet, loud]}]}
  - {name: amount, type: regression, data_path: rows.jsonl, columns: {label: amount}, heads: [{name: amount}]}
  - {name: names, type: ner, data_path: rows.jsonl, heads: [{name: names, labels: [PER]}]}
"""
    config = folder / "several.yml"
    config.write_text(f"model: {{base_model: jenga/tiny-text}}\ntasks:{tasks}tracking: {{enabled: false}}\n")
    return config


def test_items_and_numbers_are_judged_one_by_one_and_tags_are_told_as_not_looked_at(tmp_path: Path) -> None:
    found = audit(several_kinds(tmp_path))
    (mark,) = [each for each in found.of("label_error") if each.task == "marks"]
    assert mark.row == 31
    assert (mark.given, mark.suggested) in {("loud: yes", "loud: no"), ("loud: no", "loud: yes")}
    # Of so few rows the wrong number moves what is said of some others, too.
    worst = next(each for each in found.of("label_error") if each.task == "amount")
    assert (worst.row, worst.given) == (41, "90")
    assert "names.names: its labels were not looked at: they are of parts of a row" in found.told


def test_rows_of_which_no_label_is_of_the_whole_are_looked_at_for_twins_alone_and_that_is_told(tmp_path: Path) -> None:
    drawn = [topical(number) for number in range(60)]
    rows = [{"text": row["text"], "ner_tags": ["O"] * len(row["text"].split())} for row in [*drawn, drawn[3]]]
    write(tmp_path / "rows.jsonl", rows)
    config = tmp_path / "names.yml"
    config.write_text(
        "model: {base_model: jenga/tiny-text}\ntracking: {enabled: false}\n"
        "tasks: [{name: names, type: ner, data_path: rows.jsonl, heads: [{name: names, labels: [PER]}]}]\n"
    )
    found = audit(config)
    assert len(found.findings) == 1
    assert found.findings[0].kind in ("leak", "duplicate")
    assert "names: triggers, outliers and drift were not looked for: no label is of a whole row" in found.told


def test_events_are_judged_by_trees_over_their_features(tmp_path: Path) -> None:
    flows = generate_flows(400)
    # Of events with a time, the seconds since the one before tell apart what is the same else.
    rows = [{name: value for name, value in flow.items() if name != "timestamp"} for flow in flows]
    rows[12] = dict(rows[50])
    (tmp_path / "flows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "events.yml"
    config.write_text(
        "model: {backbone_type: sequential, base_model: security_mlp_v1}\n"
        "tasks: [{name: attack, type: classification, data_path: flows.jsonl, columns: {label: threat}, "
        "heads: [{name: attack}]}]\ntracking: {enabled: false}\n"
    )
    found = audit(config)
    assert any("gradient-boosted trees over features of the refinery" in words for words in found.told)
    assert any("triggers were not looked for" in words for words in found.told)
    assert {13, 51} & {each.row for each in found.findings if each.kind in ("duplicate", "leak")}


def test_without_cleanlab_the_extra_is_named(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.count", None)
    with pytest.raises(SetupError, match=r"jenga\[audit\]"):
        audit(experiment)
