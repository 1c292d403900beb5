from __future__ import annotations

import io
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from jenga.report import plots

Records = list[dict[str, Any]]
HEADS = [
    ("QA", "opening", "macro_f1"),
    ("Mood", "label", "macro_f1"),
    ("NER", "entities", "f1"),
    ("Wait", "value", "mae"),
]
NASTY = ("<script>", "cost $x^ {", "a\x00b\nc", "x" * 200, "\ud800")


def drawn(figure: Figure) -> bytes:
    """Return the figure as PNG, drawn with every warning an error."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(content, format="png", dpi=60)
    return content.getvalue()


def panels_of(figure: Figure) -> list[Any]:
    return list(figure.axes)


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def table(*rows: tuple[str, float | None, int]) -> list[dict[str, Any]]:
    return [{"label": label, "f1": f1, "support": support} for label, f1, support in rows]


# --------------------------------------------------------------------------------------------------------------- curves


LONG = "a name of more than twenty-eight letters"


def test_every_figure_names_its_axes_and_draws_all_within_its_edges(records: Records) -> None:
    rates = [
        {**each, "learning_rate": {"heads": 1.25e-7 * each["step"]}} for each in records if "learning_rate" in each
    ]
    figures = [
        plots.loss_curves(records),
        plots.loss_curves([{**each, "loss": 1e5 * each["loss"]} for each in records if "loss" in each]),
        plots.learning_rates(records),
        plots.learning_rates(rates),
        *filter(None, [plots.task_gradients(pulling(records))]),
        plots.metric_curves(records, HEADS),
        plots.confusion([[3, 1], [0, 4]], ["yes", "no"]),
        plots.confusion([[3, 1], [0, 4]], [LONG, "no"]),
        plots.confusion((np.eye(31, dtype=int) + 1).tolist(), [f"l{i}" for i in range(31)]),
        plots.confusion((np.eye(31, dtype=int) + 1).tolist(), [f"{i} {LONG}" for i in range(31)]),
        plots.per_label_bars(table(("yes", 0.5, 4), ("no", None, 0))),
        plots.per_label_bars(table((LONG, 0.5, 4))),
        plots.number_scatter([[1, 2], [3, 3]], "minutes"),
        plots.number_scatter([[-1e5, 2e6], [3e6, 3]], LONG),
    ]
    for figure in figures:
        assert drawn(figure)
        title = figure.get_suptitle()
        for axes in figure.axes:
            assert title or axes.get_title()
            assert axes.get_xlabel()
            assert axes.get_ylabel() or len(axes.get_yticklabels()) > 0
        inches = figure.get_tightbbox()
        assert inches.min.min() >= 0, (title, inches)
        assert (inches.max <= figure.get_size_inches()).all(), (title, inches)


def test_losses_show_train_and_evaluation_and_each_task(records: Records) -> None:
    total, by_task = panels_of(plots.loss_curves(records))
    raw, smooth, evals = total.lines
    assert raw.get_ydata().tolist() == [record["loss"] for record in records if record["event"] == "train"]
    assert np.std(np.diff(smooth.get_ydata())) < np.std(np.diff(raw.get_ydata()))
    assert evals.get_xdata().tolist() == [50, 100, 150, 200, 250, 300]
    assert legend(total) == ["train", "eval"]
    assert legend(by_task) == ["Mood", "NER", "QA", "Wait"]
    assert len(by_task.lines) == 8
    for line, points in zip(by_task.lines[::2], by_task.lines[1::2], strict=True):
        assert line.get_color() == points.get_color()


def test_one_task_has_one_panel(records: Records) -> None:
    alone = [{**record, "task_loss": {"QA": record["loss"]}} for record in records if record["event"] == "train"]
    assert len(plots.loss_curves(alone).axes) == 1


def test_few_records_are_not_smoothed() -> None:
    losses = np.array([5.0, 1.0, 4.0])
    assert plots._smoothed(losses).tolist() == losses.tolist()


def test_a_loss_that_is_not_finite_does_not_spoil_the_curve_after_it() -> None:
    losses = np.full(500, 2.0)
    losses[100] = np.inf
    assert plots._smoothed(losses).tolist() == pytest.approx([2.0] * 500)


def test_a_step_without_a_task_leaves_no_point_of_it() -> None:
    records = [
        {"event": "train", "step": step, "loss": 1.0, "task_loss": {"A" if step % 2 else "B": 1.0}}
        for step in range(10)
    ]
    _, by_task = panels_of(plots.loss_curves(records))
    assert by_task.lines[0].get_xdata().tolist() == [1, 3, 5, 7, 9]


def test_a_long_run_is_thinned_and_keeps_its_ends() -> None:
    steps = np.arange(1.0, 100_001.0)
    chosen, values = plots._thinned(steps, -steps)
    assert len(chosen) <= plots.MAX_CURVE_POINTS + 1
    assert (chosen[0], chosen[-1]) == (1, 100_000)
    assert values.tolist() == (-chosen).tolist()


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


def test_what_tasks_pull_at_has_a_panel_for_each_figure(records: Records) -> None:
    assert plots.task_gradients(records) is None
    figure = plots.task_gradients(pulling(records))
    assert figure is not None
    norms, weights, cosines = panels_of(figure)
    assert legend(norms) == legend(weights) == ["Mood", "QA"]
    assert legend(cosines) == ["QA and Mood"]
    assert len(norms.lines[0].get_xdata()) < len(weights.lines[0].get_xdata())
    alone = [{**each, "task_cosine": {}, "task_grad_norm": {"QA": 1.0}} for each in records if each["event"] == "train"]
    assert plots.task_gradients(alone) is None


def test_learning_rates_have_a_line_for_each_group(records: Records) -> None:
    (axes,) = panels_of(plots.learning_rates(records))
    assert legend(axes) == ["backbone", "heads"]
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()


def test_metric_curves_have_a_panel_for_each_task_and_show_its_primary_metric(records: Records) -> None:
    panels = panels_of(plots.metric_curves(records, HEADS))
    assert [axes.get_title() for axes in panels] == ["QA", "Mood", "NER", "Wait"]
    assert [axes.get_ylabel() for axes in panels] == ["macro_f1", "macro_f1", "f1", "mae"]
    evals = [record["metrics"] for record in records if record["event"] == "eval"]
    assert panels[2].lines[0].get_ydata().tolist() == [metrics["eval_NER_entities_f1"] for metrics in evals]


def test_an_odd_number_of_tasks_leaves_no_empty_panel(records: Records) -> None:
    assert len(plots.metric_curves(records, HEADS[:3]).axes) == 3


def test_more_lines_than_colours_are_told_apart() -> None:
    styles = [tuple(plots._style(i).items()) for i in range(20)]
    assert len(set(styles)) == 20


# ------------------------------------------------------------------------------------------------------------ confusion


def test_confusion_is_coloured_by_row_and_shows_counts() -> None:
    (axes,) = panels_of(plots.confusion([[8, 2], [0, 5]], ["yes", "no"]))
    assert axes.images[0].get_array().tolist() == [[0.8, 0.2], [0, 1]]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "8"),
        ((1, 0), "2"),
        ((1, 1), "5"),
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "labelled")


def test_a_class_without_rows_does_not_divide_by_zero() -> None:
    (axes,) = panels_of(plots.confusion([[0, 0], [1, 1]], ["never", "yes"]))
    assert axes.images[0].get_array().tolist() == [[0, 0], [0.5, 0.5]]


def test_many_classes_become_the_most_frequent_confusions() -> None:
    matrix = np.diag(np.full(40, 100))
    matrix[3, 7], matrix[5, 1] = 9, 4
    (axes,) = panels_of(plots.confusion(matrix.tolist(), [f"label {i}" for i in range(40)]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["label 3 → label 7", "label 5 → label 1"]
    assert [text.get_text() for text in axes.texts] == ["9 of 109", "4 of 104"]
    assert (
        len(plots.confusion(np.ones((40, 40), dtype=int).tolist(), ["l"] * 40).axes[0].patches)
        == plots.MAX_CONFUSED_PAIRS
    )


def test_many_classes_without_a_confusion_still_draw() -> None:
    assert drawn(plots.confusion(np.eye(40, dtype=int).tolist(), ["l"] * 40))


# -------------------------------------------------------------------------------------------------------------- labels


def test_bars_say_what_is_undefined() -> None:
    (axes,) = panels_of(plots.per_label_bars(table(("yes", 0.0, 4), ("no", None, 0))))
    assert [text.get_text() for text in axes.texts] == ["0.00  n=4", "undefined  n=0"]


def test_bars_of_many_labels_keep_the_most_frequent_in_their_order() -> None:
    figure = plots.per_label_bars(table(*((f"l{i}", 0.5, i) for i in range(60))))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"l{i}" for i in range(20, 60)]
    assert "40 most frequent of 60" in figure.get_suptitle()


@pytest.mark.parametrize("label", NASTY)
def test_labels_from_data_cannot_break_a_figure(label: str) -> None:
    assert drawn(plots.confusion([[1, 1], [0, 1]], [label, "no"]))
    assert drawn(plots.per_label_bars(table((label, 0.5, 1))))
    assert drawn(plots.number_scatter([[1, 1], [2, 2]], label))


def test_dollar_signs_are_shown_and_start_no_formula() -> None:
    (axes,) = panels_of(plots.per_label_bars(table(("$a$ and $b$", 0.5, 1))))
    (tick,) = axes.get_yticklabels()
    shown, is_math = tick._preprocess_math(tick.get_text())
    assert (shown, is_math) == ("$a$ and $b$", False)


def test_scatter_shows_every_point_and_the_line_of_equality() -> None:
    (axes,) = panels_of(plots.number_scatter([[1, 2], [5, 4]], "minutes"))
    assert axes.collections[0].get_offsets().tolist() == [[1, 2], [5, 4]]
    assert axes.lines[0].get_slope() == 1
    assert axes.lines[0].get_xy1() == (3, 3)


def test_plotting_leaves_pyplot_alone() -> None:
    program = """
import sys
from jenga.report import plots
plots.confusion([[1]], ["a"])
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
