"""Every draw of a test comes from the test's name and from JENGA_TEST_SEED (0), so that no test fails by chance.

torch, numpy and `random` are seeded before each module, fixture (whoever asks for it first) and test; hypothesis
draws the same examples each time. A generator that a test makes for itself takes its seed from `generator(...)` here,
which another JENGA_TEST_SEED changes too: `for seed in $(seq 10); do JENGA_TEST_SEED=$seed pytest || break; done`.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

BASE_SEED = int(os.environ.get("JENGA_TEST_SEED", "0"))

# Examples found by another run would make this one differ, hence no database; a slow machine is no failure.
hypothesis.settings.register_profile("jenga", derandomize=BASE_SEED == 0, database=None, deadline=None)
hypothesis.settings.load_profile("jenga")


def derived(name: str | int) -> int:
    """A seed of 32 bits, which differs from name to name; a number is itself while JENGA_TEST_SEED is 0."""
    if isinstance(name, int) and BASE_SEED == 0:
        return name
    return zlib.crc32(f"{BASE_SEED}:{name}".encode())


def generator(name: str | int) -> Any:
    """A generator of torch's on the CPU, seeded with `derived(name)`."""
    import torch

    return torch.Generator().manual_seed(derived(name))


def _seed(name: str) -> None:
    import torch

    seed = derived(name)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pytest_report_header() -> str:
    return f"draws: JENGA_TEST_SEED={BASE_SEED}"


def pytest_configure(config: pytest.Config) -> None:
    if BASE_SEED != 0 and config.getoption("hypothesis_seed") is None:
        hypothesis.core.global_force_seed = BASE_SEED


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
    """Fixtures of a wider scope draw the same whichever test is the first to ask, and take nothing from its draws."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    _seed(f"{fixturedef.baseid}:{fixturedef.argname}")
    try:
        return (yield)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    """What a module draws while it is imported."""
    _seed(collector.nodeid)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    _seed(item.nodeid)
    return (yield)
