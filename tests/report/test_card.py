from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jenga.errors import DataError
from jenga.report.card import as_text, closing_table, notes, write_card
from jenga.report.page import encodable


def card_of(run: Path) -> str:
    return write_card(run).read_text(encoding="utf-8")


def evaluation_of(run: Path) -> dict[str, Any]:
    content = json.loads((run / "evaluation.json").read_text())
    assert isinstance(content, dict)
    return content


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    content = yaml.safe_load(matter)
    assert isinstance(content, dict)
    return content


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# -------------------------------------------------------------------------------------------------------- closing table


def test_the_closing_table_has_a_row_for_each_head_with_its_baselines(run: Path) -> None:
    header, *rows = closing_table(evaluation_of(run), "test")
    assert header == ["task", "head", "metric", "ours", "majority", "tfidf", "rows", "notes"]
    assert [row[:3] for row in rows] == [
        ["QA", "opening", "macro_f1"],
        ["Mood", "label", "macro_f1"],
        ["NER", "entities", "f1"],
        ["Wait", "value", "mae"],
    ]
    heads = evaluation_of(run)["splits"]["test"]["heads"]
    assert rows[1][3] == f"{heads[1]['metrics']['macro_f1']:.3f}"
    assert rows[1][5] == f"{heads[1]['baselines']['tfidf']['macro_f1']:.3f}"
    assert rows[2][4:6] == ["-", "-"]
    assert all(len(row) == len(header) for row in rows)


def test_without_baselines_the_closing_table_has_no_column_for_them(run: Path) -> None:
    evaluation = evaluation_of(run)
    for head in evaluation["splits"]["test"]["heads"]:
        head["baselines"] = {}
    assert closing_table(evaluation, "test")[0] == ["task", "head", "metric", "ours", "rows", "notes"]


def test_an_unknown_split_is_named_with_the_known_ones(run: Path) -> None:
    with pytest.raises(ValueError, match="split 'train' was not evaluated; evaluated: valid, test"):
        closing_table(evaluation_of(run), "train")


@pytest.mark.parametrize(
    ("greater", "ours", "theirs", "expected"),
    [
        (True, 0.6, 0.5, []),
        (True, 0.5, 0.5, ["not better than tfidf"]),
        (False, 1.0, 2.0, []),
        (False, 2.0, 1.0, ["not better than tfidf"]),
        (None, 2.0, 1.0, []),
        (None, 1.0, 2.0, []),
        (True, None, 0.5, []),
        (True, 0.5, None, []),
    ],
)
def test_a_baseline_that_is_not_beaten_is_noted(
    greater: bool | None, ours: float | None, theirs: float | None, expected: list[str]
) -> None:
    """Whatever the metric's name; where nobody says which way it is better, nothing is claimed."""
    found, baseline = ({} if value is None else {"odd_mae": value} for value in (ours, theirs))
    head = {
        "primary_metric": "odd_mae", "greater_is_better": greater, "metrics": found, "baselines": {"tfidf": baseline},
        "details": {"warnings": []},
    }  # fmt: skip
    assert notes(head) == expected


def test_notes_begin_with_the_warnings_of_the_head() -> None:
    details = {"warnings": ["predicts one class only (neutral)"]}
    scores = {"macro_f1": 0.2}
    head = {
        "primary_metric": "macro_f1", "greater_is_better": True, "metrics": scores, "baselines": {"majority": scores},
        "details": details,
    }  # fmt: skip
    assert notes(head) == ["predicts one class only (neutral)", "not better than majority"]


# ----------------------------------------------------------------------------------------------------------------- card


def test_the_front_matter_is_what_the_hub_reads(run: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(write_card(run))
    assert card.data.library_name == "jenga"
    assert card.data.base_model == "distilbert-base-uncased"
    assert card.data.tags[:2] == ["jenga", "multi-task-learning"]
    assert {"ner", "regression"} <= set(card.data.tags)


@pytest.mark.parametrize("base", ["jenga/tiny-text", "/home/someone/model", "./model", "../a/b"])
def test_a_base_model_that_is_not_on_the_hub_is_not_linked(run: Path, base: str) -> None:
    config = run / "config.yml"
    config.write_text(config.read_text().replace("distilbert-base-uncased", base))
    assert "base_model" not in front_matter(card_of(run))


def test_folders_and_passwords_of_the_machine_stay_out(run: Path) -> None:
    config = run / "config.yml"
    config.write_text(config.read_text().replace("distilbert-base-uncased", "/home/someone/secret/model"))
    card = card_of(run)
    assert "calls.jsonl" in section(card, "Data")
    assert "mood.jsonl" in section(card, "Data")
    for private in ("someone", "secret", "password", str(run)):
        assert private not in card


def test_results_show_every_split_beside_the_baselines_test_first(run: Path) -> None:
    results = section(card_of(run), "Results")
    assert results.index("### test (300 rows)") < results.index("### valid (300 rows)")
    lines = [line for line in results.splitlines() if line.startswith("| Mood")]
    assert [cells(line) for line in lines] == [
        row for split in ("test", "valid") for row in closing_table(evaluation_of(run), split) if row[0] == "Mood"
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), None),
        (("majority",), "the majority answer."),
        (("majority", "boosting"), "the majority answer, and gradient-boosted trees on the same features."),
        (("tfidf", "mine", "majority"), "TF-IDF with linear models, mine, and the majority answer."),
    ],
)
def test_results_name_the_baselines_that_there_are(run: Path, names: tuple[str, ...], words: str | None) -> None:
    evaluation = evaluation_of(run)
    for result in evaluation["splits"].values():
        for head in result["heads"]:
            head["baselines"] = {name: {} for name in names}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    results = section(card_of(run), "Results")
    assert (f"beside what is free to have: {words}\n" in results) == (words is not None)
    assert ("free to have" in results) == (words is not None)


