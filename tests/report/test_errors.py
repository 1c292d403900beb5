from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from jenga.errors import DataError
from jenga.report.errors import FILE, mcnemar, paired, read_errors, write_errors


def head(rows: int, *at: int) -> dict[str, Any]:
    return {"rows": rows, "error": "loss", "wrong": {"at": list(at), "sizes": [1.0] * len(at)}}


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (12, 12), (200, 260), (5000, 5300)])
def test_p_is_that_of_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_rows_are_counted_that_only_one_of_two_answers_rightly() -> None:
    found = paired(head(10, 1, 2, 3), head(10, 3, 4))
    assert found is not None
    assert (found.first, found.second) == (1, 2)
    assert paired(head(10, 1), head(11, 1)) is None


def test_what_is_written_is_read_and_what_is_harmed_is_named(tmp_path: Path) -> None:
    assert read_errors(tmp_path) == {}
    splits = {"test": {"a/b": {"héad": head(3, 0)}}}
    write_errors(tmp_path, splits)
    assert read_errors(tmp_path) == splits
    (tmp_path / FILE).write_text("{")
    with pytest.raises(DataError, match=FILE):
        read_errors(tmp_path)
