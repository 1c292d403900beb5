from __future__ import annotations

import subprocess
import sys
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from jenga.report import plots
from jenga.report.page import written

Records = list[dict[str, Any]]
HEADS = [
    ("QA", "opening", "macro_f1"),
    ("Mood", "label", "macro_f1"),
    ("NER", "entities", "f1"),
    ("Wait", "value", "mae"),
]
NASTY = ("<script>", "cost $x^ {", "a\x00b\nc", "x" * 200, "\ud800", "\u202eevil", "😀")


def title(figure: Element) -> str:
    return figure.findtext("figcaption") or ""


def legend(figure: Element) -> list[str]:
    return ["".join(each.itertext()) for each in figure.iter("li")]


def points(path: Element) -> int:
    return path.get("d", "").count("L") + path.get("d", "").count("M")


def paths(figure: Element) -> list[Element]:
    return figure.findall("./svg/path")


def test_losses_show_train_and_evaluation_and_each_task(records: Records) -> None:
    total, by_task = plots.loss_curves(records)
    assert legend(total) == ["train", "valid"]
    assert [points(path) for path in paths(total)] == [300, 300], "as recorded, and smoothed"
    assert len(total.findall("./svg/circle")) == 6
    assert legend(by_task) == ["Mood", "NER", "QA", "Wait"]
    assert len({path.get("class") for path in paths(by_task)}) == 4
    assert len(by_task.findall("./svg/circle")) == 24


def test_one_task_has_one_panel(records: Records) -> None:
    alone = [{**record, "task_loss": {"QA": record["loss"]}} for record in records if record["event"] == "train"]
    assert len(plots.loss_curves(alone)) == 1


def test_few_records_are_not_smoothed() -> None:
    losses = np.array([5.0, 1.0, 4.0])
    assert plots.smoothed(losses).tolist() == losses.tolist()


def test_a_loss_that_is_not_finite_does_not_spoil_the_curve_after_it() -> None:
    losses = np.full(500, 2.0)
    losses[100] = np.inf
    assert plots.smoothed(losses).tolist() == pytest.approx([2.0] * 500)


def test_a_step_without_a_task_leaves_no_point_of_it() -> None:
    records = [
        {"event": "train", "step": step, "loss": 1.0, "task_loss": {"A" if step % 2 else "B": 1.0}}
        for step in range(10)
    ]
    _, by_task = plots.loss_curves(records)
    assert [points(path) for path in paths(by_task)] == [5, 5]


def test_a_long_run_is_thinned_and_keeps_its_ends() -> None:
    steps = np.arange(1.0, 100_001.0)
    chosen, values = plots.thinned(steps, -steps)
    assert len(chosen) <= plots.MAX_CURVE_POINTS + 1
    assert (chosen[0], chosen[-1]) == (1, 100_000)
    assert values == [-step for step in chosen]


def pulling(records: Records) -> Records:
    """Return the records as of tasks whose gradients are told, the norms now and then."""
    told = [each for each in records if each["event"] == "train"]
    return [
        {
            **each,
            **({"task_grad_norm": {"QA": 2.0 + i, "Mood": 1.0}} if i % 3 == 0 else {}),
            "task_weight": {"QA": 1.5, "Mood": 0.5},
            "task_cosine": {"QA|Mood": 0.5 - 0.1 * i},
        }
        for i, each in enumerate(told)
    ]


def test_what_tasks_pull_at_has_a_figure_each(records: Records) -> None:
    assert plots.task_gradients(records) == []
    norms, weights, cosines = plots.task_gradients(pulling(records))
    assert legend(norms) == legend(weights) == ["Mood", "QA"]
    assert legend(cosines) == ["QA and Mood"]
    assert points(paths(norms)[0]) < points(paths(weights)[0])
    alone = [{**each, "task_cosine": {}, "task_grad_norm": {"QA": 1.0}} for each in records if each["event"] == "train"]
    assert plots.task_gradients(alone) == []


def test_learning_rates_have_a_line_for_each_group(records: Records) -> None:
    figure = plots.learning_rates(records)
    assert legend(figure) == ["backbone", "heads"]
    first, second = paths(figure)
    assert first.get("class") != second.get("class")


