"""Figures of runs in stages."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jenga.continual.compare import Comparison, Group
from jenga.continual.plots import MOST_CELLS, draw, matrices
from jenga.errors import SetupError


def comparison(stages: int, groups: int, *, greater: bool = True) -> Comparison:
    rng = np.random.default_rng(0)
    made = [
        Group(f"run $ {at}", [{"matrix": rng.uniform(size=(stages, stages)).tolist(), "summary": {}}])
        for at in range(groups)
    ]
    return Comparison([f"stage {at}" for at in range(stages)], "accuracy", greater, made)


@pytest.mark.parametrize("greater", [True, False])
def test_each_group_has_its_matrix_with_its_scores_and_the_last_panel_their_course(greater: bool) -> None:
    shown = comparison(3, 2, greater=greater)
    first, second, curves = matrices(shown).axes
    for axes, group in zip((first, second), shown.groups, strict=True):
        assert [text.get_text() for text in axes.texts] == [f"{score:.2f}" for row in group.matrix for score in row]  # type: ignore[str-format]
        np.testing.assert_array_equal(axes.images[0].get_array(), group.matrix)
    course = curves.lines[0].get_ydata()
    matrix = np.array(shown.groups[0].matrix)
    np.testing.assert_allclose(course, [matrix[i, : i + 1].mean() for i in range(3)])


def test_a_score_that_is_not_known_is_no_cell_and_many_stages_have_no_words() -> None:
    one = Comparison(["a"], "f1", True, [Group("x", [{"matrix": [[None]], "summary": None}])])
    assert [len(axes.texts) for axes in matrices(one).axes] == [0, 0]
    assert [len(axes.texts) for axes in matrices(comparison(MOST_CELLS + 1, 1)).axes] == [0, 0]


def test_it_is_written_as_a_png(tmp_path: Path) -> None:
    draw(comparison(2, 4), tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "found.png"]


def test_without_matplotlib_an_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[report\]'"):
        draw(comparison(2, 1), tmp_path / "a.png")