def test_a_network_that_starts_from_nothing_is_no_base_model(run: Path) -> None:
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "pretrained": False}))
    assert "base_model" not in front_matter(card_of(run))


def test_a_run_that_was_begun_before_there_were_several_backbones_has_its_card(run: Path) -> None:
    state = json.loads((run / "run.json").read_text())
    found = front_matter(card_of(run)).get("base_model")
    assert found is not None
    (run / "run.json").write_text(json.dumps({**state, "pretrained": True}))
    assert front_matter(card_of(run))["base_model"] == found


def test_labels_cannot_break_the_tables_or_become_markup(run: Path) -> None:
    card = card_of(run)
    assert "<script>" not in card
    assert "&lt;script&gt;" in card
    for block in ("Tasks", "Data", "Results", "Training"):
        tables = re.findall(r"(?:^\|.*\n?)+", section(card, block), flags=re.MULTILINE)
        assert tables
        for table in tables:
            assert len({len(cells(line)) for line in table.strip().splitlines()}) == 1


def test_characters_that_a_terminal_obeys_are_not_in_the_card(run: Path) -> None:
    evaluation = evaluation_of(run)
    evaluation["splits"]["test"]["heads"][1]["labels"] = ["a\x1b[31m", "b\u202ec", "d"]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    card = card_of(run)
    assert "\ufffd" in card
    assert not {"\x1b", "\u202e"} & set(card)


def test_many_labels_are_counted_and_the_first_named(run: Path) -> None:
    evaluation = evaluation_of(run)
    evaluation["splits"]["test"]["heads"][1]["labels"] = [f"intent{i}" for i in range(150)]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    tasks = section(card_of(run), "Tasks")
    assert "150: intent0, " in tasks
    assert "intent11 and 138 more" in tasks
    assert "intent12" not in tasks


def test_training_settings_are_shown_and_unset_ones_left_out(run: Path) -> None:
    config = run / "config.yml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 3, max_steps: null, scheduler: linear"))
    training = section(card_of(run), "Training")
    assert "| training.epochs | 3 |" in training
    assert "| training.scheduler | linear |" in training
    assert '"heads": 0.0005' in training
    assert "max_steps" not in training
    assert "| best step | 250 (by eval_loss) |" in training


def test_limits_name_warnings_unbeaten_baselines_and_what_the_inputs_say(run: Path) -> None:
    limits = section(card_of(run), "Limits")
    assert "- Mood / label, test: not better than tfidf" in limits
    assert "has few rows" in limits
    assert "- Only what &lt;b&gt;fits&lt;/b&gt; is read." in limits
    assert "| tokens of a text | 256 |" in section(card_of(run), "Data")
    assert "no results on test rows" not in limits


def test_results_on_valid_rows_alone_are_called_what_they_are(run: Path) -> None:
    evaluation = evaluation_of(run)
    del evaluation["splits"]["test"]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    assert "There are no results on test rows: the rows above also chose the best step." in section(
        card_of(run), "Limits"
    )


def test_a_run_without_evaluation_has_a_card_that_says_so(run: Path) -> None:
    (run / "evaluation.json").unlink()
    card = card_of(run)
    assert "The run ended before its evaluation." in section(card, "Results")
    assert "# helpline" in card
    assert "the rows above" not in card


def test_the_card_tells_how_to_use_the_model(run: Path) -> None:
    use = section(card_of(run), "Use")
    assert "jenga predict RUN rows.jsonl" in use
    assert 'jenga.load("RUN")' in use


def test_a_folder_that_is_no_run_gets_no_card(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        write_card(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_half_characters_become_question_marks_and_the_rest_stays() -> None:
    assert encodable("a\ud800b é 中 😀") == "a?b é 中 😀"


def test_settings_are_written_as_json_and_strings_bare() -> None:
    assert [as_text(value) for value in (True, None, 0.5, "linear", ["é"])] == [
        "true",
        "null",
        "0.5",
        "linear",
        '["é"]',
    ]


def test_a_card_tells_of_adapters_and_that_they_need_their_base(run: Path) -> None:
    plain = card_of(run)
    assert "adapters" not in plain
    assert "of these trained" not in plain
    with (run / "config.yml").open("a") as file:
        file.write("peft: {type: dora, rank: 4, alpha: null, target: [query, value]}\n")
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "trained": 12_345}))
    card = card_of(run)
    assert "frozen but for its adapters (dora), which need that encoder to run" in card
    rows = [cells(line) for line in section(card, "Training").splitlines() if line.startswith("|")]
    assert ["peft.rank", "4"] in rows
    assert ["of these trained", "12,345"] in rows
    assert not [row for row in rows if row[0] == "peft.alpha"]


def test_the_card_of_a_language_model_says_what_it_predicts_and_who_taught_it(language_run: Path) -> None:
    card = write_card(language_run).read_text(encoding="utf-8")
    assert (
        "| lm | causal\\_lm | text | the next token |" in card or "| lm | causal_lm | text | the next token |" in card
    )
    assert "taught by `big`" in card
    assert "/home/someone" not in card
    assert "jenga generate RUN" in card
    assert "| lm | text | perplexity | 12.500 | 12 |" in card


def test_the_card_of_other_models_generates_nothing(run: Path) -> None:
    assert "jenga generate" not in write_card(run).read_text(encoding="utf-8")