def test_metric_curves_have_a_figure_for_each_task_and_show_its_primary_metric(records: Records) -> None:
    figures = plots.metric_curves(records, HEADS)
    assert [title(figure).split(":")[0] for figure in figures] == ["QA", "Mood", "NER", "Wait"]
    assert [figure.findall("./svg/text")[-1].text for figure in figures] == ["macro_f1", "macro_f1", "f1", "mae"]
    assert [points(paths(figure)[0]) for figure in figures] == [6, 6, 6, 6]


def test_confusion_is_shaded_by_row_and_shows_counts() -> None:
    _, scroll = plots.confusion([[8, 2], [0, 5]], ["yes", "no"])
    cells = [(cell.text, cell.get("class")) for cell in scroll.iter("td")]
    assert cells == [("8", "h6"), ("2", "h2"), ("0", "h0"), ("5", "h8")]


def test_a_class_without_rows_does_not_divide_by_zero() -> None:
    _, scroll = plots.confusion([[0, 0], [1, 1]], ["never", "yes"])
    assert [cell.get("class") for cell in scroll.iter("td")] == ["h0", "h0", "h4", "h4"]


def test_many_classes_become_the_most_frequent_confusions() -> None:
    matrix = np.diag(np.full(40, 100))
    matrix[3, 7], matrix[5, 1] = 9, 4
    _, scroll = plots.confusion(matrix.tolist(), [f"label {i}" for i in range(40)])
    rows = [["".join(cell.itertext()) for cell in row] for row in scroll.iter("tr")]
    assert rows[1:] == [["label 3", "label 7", "9", "109", "0.083"], ["label 5", "label 1", "4", "104", "0.038"]]
    _, most = plots.confusion(np.ones((40, 40), dtype=int).tolist(), ["l"] * 40)
    assert len(list(most.iter("tr"))) == plots.MAX_CONFUSED_PAIRS + 1
    assert len(list(plots.confusion(np.eye(40, dtype=int).tolist(), ["l"] * 40)[1].iter("tr"))) == 1


def test_confusions_that_are_given_as_pairs_are_listed_with_the_rows_of_each_label() -> None:
    _, listed = plots.confused([("a", "b", 2), ("b", "a", 3)], ["a", "b"], [4, 6])
    rows = [["".join(cell.itertext()) for cell in row] for row in listed.iter("tr")]
    assert rows[1:] == [["b", "a", "3", "6", "0.500"], ["a", "b", "2", "4", "0.500"]]


@pytest.mark.parametrize("label", NASTY)
def test_labels_from_data_cannot_break_a_figure(label: str) -> None:
    curve = {"label": label, "roc_auc": 0.5, "average_precision": 0.5, "roc": [[0, 0]], "precision_recall": [[0, 1]]}
    figures = [*plots.confusion([[1, 1], [0, 1]], [label, "no"]), plots.number_scatter([[1, 1], [2, 2]], label)]
    raw = written(label, [*figures, *plots.ranked([curve])])
    raw.encode("utf-8")
    assert raw.count("<script") == 1, "the page's own"
    assert not set(raw) & {"\x00", "\u202e"}


def test_scatter_shows_every_point_and_the_line_of_equality() -> None:
    figure = plots.number_scatter([[1, 2], [5, 4]], "minutes")
    assert len(figure.findall("./svg/circle")) == 2
    (rule,) = figure.findall("./svg/line[@class='rule']")
    assert rule.get("x1") != rule.get("x2")
    assert rule.get("y1") != rule.get("y2")


def test_a_bar_is_as_long_as_its_number_and_a_number_that_is_undefined_has_none() -> None:
    cell = plots.bar(0.25)
    assert [each.get("width") for each in cell.iter("rect")] == ["90", "22.5"]
    assert cell.get("data-value") == "0.25"
    undefined = plots.bar(None)
    assert (undefined.text, len(undefined)) == ("-", 0)


def test_a_report_imports_no_library_of_figures() -> None:
    program = "import sys; from jenga.report import html; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
