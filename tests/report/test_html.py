from __future__ import annotations

import base64
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jenga.errors import DataError
from jenga.report import plots
from jenga.report.card import closing_table, write_card
from jenga.report.html import write_report
from jenga.report.page import STYLE

SVG = "data:image/svg+xml;base64,"
VOID = {"meta", "img"}


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
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def figures(self) -> Iterator[bytes]:
        for image in self.attributes("img"):
            source = image["src"] or ""
            assert source.startswith(SVG)
            yield base64.b64decode(source.removeprefix(SVG), validate=True)


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
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "div", "table", "thead"}
    allowed |= {"tbody", "tr", "th", "td", "figure", "img", "details", "summary", "pre"}
    assert {tag for tag, _ in page.elements} <= allowed
    sources = [attributes for _, attributes in page.elements if {"src", "href", "srcset"} & attributes.keys()]
    assert len(sources) == len(page.attributes("img")) > 5
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    policies = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_labels_are_text_and_never_markup(run: Path) -> None:
    raw = write_report(run).read_text(encoding="utf-8")
    page = Page(raw)
    assert "<script" not in raw
    assert "<b>" not in raw
    cells = {cell for table in page.tables for row in table for cell in row}
    assert {"<script>alert(1)</script>", "gave <b>name</b>"} <= cells
    for figure in page.figures():
        assert b"<script" not in figure


def test_markup_in_every_other_text_is_escaped_too(run: Path) -> None:
    evil = "</pre></style><script>alert(1)</script>"
    change(run / "evaluation.json", project=evil)
    change(run / "run.json", warnings=[evil], created=evil)
    change(run / "environment.json", **{evil: evil})
    config = run / "config.yml"
    config.write_text(config.read_text() + f"output_dir: '{evil}'\n")
    raw = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in raw
    assert Page(raw).text.count(evil) == 4  # heading, warning, and both cells of the environment


def test_phones_and_dark_mode_are_served(page: Page) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert "prefers-color-scheme: dark" in STYLE
    tables = page.attributes("table")
    assert len([each for each in page.attributes("div") if each == {"class": "scroll"}]) == len(tables) > 4


def test_every_picture_is_valid_and_described(page: Page) -> None:
    described = {image["alt"] for image in page.attributes("img")}
    assert {"loss over optimizer steps", "confusion of Mood / label", "F1 of each label of NER / entities"} <= described
    assert "minutes of Wait / value" in described
    assert None not in described
    for figure in page.figures():
        assert ElementTree.fromstring(figure).tag == "{http://www.w3.org/2000/svg}svg"


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
    assert [image["alt"] for image in page.attributes("img")] == [
        "loss over optimizer steps",
        "learning rate over optimizer steps",
    ]


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
    assert "F1 of each label of QA / opening" not in {image["alt"] for image in page.attributes("img")}


def test_a_line_cut_off_by_a_crash_is_left_out_with_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_report(run).read_bytes()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    with caplog.at_level(logging.WARNING):
        assert write_report(run).read_bytes() == whole
    (record,) = caplog.records
    assert f"{run / 'metrics.jsonl'}:307: not JSON" in record.getMessage()


def test_labels_of_any_script_draw_without_a_warning(run: Path) -> None:
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text())
    head = evaluation["splits"]["test"]["heads"][1]
    head["labels"] = ["中文", "😀", "half \ud800 character"]
    for row, label in zip(head["details"]["per_label"], head["labels"], strict=True):
        row["label"] = label
    path.write_text(json.dumps(evaluation))
    page = page_of(run)
    figures = b"".join(page.figures()).decode()
    assert "中文" in figures
    assert "😀" in figures
    assert any("half ? character" in row for table in page.tables for row in table)


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


def test_without_matplotlib_the_page_has_all_but_plots_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_plots = page_of(run)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = page_of(run)
    assert page.tables == with_plots.tables
    assert not page.attributes("img")
    (told,) = (text for text in page.text if "plots" in text)
    assert told == (
        "This page has no plots: matplotlib is not installed where it was made (pip install 'jenga[report]')."
    )
