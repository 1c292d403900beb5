"""Draws depend on a test's name and on JENGA_TEST_SEED, not on what ran before."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import seeds
import torch
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def wide() -> list[float]:
    return torch.rand(4).tolist()


def test_a_test_draws_what_its_name_says(request: pytest.FixtureRequest) -> None:
    seed = seeds.derived(request.node.nodeid)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=seeds.generator(request.node.nodeid)))
    assert np.random.random() == np.random.RandomState(seed).random_sample()
    assert random.random() == random.Random(seed).random()


def test_a_wider_fixture_draws_the_same_whoever_asks_and_takes_nothing(request: pytest.FixtureRequest) -> None:
    generator = seeds.generator(request.node.nodeid)
    first = torch.rand(2)
    found = request.getfixturevalue("wide")
    assert torch.equal(torch.cat([first, torch.rand(2)]), torch.rand(4, generator=generator))
    assert found == torch.rand(4, generator=seeds.generator("tests/plugins/test_seeds.py:wide")).tolist()


def test_hypothesis_draws_the_same_examples_each_time() -> None:
    drawn: list[list[int]] = []

    @hypothesis.given(st.lists(st.integers()))
    def collect(example: list[int]) -> None:
        drawn[-1].extend(example)

    for _ in range(2):
        drawn.append([])
        collect()
    assert drawn[0] == drawn[1] != []


@pytest.mark.parametrize("other", ["0", "1"])
def test_another_base_seed_changes_every_seed(other: str) -> None:
    code = "import seeds; print(seeds.derived(7), seeds.derived('a'))"
    found = [
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env=os.environ | {"JENGA_TEST_SEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
        ).stdout.split()
        for seed in (other, "2")
    ]  # fmt: skip
    assert all(mine != theirs for mine, theirs in zip(*found, strict=True))
    assert (found[0][0] == "7") == (other == "0")
