"""How many threads the refinery works with, from what a user says."""

import os
from pathlib import Path

import pytest

from jenga.kernels import refinery as kernels
from jenga.refinery import SecurityRefinery
from jenga.refinery.threads import thread_count


def test_no_number_of_threads_means_every_core_that_may_be_used() -> None:
    assert thread_count(None) == len(os.sched_getaffinity(0))
    assert thread_count(3) == 3


@pytest.mark.parametrize("from_file", [True, False])
def test_the_threads_of_a_refinery_find_lines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
) -> None:
    content = b'{"a": 1}\n{"a": 2}\n'
    source = tmp_path / "rows.jsonl"
    source.write_bytes(content)
    said, split_rows = [], kernels.split_rows

    def spied(*args: object, **options: object) -> kernels.SplitResult:
        said.append(options["n_threads"])
        return split_rows(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(kernels, "split_rows", spied)
    SecurityRefinery(n_threads=3).fit(str(source) if from_file else content)
    assert set(said) == {3}
