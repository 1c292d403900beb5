from __future__ import annotations

import base64
import json
import logging
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.report import plots
from jenga.report.card import closing_table, write_card
from jenga.report.html import write_report
from jenga.report.page import POLICY, STYLE

VOID = {"meta", "img", "link"}


class Page(HTMLParser):
    """The elements of a page, its visible text and its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def captions(self) -> list[str]:
        return [str(each["aria-label"]).split(":")[0] for each in self.attributes("svg") if "aria-label" in each]


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of a run as it is."""
    return page_of(shutil.copytree(finished_run, tmp_path_factory.mktemp("report") / "run"))


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_the_headline_table_is_the_closing_table_of_each_split(page: Page, finished_run: Path) -> None:
    evaluation = json.loads((finished_run / "evaluation.json").read_text())
    assert page.tables[0] == closing_table(evaluation, "test")
    assert page.tables[1] == closing_table(evaluation, "valid")
    assert page.tables[0][0] == ["task", "head", "metric", "ours", "majority", "tfidf", "rows", "notes"]


def test_certainty_and_intervals_are_shown_where_they_were_told(run: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    head = evaluation["splits"]["test"]["heads"][0]
    head["intervals"] = {head["primary_metric"]: [0.125, 0.875]}
    head["certainty"] = {"calibration": "none", "before": {"ece": 0.0625, "nll": 1.5, "brier": 0.5}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page, card = write_report(run).read_text(encoding="utf-8"), write_card(run).read_text(encoding="utf-8")
    assert page.count("0.125 to 0.875") == 2, "in the table of results, and in that of the head"
    for text in (page, card):
        assert "0.125 to 0.875" in text
        assert "95%" in text
        assert "calibration" in text
        assert "0.062" in text


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    sources = [value for _, each in page.elements for name, value in each.items() if name in ("src", "href", "srcset")]
    assert sources
    assert all(str(value).startswith(("#", "data:,")) for value in sources)
    assert not {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "form", "base", "use", "image"}
    (policy,) = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policy == POLICY


def test_labels_are_text_and_never_markup(run: Path) -> None:
    raw = write_report(run).read_text(encoding="utf-8")
    page = Page(raw)
    assert raw.count("<script") == 1
    assert "<b>" not in raw
    cells = {cell for table in page.tables for row in table for cell in row}
    assert {"<script>alert(1)</script>", "gave <b>name</b>"} <= cells


def test_markup_in_every_other_text_is_escaped_too(run: Path) -> None:
    evil = "</pre></style><script>alert(1)</script>"
    change(run / "evaluation.json", project=evil)
    change(run / "run.json", warnings=[evil], created=evil)
    change(run / "environment.json", **{evil: evil})
    config = run / "config.yml"
    config.write_text(config.read_text() + f"output_dir: '{evil}'\n")
    raw = write_report(run).read_text(encoding="utf-8")
    assert raw.count("<script") == 1
    # heading, created, warning, and both cells of the environment
    assert Page(raw).text.count(evil) == 5


def test_phones_and_dark_mode_are_served(page: Page) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert "prefers-color-scheme: dark" in STYLE
    tables = page.attributes("table")
    assert len([each for each in page.attributes("div") if each == {"class": "scroll"}]) == len(tables) > 4


def test_every_picture_is_named(page: Page) -> None:
    assert {"Loss, all tasks", "Loss of each task (line", "Learning rate", "minutes (dotted"} <= set(page.captions)


def test_configuration_and_environment_are_shown_without_passwords(run: Path) -> None:
    raw = write_report(run).read_text(encoding="utf-8")
    page = Page(raw)
    assert ["versions.torch", "2.13"] in page.tables[-1]
    assert any("base_model: distilbert-base-uncased" in text for text in page.text)
    assert "password" not in raw
    assert any("http://***@tracking.example/" in text for text in page.text)


def test_what_to_watch_is_shown_at_the_head_and_in_the_table(page: Page) -> None:
    assert page.tables[0][2][-1] == "not better than tfidf"
    assert "not better than tfidf" in page.text
    assert "QA.opening: 'asked | consent' has few rows" in page.text


def test_numbers_stand_on_the_right_with_their_dashes(page: Page) -> None:
    header, *_ = page.tables[0]
    styles = [attributes.get("class") for attributes in page.attributes("th")[: len(header)]]
    assert styles == [None, None, None, "number", "number", "number", "number", None]


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_report_is_replaced_whole_or_not_at_all(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(run).read_bytes()

    def broken(records: Any) -> Any:
        raise RuntimeError("no figure today")

    monkeypatch.setattr(plots, "loss_curves", broken)
    with pytest.raises(RuntimeError, match="no figure today"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_run_without_evaluation_says_so_and_keeps_its_curves(run: Path) -> None:
    (run / "evaluation.json").unlink()
    (run / "environment.json").unlink()
    page = page_of(run)
    assert "The run ended before its evaluation." in page.text
    assert "environment.json is missing." in page.text
    assert page.captions == ["Loss, all tasks", "Loss of each task (line", "Learning rate", "Norm of the gradient"]


def test_a_run_without_a_step_says_so(run: Path) -> None:
    (run / "metrics.jsonl").write_text("")
    assert "No training step was recorded." in page_of(run).text


def test_a_head_without_labels_has_a_warning_and_no_tables(run: Path) -> None:
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    head = evaluation["splits"]["test"]["heads"][0]
    head.update(rows=0, metrics={}, details={"warnings": ["no labelled row"]}, baselines={"majority": {}})
    change(path, **evaluation)
    page = page_of(run)
    assert page.tables[0][1] == ["QA", "opening", "macro_f1", "-", "-", "-", "0", "no labelled row"]
    assert ["greeted"] not in [row[:1] for table in page.tables for row in table]


def test_a_line_cut_off_by_a_crash_is_left_out_with_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_report(run).read_bytes()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    with caplog.at_level(logging.WARNING):
        assert write_report(run).read_bytes() == whole
    (record,) = caplog.records
    assert f"{run / 'metrics.jsonl'}:307: not JSON" in record.getMessage()


def test_labels_of_any_script_are_shown(run: Path) -> None:
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    head = evaluation["splits"]["test"]["heads"][1]
    head["labels"] = ["中文", "😀", "half \ud800 character"]
    for row, label in zip(head["details"]["per_label"], head["labels"], strict=True):
        row["label"] = label
    path.write_text(json.dumps(evaluation))
    cells = {cell for table in page_of(run).tables for row in table for cell in row}
    assert {"中文", "😀", "half ? character"} <= cells


def test_names_with_unusual_line_ends_keep_their_records(run: Path) -> None:
    path = run / "metrics.jsonl"
    text = path.read_text().replace('"Mood"', '"Mo\u2028od"')
    path.write_text(text, encoding="utf-8")
    page = page_of(run)
    assert "No training step was recorded." not in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a run folder, it has no config\.yml"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "complaint"), [("{", "no JSON"), ("[]", "a JSON object is wanted")])
def test_a_damaged_file_is_named(run: Path, content: str, complaint: str) -> None:
    (run / "evaluation.json").write_text(content)
    with pytest.raises(DataError, match=complaint) as error:
        write_report(run)
    assert str(run / "evaluation.json") in str(error.value)


def test_answers_of_a_language_model_are_shown_as_they_are(language_run: Path) -> None:
    raw = write_report(language_run).read_text(encoding="utf-8")
    page = Page(raw)
    assert "<b>" not in raw
    for text in ("is <b>3</b> even", "no", "never & again\nyes", "r0: as expected", "r1: not as expected", "no room"):
        assert text in page.text
    assert "labelled rows" not in page.text


def test_the_worst_errors_are_shown_with_what_their_rows_hold(run: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n"
    (run / "worst").mkdir()
    (run / "worst" / "a.png").write_bytes(picture)
    row = {"id": "call-1", "error": 2.5, "expected": "calm", "answer": "<b>angry</b>", "text": "so & so\nno"}
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    # A picture that somebody took away is not shown, and the row is.
    worst = [{**row, "pictures": ["worst/a.png"]}, {**row, "id": "call-2", "pictures": ["worst/gone.png"]}]
    evaluation["splits"]["test"]["heads"][0]["details"]["worst"] = {"error": "loss", "rows": worst}
    path.write_text(json.dumps(evaluation))
    page = Page(write_report(run).read_text())
    shown = next(table for table in page.tables if table[0] == ["row", "what it holds", "expected", "answer", "loss"])
    assert shown[1] == ["call-1", "so & so\nno", "calm", "<b>angry</b>", "2.500"]
    assert [line[0] for line in shown[1:]] == ["call-1", "call-2"]
    source = "data:image/png;base64," + base64.b64encode(picture).decode()
    assert [image["src"] for image in page.attributes("img")].count(source) == 1


def changed_head(run: Path, place: int, **details: Any) -> Page:
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["splits"]["test"]["heads"][place]["details"] |= details
    path.write_text(json.dumps(evaluation))
    return page_of(run)


def test_parts_of_rows_are_shown_beside_all_of_them(run: Path) -> None:
    whole = json.loads((run / "evaluation.json").read_text())["splits"]["test"]["heads"][1]["metrics"]["macro_f1"]
    lines = [
        {"value": "<i>sw</i>", "rows": 100, "metrics": {"macro_f1": whole - 0.1, "accuracy": 0.5}},
        {"value": "en", "rows": 1200, "metrics": {"macro_f1": whole + 0.05}},
    ]
    page = changed_head(run, 1, slices=[{"by": "lang", "rows": lines}])
    shown = next(table for table in page.tables if table[0][0] == "lang")
    assert shown[0] == ["lang", "rows", "beside all rows", "macro_f1", "accuracy"]
    assert shown[1][:3] == ["<i>sw</i>", "100", "-0.100"]
    assert shown[2] == ["en", "1,200", "+0.050", f"{whole + 0.05:.3f}", "-"]
    classes = [str(each.get("class")).split()[0] for each in page.attributes("td") if "data-value" in each]
    assert {"worse", "better"} <= set(classes)


def test_probabilities_have_curves_and_how_far_they_can_be_believed(run: Path) -> None:
    curve = {"label": "calm", "support": 9, "roc_auc": 0.875, "average_precision": 0.5, "roc": [[0, 0], [1, 1]],
             "precision_recall": [[0, 1], [1, 0.4]]}  # fmt: skip
    found = {"reliability": [[0.4, 0.3, 10], [0.9, 0.95, 90]], "ranked": [curve], "labels": 12}
    page = changed_head(run, 1, curves=found)
    assert {"ROC of each label", "Precision over recall", "Reliability (area"} <= set(page.captions)
    assert "calm (0.875)" in page.text
    assert "Curves are of the 1 most frequent of 12 labels." in page.text


def test_rows_that_could_not_be_used_and_what_rows_hold_are_shown(run: Path) -> None:
    bad = {"file": "/hidden/rows.jsonl", "row": 7, "reason": "no <b>class</b>", "raw": "x" * 900}
    (run / "quarantine.jsonl").write_text(json.dumps(bad) + "\n")
    line = {"source": "QA", "split": "train", "rows": 2400, "unit": "tokens", "min": 1, "median": 2, "p95": 3, "max": 4}
    label = {"task": "QA", "head": "opening", "label": "greeted", "counts": {"train": 12345}}
    change(run / "run.json", set_aside=3, statistics={"lengths": [{**line, "cut": 0}], "labels": [label]})
    raw = write_report(run).read_text()
    page = Page(raw)
    assert "/hidden" not in raw
    assert "Rows that could not be used (3, the first 1)" in page.text
    assert ["rows.jsonl:7", "no <b>class</b>", "x" * 300] in [row for table in page.tables for row in table]
    assert ["QA", "opening", "greeted", "12,345"] in [row for table in page.tables for row in table]
    config = run / "config.yml"
    config.write_text(config.read_text() + "evaluation: {worst_errors: 0}\n")
    assert "xxx" not in write_report(run).read_text(), "no row's content leaves its file then"
    (run / "quarantine.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"quarantine\.jsonl: a line is not JSON"):
        write_report(run)
